//! From the driver's errors to Portcullis' own.

use serde_json::Value;
use sqlx::mysql::MySqlDatabaseError;

use super::super::backend::Failed;
use super::super::error::{DatabaseError, SqlError};

/// The server has no room for another session just now, or is going away.
const BUSY: &[u16] = &[1040, 1053, 1129, 1135, 1203, 1226, 1927, 3169, 4031];
/// `ER_UNSUPPORTED_PS`: the statement exists in the text protocol alone.
const UNPREPARABLE: u16 = 1295;
/// `ER_XAER_RMFAIL`: not in the active state of an XA transaction.
const IN_XA: u16 = 1399;

/// Why there is no connection.
pub(super) fn of_login(database: &str, error: sqlx::Error) -> SqlError {
    let database = database.to_owned();
    match server_error(&error) {
        Some(refusal) if !BUSY.contains(&refusal.number()) => {
            SqlError::LoginRefused { database, detail: described(refusal) }
        }
        // The one configuration that can't be: without encryption sqlx doesn't do RSA, which MySQL's default method of
        // logging in asks for.
        None if matches!(error, sqlx::Error::Configuration(_)) => {
            let detail = "the server asks for a password in a way that takes an encrypted connection: set \
                          \"encrypt\": true in sqlConnectionConfig.options";
            SqlError::LoginRefused { database, detail: detail.to_owned() }
        }
        _ => SqlError::Unreachable { database, detail: detail(&error) },
    }
}

/// Why a statement gave no result. Whatever isn't the server's word means that the connection broke.
pub(super) fn of_statement(database: &str, error: sqlx::Error) -> Failed {
    let lost = |detail| Failed::closing(SqlError::Unreachable { database: database.to_owned(), detail });
    match server_error(&error) {
        Some(refusal) if BUSY.contains(&refusal.number()) => lost(described(refusal)),
        Some(refusal) => Failed::in_order(of_refusal(refusal)),
        None => lost(detail(&error)),
    }
}

/// Whether a statement can't be prepared.
pub(super) fn is_unpreparable(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|refusal| refusal.number() == UNPREPARABLE)
}

fn server_error(error: &sqlx::Error) -> Option<&MySqlDatabaseError> {
    error.as_database_error().and_then(|error| error.try_downcast_ref())
}

fn of_refusal(refusal: &MySqlDatabaseError) -> SqlError {
    let mut message = refusal.message().to_owned();
    if refusal.number() == IN_XA {
        message = format!(
            "the statement begins or ends a transaction, and a read runs in one that Portcullis rolls back ({message})"
        );
    }
    let mut details = serde_json::Map::new();
    details.insert("number".to_owned(), Value::from(refusal.number()));
    let code = refusal.code().map(str::to_owned);
    SqlError::Database(Box::new(DatabaseError { message, code, details }))
}

/// The server's message with its number.
fn described(refusal: &MySqlDatabaseError) -> String {
    format!("{} ({})", refusal.message(), refusal.number())
}

/// What broke, without sqlx's own introduction.
fn detail(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the server closed the connection".to_owned()
        }
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Tls(error) => format!("no encrypted connection: {error}"),
        sqlx::Error::Protocol(message) => format!("the server doesn't speak as expected: {message}"),
        error => error.to_string(),
    }
}
