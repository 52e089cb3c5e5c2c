//! Each of SQL Server's types as JSON.

use portcullis_runtime::ErrorCode;
use portcullis_test_servers::tds::Length;

use super::*;

/// One row of these columns, each named after its place.
fn row(columns: Vec<(Type, Cell)>) -> TdsServer {
    server(move |_| {
        let names = (1..).map(|place| format!("c{place}"));
        let types =
            columns.iter().zip(names).map(|((r#type, _), name)| Column::new(&name, *r#type)).collect();
        vec![Reply::rows(types, vec![columns.iter().map(|(_, cell)| cell.clone()).collect()])]
    })
}

/// Columns with their type's name and the JSON of their value.
#[track_caller]
fn check(cases: Vec<(Type, Cell, &str, Value)>) {
    let server = row(cases.iter().map(|(r#type, cell, ..)| (*r#type, cell.clone())).collect());
    let result = Case::read(&server, "SELECT * FROM everything").value();
    for (index, (_, cell, type_name, expected)) in cases.iter().enumerate() {
        let name = format!("c{}", index + 1);
        assert_eq!(&result["rows"][0][&name], expected, "{cell:?} as {type_name}");
        assert_eq!(result["columns"][index], json!({"name": name, "type": type_name}), "{cell:?}");
    }
}

#[test]
fn numbers() {
    let money = |text: &str| Cell::money(text);
    check(vec![
        (Type::TinyInt, Cell::Int(255), "tinyint", json!(255)),
        (Type::IntN(1), Cell::Int(0), "tinyint", json!(0)),
        (Type::IntN(2), Cell::Int(-32768), "smallint", json!(-32768)),
        (Type::Int, Cell::Int(i32::MAX.into()), "int", json!(i32::MAX)),
        (Type::IntN(8), Cell::Int(9_007_199_254_740_991), "bigint", json!(9_007_199_254_740_991_i64)),
        (Type::BigInt, Cell::Int(9_007_199_254_740_992), "bigint", json!("9007199254740992")),
        (Type::IntN(8), Cell::Int(i64::MIN), "bigint", json!("-9223372036854775808")),
        (Type::BitN, Cell::Bit(true), "bit", json!(true)),
        (Type::Bit, Cell::Bit(false), "bit", json!(false)),
        (Type::FloatN(4), Cell::Float(0.1), "real", json!(0.1)),
        (Type::Float, Cell::Float(-1.5e300), "float", json!(-1.5e300)),
        (Type::Decimal(5, 2), Cell::decimal("12.50"), "decimal", json!("12.50")),
        (Type::Numeric(38, 0), Cell::decimal(&"9".repeat(38)), "numeric", json!("9".repeat(38))),
        (
            Type::Decimal(38, 38),
            Cell::decimal(&format!("-0.{}", "1".repeat(38))),
            "decimal",
            json!(format!("-0.{}", "1".repeat(38))),
        ),
        (Type::MoneyN(8), money("12.5"), "money", json!("12.5000")),
        (Type::Money, money("-900719925474.0991"), "money", json!("-900719925474.0991")),
        (Type::SmallMoney, money("-214748.3648"), "smallmoney", json!("-214748.3648")),
    ]);
}

#[test]
fn texts_bytes_and_guids() {
    let long = "é🏨".repeat(20_000);
    let guid = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
    let text = |text: &str| Cell::Text(text.to_owned());
    check(vec![
        (Type::Char(5), text("ab   "), "char", json!("ab   ")),
        (Type::VarChar(Length::Limited(20)), text("naïve €"), "varchar", json!("naïve €")),
        (Type::NChar(3), text("a' "), "nchar", json!("a' ")),
        (Type::NVarChar(Length::Limited(40)), text("\u{0}\"\\\n"), "nvarchar", json!("\u{0}\"\\\n")),
        (Type::NVarChar(Length::Max), text(&long), "nvarchar", json!(long)),
        (Type::VarChar(Length::Max), text(""), "varchar", json!("")),
        (Type::Text, text("old"), "text", json!("old")),
        (Type::NText, text("älter"), "ntext", json!("älter")),
        (Type::Xml, text("<a>ü</a>"), "xml", json!("<a>ü</a>")),
        (Type::Binary(2), Cell::Bytes(vec![0, 255]), "binary", json!("AP8=")),
        (Type::VarBinary(Length::Max), Cell::Bytes(Vec::new()), "varbinary", json!("")),
        (Type::Image, Cell::Bytes(vec![1]), "image", json!("AQ==")),
        (Type::Guid, Cell::guid(guid), "uniqueidentifier", json!(guid)),
    ]);
}

#[test]
fn dates_and_times() {
    check(vec![
        (Type::Date, Cell::date("2026-11-20"), "date", json!("2026-11-20")),
        (Type::Date, Cell::date("0001-01-01"), "date", json!("0001-01-01")),
        (Type::Time(0), Cell::time("12:30:00"), "time", json!("12:30:00")),
        (Type::Time(7), Cell::time("23:59:59.9999999"), "time", json!("23:59:59.9999999")),
        (
            Type::DateTime2(7),
            Cell::datetime("2024-02-29 12:30:00.5"),
            "datetime2",
            json!("2024-02-29T12:30:00.5"),
        ),
        (
            Type::DateTime2(0),
            Cell::datetime("9999-12-31 23:59:59"),
            "datetime2",
            json!("9999-12-31T23:59:59"),
        ),
        (
            Type::DateTimeN(8),
            Cell::datetime("2026-11-20 12:30:00.003"),
            "datetime",
            json!("2026-11-20T12:30:00.003"),
        ),
        (Type::DateTime, Cell::datetime("1753-01-01 00:00:00"), "datetime", json!("1753-01-01T00:00:00")),
        (
            Type::DateTimeN(4),
            Cell::datetime("2026-11-20 12:30:00"),
            "smalldatetime",
            json!("2026-11-20T12:30:00"),
        ),
        (
            Type::SmallDateTime,
            Cell::datetime("2026-11-20 12:31:00"),
            "smalldatetime",
            json!("2026-11-20T12:31:00"),
        ),
        (
            Type::DateTimeOffset(3),
            Cell::datetimeoffset("2026-11-20 01:30:00.25 +05:30"),
            "datetimeoffset",
            json!("2026-11-19T20:00:00.25Z"),
        ),
    ]);
}

#[test]
fn nulls_of_all_types() {
    let types = [
        (Type::IntN(8), "bigint"),
        (Type::BitN, "bit"),
        (Type::FloatN(8), "float"),
        (Type::Decimal(5, 2), "decimal"),
        (Type::MoneyN(8), "money"),
        (Type::NVarChar(Length::Max), "nvarchar"),
        (Type::VarBinary(Length::Limited(5)), "varbinary"),
        (Type::Xml, "xml"),
        (Type::Guid, "uniqueidentifier"),
        (Type::Date, "date"),
        (Type::Time(7), "time"),
        (Type::DateTime2(7), "datetime2"),
        (Type::DateTimeOffset(7), "datetimeoffset"),
        (Type::DateTimeN(8), "datetime"),
        (Type::Text, "text"),
    ];
    check(types.into_iter().map(|(r#type, name)| (r#type, Cell::Null, name, json!(null))).collect());
}

#[test]
fn money_that_cannot_be_exact_is_refused() {
    let server = row(vec![(Type::MoneyN(8), Cell::money("922337203685477.5807"))]);
    let case = Case::read(&server, "SELECT price FROM palace").load();
    let error = case.fails(ErrorCode::ProviderError);
    assert!(error.message.contains("money in the column \"c1\""), "{error}");
    assert!(error.message.contains("decimal(19,4)"), "{error}");
}

#[test]
fn columns_without_names_and_of_the_same_name() {
    let server = server(|_| {
        let columns = ["", "a", "a"].map(|name| Column::new(name, Type::Int)).to_vec();
        vec![Reply::rows(columns, vec![vec![Cell::Int(1), Cell::Int(2), Cell::Int(3)]])]
    });
    let rows = Case::read(&server, "SELECT 1, 2 AS a, 3 AS a").value()["rows"].take();
    assert_eq!(rows, json!([{"column_1": 1, "a": 2, "a_2": 3}]));
}

#[test]
fn a_result_without_rows_has_columns() {
    let server = server(|_| vec![Reply::rows(vec![Column::new("a", Type::DateTimeN(8))], Vec::new())]);
    let expected = json!({
        "rows": [], "rowCount": 0, "truncated": false, "columns": [{"name": "a", "type": "datetime"}],
    });
    assert_eq!(Case::read(&server, "SELECT a FROM t WHERE 1 = 0").value(), expected);
}
