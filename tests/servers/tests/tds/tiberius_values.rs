//! Values between tiberius and the server: parameters as they are sent, results as they are read.

use std::borrow::Cow;

use portcullis_test_servers::tds::{Length, Parameter, Request, Type, Value};
use tiberius::numeric::Numeric;
use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, Time};
use tiberius::{ColumnData, ColumnType, Command, Query};

use crate::support::{options, start};
use crate::tiberius_client::{connect_plainly, run};
use crate::values::all_types;

#[test]
fn its_parameters_arrive_as_it_sends_them() {
    let nvarchar = Type::NVarChar(Length::Limited(4000));
    let long = "é".repeat(4000);
    let cases: Vec<(ColumnData<'static>, Type, Value)> = vec![
        (ColumnData::U8(Some(255)), Type::IntN(1), 255.into()),
        (ColumnData::I16(Some(-2)), Type::IntN(2), (-2).into()),
        (ColumnData::I32(Some(i32::MIN)), Type::IntN(4), i32::MIN.into()),
        (ColumnData::I64(Some(i64::MAX)), Type::IntN(8), i64::MAX.into()),
        (ColumnData::F32(Some(1.5)), Type::FloatN(4), 1.5.into()),
        (ColumnData::F64(Some(-0.1)), Type::FloatN(8), (-0.1).into()),
        (ColumnData::Bit(Some(true)), Type::BitN, true.into()),
        (ColumnData::String(Some("O'Brien 🙂".into())), nvarchar, "O'Brien 🙂".into()),
        (ColumnData::String(Some("".into())), nvarchar, "".into()),
        (ColumnData::String(Some(Cow::Owned(long.clone()))), Type::NVarChar(Length::Max), long.into()),
        (ColumnData::Guid(Some(tiberius::Uuid::from_u128(7))), Type::Guid, Value::Guid(7_u128.to_be_bytes())),
        (ColumnData::Binary(Some(vec![0, 255].into())), bytes(Length::Limited(8000)), vec![0, 255].into()),
        (ColumnData::Binary(Some(vec![7; 9000].into())), bytes(Length::Max), vec![7; 9000].into()),
        (decimal(-1250, 2), Type::Numeric(4, 2), Value::decimal("-12.50")),
        (decimal(i128::pow(10, 38) - 1, 0), Type::Numeric(38, 0), Value::decimal(&"9".repeat(38))),
        (ColumnData::Date(Some(Date::new(738_944))), Type::Date, Value::date("2024-02-29")),
        (ColumnData::Time(Some(Time::new(1, 7))), Type::Time(7), Value::time("00:00:00.0000001")),
        (
            ColumnData::DateTime2(Some(DateTime2::new(Date::new(738_944), Time::new(45_296_789, 3)))),
            Type::DateTime2(3),
            Value::datetime("2024-02-29 12:34:56.789"),
        ),
        (
            ColumnData::DateTimeOffset(Some(DateTimeOffset::new(
                DateTime2::new(Date::new(738_944), Time::new(0, 0)),
                330,
            ))),
            Type::DateTimeOffset(0),
            Value::datetimeoffset("2024-02-29 05:30:00 +05:30"),
        ),
        (
            ColumnData::DateTime(Some(DateTime::new(-53_690, 150))),
            Type::DateTimeN(8),
            Value::datetime("1753-01-01 00:00:00.5"),
        ),
        // A NULL has no type of its own on the wire, only in the declaration.
        (ColumnData::I32(None), Type::IntN(4), Value::Null),
        (ColumnData::String(None), Type::Null, Value::Null),
        (ColumnData::Numeric(None), Type::Null, Value::Null),
        (ColumnData::DateTime2(None), Type::Null, Value::Null),
        (ColumnData::Binary(None), Type::Null, Value::Null),
    ];
    let server = start(options());
    let mut query = Query::new("select @P1");
    for (data, ..) in &cases {
        query.bind(Bound(data.clone()));
    }
    run(async {
        query.query(&mut connect_plainly(&server).await).await.unwrap().into_results().await.unwrap()
    });
    let request = server.requests().remove(0);
    let expected: Vec<Parameter> = (1..)
        .zip(&cases)
        .map(|(place, (_, r#type, value))| Parameter {
            name: format!("@P{place}"),
            r#type: *r#type,
            value: value.clone(),
            output: false,
        })
        .collect();
    assert_eq!(request.parameters(), expected);
    let Request::Rpc { procedure, sql, declarations, .. } = request else { panic!("{request:?}") };
    assert_eq!((procedure.as_str(), sql.as_deref()), ("sp_executesql", Some("select @P1")));
    let declarations = declarations.unwrap();
    assert!(declarations.starts_with("@P1 tinyint,@P2 smallint,@P3 int,@P4 bigint,"), "{declarations}");
}

/// Data bound as it is.
struct Bound(ColumnData<'static>);

impl<'a> tiberius::IntoSql<'a> for Bound {
    fn into_sql(self) -> ColumnData<'a> {
        self.0
    }
}

fn bytes(length: Length) -> Type {
    Type::VarBinary(length)
}

fn decimal(value: i128, scale: u8) -> ColumnData<'static> {
    ColumnData::Numeric(Some(Numeric::new_with_scale(value, scale)))
}

