//! From SQLite's values to JSON: by the class that a value is stored in, and by the type that its column was declared with.

use serde_json::Value;
use sqlx::sqlite::{Sqlite, SqliteValueRef};
use sqlx::{Decode, TypeInfo, ValueRef};

use crate::sql::moment::{self, Moment};
use crate::sql::text;

/// More digits after a decimal point than any database keeps.
const MAX_SCALE: usize = 100;

/// How a column's values read. SQLite itself stores numbers, texts and bytes in any column; what they mean is in the
/// declared type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// As they are stored.
    #[default]
    Stored,
    /// 0 and 1 are booleans.
    Bool,
    /// Numbers are decimals, with so many digits after the point where the type says how many.
    Decimal(Option<usize>),
    /// Texts are dates or times.
    Moment(Moment),
    /// Texts are JSON.
    Json,
    /// 16 bytes are a UUID.
    Uuid,
}

impl Kind {
    /// The kind of a column that was declared like this.
    pub(super) fn of(declared: &str) -> Self {
        let declared = declared.trim().to_ascii_lowercase();
        let (base, arguments) = declared.split_once('(').unwrap_or((&declared, ""));
        let base = base.trim();
        let arguments = arguments.split(')').next().unwrap_or_default();
        match base {
            "bool" | "boolean" => Self::Bool,
            "bit" | "tinyint" if arguments.trim() == "1" || (base == "bit" && arguments.is_empty()) => {
                Self::Bool
            }
            "decimal" | "dec" | "numeric" | "number" | "money" | "smallmoney" => {
                Self::Decimal(scale(arguments))
            }
            "date" => Self::Moment(Moment::Date),
            "json" | "jsonb" => Self::Json,
            "uuid" | "guid" | "uniqueidentifier" => Self::Uuid,
            _ if base.starts_with("datetime") || base.starts_with("timestamp") || base == "smalldatetime" => {
                Self::Moment(Moment::Timestamp)
            }
            _ if base == "time" || base.starts_with("time ") => Self::Moment(Moment::Time),
            _ => Self::Stored,
        }
    }
}

/// The scale in `precision, scale`; one that isn't given is 0, as in every other database.
fn scale(arguments: &str) -> Option<usize> {
    let mut arguments = arguments.split(',');
    let precision: Option<usize> = arguments.next()?.trim().parse().ok();
    precision?;
    let scale = arguments.next().map_or(Some(0), |scale| scale.trim().parse().ok());
    scale.filter(|scale| *scale <= MAX_SCALE)
}

