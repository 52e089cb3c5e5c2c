//! Arguments as the server takes them: in the binary form of the place's type where that is plain, otherwise as a text that
//! the server parses.

use serde_json::{Number, Value};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo};
use sqlx::{Encode, Postgres, Type};

use super::types::{Class, Place, oid};
use crate::sql::backend::{Argument, ArgumentValue};
use crate::sql::error::SqlError;

/// A value for `$n`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// The type that it is declared as.
    pub(super) oid: u32,
    /// Its binary form; none for NULL.
    pub(super) bytes: Option<Vec<u8>>,
    /// The text is to be cast to the place's type.
    pub(super) cast: Cast,
}

/// Whether and to what a text is cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cast {
    Not,
    /// To the place's own type.
    Own,
    /// To `numeric`: a number too large for the type that its schema led to.
    Numeric,
}

impl Type<Postgres> for Bound {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(oid::TEXT))
    }
}

impl Encode<'_, Postgres> for Bound {
    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.oid)))
    }

    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(bytes) = &self.bytes else { return Ok(IsNull::Yes) };
        buffer.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn size_hint(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }
}

/// Writes an argument for a place. `is_hinted` says that the place's type is the one that the parameter's schema names,
/// because the query didn't say.
pub(super) fn bind(argument: &Argument<'_>, place: &Place, is_hinted: bool) -> Result<Bound, SqlError> {
    let mismatch = |is: &str| {
        let name = &place.name;
        SqlError::argument(argument.name, format!("is {is}, but the query uses it as {name}"))
    };
    let direct = |bytes: Option<Vec<u8>>| Bound { oid: place.oid, bytes, cast: Cast::Not };
    let parsed = |text: String| Bound { oid: oid::TEXT, bytes: Some(text.into_bytes()), cast: Cast::Own };
    let json = |text: String| match place.class {
        Class::Jsonb => direct(Some([&[1], text.as_bytes()].concat())),
        _ => direct(Some(text.into_bytes())),
    };
    Ok(match (&argument.value, place.class) {
        (ArgumentValue::Null, Class::Parsed | Class::Array { .. }) => {
            // As the other values of such a place: the text of the statement stays the same.
            Bound { oid: oid::TEXT, bytes: None, cast: Cast::Own }
        }
        (ArgumentValue::Null, _) => direct(None),
        (ArgumentValue::Bytes(bytes), Class::Bytea) => direct(Some(bytes.clone())),
        (ArgumentValue::Bytes(_), _) => return Err(mismatch("binary data (base64)")),
        (ArgumentValue::Text(text), Class::Text) => direct(Some(text.as_bytes().to_vec())),
        (ArgumentValue::Text(text), Class::Json | Class::Jsonb) => json((*text).to_owned()),
        (ArgumentValue::Text(text), class) => match plain(text, class) {
            Some(bytes) => direct(Some(bytes)),
            None => parsed((*text).to_owned()),
        },
        (ArgumentValue::Bool(value), Class::Bool) => direct(Some(vec![u8::from(*value)])),
        (ArgumentValue::Bool(value), Class::Text) => direct(Some(value.to_string().into_bytes())),
        (ArgumentValue::Bool(value), Class::Json | Class::Jsonb) => json(value.to_string()),
        (ArgumentValue::Bool(_), Class::Bytea) => return Err(mismatch("a boolean")),
        (ArgumentValue::Bool(value), _) => parsed(value.to_string()),
        (ArgumentValue::Number(number), Class::Text) => direct(Some(digits(number).into_bytes())),
        (ArgumentValue::Number(number), Class::Json | Class::Jsonb) => json(number.to_string()),
        (ArgumentValue::Number(_), Class::Bytea) => return Err(mismatch("a number")),
        (ArgumentValue::Number(number), class) => match fitting(number, class, is_hinted) {
            Some(bytes) => direct(Some(bytes)),
            None if is_hinted => Bound { cast: Cast::Numeric, ..parsed(digits(number)) },
            None => parsed(digits(number)),
        },
        (ArgumentValue::List(values), Class::Array { of_json }) => parsed(array(values, of_json)),
        (ArgumentValue::List(values), Class::Json | Class::Jsonb | Class::Text) => json(json_text(values)),
        (ArgumentValue::List(values), Class::Parsed) => parsed(json_text(values)),
        (ArgumentValue::List(_), _) => {
            let name = &place.name;
            let reason = format!(
                "is an array, but the query uses it as one {name}; \"= ANY(@{})\" takes an array",
                argument.name
            );
            return Err(SqlError::argument(argument.name, reason));
        }
        (ArgumentValue::Object(map), Class::Json | Class::Jsonb | Class::Text) => json(json_text(map)),
        (ArgumentValue::Object(map), Class::Parsed) => parsed(json_text(map)),
        (ArgumentValue::Object(_), _) => return Err(mismatch("an object")),
    })
}