#[test]
fn a_parameter_that_is_not_supplied_is_an_error() {
    let server = start(options());
    let call = |parameters: &'static [&'static str], declarations: &'static str| {
        let mut command = Command::new("sp_executesql");
        command.bind_param("@stmt", "select @a");
        command.bind_param("@params", declarations);
        for name in parameters {
            command.bind_param(*name, 1_i32);
        }
        let result = run(async {
            command.exec(&mut connect_plainly(&server).await).await?.into_command_result().await
        });
        result.map(|result| result.return_code()).map_err(|error| error.code().unwrap())
    };
    assert_eq!(call(&["@a"], "@a decimal(10,2)"), Ok(0));
    assert_eq!(call(&[], "@a decimal(10,2)"), Err(8178));
    assert_eq!(call(&["@a", "@b"], "@a int"), Err(8144));
}

#[test]
fn it_reads_every_type() {
    let server = start(options());
    let rows = run(async {
        let mut client = connect_plainly(&server).await;
        client.simple_query("types").await.unwrap().into_first_result().await.unwrap()
    });
    for ((column, value), (read, data)) in all_types().iter().zip(rows[0].cells()) {
        assert_eq!(
            (read.name(), read_back(data)),
            (column.name.as_str(), expected_back(column.r#type, value))
        );
    }
    for ((column, value), (_, data)) in all_types().iter().zip(rows[1].cells()) {
        let is_fixed = column.name.starts_with("fixed");
        let expected = if is_fixed { expected_back(column.r#type, value) } else { "NULL".to_owned() };
        assert_eq!(read_back(data), expected, "{}", column.name);
    }
    let type_of =
        |name: &str| rows[0].columns().iter().find(|column| column.name() == name).unwrap().column_type();
    assert_eq!(type_of("fixed_int"), ColumnType::Int4);
    assert_eq!(type_of("int"), ColumnType::Int4);
    assert_eq!(type_of("xml"), ColumnType::Xml);
    assert_eq!(type_of("decimal"), ColumnType::Decimaln);
}

/// What comes back of a value: money as the nearest `f64`, the rest exactly, filled up where its type does that.
fn expected_back(r#type: Type, value: &Value) -> String {
    match r#type {
        Type::Char(_) => "é€   ".to_owned(),
        Type::NChar(_) => "日本  ".to_owned(),
        Type::Binary(_) => "0x01020000".to_owned(),
        Type::SmallMoney | Type::Money | Type::MoneyN(_) => {
            value.to_string().parse::<f64>().unwrap().to_string()
        }
        _ => value.to_string(),
    }
}

/// What tiberius decoded, as the server's own value, in its text.
fn read_back(data: &ColumnData<'static>) -> String {
    let time = |time: Time| time.increments() * 10_u64.pow(7 - u32::from(time.scale()));
    let value: Value = match data {
        ColumnData::U8(value) => value.map(i32::from).into(),
        ColumnData::I16(value) => value.map(i32::from).into(),
        ColumnData::I32(value) => (*value).into(),
        ColumnData::I64(value) => (*value).into(),
        ColumnData::F32(value) => value.map(f64::from).into(),
        ColumnData::F64(value) => (*value).into(),
        ColumnData::Bit(value) => (*value).into(),
        ColumnData::String(value) => value.as_deref().into(),
        ColumnData::Xml(value) => value.as_deref().map(ToString::to_string).into(),
        ColumnData::Binary(value) => value.as_deref().map(<[u8]>::to_vec).into(),
        ColumnData::Guid(value) => value.map_or(Value::Null, |guid| Value::Guid(*guid.as_bytes())),
        ColumnData::Numeric(value) => {
            value.map_or(Value::Null, |value| Value::Decimal { value: value.value(), scale: value.scale() })
        }
        ColumnData::Date(value) => value.map_or(Value::Null, |date| Value::Date(date.days())),
        ColumnData::Time(value) => value.map_or(Value::Null, |value| Value::Time(time(value))),
        ColumnData::DateTime2(value) => value.map_or(Value::Null, |value| Value::DateTime {
            days: value.date().days(),
            ticks: time(value.time()),
        }),
        ColumnData::DateTimeOffset(value) => value.map_or(Value::Null, |value| Value::DateTimeOffset {
            days: value.datetime2().date().days(),
            ticks: time(value.datetime2().time()),
            offset: value.offset(),
        }),
        ColumnData::DateTime(value) => value.map_or(Value::Null, |value| Value::DateTime {
            days: 693_595_u32.strict_add_signed(value.days()),
            ticks: u64::from(value.seconds_fragments()) * 10_000_000 / 300,
        }),
        ColumnData::SmallDateTime(value) => value.map_or(Value::Null, |value| Value::DateTime {
            days: 693_595 + u32::from(value.days()),
            ticks: u64::from(value.seconds_fragments()) * 60 * 10_000_000,
        }),
    };
    value.to_string()
}
