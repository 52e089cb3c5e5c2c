//! Why a query gave no result, and the public error that each reason is.

use std::time::Duration;

use serde_json::{Value, json};

use crate::egress::resolver::ResolveError;
use crate::error::{CallError, ErrorCode};
use crate::limits::{Exceeded, whole_ms};

/// Why a query gave no result. The texts never hold a password.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqlError {
    /// The connection doesn't say all that connecting takes.
    #[error("{0}")]
    Settings(String),
    /// The server's address may not be dialled.
    #[error("{database} can't be reached: {refused}")]
    Refused { database: String, refused: ResolveError },
    /// No connection came about, or one broke.
    #[error("{database} can't be reached: {detail}")]
    Unreachable { database: String, detail: String },
    /// The server doesn't let this account in.
    #[error("{database} refused the connection: {detail}")]
    LoginRefused { database: String, detail: String },
    /// An argument doesn't fit where the query uses it.
    #[error("the argument {name:?} {reason}")]
    Argument { name: String, reason: String },
    /// The database refused a statement; nothing of the call's transaction remains.
    #[error("{}", .0.message)]
    Database(Box<DatabaseError>),
    /// The query ran longer than it may, and was cancelled on the server.
    #[error("{}", Exceeded::QueryTimeout(whole_ms(*.0)))]
    TimedOut(Duration),
    /// The call went past one of its limits.
    #[error("{0}")]
    Exceeded(Exceeded),
    /// The caller went away.
    #[error("the call was cancelled")]
    Cancelled,
}

/// What a database says about a statement that it refuses.
#[derive(Debug, Default)]
pub(super) struct DatabaseError {
    /// The database's own words, with its hint where it gives one.
    pub(super) message: String,
    /// The SQLSTATE, or what the engine has in its place.
    pub(super) code: Option<String>,
    /// More that it says, such as the constraint.
    pub(super) details: serde_json::Map<String, Value>,
}

impl SqlError {
    /// The database refused a statement.
    pub(super) fn database(message: impl Into<String>, code: Option<String>) -> Self {
        Self::Database(Box::new(DatabaseError { message: message.into(), code, ..DatabaseError::default() }))
    }

    /// An argument doesn't fit where the query uses it.
    pub(super) fn argument(name: &str, reason: impl Into<String>) -> Self {
        Self::Argument { name: name.to_owned(), reason: reason.into() }
    }
}

impl From<SqlError> for CallError {
    fn from(error: SqlError) -> Self {
        let message = error.to_string();
        match error {
            SqlError::Settings(_) => Self::new(ErrorCode::ProviderError, message),
            SqlError::Refused { refused: ResolveError::Refused { .. }, .. } => {
                Self::new(ErrorCode::HostBlocked, message)
            }
            SqlError::Refused { .. } | SqlError::Unreachable { .. } => {
                Self::new(ErrorCode::ProviderUnavailable, message)
            }
            SqlError::LoginRefused { .. } => Self::new(ErrorCode::ProviderError, message),
            SqlError::Argument { name, reason } => {
                let violation = json!({"path": format!("/{name}"), "message": reason});
                Self::new(ErrorCode::InvalidArguments, message)
                    .with_details(json!({"violations": [violation]}))
            }
            SqlError::Database(error) => {
                let mut details = error.details;
                if let Some(code) = error.code {
                    details.insert("sqlState".to_owned(), Value::String(code));
                }
                let details = (!details.is_empty()).then_some(Value::Object(details));
                Self { details, ..Self::new(ErrorCode::ProviderError, message) }
            }
            SqlError::TimedOut(limit) => Self::exceeded(Exceeded::QueryTimeout(whole_ms(limit))),
            SqlError::Exceeded(exceeded) => Self::exceeded(exceeded),
            SqlError::Cancelled => Self::cancelled(),
        }
    }
}
