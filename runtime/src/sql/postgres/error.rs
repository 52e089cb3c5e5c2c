//! The driver's and the server's errors, as the errors of a call.

use serde_json::Value;
use sqlx::postgres::{PgDatabaseError, PgErrorPosition, PgSeverity};

use crate::sql::backend::Failed;
use crate::sql::dial::Route;
use crate::sql::error::{DatabaseError, SqlError};

/// The longest piece of a statement that a message quotes, in characters.
const MAX_QUOTE: usize = 40;

/// What the server refused, if it was the server, and the connection still stands.
pub(super) fn refusal(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    let refused: &PgDatabaseError = error.as_database_error()?.try_downcast_ref()?;
    let ends = matches!(refused.severity(), PgSeverity::Fatal | PgSeverity::Panic);
    (!ends).then_some(refused)
}

/// A statement failed. `sql` is the text that was sent, `names` what its `$1`, `$2` … are called in the query.
pub(super) fn failed(route: &Route, error: &sqlx::Error, sql: &str, names: &[&str]) -> Failed {
    match refusal(error) {
        Some(refused) => Failed::in_order(statement_error(refused, sql, names)),
        None => Failed::closing(broken(route, error)),
    }
}

/// The connection broke, or the server ended it.
pub(super) fn broken(route: &Route, error: &sqlx::Error) -> SqlError {
    let detail = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => unreachable_detail(other),
    };
    SqlError::Unreachable { database: route.settings.to_string(), detail }
}

/// What went wrong below the database, without sqlx's own words around it.
pub(super) fn unreachable_detail(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Tls(error) => format!("TLS: {error}"),
        other => other.to_string(),
    }
}

fn statement_error(refused: &PgDatabaseError, sql: &str, names: &[&str]) -> SqlError {
    let mut message = refused.message().to_owned();
    if let Some(PgErrorPosition::Original(position)) = refused.position()
        && let Some(quote) = quote(sql, position, names)
    {
        message.push_str(&format!(" (at {quote:?})"));
    }
    if let Some(detail) = refused.detail() {
        message.push_str(&format!(". {detail}"));
    }
    if let Some(hint) = advice(refused) {
        message.push_str(&format!(". Hint: {hint}"));
    }
    let details = [
        ("constraint", refused.constraint()),
        ("schema", refused.schema()),
        ("table", refused.table()),
        ("column", refused.column()),
        ("dataType", refused.data_type()),
    ];
    let details = details.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))));
    let code = Some(refused.code().to_owned());
    SqlError::Database(Box::new(DatabaseError { message, code, details: details.collect() }))
}

fn advice(refused: &PgDatabaseError) -> Option<&str> {
    match refused.code() {
        "25006" => Some(
            "the operation may only read; its \"operationType\" must be \"write\" for it to change anything",
        ),
        // A type without a binary form.
        "42883" if refused.message().contains("binary output") => Some("cast the column to text"),
        _ => refused.hint(),
    }
}

/// What stands at a position of the text (in characters, from 1), up to the line's end, with the query's own names.
fn quote(sql: &str, position: usize, names: &[&str]) -> Option<String> {
    let line = sql.chars().skip(position.checked_sub(1)?).take_while(|char| *char != '\n');
    let line: String = line.collect();
    let mut text = line.trim_end().to_owned();
    // From the last on, so that $1 isn't found in $12.
    for (index, name) in names.iter().enumerate().rev() {
        text = text.replace(&format!("${}", index + 1), &format!("@{name}"));
    }
    if text.chars().count() > MAX_QUOTE {
        text = text.chars().take(MAX_QUOTE).chain(['…']).collect();
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_begins_at_the_position_and_ends_with_the_line() {
        let sql = "SELECT é,\n nme, $1, $12 FROM t\nWHERE true";
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "last"];
        assert_eq!(quote(sql, 12, &names).as_deref(), Some("nme, @a, @last FROM t"));
        assert_eq!(quote(sql, 8, &names).as_deref(), Some("é,"));
        assert_eq!(quote(sql, 0, &names), None);
        assert_eq!(quote(sql, 1000, &names), None);
        assert_eq!(quote(&"x".repeat(50), 1, &[]), Some(format!("{}…", "x".repeat(40))));
    }
}
