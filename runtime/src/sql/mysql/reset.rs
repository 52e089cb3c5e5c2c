//! What a call may have left in its session, and whether the next call can have that session.
//!
//! sqlx has no way to reset a session, so one that something is left in is closed. What is left is found out in one
//! round trip, after the caller has its result; for a quiet `SELECT`, which can leave something by a view's functions
//! alone, once in a while. MySQL tells less about a session than MariaDB does: there, a session is kept after a quiet
//! `SELECT` only, and its settings are set again.
//!
//! Not found, and no more than a number: a sequence's `LASTVAL`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::mysql::MySqlRow;

use super::super::error::SqlError;
use super::{Connection, connect, error};

/// The server counts, for each session, the statements that change settings, create temporary tables and open tables to
/// read by hand, and the views that statements use, in routines and triggers as well.
pub(super) const COUNTERS: &str = "SHOW SESSION STATUS WHERE Variable_name IN \
     ('Com_set_option', 'Com_create_temporary_table', 'Com_ha_open', 'Opened_views')";
/// How long it is believed of a statement that it uses no views.
const TRUSTED: Duration = Duration::from_secs(60);
/// A session that has seen more statements is closed.
const MAX_STATEMENTS: usize = 1000;

/// What statements leave in a session.
#[derive(Debug)]
pub(super) struct Traces {
    remains: Remains,
    counters: Counters,
    /// The statements that the session has seen.
    seen: HashMap<Arc<str>, Seen>,
    /// The session's limit on a query's time.
    limit: Duration,
}

/// What the call before may have left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Remains {
    /// Nothing.
    #[default]
    Nothing,
    /// Something only if this statement, which is quiet, uses views.
    Unlikely(Arc<str>),
    /// Something, by functions or triggers.
    Perhaps,
}

/// What is known of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It used no views then.
    WithoutViews(Instant),
    /// It uses views, or was prepared when nobody looked.
    PerhapsWithViews,
}

/// What the server has counted in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    n_changes: u64,
    n_views: u64,
}

impl Counters {
    /// From the rows of [`COUNTERS`].
    pub(super) fn read(rows: &[MySqlRow]) -> Self {
        let mut counters = Self::default();
        for row in rows {
            let count = connect::text_at(row, 1).parse::<u64>().unwrap_or_default();
            match connect::text_at(row, 0) {
                "Opened_views" => counters.n_views += count,
                _ => counters.n_changes += count,
            }
        }
        counters
    }
}

impl Traces {
    /// A session with nothing in it.
    pub(super) fn new(counters: Counters, limit: Duration) -> Self {
        Self { remains: Remains::Nothing, counters, seen: HashMap::new(), limit }
    }

    /// A call begins that may leave this.
    pub(super) fn leaves(&mut self, remains: Remains) {
        self.remains = remains;
    }

    /// A statement gets prepared in a call after which nobody looks for views.
    pub(super) fn saw(&mut self, statement: &Arc<str>) {
        if !self.seen.contains_key(statement) {
            self.seen.insert(Arc::clone(statement), Seen::PerhapsWithViews);
        }
    }

    /// Whether the call before can have left nothing.
    pub(super) fn are_none(&self, is_mariadb: bool) -> bool {
        match &self.remains {
            Remains::Nothing => true,
            Remains::Unlikely(statement) => is_mariadb && self.trusts(statement),
            Remains::Perhaps => false,
        }
    }

    fn trusts(&self, statement: &str) -> bool {
        matches!(self.seen.get(statement), Some(Seen::WithoutViews(since)) if since.elapsed() < TRUSTED)
    }

    /// Takes the counters after a call; whether the session is as it was.
    fn compare(&mut self, counters: Counters, remains: Remains) -> bool {
        let has_changed = counters.n_changes != self.counters.n_changes;
        let has_views = counters.n_views != self.counters.n_views;
        self.counters = counters;
        if let Remains::Unlikely(statement) = remains {
            let seen = match self.seen.get(&statement) {
                Some(Seen::PerhapsWithViews) => Seen::PerhapsWithViews,
                _ if has_views => Seen::PerhapsWithViews,
                _ => Seen::WithoutViews(Instant::now()),
            };
            self.seen.insert(statement, seen);
        }
        !has_changed && self.seen.len() <= MAX_STATEMENTS
    }
}

/// Makes sure that nothing of the last call is left; an error if something is, or may be.
pub(super) async fn reset(connection: &mut Connection) -> Result<(), SqlError> {
    let are_none = connection.traces.are_none(connection.is_mariadb);
    match std::mem::take(&mut connection.traces.remains) {
        _ if are_none => Ok(()),
        Remains::Unlikely(_) if !connection.is_mariadb => repair(connection).await,
        remains => look(connection, remains).await,
    }
}

/// Releases locks, forgets the last insert's id, and looks for whatever else is left.
async fn look(connection: &mut Connection, remains: Remains) -> Result<(), SqlError> {
    let text = format!(
        "SELECT RELEASE_ALL_LOCKS(), COUNT(*) FROM information_schema.USER_VARIABLES; {COUNTERS}; \
         SET last_insert_id = 0"
    );
    let rows = connect::fetch(&mut connection.driver, text).await;
    let rows = rows.map_err(|error| error::of_statement(&connection.database, error).error)?;
    let [variables, counters @ ..] = &rows[..] else { return Err(left_behind()) };
    let is_same = connection.traces.compare(Counters::read(counters), remains);
    // The SET above is counted with the next call.
    connection.traces.counters.n_changes += 1;
    if is_same && connect::text_at(variables, 1) == "0" { Ok(()) } else { Err(left_behind()) }
}

/// Releases locks and sets the session's settings again.
async fn repair(connection: &mut Connection) -> Result<(), SqlError> {
    let text = format!("DO RELEASE_ALL_LOCKS(); {}", connect::settings(connection.traces.limit));
    let repaired = connect::execute(&mut connection.driver, text).await;
    repaired.map_err(|error| error::of_statement(&connection.database, error).error)
}

fn left_behind() -> SqlError {
    SqlError::Settings("the last call left something in its session".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(n_changes: u64, n_views: u64) -> Counters {
        Counters { n_changes, n_views }
    }

    fn select() -> Remains {
        Remains::Unlikely("SELECT 1".into())
    }

    #[test]
    fn a_statement_without_views_is_trusted_once_looked_at() {
        let mut traces = Traces::new(after(2, 5), Duration::ZERO);
        assert!(!traces.trusts("SELECT 1"));
        assert!(traces.compare(after(2, 5), select()));
        assert!(traces.trusts("SELECT 1"));
        traces.leaves(select());
        assert!(traces.are_none(true));
        assert!(!traces.are_none(false), "MySQL counts no views");
    }

    #[test]
    fn a_statement_with_views_is_looked_at_each_time() {
        let mut traces = Traces::new(after(2, 5), Duration::ZERO);
        assert!(traces.compare(after(2, 6), select()));
        // Prepared by now, it opens no view that the server would count.
        assert!(traces.compare(after(2, 6), select()));
        assert!(!traces.trusts("SELECT 1"));
    }

    #[test]
    fn a_statement_that_was_prepared_unseen_is_never_trusted() {
        let mut traces = Traces::new(after(2, 5), Duration::ZERO);
        traces.saw(&"SELECT 1".into());
        assert!(traces.compare(after(2, 5), select()));
        assert!(!traces.trusts("SELECT 1"));
    }

    #[test]
    fn a_session_whose_settings_changed_is_given_up() {
        let mut traces = Traces::new(after(2, 5), Duration::ZERO);
        assert!(!traces.compare(after(3, 5), Remains::Perhaps));
    }
}
