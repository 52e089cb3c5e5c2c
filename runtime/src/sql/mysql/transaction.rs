//! The statements of a call in one transaction: held read-only by the server, or committed.

use std::sync::Arc;

use rustix::rand::{GetRandomFlags, getrandom};

use super::super::backend::{After, Failed, Job};
use super::super::error::SqlError;
use super::super::placeholder::Statement;
use super::super::result::ResultSink;
use super::reset::Remains;
use super::statement::{Flow, Run};
use super::{Connection, connect, error, tokens};

/// Statements that are a transaction by themselves, and can't be anything but reads in a read-only session.
const PLAIN: &[&str] = &["SELECT", "WITH", "VALUES", "TABLE"];
/// Statements that change rows, and leave nothing in a session but through triggers and functions.
const ROWS: &[&str] = &["INSERT", "REPLACE", "UPDATE", "DELETE"];
/// Statements that leave nothing in a session but through functions.
const ASKING: &[&str] = &["SHOW", "EXPLAIN", "DESCRIBE", "DESC", "ANALYZE", "HELP", "DO"];
/// Statements before and after which MySQL or MariaDB commits, besides `LOAD INDEX`.
#[rustfmt::skip]
const COMMITTING: &[&str] = &[
    "ALTER", "ANALYZE", "BACKUP", "CACHE", "CHANGE", "CHECK", "CLONE", "CREATE", "DROP", "FLUSH", "GRANT",
    "IMPORT", "INSTALL", "LOCK", "OPTIMIZE", "PURGE", "RENAME", "REPAIR", "RESET", "RESTART", "REVOKE",
    "SHUTDOWN", "START", "STOP", "TRUNCATE", "UNINSTALL", "UNLOCK",
];

/// Statements that a read may hold where the server knows no XA transactions: none of them can commit.
const UNCOMMITTING: &[&[&str]] = &[PLAIN, ROWS, &["SHOW", "EXPLAIN", "DESCRIBE", "DESC", "DO", "SET"]];

/// Runs a query in one transaction.
pub(super) async fn run(
    connection: &mut Connection,
    job: &Job<'_>,
    sink: &mut ResultSink,
) -> Result<After, Failed> {
    let runs = runs(job);
    match &runs[..] {
        [only] if job.read_only && is_plain(only) => read_plainly(connection, only, sink).await,
        runs if job.read_only => read(connection, runs, sink).await,
        runs => write(connection, runs, sink).await,
    }
}

fn runs<'a>(job: &'a Job<'a>) -> Vec<Run<'a>> {
    let statements = job.query.statements();
    let last = statements.len() - 1;
    let run = |(index, statement): (usize, &'a Statement)| Run {
        job,
        statement,
        text: statement.render(|text, _, _| text.push('?')).into(),
        // A procedure may return more results after one that is too long.
        may_stop: job.read_only && index == last && statement.keyword() != "CALL",
    };
    statements.iter().enumerate().map(run).collect()
}

/// Whether the statement can run outside of a transaction of ours: it may well write by a function, which the session
/// refuses, but a function can't commit.
fn is_plain(run: &Run<'_>) -> bool {
    PLAIN.contains(&run.statement.keyword()) && tokens::is_quiet(&run.text)
}

async fn read_plainly(
    connection: &mut Connection,
    run: &Run<'_>,
    sink: &mut ResultSink,
) -> Result<After, Failed> {
    connection.traces.leaves(Remains::Unlikely(Arc::clone(&run.text)));
    match run.run(connection, sink).await? {
        Flow::Done => Ok(After::Reset),
        Flow::Stopped => Ok(After::Close),
    }
}