/// A text that says a value of a class in the plainest way. Any other way to say it is the server's to parse.
fn plain(text: &str, class: Class) -> Option<Vec<u8>> {
    match class {
        Class::Bool if text == "true" => Some(vec![1]),
        Class::Bool if text == "false" => Some(vec![0]),
        Class::Int2 | Class::Int4 | Class::Int8 | Class::Oid => integer(text.parse().ok()?, class),
        _ => None,
    }
}

/// A number in the binary form of a class, if it is exactly one of its values.
fn fitting(number: &Number, class: Class, is_hinted: bool) -> Option<Vec<u8>> {
    match class {
        Class::Int2 | Class::Int4 | Class::Int8 | Class::Oid => integer(whole(number)?, class),
        Class::Float8 => {
            let value = number.as_f64()?;
            // Where nothing but the schema asks for a float, an integer that it can't hold isn't bent into one.
            let is_bent = is_hinted && !number.is_f64() && digits(number) != format!("{value:.0}");
            (!is_bent).then(|| value.to_be_bytes().to_vec())
        }
        Class::Float4 => {
            let value: f32 = number.to_string().parse().ok()?;
            let is_lost = value.is_infinite() || (value == 0.0 && number.as_f64() != Some(0.0));
            (!is_lost).then(|| value.to_be_bytes().to_vec())
        }
        _ => None,
    }
}

fn integer(value: i128, class: Class) -> Option<Vec<u8>> {
    match class {
        Class::Int2 => i16::try_from(value).ok().map(|value| value.to_be_bytes().to_vec()),
        Class::Int4 => i32::try_from(value).ok().map(|value| value.to_be_bytes().to_vec()),
        Class::Int8 => i64::try_from(value).ok().map(|value| value.to_be_bytes().to_vec()),
        Class::Oid => u32::try_from(value).ok().map(|value| value.to_be_bytes().to_vec()),
        _ => None,
    }
}

/// An integral number, also one written as `5.0`.
fn whole(number: &Number) -> Option<i128> {
    if let Some(value) = number.as_i64() {
        return Some(i128::from(value));
    }
    number.as_u64().map(i128::from).or_else(|| digits(number).parse().ok())
}

/// A number's digits: of an integral one, however it is written, those of an integer.
fn digits(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        _ => number.to_string(),
    }
}

fn json_text<T: serde::Serialize + ?Sized>(value: &T) -> String {
    // Values that came from JSON have a JSON text: their keys are strings.
    serde_json::to_string(value).unwrap_or_default()
}

/// A list as an array literal: `{"a","b",NULL}`. The elements' types are the server's to know.
fn array(values: &[Value], of_json: bool) -> String {
    let mut text = String::from("{");
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match value {
            Value::Null => text.push_str("NULL"),
            Value::Array(values) if !of_json => text.push_str(&array(values, of_json)),
            Value::String(element) if !of_json => push_element(&mut text, element),
            Value::Number(number) if !of_json => push_element(&mut text, &digits(number)),
            other => push_element(&mut text, &other.to_string()),
        }
    }
    text.push('}');
    text
}

