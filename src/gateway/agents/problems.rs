//! Everything that is wrong with a declaration or with grants, found and reported together.

use serde::Serialize;
use serde_json::json;

use super::super::GatewayError;

/// Something that is wrong.
#[derive(Debug, PartialEq, Serialize)]
struct Problem {
    /// A JSON pointer into the request's body.
    path: String,
    message: String,
}

/// Everything that is wrong.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one, at a JSON pointer.
    pub(super) fn push(&mut self, path: String, message: impl Into<String>) {
        self.0.push(Problem { path, message: message.into() });
    }

    /// An error with all of them, if there are any; `what` is not valid.
    pub(super) fn into_result(self, what: &str) -> Result<(), GatewayError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let messages: Vec<String> =
            self.0.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        Err(GatewayError::Unprocessable {
            code: "VALIDATION_FAILED",
            message: format!("{what}: {}", messages.join("; ")),
            details: Some(json!({"problems": self.0})),
        })
    }
}