async fn read(connection: &mut Connection, runs: &[Run<'_>], sink: &mut ResultSink) -> Result<After, Failed> {
    let after = note_remains(connection, runs);
    let end = begin_read(connection, runs).await?;
    for run in runs {
        match run.run(connection, sink).await {
            Ok(Flow::Done) => {}
            Ok(Flow::Stopped) => return Ok(After::Close),
            Err(failed) => return Err(rolled_back(connection, failed, after, end).await),
        }
    }
    // To close the connection rolls back as well.
    if after == After::Reset && connection.execute(end).await.is_err() {
        return Ok(After::Close);
    }
    Ok(after)
}

/// Begins a transaction that the query can't end, and gives what ends it. Galera clusters refuse XA: an ordinary
/// transaction does there, for statements that can't commit.
async fn begin_read(connection: &mut Connection, runs: &[Run<'_>]) -> Result<String, Failed> {
    let name = random_name().map_err(Failed::closing)?;
    let is_held = |run: &Run<'_>| UNCOMMITTING.iter().any(|words| words.contains(&run.statement.keyword()));
    match connection.execute(format!("XA START '{name}'")).await {
        Ok(()) => Ok(format!("XA END '{name}'; XA ROLLBACK '{name}'")),
        Err(failed) if failed.after == After::Reset && runs.iter().all(is_held) => {
            connection.execute("START TRANSACTION READ ONLY".to_owned()).await?;
            Ok("ROLLBACK".to_owned())
        }
        Err(failed) => Err(failed),
    }
}

async fn write(
    connection: &mut Connection,
    runs: &[Run<'_>],
    sink: &mut ResultSink,
) -> Result<After, Failed> {
    check_commits(runs).map_err(Failed::in_order)?;
    let after = note_remains(connection, runs);
    // What commits within the call, a procedure or a statement about tables, goes on as a transaction of the session's
    // kind. The connection is closed afterwards.
    let begin = match after {
        After::Reset => "START TRANSACTION READ WRITE",
        After::Close => "SET SESSION TRANSACTION READ WRITE; START TRANSACTION",
    };
    connection.execute(begin.to_owned()).await?;
    for run in runs {
        if let Err(failed) = run.run(connection, sink).await {
            return Err(rolled_back(connection, failed, after, "ROLLBACK".to_owned()).await);
        }
    }
    connection.execute("COMMIT".to_owned()).await.map_err(|failed| Failed::closing(failed.error))?;
    Ok(after)
}

/// Ends the transaction after a failed statement, where the connection stays.
async fn rolled_back(connection: &mut Connection, failed: Failed, after: After, end: String) -> Failed {
    let stays = failed.after == After::Reset && after == After::Reset;
    if stays && connection.execute(end).await.is_ok() {
        return failed;
    }
    Failed::closing(failed.error)
}

/// Notes what the statements may leave in the session; whether that can be looked into.
fn note_remains(connection: &mut Connection, runs: &[Run<'_>]) -> After {
    let is_known =
        |run: &Run<'_>| [PLAIN, ROWS, ASKING].iter().any(|words| words.contains(&run.statement.keyword()));
    if !connection.is_mariadb || !runs.iter().all(is_known) {
        return After::Close;
    }
    connection.traces.leaves(Remains::Perhaps);
    for run in runs {
        connection.traces.saw(&run.text);
    }
    After::Reset
}

/// Refuses a statement that commits what others of the same call did.
fn check_commits(runs: &[Run<'_>]) -> Result<(), SqlError> {
    let [_, _, ..] = runs else { return Ok(()) };
    match runs.iter().find(|run| commits(run)) {
        None => Ok(()),
        Some(run) => {
            let keyword = run.statement.keyword();
            let message = format!(
                "{keyword} commits by itself, so that nothing could be rolled back if another statement of the query \
                 failed: make it a query of its own"
            );
            Err(SqlError::database(message, None))
        }
    }
}

fn commits(run: &Run<'_>) -> bool {
    let second = || tokens::words(&run.text).nth(1).unwrap_or_default().to_ascii_uppercase();
    match run.statement.keyword() {
        "CREATE" | "DROP" => {
            !tokens::words(&run.text).take(5).any(|word| word.eq_ignore_ascii_case("TEMPORARY"))
        }
        "LOAD" => second() == "INDEX",
        "SET" => ["PASSWORD", "DEFAULT", "ROLE"].contains(&second().as_str()),
        keyword => COMMITTING.contains(&keyword),
    }
}

/// A name for a transaction that nobody can guess.
fn random_name() -> Result<String, SqlError> {
    let mut bytes = [0_u8; 16];
    let n_bytes = getrandom(&mut bytes, GetRandomFlags::empty());
    if n_bytes != Ok(bytes.len()) {
        return Err(SqlError::Settings("the system gave no random bytes".to_owned()));
    }
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

impl Connection {
    async fn execute(&mut self, text: String) -> Result<(), Failed> {
        let executed = connect::execute(&mut self.driver, text).await;
        executed.map_err(|error| error::of_statement(&self.database, error))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::super::placeholder::{Dialect, Query};
    use super::*;

    fn with_runs<T>(text: &str, check: impl FnOnce(&[Run<'_>]) -> T) -> T {
        let query = Query::parse(Dialect::Mysql, text, &["id"]).0.expect("a query");
        let job = Job { query: &query, arguments: Vec::new(), read_only: true, deadline: Instant::now() };
        check(&runs(&job))
    }

    #[test]
    fn names_of_transactions_differ() {
        let (one, other) = (random_name().expect("random"), random_name().expect("random"));
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }

    #[test]
    fn what_commits_by_itself_stands_alone() {
        for (text, is_allowed) in [
            ("CREATE TABLE t (a int)", true),
            ("INSERT INTO t VALUES (1); CREATE TABLE t (a int)", false),
            ("INSERT INTO t VALUES (1); create or replace temporary table t (a int)", true),
            ("DROP TEMPORARY TABLE t; INSERT INTO t VALUES (1)", true),
            ("TRUNCATE t; INSERT INTO t VALUES (1)", false),
            ("SELECT 1; /* x */ GRANT SELECT ON t TO u", false),
            ("SET PASSWORD = 'x'; SELECT 1", false),
            ("SET @a = 1; SELECT 1", true),
            ("LOAD INDEX INTO CACHE t; SELECT 1", false),
            ("LOAD DATA INFILE 'x' INTO TABLE t; SELECT 1", true),
        ] {
            assert_eq!(with_runs(text, |runs| check_commits(runs).is_ok()), is_allowed, "{text}");
        }
    }

    #[test]
    fn only_the_last_statement_of_a_read_may_stop_early() {
        let may_stop =
            |text: &str| with_runs(text, |runs| runs.iter().map(|run| run.may_stop).collect::<Vec<_>>());
        assert_eq!(may_stop("SELECT 1; SELECT 2"), [false, true]);
        assert_eq!(may_stop("CALL p()"), [false]);
    }

    #[test]
    fn only_a_quiet_select_runs_outside_of_a_transaction() {
        for (text, expected) in [
            ("SELECT * FROM t WHERE id = @id", true),
            ("SELECT * FROM t WHERE id = @other", false),
            ("(SELECT 1) UNION SELECT 2", true),
            ("WITH x AS (SELECT 1) SELECT * FROM x", true),
            ("SELECT f()", false),
            ("SHOW TABLES", false),
            ("CALL p()", false),
        ] {
            assert_eq!(with_runs(text, |runs| is_plain(&runs[0])), expected, "{text}");
        }
    }
}