fn push_element(text: &mut String, element: &str) {
    text.push('"');
    for char in element.chars() {
        if matches!(char, '"' | '\\') {
            text.push('\\');
        }
        text.push(char);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sql::backend::Hint;

    fn place(oid: u32, class: Class) -> Place {
        Place { oid, class, sql_name: "pg_catalog.it".to_owned(), name: "it".to_owned() }
    }

    fn bound(value: &Value, place: &Place, is_hinted: bool) -> Result<Bound, SqlError> {
        let value = match value {
            Value::Null => ArgumentValue::Null,
            Value::Bool(value) => ArgumentValue::Bool(*value),
            Value::Number(number) => ArgumentValue::Number(number),
            Value::String(text) => ArgumentValue::Text(text),
            Value::Array(values) => ArgumentValue::List(values),
            Value::Object(map) => ArgumentValue::Object(map),
        };
        bind(&Argument { name: "x", value, hint: Hint::None }, place, is_hinted)
    }

    #[track_caller]
    fn direct(value: &Value, place: &Place, bytes: &[u8]) {
        let expected = Bound { oid: place.oid, bytes: Some(bytes.to_vec()), cast: Cast::Not };
        assert_eq!(bound(value, place, false).unwrap(), expected, "{value}");
    }

    #[track_caller]
    fn parsed(value: &Value, place: &Place, text: &str) {
        let expected = Bound { oid: oid::TEXT, bytes: Some(text.as_bytes().to_vec()), cast: Cast::Own };
        assert_eq!(bound(value, place, false).unwrap(), expected, "{value}");
    }

    #[test]
    fn integers_that_fit_are_binary_and_others_the_servers_to_refuse() {
        let int4 = place(oid::INT4, Class::Int4);
        direct(&json!(2_147_483_647), &int4, &[0x7f, 0xff, 0xff, 0xff]);
        direct(&json!("-1"), &int4, &[0xff; 4]);
        direct(&json!(5.0), &int4, &[0, 0, 0, 5]);
        parsed(&json!(2_147_483_648_i64), &int4, "2147483648");
        parsed(&json!(1.5), &int4, "1.5");
        parsed(&json!(" 7 "), &int4, " 7 ");
        parsed(&json!(true), &int4, "true");
        let int8 = place(oid::INT8, Class::Int8);
        direct(&json!("9007199254740993"), &int8, &9_007_199_254_740_993_i64.to_be_bytes());
        parsed(&json!(u64::MAX), &int8, "18446744073709551615");
    }

    #[test]
    fn a_number_past_its_hinted_type_is_a_numeric() {
        let int8 = place(oid::INT8, Class::Int8);
        let float8 = place(oid::FLOAT8, Class::Float8);
        for (value, place) in [(json!(u64::MAX), &int8), (json!(9_007_199_254_740_993_i64), &float8)] {
            let bound = bound(&value, place, true).unwrap();
            assert_eq!((bound.oid, bound.cast), (oid::TEXT, Cast::Numeric), "{value}");
            assert_eq!(bound.bytes, Some(value.to_string().into_bytes()));
        }
        assert_eq!(bound(&json!(0.1), &float8, true).unwrap().cast, Cast::Not);
        assert_eq!(bound(&json!(1e300), &float8, true).unwrap().cast, Cast::Not);
    }

    #[test]
    fn floats_lose_nothing_unsaid() {
        let float4 = place(oid::FLOAT4, Class::Float4);
        direct(&json!(0.1), &float4, &0.1_f32.to_be_bytes());
        parsed(&json!(1e300), &float4, "1e+300");
        parsed(&json!(1e-300), &float4, "1e-300");
        parsed(&json!("NaN"), &place(oid::FLOAT8, Class::Float8), "NaN");
    }

    #[test]
    fn nothing_is_bound_as_its_text_where_bytes_are_wanted() {
        let bytea = place(oid::BYTEA, Class::Bytea);
        assert!(bound(&json!(5), &bytea, false).is_err());
        assert!(bound(&json!(true), &bytea, false).is_err());
        parsed(&json!("\\x4142"), &bytea, "\\x4142");
        let bytes = Argument { name: "x", value: ArgumentValue::Bytes(vec![0, 255]), hint: Hint::Bytes };
        assert_eq!(bind(&bytes, &bytea, false).unwrap().bytes, Some(vec![0, 255]));
        let error = bind(&bytes, &place(oid::TEXT, Class::Text), false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the argument \"x\" is binary data (base64), but the query uses it as it"
        );
    }

    #[test]
    fn json_is_json() {
        let json_place = place(oid::JSON, Class::Json);
        direct(&json!({"b": 1, "a": [null]}), &json_place, br#"{"b":1,"a":[null]}"#);
        direct(&json!("[1]"), &json_place, b"[1]");
        direct(&json!([1]), &place(oid::JSONB, Class::Jsonb), b"\x01[1]");
        direct(&json!([1, "a"]), &place(oid::TEXT, Class::Text), br#"[1,"a"]"#);
    }

    #[test]
    fn lists_are_array_literals() {
        let ints = place(1007, Class::Array { of_json: false });
        parsed(
            &json!([1, 9_007_199_254_740_993_i64, 3.0, null]),
            &ints,
            r#"{"1","9007199254740993","3",NULL}"#,
        );
        parsed(&json!([]), &ints, "{}");
        parsed(&json!([[1, 2], [3, 4]]), &ints, r#"{{"1","2"},{"3","4"}}"#);
        parsed(&json!(["a\"b\\c", "", "NULL", "{,}"]), &ints, r#"{"a\"b\\c","","NULL","{,}"}"#);
        let documents = place(199, Class::Array { of_json: true });
        parsed(&json!([{"a": "b"}, [1], "s"]), &documents, r#"{"{\"a\":\"b\"}","[1]","\"s\""}"#);
        let error = bound(&json!([1]), &place(oid::INT4, Class::Int4), false).unwrap_err();
        assert!(error.to_string().ends_with("\"= ANY(@x)\" takes an array"), "{error}");
    }
}