/// The class that a value is stored in: `null`, `integer`, `real`, `text` or `blob`.
pub(super) fn storage_class(value: &SqliteValueRef<'_>) -> &'static str {
    // The type of a NULL is that of its column.
    if value.is_null() {
        return "null";
    }
    match value.type_info().name() {
        "INTEGER" => "integer",
        "REAL" => "real",
        "TEXT" => "text",
        _ => "blob",
    }
}

/// A value as JSON.
///
/// # Errors
/// It is a text that isn't UTF-8.
pub(super) fn value(value: SqliteValueRef<'_>, kind: Kind) -> Result<Value, sqlx::error::BoxDynError> {
    Ok(match storage_class(&value) {
        "null" => Value::Null,
        "integer" => integer(<i64 as Decode<Sqlite>>::decode(value)?, kind),
        "real" => real(<f64 as Decode<Sqlite>>::decode(value)?, kind),
        "text" => string(<&str as Decode<Sqlite>>::decode(value)?, kind),
        _ => blob(<&[u8] as Decode<Sqlite>>::decode(value)?, kind),
    })
}

fn integer(value: i64, kind: Kind) -> Value {
    match (kind, value) {
        (Kind::Bool, 0) => Value::Bool(false),
        (Kind::Bool, 1) => Value::Bool(true),
        (Kind::Decimal(Some(scale)), _) if scale > 0 => Value::String(format!("{value}.{:0scale$}", 0)),
        (Kind::Decimal(_), _) => Value::String(value.to_string()),
        _ => text::integer(i128::from(value)),
    }
}

fn real(value: f64, kind: Kind) -> Value {
    let Kind::Decimal(scale) = kind else { return text::float(value) };
    if !value.is_finite() {
        return text::float(value);
    }
    let digits = scale.map_or_else(|| value.to_string(), |scale| format!("{value:.scale$}"));
    // What rounds to zero has no sign.
    let is_zero = digits.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
    Value::String(if is_zero { digits.trim_start_matches('-').to_owned() } else { digits })
}

fn string(value: &str, kind: Kind) -> Value {
    let own = || Value::String(value.to_owned());
    match kind {
        Kind::Moment(moment) => moment::iso(value, moment).map_or_else(own, Value::String),
        Kind::Json => serde_json::from_str(value).unwrap_or_else(|_| own()),
        _ => own(),
    }
}

fn blob(value: &[u8], kind: Kind) -> Value {
    match uuid::Uuid::from_slice(value) {
        Ok(uuid) if kind == Kind::Uuid => Value::String(uuid.to_string()),
        _ => text::bytes(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn declared_types_say_what_values_mean() {
        for (declared, expected) in [
            ("BOOLEAN", Kind::Bool),
            ("bool", Kind::Bool),
            ("BIT", Kind::Bool),
            ("TINYINT(1)", Kind::Bool),
            ("TINYINT(4)", Kind::Stored),
            ("TINYINT", Kind::Stored),
            ("BIT(8)", Kind::Stored),
            ("DECIMAL(10,2)", Kind::Decimal(Some(2))),
            ("numeric ( 10 , 4 )", Kind::Decimal(Some(4))),
            ("DECIMAL(10)", Kind::Decimal(Some(0))),
            ("DECIMAL", Kind::Decimal(None)),
            ("NUMERIC(10,1000)", Kind::Decimal(None)),
            ("DATE", Kind::Moment(Moment::Date)),
            ("TIME", Kind::Moment(Moment::Time)),
            ("TIME WITHOUT TIME ZONE", Kind::Moment(Moment::Time)),
            ("DATETIME", Kind::Moment(Moment::Timestamp)),
            ("DATETIME2(7)", Kind::Moment(Moment::Timestamp)),
            ("TIMESTAMP(6) WITH TIME ZONE", Kind::Moment(Moment::Timestamp)),
            ("timestamptz", Kind::Moment(Moment::Timestamp)),
            ("JSONB", Kind::Json),
            ("UUID", Kind::Uuid),
            ("INTEGER", Kind::Stored),
            ("VARCHAR(20)", Kind::Stored),
            ("TIMELINE", Kind::Stored),
            ("", Kind::Stored),
        ] {
            assert_eq!(Kind::of(declared), expected, "{declared}");
        }
    }

    #[test]
    fn decimals_have_the_digits_that_were_declared() {
        let two = Kind::Decimal(Some(2));
        assert_eq!(integer(120, two), json!("120.00"));
        assert_eq!(integer(-7, Kind::Decimal(Some(0))), json!("-7"));
        assert_eq!(integer(i64::MAX, Kind::Decimal(None)), json!("9223372036854775807"));
        assert_eq!(real(12.5, two), json!("12.50"));
        assert_eq!(real(0.1, two), json!("0.10"));
        assert_eq!(real(-0.001, two), json!("0.00"));
        assert_eq!(real(-0.01, two), json!("-0.01"));
        assert_eq!(real(1e21, two), json!("1000000000000000000000.00"));
        assert_eq!(real(0.1, Kind::Decimal(None)), json!("0.1"));
        assert_eq!(real(f64::INFINITY, two), json!("Infinity"));
        assert_eq!(string("1.005", two), json!("1.005"));
    }

    #[test]
    fn other_kinds() {
        assert_eq!(integer(1, Kind::Bool), json!(true));
        assert_eq!(integer(2, Kind::Bool), json!(2));
        assert_eq!(integer(i64::MIN, Kind::Stored), json!("-9223372036854775808"));
        assert_eq!(real(3.0, Kind::Stored), json!(3.0));
        assert_eq!(string("{\"a\": [1, null]}", Kind::Json), json!({"a": [1, null]}));
        assert_eq!(string("{", Kind::Json), json!("{"));
        assert_eq!(string("{\"a\": 1}", Kind::Stored), json!("{\"a\": 1}"));
        assert_eq!(integer(1_700_000_000, Kind::Moment(Moment::Timestamp)), json!(1_700_000_000));
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(blob(&bytes, Kind::Uuid), json!("00010203-0405-0607-0809-0a0b0c0d0e0f"));
        assert_eq!(blob(&bytes[..2], Kind::Uuid), json!("AAE="));
        assert_eq!(blob(&[], Kind::Stored), json!(""));
    }
}
