//! What each type of SQL Server's becomes.

use serde_json::json;
use tiberius::Uuid;
use tiberius::time::DateTimeOffset;
use tiberius::xml::XmlData;

use super::*;

#[track_caller]
fn check(column_type: ColumnType, data: ColumnData<'_>, expected: Value) {
    assert_eq!(value(column_type, data), Ok(expected));
}

#[test]
fn numbers() {
    check(ColumnType::Int1, ColumnData::U8(Some(255)), json!(255));
    check(ColumnType::Int2, ColumnData::I16(Some(-1)), json!(-1));
    check(ColumnType::Int4, ColumnData::I32(Some(i32::MIN)), json!(i32::MIN));
    check(ColumnType::Int8, ColumnData::I64(Some(9_007_199_254_740_991)), json!(9_007_199_254_740_991_i64));
    check(ColumnType::Int8, ColumnData::I64(Some(i64::MIN)), json!("-9223372036854775808"));
    check(ColumnType::Float4, ColumnData::F32(Some(0.1)), json!(0.1));
    check(ColumnType::Float8, ColumnData::F64(Some(1e300)), json!(1e300));
    check(ColumnType::Bitn, ColumnData::Bit(Some(true)), json!(true));
}

#[test]
fn decimals_keep_their_scale() {
    for (digits, scale, expected) in [
        (1250, 2, "12.50"),
        (-5, 3, "-0.005"),
        (0, 2, "0.00"),
        (7, 0, "7"),
        (10_i128.pow(38) - 1, 38, "0.99999999999999999999999999999999999999"),
        (1 - 10_i128.pow(38), 0, "-99999999999999999999999999999999999999"),
        (i128::MIN, 0, "-170141183460469231731687303715884105728"),
    ] {
        let data = ColumnData::Numeric(Some(Numeric::new_with_scale(digits, scale)));
        check(ColumnType::Decimaln, data, json!(expected));
    }
}

#[test]
fn money_has_four_decimals_or_is_refused() {
    check(ColumnType::Money, ColumnData::F64(Some(12.5)), json!("12.5000"));
    check(ColumnType::Money4, ColumnData::F64(Some(-214_748.364_8)), json!("-214748.3648"));
    check(ColumnType::Money, ColumnData::F64(Some(-0.0)), json!("0.0000"));
    // Every ten-thousandth up to the last exact one, as tiberius divides it.
    for scaled in [9_007_199_254_740_991_i64, 9_007_199_254_740_989, 4_503_599_627_370_497, -1, 99_999] {
        #[allow(clippy::cast_precision_loss, reason = "below 2^53")]
        let data = ColumnData::F64(Some(scaled as f64 / 1e4));
        let sign = if scaled < 0 { "-" } else { "" };
        let digits = scaled.unsigned_abs();
        check(ColumnType::Money, data, json!(format!("{sign}{}.{:04}", digits / 10_000, digits % 10_000)));
    }
    let largest = ColumnData::F64(Some(922_337_203_685_477.6));
    assert!(value(ColumnType::Money, largest).is_err());
    check(ColumnType::Float8, ColumnData::F64(Some(12.5)), json!(12.5));
}

#[test]
fn texts_and_bytes() {
    check(ColumnType::NVarchar, ColumnData::String(Some("naïve 🏨".into())), json!("naïve 🏨"));
    check(ColumnType::BigVarBin, ColumnData::Binary(Some(vec![0, 255].into())), json!("AP8="));
    let xml = ColumnData::Xml(Some(std::borrow::Cow::Owned(XmlData::new("<a/>"))));
    check(ColumnType::Xml, xml, json!("<a/>"));
    let guid = Uuid::from_bytes([
        0x6F, 0x96, 0x19, 0xFF, 0x8B, 0x86, 0xD0, 0x11, 0xB4, 0x2D, 0, 0xC0, 0x4F, 0xC9, 0x64, 0xFF,
    ]);
    check(ColumnType::Guid, ColumnData::Guid(Some(guid)), json!("6f9619ff-8b86-d011-b42d-00c04fc964ff"));
}

#[test]
fn dates_and_times() {
    check(ColumnType::Daten, ColumnData::Date(Some(Date::new(0))), json!("0001-01-01"));
    check(ColumnType::Daten, ColumnData::Date(Some(Date::new(3_652_058))), json!("9999-12-31"));
    check(
        ColumnType::Timen,
        ColumnData::Time(Some(Time::new(863_999_999_999, 7))),
        json!("23:59:59.9999999"),
    );
    check(ColumnType::Timen, ColumnData::Time(Some(Time::new(45_000, 0))), json!("12:30:00"));
    // 2024-02-29.
    let noon = DateTime2::new(Date::new(738_944), Time::new(432_001, 1));
    check(ColumnType::Datetime2, ColumnData::DateTime2(Some(noon)), json!("2024-02-29T12:00:00.1"));
    let offset = DateTimeOffset::new(noon, 330);
    check(
        ColumnType::DatetimeOffsetn,
        ColumnData::DateTimeOffset(Some(offset)),
        json!("2024-02-29T12:00:00.1Z"),
    );
}

#[test]
fn datetimes_show_the_milliseconds_that_sql_server_shows() {
    for (fragments, expected) in [
        (0, "1900-01-01T00:00:00"),
        (1, "1900-01-01T00:00:00.003"),
        (2, "1900-01-01T00:00:00.007"),
        (3, "1900-01-01T00:00:00.01"),
        (25_919_999, "1900-01-01T23:59:59.997"),
    ] {
        check(ColumnType::Datetime, ColumnData::DateTime(Some(DateTime::new(0, fragments))), json!(expected));
    }
    // The first and the last day.
    check(
        ColumnType::Datetime,
        ColumnData::DateTime(Some(DateTime::new(-53_690, 0))),
        json!("1753-01-01T00:00:00"),
    );
    check(
        ColumnType::Datetime,
        ColumnData::DateTime(Some(DateTime::new(2_958_463, 0))),
        json!("9999-12-31T00:00:00"),
    );
    let small = SmallDateTime::new(65_535, 1439);
    check(ColumnType::Datetimen, ColumnData::SmallDateTime(Some(small)), json!("2079-06-06T23:59:00"));
}

#[test]
fn what_no_server_sends_does_no_harm() {
    assert!(
        value(ColumnType::Datetime, ColumnData::DateTime(Some(DateTime::new(i32::MAX, u32::MAX)))).is_ok()
    );
    assert!(value(ColumnType::Timen, ColumnData::Time(Some(Time::new(u64::MAX, 255)))).is_ok());
    assert!(value(ColumnType::Daten, ColumnData::Date(Some(Date::new(0xFF_FFFF)))).is_ok());
}

#[test]
fn nulls() {
    check(ColumnType::Money, ColumnData::F64(None), json!(null));
    check(ColumnType::NVarchar, ColumnData::String(None), json!(null));
    check(ColumnType::Datetimen, ColumnData::SmallDateTime(None), json!(null));
}

#[test]
fn types_have_their_names() {
    let small = ColumnData::SmallDateTime(None);
    assert_eq!(type_name(ColumnType::Datetimen, Some(&small)), "smalldatetime");
    assert_eq!(type_name(ColumnType::Datetimen, None), "datetime");
    assert_eq!(type_name(ColumnType::BigVarChar, None), "varchar");
}
