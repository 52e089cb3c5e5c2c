//! Texts for the server: how a statement is written with its `$n`, and how it is prepared to learn about it.

use std::fmt::Write as _;

use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgStatement, PgTypeInfo};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, SqlSafeStr as _};

use super::error::refusal;
use crate::sql::placeholder::Statement;

/// What a failed attempt inside a transaction is rolled back to.
const SAVEPOINT: &str = "SAVEPOINT portcullis";
const TO_SAVEPOINT: &str = "ROLLBACK TO SAVEPOINT portcullis";
const RELEASE: &str = "RELEASE SAVEPOINT portcullis";

/// Prepares statements to learn about them, any of which the server may refuse.
#[derive(Debug)]
pub(super) struct Preparer<'c> {
    pub(super) pg: &'c mut PgConnection,
    /// Whether a transaction is under way, which a refusal must not end.
    is_inside: bool,
}

/// The server refused a statement.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: sqlx::Error,
    /// The text that it refused.
    pub(super) sql: String,
    /// Which of the query's parameters each `$n` in it is.
    pub(super) parameters: Vec<usize>,
}

impl Refused {
    /// Something else failed than a statement of the query.
    pub(super) fn beside(error: sqlx::Error) -> Self {
        Self { error, sql: String::new(), parameters: Vec::new() }
    }
}

impl<'c> Preparer<'c> {
    /// For statements before a transaction.
    pub(super) fn outside(pg: &'c mut PgConnection) -> Self {
        Self { pg, is_inside: false }
    }

    /// For a statement in the transaction that is under way.
    pub(super) async fn inside(pg: &'c mut PgConnection) -> Result<Self, sqlx::Error> {
        pg.execute(SAVEPOINT).await?;
        Ok(Self { pg, is_inside: true })
    }

    /// Ends the preparing; all that was refused has left nothing behind.
    pub(super) async fn finish(self) -> Result<(), sqlx::Error> {
        if self.is_inside {
            self.pg.execute(RELEASE).await?;
        }
        Ok(())
    }

    pub(super) async fn prepare(&mut self, sql: &str, oids: &[u32]) -> Result<PgStatement, sqlx::Error> {
        let types: Vec<PgTypeInfo> = oids.iter().map(|oid| PgTypeInfo::with_oid(Oid(*oid))).collect();
        let prepared = self.pg.prepare_with(AssertSqlSafe(sql).into_sql_str(), &types).await;
        if self.is_inside && prepared.as_ref().is_err_and(|error| refusal(error).is_some()) {
            self.pg.execute(TO_SAVEPOINT).await?;
        }
        prepared
    }
}

/// A statement with what `write` writes for each place, which gets the place's slot.
pub(super) fn render(
    statement: &Statement,
    numbers: &[usize],
    mut write: impl FnMut(&mut String, usize),
) -> String {
    statement.render(|out, place, _| {
        keep_apart(out);
        write(out, numbers[place]);
    })
}

/// A word with `$1` right after it would be one name with it.
fn keep_apart(out: &mut String) {
    if out.ends_with(|char: char| char.is_alphanumeric() || matches!(char, '_' | '$')) {
        out.push(' ');
    }
}

/// Writes the placeholder of a slot.
pub(super) fn number(out: &mut String, slot: usize) {
    // Writing into a String can't fail.
    let _ = write!(out, "${}", slot + 1);
}

/// A statement's text with its parameters' types in a comment: sqlx keeps prepared statements by their text alone, and
/// a value must never reach one that was prepared for another type.
pub(super) fn signed(mut sql: String, oids: &[u32]) -> String {
    for (index, oid) in oids.iter().enumerate() {
        // Writing into a String can't fail.
        let _ = write!(sql, "{}{oid}", if index == 0 { "\n/*" } else { "," });
    }
    if !oids.is_empty() {
        sql.push_str("*/");
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::placeholder::{Dialect, Query};
    use crate::sql::postgres::types::oid;

    #[test]
    fn a_number_is_kept_apart_from_a_word_before_it() {
        let query = Query::parse(Dialect::Postgres, "SELECT 1 LIMIT/**/@n", &["n"]).0.unwrap();
        let text = render(&query.statements()[0], &[0], number);
        assert_eq!(signed(text, &[oid::INT8]), "SELECT 1 LIMIT/**/$1\n/*20*/");
        let mut out = String::from("LIMIT");
        keep_apart(&mut out);
        assert_eq!(out, "LIMIT ");
        let mut out = String::from("(");
        keep_apart(&mut out);
        assert_eq!(out, "(");
    }
}
