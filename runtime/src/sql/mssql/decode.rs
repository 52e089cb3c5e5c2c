//! Values of a result as JSON, and the names of their types.

use serde_json::Value;
use tiberius::numeric::Numeric;
use tiberius::time::{Date, DateTime, DateTime2, SmallDateTime, Time};
use tiberius::{ColumnData, ColumnType};

use super::super::text;

/// From 0001-01-01 to 1970-01-01.
const DAYS_FROM_YEAR_1: i64 = 719_162;
/// From 1900-01-01 to 1970-01-01.
const DAYS_FROM_1900: i64 = 25_567;
/// Up to here a `money`, in ten-thousandths, is exact as the floating-point number that tiberius makes of it.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A value as JSON; `Err` says why it can't be given.
pub(super) fn value(column_type: ColumnType, data: ColumnData<'_>) -> Result<Value, &'static str> {
    let value = match data {
        ColumnData::U8(value) => value.map(|value| text::integer(value.into())),
        ColumnData::I16(value) => value.map(|value| text::integer(value.into())),
        ColumnData::I32(value) => value.map(|value| text::integer(value.into())),
        ColumnData::I64(value) => value.map(|value| text::integer(value.into())),
        ColumnData::F32(value) => value.map(text::float32),
        ColumnData::F64(Some(value)) if is_money(column_type) => Some(money(value)?),
        ColumnData::F64(value) => value.map(text::float),
        ColumnData::Bit(value) => value.map(Value::Bool),
        ColumnData::String(value) => value.map(|value| Value::String(value.into_owned())),
        ColumnData::Guid(value) => value.map(|value| Value::String(value.hyphenated().to_string())),
        ColumnData::Binary(value) => value.map(|value| text::bytes(&value)),
        ColumnData::Numeric(value) => value.map(|value| Value::String(decimal(value))),
        ColumnData::Xml(value) => value.map(|value| Value::String(value.to_string())),
        ColumnData::DateTime(value) => value.map(|value| Value::String(datetime(value))),
        ColumnData::SmallDateTime(value) => value.map(|value| Value::String(smalldatetime(value))),
        ColumnData::Time(value) => value.map(|value| Value::String(time(value))),
        ColumnData::Date(value) => value.map(|value| Value::String(date(value))),
        ColumnData::DateTime2(value) => value.map(|value| Value::String(datetime2(value))),
        // What comes over the wire is in UTC; the offset is only for showing it.
        ColumnData::DateTimeOffset(value) => {
            value.map(|value| Value::String(format!("{}Z", datetime2(value.datetime2()))))
        }
    };
    Ok(value.unwrap_or(Value::Null))
}

/// A value that is an integer.
pub(super) fn small_integer(data: &ColumnData<'_>) -> Option<i64> {
    match data {
        ColumnData::U8(value) => value.map(i64::from),
        ColumnData::I16(value) => value.map(i64::from),
        ColumnData::I32(value) => value.map(i64::from),
        ColumnData::I64(value) => *value,
        _ => None,
    }
}

/// A type's name in T-SQL. Where the column's type leaves it open, the first row's value decides.
pub(super) fn type_name(column_type: ColumnType, first: Option<&ColumnData<'_>>) -> &'static str {
    match column_type {
        ColumnType::Bit | ColumnType::Bitn => "bit",
        ColumnType::Int1 => "tinyint",
        ColumnType::Int2 => "smallint",
        ColumnType::Null | ColumnType::Int4 | ColumnType::Intn => "int",
        ColumnType::Int8 => "bigint",
        ColumnType::Float4 => "real",
        ColumnType::Float8 | ColumnType::Floatn => "float",
        ColumnType::Datetime4 => "smalldatetime",
        ColumnType::Datetimen if matches!(first, Some(ColumnData::SmallDateTime(_))) => "smalldatetime",
        ColumnType::Datetime | ColumnType::Datetimen => "datetime",
        ColumnType::Money => "money",
        ColumnType::Money4 => "smallmoney",
        ColumnType::Guid => "uniqueidentifier",
        ColumnType::Decimaln => "decimal",
        ColumnType::Numericn => "numeric",
        ColumnType::Daten => "date",
        ColumnType::Timen => "time",
        ColumnType::Datetime2 => "datetime2",
        ColumnType::DatetimeOffsetn => "datetimeoffset",
        ColumnType::BigVarBin => "varbinary",
        ColumnType::BigVarChar => "varchar",
        ColumnType::BigBinary => "binary",
        ColumnType::BigChar => "char",
        ColumnType::NVarchar => "nvarchar",
        ColumnType::NChar => "nchar",
        ColumnType::Xml => "xml",
        ColumnType::Udt => "udt",
        ColumnType::Text => "text",
        ColumnType::Image => "image",
        ColumnType::NText => "ntext",
        ColumnType::SSVariant => "sql_variant",
    }
}

fn is_money(column_type: ColumnType) -> bool {
    matches!(column_type, ColumnType::Money | ColumnType::Money4)
}

/// Money has four decimals. A `money` in a `sql_variant` can't be told from a `float`, and is a number.
fn money(value: f64) -> Result<Value, &'static str> {
    if (value * 10_000.0).abs() >= MAX_EXACT {
        return Err("is too large to be read exactly: cast it to decimal(19,4)");
    }
    let text = format!("{value:.4}");
    Ok(Value::String(if text == "-0.0000" { "0.0000".to_owned() } else { text }))
}

/// All digits, with the scale kept: `-12.50`.
fn decimal(value: Numeric) -> String {
    let digits = value.value().unsigned_abs().to_string();
    let scale = usize::from(value.scale());
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let sign = if value.value() < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

fn day(days_since_1970: i64) -> String {
    let (year, month, day) = text::civil_from_days(days_since_1970);
    text::date(year, month, day)
}

fn nanoseconds(since_midnight: u64) -> String {
    let part = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let seconds = since_midnight / 1_000_000_000;
    text::time(
        part(seconds / 3600),
        part(seconds / 60 % 60),
        part(seconds % 60),
        part(since_midnight % 1_000_000_000),
    )
}

fn date(value: Date) -> String {
    day(i64::from(value.days()) - DAYS_FROM_YEAR_1)
}

fn time(value: Time) -> String {
    let factor = 10_u64.pow(9_u32.saturating_sub(value.scale().into()));
    nanoseconds(value.increments().saturating_mul(factor))
}

fn datetime2(value: DateTime2) -> String {
    format!("{}T{}", date(value.date()), time(value.time()))
}

/// A `datetime` counts three-hundredths of a second, and shows the milliseconds nearest to them.
fn datetime(value: DateTime) -> String {
    let milliseconds = (u64::from(value.seconds_fragments()) * 10 + 1) / 3;
    format!("{}T{}", day(i64::from(value.days()) - DAYS_FROM_1900), nanoseconds(milliseconds * 1_000_000))
}

/// A `smalldatetime` counts minutes, whatever tiberius calls them.
fn smalldatetime(value: SmallDateTime) -> String {
    let minutes = u64::from(value.seconds_fragments());
    format!("{}T{}", day(i64::from(value.days()) - DAYS_FROM_1900), nanoseconds(minutes * 60_000_000_000))
}

#[cfg(test)]
mod tests;
