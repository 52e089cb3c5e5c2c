//! tiberius's errors as what they are to a caller.

use serde_json::Value;
use tiberius::error::{Error, TokenError};

use super::super::dial::Route;
use super::super::error::{DatabaseError, SqlError};

/// The longest piece of a query that a message shows, in characters.
const MAX_LINE: usize = 80;

/// No login came about.
pub(super) fn of_login(error: Error, route: &Route) -> SqlError {
    let database = route.settings.to_string();
    match error {
        Error::Server(error) => SqlError::LoginRefused { database, detail: error.message().to_owned() },
        Error::Tls(reason) => SqlError::Unreachable { database, detail: of_tls(&reason) },
        Error::Io { message, .. } => SqlError::Unreachable { database, detail: message },
        error => route.unreachable(&error),
    }
}

/// What failed in TLS, without the advice that tiberius gives to those who program with it.
fn of_tls(reason: &str) -> String {
    let (reason, was_cut) = match reason.split_once(" To connect anyway") {
        Some((reason, _)) => (reason, true),
        None => (reason, false),
    };
    let advice = if was_cut {
        " The operator can trust another authority (--ca-file), the manifest any certificate \
         (options.trustServerCertificate)."
    } else {
        ""
    };
    format!("TLS: {reason}{advice}")
}

/// A statement failed, or its answer couldn't be read. `text` is what the error's line numbers count in.
pub(super) fn of_query(error: Error, text: &str, database: &str) -> SqlError {
    match error {
        Error::Server(error) => SqlError::Database(Box::new(of_server(&error, text))),
        Error::Io { message, .. } | Error::Tls(message) => SqlError::Unreachable {
            database: database.to_owned(),
            detail: format!("the connection broke: {message}"),
        },
        error => SqlError::database(format!("the server's answer can't be read: {error}"), None),
    }
}

/// The server's message, with the line that it is about, and its number.
fn of_server(error: &TokenError, text: &str) -> DatabaseError {
    let mut details = serde_json::Map::new();
    let mut message = error.message().trim_end().to_owned();
    if !error.procedure().is_empty() {
        message.push_str(&format!(" (procedure {}, line {})", error.procedure(), error.line()));
        details.insert("procedure".to_owned(), Value::from(error.procedure()));
    } else if let Some(line) = line(text, error.line()) {
        message.push_str(&format!(" (line {}: {line})", error.line()));
    }
    details.insert("line".to_owned(), Value::from(error.line()));
    DatabaseError { message, code: Some(error.code().to_string()), details }
}

/// A line of a text, from 1, shortened.
fn line(text: &str, number: u32) -> Option<String> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let line = text.lines().nth(index)?.trim();
    let mut shown: String = line.chars().take(MAX_LINE).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_failed_is_shown() {
        assert_eq!(line("SELECT 1\n  FORM t\n", 2).as_deref(), Some("FORM t"));
        assert_eq!(line("SELECT 1", 0), None);
        assert_eq!(line("SELECT 1", 2), None);
        let long = line(&"é".repeat(100), 1).unwrap();
        assert_eq!(long.chars().count(), MAX_LINE + 1);
    }

    #[test]
    fn advice_to_programmers_is_replaced() {
        let text =
            of_tls("the server's certificate was rejected. To connect anyway you can: (1) `Config::…`");
        assert!(text.starts_with("TLS: the server's certificate was rejected. The operator can"), "{text}");
        assert!(!text.contains("Config::"), "{text}");
        assert_eq!(of_tls("no name"), "TLS: no name");
    }

    #[test]
    fn a_broken_connection_is_not_the_statements_fault() {
        let io = Error::Io { kind: std::io::ErrorKind::ConnectionReset, message: "reset".to_owned() };
        let error = of_query(io, "SELECT 1", "the database");
        assert!(matches!(error, SqlError::Unreachable { .. }), "{error}");
        let protocol = Error::Protocol("nvarchar: invalid UTF-16 sequence".into());
        let error = of_query(protocol, "SELECT 1", "the database");
        assert!(matches!(error, SqlError::Database(_)), "{error}");
    }
}
