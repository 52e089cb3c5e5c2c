//! Asks the database whether a statement runs code that its text doesn't show: through a view, a row policy, or an
//! operator, cast, domain or overloaded function of the database's own.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use sqlx::{PgConnection, Row as _};

/// For so long an answer is relied on: somebody may put a view in a table's place.
const TRUSTED: Duration = Duration::from_secs(60);

/// The relations that the transaction has used are those that it holds locks on. Objects of the database's own have numbers
/// from 16384 on.
const NOTHING_UNSEEN: &str = "SELECT NOT EXISTS (
        SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
        WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND c.oid >= 16384
          AND (c.relkind NOT IN ('r', 'p', 'i', 'I', 't', 'S') OR c.relrowsecurity OR c.relhasrules))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_operator WHERE oid >= 16384)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_cast WHERE oid >= 16384)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_type WHERE oid >= 16384 AND typtype = 'd')
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
        WHERE p.oid >= 16384 AND p.pronargs = 1 AND t.typtype = 'c')
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_proc p
        WHERE p.oid >= 16384 AND p.proname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[]))";

/// What the database said about a statement, and when.
#[derive(Debug, Default)]
pub(super) struct Assurance {
    said: Mutex<Option<(bool, Instant)>>,
}

impl Assurance {
    /// Whether nothing unseen runs; none where that isn't known, or not any more.
    pub(super) fn get(&self) -> Option<bool> {
        let said = *self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.filter(|(_, when)| when.elapsed() < TRUSTED).map(|(is_sure, _)| is_sure)
    }

    /// Asks, at the end of a transaction in which the statement has run and nothing else; `known` are the functions that
    /// its text may name.
    pub(super) async fn ask(&self, pg: &mut PgConnection, known: &[&str]) -> Result<(), sqlx::Error> {
        let answer = sqlx::query(NOTHING_UNSEEN).bind(known).fetch_one(pg).await?;
        let is_sure = answer.try_get(0)?;
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some((is_sure, Instant::now()));
        Ok(())
    }
}
