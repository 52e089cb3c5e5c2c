//! A column of each type, and a value in it.

use portcullis_test_servers::tds::{Column, Length, Type, Value};

/// Names that begin with `fixed` are of columns that can't be NULL.
pub(crate) fn all_types() -> Vec<(Column, Value)> {
    let columns: Vec<(&str, Type, Value)> = vec![
        ("fixed_tinyint", Type::TinyInt, 255.into()),
        ("fixed_smallint", Type::SmallInt, (-32_768).into()),
        ("fixed_int", Type::Int, i32::MIN.into()),
        ("fixed_bigint", Type::BigInt, i64::MAX.into()),
        ("fixed_bit", Type::Bit, true.into()),
        ("fixed_real", Type::Real, 1.5.into()),
        ("fixed_float", Type::Float, (-0.1).into()),
        ("fixed_smallmoney", Type::SmallMoney, Value::money("-214748.3648")),
        ("fixed_money", Type::Money, Value::money("922337203685477.5807")),
        ("fixed_smalldatetime", Type::SmallDateTime, Value::datetime("2024-02-29 23:59:00")),
        ("fixed_datetime", Type::DateTime, Value::datetime("1753-01-01 00:00:00.5")),
        ("tinyint", Type::IntN(1), 0.into()),
        ("smallint", Type::IntN(2), 32_767.into()),
        ("int", Type::IntN(4), (-1).into()),
        ("bigint", Type::IntN(8), i64::MIN.into()),
        ("bit", Type::BitN, false.into()),
        ("real", Type::FloatN(4), 0.25.into()),
        ("float", Type::FloatN(8), 1e300.into()),
        ("smallmoney", Type::MoneyN(4), Value::money("1.2345")),
        ("money", Type::MoneyN(8), Value::money("-1.5")),
        ("smalldatetime", Type::DateTimeN(4), Value::datetime("1900-01-01 00:01:00")),
        ("datetime", Type::DateTimeN(8), Value::datetime("9999-12-31 23:59:59")),
        ("decimal", Type::Decimal(38, 3), Value::decimal("-12345678901234567890123456789012345.678")),
        ("numeric", Type::Numeric(5, 2), Value::decimal("0.50")),
        ("guid", Type::Guid, Value::guid("6f9619ff-8b86-d011-b42d-00c04fc964ff")),
        ("date", Type::Date, Value::date("0001-01-01")),
        ("time", Type::Time(7), Value::time("23:59:59.9999999")),
        ("datetime2", Type::DateTime2(3), Value::datetime("2024-02-29 12:34:56.789")),
        ("datetimeoffset", Type::DateTimeOffset(0), Value::datetimeoffset("2024-02-29 01:00:00 +05:30")),
        ("char", Type::Char(5), "é€".into()),
        ("varchar", Type::VarChar(Length::Limited(20)), "naïve".into()),
        ("varchar_max", Type::VarChar(Length::Max), "v".repeat(5000).into()),
        ("nchar", Type::NChar(4), "日本".into()),
        ("nvarchar", Type::NVarChar(Length::Limited(20)), "emoji 🙂".into()),
        ("nvarchar_max", Type::NVarChar(Length::Max), "ü".repeat(4001).into()),
        ("binary", Type::Binary(4), vec![1, 2].into()),
        ("varbinary", Type::VarBinary(Length::Limited(20)), vec![0, 255].into()),
        ("varbinary_max", Type::VarBinary(Length::Max), vec![0xAB; 3000].into()),
        ("text", Type::Text, "text é".into()),
        ("ntext", Type::NText, "ntext 日".into()),
        ("image", Type::Image, vec![0xDE, 0xAD].into()),
        ("xml", Type::Xml, "<a>é</a>".into()),
    ];
    columns.into_iter().map(|(name, r#type, value)| (Column::new(name, r#type), value)).collect()
}
