//! What a call can end in besides a result: one public error, made in one place from what went wrong.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::limits::Exceeded;

/// The kinds of error that a caller is told, by the names of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The connector has no operation of this name.
    ToolNotFound,
    /// The arguments are no object or don't fit the operation's schema; nothing ran.
    InvalidArguments,
    /// The connector threw, or answered with what is no result.
    ProviderError,
    /// The service answered 429.
    ProviderRateLimited,
    /// The service answered 5xx, refused the connection or didn't answer in time.
    ProviderUnavailable,
    /// The credentials are not accepted (401 on OAuth2).
    ConnectionExpired,
    /// A request to a host outside `allowedHosts`, or to an address that the operator doesn't allow.
    HostBlocked,
    /// The call went past a limit.
    LimitExceeded,
    /// The call's process ended without an answer.
    SandboxCrashed,
    /// The caller went away before there was an answer.
    Cancelled,
}

impl ErrorCode {
    /// The code as it is spelled in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToolNotFound => "TOOL_NOT_FOUND",
            Self::InvalidArguments => "INVALID_ARGUMENTS",
            Self::ProviderError => "PROVIDER_ERROR",
            Self::ProviderRateLimited => "PROVIDER_RATE_LIMITED",
            Self::ProviderUnavailable => "PROVIDER_UNAVAILABLE",
            Self::ConnectionExpired => "CONNECTION_EXPIRED",
            Self::HostBlocked => "HOST_BLOCKED",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::SandboxCrashed => "SANDBOX_CRASHED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// Why a call failed; its texts are redacted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// The kind of error.
    pub code: ErrorCode,
    /// For people and models: what went wrong.
    pub message: String,
    /// The code's stack trace, in positions of the connector's own file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// More, by code: `{violations}`, `{limit, value}`, `{status, retry_after}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl CallError {
    /// An error of this code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), stack: None, details: None }
    }

    /// The same with details.
    #[must_use]
    pub fn with_details(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }

    /// The call went past a limit.
    pub(crate) fn exceeded(exceeded: Exceeded) -> Self {
        Self::new(ErrorCode::LimitExceeded, exceeded.to_string()).with_details(json!(exceeded))
    }

    /// The caller went away.
    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorCode::Cancelled, "the call was cancelled")
    }

    /// The call's process ended without an answer.
    pub(crate) fn crashed(how: &str) -> Self {
        Self::new(ErrorCode::SandboxCrashed, format!("the call's process ended without an answer: {how}"))
    }
}
