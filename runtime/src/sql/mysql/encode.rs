//! Arguments, as MySQL takes them: integers as integers, other numbers as decimals, texts as texts.
//!
//! A text is compared with a column by the server's rules for constants, which are exact for integers, decimals and
//! dates. An argument that isn't given is an untyped NULL: `COALESCE(@n, 5)` is an integer then.

use std::borrow::Cow;

use serde_json::{Number, Value};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::mysql::{MySqlArguments, MySqlTypeInfo};
use sqlx::{Arguments as _, Encode, MySql, Type};

use super::super::backend::{Argument, ArgumentValue, Hint};
use super::super::error::SqlError;
use super::super::moment::{self, Moment};
use super::ArgumentTypes;

/// Adds an argument for one placeholder.
pub(super) fn add(
    arguments: &mut MySqlArguments,
    argument: &Argument<'_>,
    types: &ArgumentTypes,
) -> Result<(), SqlError> {
    let added = match &argument.value {
        ArgumentValue::Null => arguments.add(Typed { text: None, type_info: &types.null }),
        ArgumentValue::Bool(value) => arguments.add(i8::from(*value)),
        ArgumentValue::Number(number) => add_number(arguments, number, types),
        ArgumentValue::Text(text) => arguments.add(in_utc(text, argument.hint).as_ref()),
        ArgumentValue::Bytes(bytes) => arguments.add(bytes.as_slice()),
        ArgumentValue::List(values) => arguments.add(json(values)),
        ArgumentValue::Object(map) => arguments.add(json(map)),
    };
    added.map_err(|error| SqlError::argument(argument.name, format!("can't be sent: {error}")))
}

/// A moment that its schema says is one, and which names its zone, in UTC, as the session is: servers refuse a `Z`, and
/// MariaDB takes no notice of an offset.
fn in_utc(text: &str, hint: Hint) -> Cow<'_, str> {
    let moment = if hint == Hint::DateTime { moment::iso(text, Moment::Timestamp) } else { None };
    match moment.as_deref().and_then(|moment| moment.strip_suffix('Z')) {
        Some(utc) => Cow::Owned(utc.to_owned()),
        None => Cow::Borrowed(text),
    }
}

fn add_number(
    arguments: &mut MySqlArguments,
    number: &Number,
    types: &ArgumentTypes,
) -> Result<(), BoxDynError> {
    match Numeric::of(number) {
        Numeric::Signed(value) => arguments.add(value),
        Numeric::Unsigned(value) => arguments.add(value),
        Numeric::Decimal(text) => arguments.add(Typed { text: Some(&text), type_info: &types.decimal }),
        Numeric::Double(value) => arguments.add(value),
    }
}

/// A number in the type that holds exactly it.
#[derive(Debug, PartialEq)]
enum Numeric {
    Signed(i64),
    Unsigned(u64),
    Decimal(String),
    Double(f64),
}

impl Numeric {
    fn of(number: &Number) -> Self {
        if let Some(value) = number.as_i64() {
            return Self::Signed(value);
        }
        if let Some(value) = number.as_u64() {
            return Self::Unsigned(value);
        }
        let text = number.to_string();
        let whole = text.strip_suffix(".0").and_then(|whole| whole.parse().ok());
        match (whole, number.as_f64()) {
            (Some(whole), _) => Self::Signed(whole),
            (None, Some(value)) if text.contains(['e', 'E']) => Self::Double(value),
            _ => Self::Decimal(text),
        }
    }
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    // Values with texts as keys, which these are, always have a JSON text.
    serde_json::to_string(value).unwrap_or_else(|_| Value::Null.to_string())
}

/// A value of a type that sqlx has no constructor for, as its text; or NULL.
struct Typed<'a> {
    text: Option<&'a str>,
    type_info: &'a MySqlTypeInfo,
}

impl Type<MySql> for Typed<'_> {
    fn type_info() -> MySqlTypeInfo {
        <str as Type<MySql>>::type_info()
    }
}

impl<'q> Encode<'q, MySql> for Typed<'_> {
    fn encode_by_ref(&self, buffer: &mut Vec<u8>) -> Result<IsNull, BoxDynError> {
        match self.text {
            Some(text) => <&str as Encode<'_, MySql>>::encode_by_ref(&text, buffer),
            None => Ok(IsNull::Yes),
        }
    }

    fn produces(&self) -> Option<MySqlTypeInfo> {
        Some(self.type_info.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_bind_exactly() {
        for (json, expected) in [
            ("9007199254740993", Numeric::Signed(9_007_199_254_740_993)),
            ("-9223372036854775808", Numeric::Signed(i64::MIN)),
            ("18446744073709551615", Numeric::Unsigned(u64::MAX)),
            ("12.5", Numeric::Decimal("12.5".to_owned())),
            ("0.1", Numeric::Decimal("0.1".to_owned())),
            ("10.0", Numeric::Signed(10)),
            ("-2.0", Numeric::Signed(-2)),
            ("1e300", Numeric::Double(1e300)),
            ("1e-7", Numeric::Double(1e-7)),
        ] {
            let number: Number = serde_json::from_str(json).expect("a number");
            assert_eq!(Numeric::of(&number), expected, "{json}");
        }
    }

    #[test]
    fn a_moment_with_a_zone_binds_in_utc_where_the_schema_says_that_it_is_one() {
        for (text, hint, expected) in [
            ("2026-11-20T12:30:00Z", Hint::DateTime, "2026-11-20T12:30:00"),
            ("2026-11-20T00:30:00.25+02:00", Hint::DateTime, "2026-11-19T22:30:00.25"),
            ("2026-11-20T12:30:00", Hint::DateTime, "2026-11-20T12:30:00"),
            ("2026-11-20T12:30:00Z", Hint::None, "2026-11-20T12:30:00Z"),
            ("soon", Hint::DateTime, "soon"),
        ] {
            assert_eq!(in_utc(text, hint), expected, "{text}");
        }
    }

    #[test]
    fn lists_and_objects_are_json_texts() {
        assert_eq!(json(&[Value::from(1), Value::from("é\"")][..]), r#"[1,"é\""]"#);
    }
}
