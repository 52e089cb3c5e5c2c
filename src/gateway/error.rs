//! What the gateway refuses, by kind: `http` turns each into a status, MCP into its own errors.

use std::time::Duration;

use serde_json::Value;

use crate::store::StoreError;
use crate::vault::VaultError;

/// Why the gateway didn't do as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// The request makes no sense: 400.
    #[error("{message}")]
    Invalid { code: &'static str, message: String, details: Option<Value> },
    /// The role may not do this at all: 403.
    #[error("{0}")]
    Forbidden(String),
    /// There is none, or none that the caller may know of: 404. The text names it: `connection 0190…`.
    #[error("there is no {0}")]
    NotFound(String),
    /// It contradicts what is there: 409.
    #[error("{message}")]
    Conflict { code: &'static str, message: String, details: Option<Value> },
    /// Too large: 413.
    #[error("{message}")]
    TooLarge { message: String, details: Option<Value> },
    /// It makes sense and isn't valid: 422.
    #[error("{message}")]
    Unprocessable { code: &'static str, message: String, details: Option<Value> },
    /// The project has too much under way: 429 with Retry-After.
    #[error("{message}")]
    TooBusy { message: String, retry_after: Duration },
    /// The server is going down or the sandbox doesn't work: 503 with Retry-After.
    #[error("{0}")]
    Unavailable(String),
    /// The store failed: 503.
    #[error(transparent)]
    Store(StoreError),
    /// The vault can't open what the store holds: 500; the message stays in the log.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for GatewayError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken { .. } => {
                Self::Conflict { code: "CONFLICT", message: error.to_string(), details: None }
            }
            error => Self::Store(error),
        }
    }
}
