//! Arguments as parameters of `sp_executesql`: a declaration in T-SQL and a value for each.

use std::borrow::Cow;

use serde_json::Number;
use tiberius::ColumnData;
use tiberius::numeric::Numeric;

use super::super::backend::{Argument, ArgumentValue, Hint};

/// The most digits of a decimal.
const MAX_DIGITS: i32 = 38;
/// Longer texts are declared `nvarchar(max)`: bytes of UTF-8, of which UTF-16 never has more units.
const MAX_SHORT_TEXT: usize = 4000;
/// Longer bytes are declared `varbinary(max)`.
const MAX_SHORT_BYTES: usize = 8000;

/// A parameter: its type in T-SQL, and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parameter<'a> {
    pub(super) type_name: Cow<'static, str>,
    pub(super) value: ColumnData<'a>,
}

impl<'a> Parameter<'a> {
    fn new(type_name: impl Into<Cow<'static, str>>, value: ColumnData<'a>) -> Self {
        Self { type_name: type_name.into(), value }
    }
}

/// An argument as a parameter. Text is sent as text, whatever it is compared with or assigned to: by its rules of precedence
/// SQL Server turns it into what is there, exactly. Numbers and booleans have their own types.
pub(super) fn parameter<'a>(argument: &'a Argument<'_>) -> Parameter<'a> {
    match &argument.value {
        ArgumentValue::Null => null(argument.hint),
        ArgumentValue::Bool(value) => Parameter::new("bit", ColumnData::Bit(Some(*value))),
        ArgumentValue::Number(number) => of_number(number),
        ArgumentValue::Text(value) => text(Cow::Borrowed(value)),
        ArgumentValue::Bytes(value) => bytes(value),
        ArgumentValue::List(values) => text(Cow::Owned(json(values))),
        ArgumentValue::Object(map) => text(Cow::Owned(json(map))),
    }
}

/// NULL of the type of least precedence that the schema leaves, so that in `COALESCE(@x, column)` the column's type decides.
fn null(hint: Hint) -> Parameter<'static> {
    match hint {
        Hint::None | Hint::DateTime => Parameter::new("nvarchar(4000)", ColumnData::String(None)),
        Hint::Bool => Parameter::new("bit", ColumnData::Bit(None)),
        Hint::Integer => Parameter::new("int", ColumnData::I32(None)),
        Hint::Number => Parameter::new("numeric(1,0)", ColumnData::Numeric(None)),
        Hint::Bytes => Parameter::new("varbinary(8000)", ColumnData::Binary(None)),
    }
}

fn text(value: Cow<'_, str>) -> Parameter<'_> {
    let is_short = value.len() <= MAX_SHORT_TEXT;
    let type_name = if is_short { "nvarchar(4000)" } else { "nvarchar(max)" };
    Parameter::new(type_name, ColumnData::String(Some(value)))
}

fn bytes(value: &[u8]) -> Parameter<'_> {
    let type_name = if value.len() <= MAX_SHORT_BYTES { "varbinary(8000)" } else { "varbinary(max)" };
    Parameter::new(type_name, ColumnData::Binary(Some(Cow::Borrowed(value))))
}

fn json(value: &impl serde::Serialize) -> String {
    // Values that came from JSON can be written as JSON.
    serde_json::to_string(value).unwrap_or_default()
}

/// A number by its decimal digits: `int`, `bigint` or `numeric` as far as those hold it exactly, else `float`.
fn of_number(number: &Number) -> Parameter<'static> {
    let Some(decimal) = decimal(number) else {
        return Parameter::new("float(53)", ColumnData::F64(number.as_f64()));
    };
    if decimal.scale() > 0 {
        return numeric(decimal);
    }
    match (i32::try_from(decimal.value()), i64::try_from(decimal.value())) {
        (Ok(value), _) => Parameter::new("int", ColumnData::I32(Some(value))),
        (_, Ok(value)) => Parameter::new("bigint", ColumnData::I64(Some(value))),
        _ => numeric(decimal),
    }
}

fn numeric(value: Numeric) -> Parameter<'static> {
    let type_name = format!("numeric({},{})", value.precision(), value.scale());
    Parameter::new(type_name, ColumnData::Numeric(Some(value)))
}

