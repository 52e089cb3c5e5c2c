//! A call's arguments: JSON text from a model, read and checked.

use portcullis_runtime::manifest::{InvalidArguments, Operation};
use serde_json::{Map, Value, json};

use super::ToolError;

/// The arguments' text as JSON; nothing but white space stands for an empty object.
pub(super) fn parse(text: &str) -> Result<Value, ToolError> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        // serde_json's own words end in the place.
        let what = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
        ToolError::new(
            "INVALID_ARGUMENTS",
            format!("the arguments are not JSON: {what} at line {line}, column {column}"),
        )
        .with(json!({"line": line, "column": column}))
    })
}

/// Checks arguments against the operation's schema; every violation is told.
pub(crate) fn check(operation: &Operation, arguments: &Value) -> Result<(), ToolError> {
    let checked = operation.parameters.arguments(arguments.clone());
    checked.map(drop).map_err(|invalid: InvalidArguments| {
        ToolError::new("INVALID_ARGUMENTS", invalid.to_string())
            .with(json!({"violations": invalid.violations}))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_an_empty_object() {
        for text in ["", "  \n", "{}"] {
            assert_eq!(parse(text), Ok(json!({})));
        }
        assert_eq!(parse("[1]"), Ok(json!([1])));
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let error = parse("{\n  \"a\": nope}").expect_err("no JSON");
        assert_eq!(error.code, "INVALID_ARGUMENTS");
        assert_eq!(error.message, "the arguments are not JSON: expected ident at line 2, column 9");
        assert_eq!(error.details, json!({"line": 2, "column": 9}));
        assert!(!error.retryable);
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).expect_err("too deep").message.contains("recursion limit"));
    }
}
