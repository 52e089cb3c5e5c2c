//! From arguments to the values that SQLite binds.
//!
//! SQLite compares a text with a numeric column as a number, exactly, and stores it there as one: so texts stay texts.

use std::sync::Arc;

use serde_json::Number;
use sqlx::Arguments as _;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;

use crate::sql::backend::{Argument, ArgumentValue};
use crate::sql::error::SqlError;

/// Up to 2^53 either way every integer is a floating-point number of its own.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The arguments, to be bound as `?1`, `?2` and so on.
///
/// # Errors
/// One can't be bound.
pub(super) fn encode(arguments: &[Argument<'_>]) -> Result<SqliteArguments, SqlError> {
    let mut encoded = SqliteArguments::default();
    for argument in arguments {
        add(&mut encoded, &argument.value)
            .map_err(|error| SqlError::argument(argument.name, format!("can't be bound: {error}")))?;
    }
    Ok(encoded)
}

fn add(encoded: &mut SqliteArguments, value: &ArgumentValue<'_>) -> Result<(), BoxDynError> {
    match value {
        ArgumentValue::Null => encoded.add(None::<i64>),
        ArgumentValue::Bool(value) => encoded.add(*value),
        ArgumentValue::Number(number) => match Bound::of(number) {
            Bound::Integer(integer) => encoded.add(integer),
            Bound::Float(float) => encoded.add(float),
            Bound::Text(digits) => encoded.add(digits),
        },
        ArgumentValue::Text(text) => encoded.add(Arc::<str>::from(*text)),
        ArgumentValue::Bytes(bytes) => encoded.add(bytes.as_slice()),
        ArgumentValue::List(values) => encoded.add(serde_json::to_string(values)?),
        ArgumentValue::Object(map) => encoded.add(serde_json::to_string(map)?),
    }
}

/// What a number is bound as.
#[derive(Debug, PartialEq)]
enum Bound {
    Integer(i64),
    Float(f64),
    /// An integer past SQLite's 64 bits, digit by digit.
    Text(String),
}

impl Bound {
    fn of(number: &Number) -> Self {
        if let Some(integer) = number.as_i64() {
            return Self::Integer(integer);
        }
        match number.as_f64() {
            Some(float) if number.is_f64() => match whole(float) {
                Some(integer) => Self::Integer(integer),
                None => Self::Float(float),
            },
            _ => Self::Text(number.to_string()),
        }
    }
}

/// The integer that a floating-point number is exactly.
fn whole(float: f64) -> Option<i64> {
    let is_whole = float.fract() == 0.0 && float.abs() <= MAX_EXACT;
    is_whole.then(|| format!("{float:.0}").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_bound_exactly() {
        for (number, expected) in [
            (json!(5), Bound::Integer(5)),
            (json!(5.0), Bound::Integer(5)),
            (json!(-0.0), Bound::Integer(0)),
            (json!(1.5), Bound::Float(1.5)),
            (json!(1e300), Bound::Float(1e300)),
            (json!(9_007_199_254_740_993_i64), Bound::Integer(9_007_199_254_740_993)),
            (json!(i64::MIN), Bound::Integer(i64::MIN)),
            (json!(u64::MAX), Bound::Text("18446744073709551615".to_owned())),
        ] {
            assert_eq!(Bound::of(number.as_number().unwrap()), expected, "{number}");
        }
    }
}