/// A number without trailing zeros behind its point, if a decimal holds it.
fn decimal(number: &Number) -> Option<Numeric> {
    let text = number.to_string();
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = i32::try_from(fraction.len()).ok()? - exponent.parse::<i32>().ok()?;
    let (digits, scale) = if scale < 0 {
        let factor = 10_i128.checked_pow(scale.unsigned_abs())?;
        (digits.checked_mul(factor)?, 0)
    } else {
        (digits, scale)
    };
    // `precision` counts a zero before the point as a digit.
    let n_digits = i32::try_from(digits.unsigned_abs().to_string().len()).ok()?;
    if n_digits.max(scale + 1) > MAX_DIGITS {
        return None;
    }
    Some(Numeric::new_with_scale(digits, u8::try_from(scale).ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn number(text: &str) -> (String, ColumnData<'static>) {
        let number: Number = serde_json::from_str(text).unwrap();
        let parameter = of_number(&number);
        (parameter.type_name.into_owned(), parameter.value)
    }

    fn numeric_of(value: i128, scale: u8) -> ColumnData<'static> {
        ColumnData::Numeric(Some(Numeric::new_with_scale(value, scale)))
    }

    #[test]
    fn integers_take_the_smallest_type_that_holds_them() {
        assert_eq!(number("0"), ("int".to_owned(), ColumnData::I32(Some(0))));
        assert_eq!(number("2147483647"), ("int".to_owned(), ColumnData::I32(Some(i32::MAX))));
        assert_eq!(number("-2147483649"), ("bigint".to_owned(), ColumnData::I64(Some(-2_147_483_649))));
        assert_eq!(number("9223372036854775807"), ("bigint".to_owned(), ColumnData::I64(Some(i64::MAX))));
        let unsigned = numeric_of(u64::MAX.into(), 0);
        assert_eq!(number("18446744073709551615"), ("numeric(20,0)".to_owned(), unsigned));
        assert_eq!(number("1.0"), ("int".to_owned(), ColumnData::I32(Some(1))));
        assert_eq!(number("1e3"), ("int".to_owned(), ColumnData::I32(Some(1000))));
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(number("0.1"), ("numeric(2,1)".to_owned(), numeric_of(1, 1)));
        assert_eq!(number("-12.50"), ("numeric(3,1)".to_owned(), numeric_of(-125, 1)));
        assert_eq!(number("1.5e-7"), ("numeric(9,8)".to_owned(), numeric_of(15, 8)));
        assert_eq!(number("1e21"), ("numeric(22,0)".to_owned(), numeric_of(10_i128.pow(21), 0)));
        assert_eq!(number("-0.0").1, ColumnData::I32(Some(0)));
    }

    #[test]
    fn what_no_decimal_holds_is_a_float() {
        assert_eq!(number("1e38"), ("float(53)".to_owned(), ColumnData::F64(Some(1e38))));
        assert_eq!(number("1e300").1, ColumnData::F64(Some(1e300)));
        assert_eq!(number("1e-38").1, ColumnData::F64(Some(1e-38)));
        assert_eq!(number("1e-37").1, numeric_of(1, 37));
    }

    fn of(value: ArgumentValue<'_>, hint: Hint) -> (String, String) {
        let argument = Argument { name: "x", value, hint };
        let parameter = parameter(&argument);
        (parameter.type_name.clone().into_owned(), format!("{:?}", parameter.value))
    }

    #[test]
    fn long_values_have_long_types() {
        let (short, long) = ("é".repeat(2000), "é".repeat(2001));
        assert_eq!(of(ArgumentValue::Text(&short), Hint::None).0, "nvarchar(4000)");
        assert_eq!(of(ArgumentValue::Text(&long), Hint::None).0, "nvarchar(max)");
        assert_eq!(of(ArgumentValue::Bytes(vec![0; 8000]), Hint::Bytes).0, "varbinary(8000)");
        assert_eq!(of(ArgumentValue::Bytes(vec![0; 8001]), Hint::Bytes).0, "varbinary(max)");
    }

    #[test]
    fn nulls_have_the_type_of_their_schema() {
        for (hint, type_name) in [
            (Hint::None, "nvarchar(4000)"),
            (Hint::Bool, "bit"),
            (Hint::Integer, "int"),
            (Hint::Number, "numeric(1,0)"),
            (Hint::Bytes, "varbinary(8000)"),
        ] {
            let (found, value) = of(ArgumentValue::Null, hint);
            assert_eq!(found, type_name);
            assert!(value.ends_with("(None)"), "{value}");
        }
    }

    #[test]
    fn lists_and_objects_are_json() {
        let (list, object) = (json!([1, "a'b"]), json!({"a": null}));
        let (Value::Array(list), Value::Object(object)) = (&list, &object) else { panic!("as written") };
        let text = |json: &str| format!("{:?}", ColumnData::String(Some(json.into())));
        assert_eq!(of(ArgumentValue::List(list), Hint::None).1, text(r#"[1,"a'b"]"#));
        assert_eq!(of(ArgumentValue::Object(object), Hint::None).1, text(r#"{"a":null}"#));
    }
}
