//! One opened file, and a query's statements run on it in one transaction.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Either, Executor, Row};

use super::plan::{self, Plan, Tables};
use super::reading::Reading;
use super::{Interrupt, refused};
use crate::sql::backend::{After, Failed, Job};
use crate::sql::error::SqlError;
use crate::sql::placeholder::Statement;
use crate::sql::result::{ResultSink, Wanted};

/// After so many of its virtual machine's instructions SQLite asks whether to go on: every few microseconds.
const INSTRUCTIONS: i32 = 1000;
/// SQLite itself waits so long for a lock, and can't be interrupted in it.
const BUSY_TIMEOUT: Duration = Duration::from_millis(20);
/// Then it is asked again, after so long.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Plans to keep for a connection; the driver keeps as many prepared statements.
const MAX_PLANS: usize = 100;
/// The most memory that SQLite takes in this process, in bytes: past it queries fail.
const HEAP_LIMIT: &str = "536870912";
/// Rows that the driver reads ahead.
const ROWS_AHEAD: usize = 32;

/// SQLite's `SQLITE_READONLY_ROLLBACK`: a writer died, and only a connection that may write can undo what it left.
const READONLY_ROLLBACK: &str = "776";

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Reading. The file is opened read-only, and SQLite refuses statements that write, to temporary tables as well.
    Read,
    /// Reading and writing.
    Write,
}

/// An opened file.
pub(super) struct Link {
    file: PathBuf,
    connection: SqliteConnection,
    access: Access,
    interrupt: Arc<Interrupt>,
    /// SQLite counts a schema's changes; the plans are those of this one.
    schema_version: i64,
    plans: HashMap<String, Arc<Plan>>,
    tables: Tables,
}

impl Link {
    /// Opens a file, which must be there.
    pub(super) async fn open(
        file: &Path,
        access: Access,
        interrupt: &Arc<Interrupt>,
    ) -> Result<Self, SqlError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .read_only(access == Access::Read)
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .pragma("hard_heap_limit", HEAP_LIMIT)
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON")
            .pragma("query_only", if access == Access::Read { "ON" } else { "OFF" })
            .statement_cache_capacity(MAX_PLANS)
            .row_buffer_size(ROWS_AHEAD)
            .thread_name(|number| format!("sqlite-{number}"))
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(refused)?;
        let watched = Arc::clone(interrupt);
        let mut handle = connection.lock_handle().await.map_err(refused)?;
        handle.set_progress_handler(INSTRUCTIONS, move || !watched.is_set());
        drop(handle);
        Ok(Self {
            file: file.to_owned(),
            connection,
            access,
            interrupt: Arc::clone(interrupt),
            schema_version: 0,
            plans: HashMap::new(),
            tables: Tables::default(),
        })
    }

    /// Whether the file is a database that can be read. One that a dying writer left half-written is put in order first,
    /// as any program that opens it would.
    pub(super) async fn check(&mut self) -> Result<(), SqlError> {
        match self.try_begin().await {
            Ok(version) => {
                self.schema_version = version;
                self.rollback().await
            }
            // Whoever holds the lock will let go of it, or the first query says that it doesn't.
            Err(error) if is_busy(&error) => Ok(()),
            Err(error) if has_code(&error, READONLY_ROLLBACK) => self.recover().await,
            Err(error) => Err(refused(error)),
        }
    }

    /// Runs the statements of a query in one transaction.
    pub(super) async fn run(
        &mut self,
        job: &Job<'_>,
        arguments: &SqliteArguments,
        patience: Instant,
        sink: &mut ResultSink,
    ) -> Result<After, Failed> {
        self.begin(patience).await.map_err(Failed::in_order)?;
        let mut ended = self.statements(job, arguments, sink).await;
        if self.access == Access::Write && ended.is_ok() {
            ended = self.commit(patience).await;
            if ended.is_ok() {
                return Ok(After::Reset);
            }
        }
        let after = match &ended {
            // It isn't SQLite's error. A driver whose thread died may never answer again.
            Err(SqlError::Database(error)) if error.code.is_none() => After::Close,
            _ if self.rollback().await.is_err() => After::Close,
            _ => After::Reset,
        };
        ended.map(|()| after).map_err(|error| Failed { error, after })
    }

    /// Whether the connection's thread answers.
    pub(super) async fn ping(&mut self) -> Result<(), SqlError> {
        self.connection.ping().await.map_err(refused)
    }

    /// Closes the file, and waits until it is closed.
    pub(super) async fn close(self) {
        // Nothing can be done about a file that doesn't close well.
        let _ = self.connection.close().await;
    }

    /// Begins a transaction and reads the schema's version, with which a read's view of the database is fixed.
    async fn begin(&mut self, patience: Instant) -> Result<(), SqlError> {
        let mut recovered = false;
        let version = loop {
            match self.try_begin().await {
                Ok(version) => break version,
                Err(error) if has_code(&error, READONLY_ROLLBACK) && !recovered => {
                    recovered = true;
                    self.recover().await?;
                }
                Err(error) if is_busy(&error) && Instant::now() < patience => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(error) => return Err(refused(error)),
            }
        };
        if self.schema_version != version {
            // SQLite itself notices only when a statement runs, and the driver trusts what it prepared before that.
            let look = sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1");
            self.connection.execute(look).await.map_err(refused)?;
            self.forget().await?;
            self.schema_version = version;
        }
        Ok(())
    }

    async fn try_begin(&mut self) -> Result<i64, sqlx::Error> {
        let begin = match self.access {
            Access::Read => "BEGIN; PRAGMA schema_version",
            Access::Write => "BEGIN IMMEDIATE; PRAGMA schema_version",
        };
        let begun = self.connection.fetch_one(sqlx::query(begin)).await.and_then(|row| row.try_get(0));
        if begun.is_err() {
            // A read has begun by then, a write hasn't: there may be nothing to roll back.
            let _ = self.rollback().await;
        }
        begun
    }

    /// Commits: readers that began earlier may have to end first.
    async fn commit(&mut self, patience: Instant) -> Result<(), SqlError> {
        loop {
            match self.connection.execute(sqlx::query("COMMIT")).await {
                Ok(_) => return Ok(()),
                Err(error) if is_busy(&error) && Instant::now() < patience => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(error) => return Err(refused(error)),
            }
        }
    }

    async fn rollback(&mut self) -> Result<(), SqlError> {
        self.connection.execute(sqlx::query("ROLLBACK")).await.map(drop).map_err(refused)
    }

    /// Opens the file once for writing, which undoes the transaction that a dead writer left.
    async fn recover(&self) -> Result<(), SqlError> {
        let file = SqliteConnectOptions::new().filename(&self.file);
        let options = file.create_if_missing(false).busy_timeout(BUSY_TIMEOUT).disable_statement_logging();
        let mut connection = options.connect().await.map_err(refused)?;
        connection.execute(sqlx::query("PRAGMA schema_version")).await.map_err(refused)?;
        connection.close().await.map_err(refused)
    }

    async fn statements(
        &mut self,
        job: &Job<'_>,
        arguments: &SqliteArguments,
        sink: &mut ResultSink,
    ) -> Result<(), SqlError> {
        for statement in job.query.statements() {
            let plan = self.plan(statement).await?;
            self.statement(statement, &plan, job, arguments.clone(), sink).await?;
            if plan.changes_schema {
                self.forget().await?;
            }
        }
        Ok(())
    }

    async fn statement(
        &mut self,
        statement: &Statement,
        plan: &Plan,
        job: &Job<'_>,
        arguments: SqliteArguments,
        sink: &mut ResultSink,
    ) -> Result<(), SqlError> {
        let mut reading = Reading::new(plan, statement, job);
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&plan.text)), arguments);
        let mut n_changed = None;
        let mut results = self.connection.fetch_many(query);
        let (ended, rows_are_left) = loop {
            match results.try_next().await {
                Ok(None) => break (n_changed.map(drop).ok_or_else(unfinished), false),
                Ok(Some(Either::Left(done))) => n_changed = Some(done.rows_affected()),
                Ok(Some(Either::Right(row))) => match reading.row(&row, sink) {
                    Ok(Wanted::More) => {}
                    // A write goes on to its end.
                    Ok(Wanted::Enough) if self.access == Access::Write => {}
                    Ok(Wanted::Enough) => break (Ok(()), true),
                    Err(error) => break (Err(error), true),
                },
                Err(error) => break (Err(refused(error)), false),
            }
        };
        drop(results);
        if rows_are_left {
            self.skip().await?;
        }
        ended?;
        reading.end(sink);
        if plan.changes_rows {
            sink.affected(n_changed.unwrap_or_default());
        }
        Ok(())
    }

    /// Ends the statement whose rows nobody takes any more.
    async fn skip(&mut self) -> Result<(), SqlError> {
        self.interrupt.skip(true);
        let ended = self.ping().await;
        self.interrupt.skip(false);
        ended
    }

    async fn plan(&mut self, statement: &Statement) -> Result<Arc<Plan>, SqlError> {
        let text = statement.render(|text, _, parameter| {
            // Writing into a String can't fail.
            let _ = write!(text, "?{}", parameter + 1);
        });
        if let Some(plan) = self.plans.get(&text) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(plan::plan(&mut self.connection, &mut self.tables, &text).await?);
        if self.plans.len() >= MAX_PLANS {
            self.plans.clear();
        }
        self.plans.insert(text, Arc::clone(&plan));
        Ok(plan)
    }

    /// Forgets all that depends on the schema. The driver, too, keeps the columns of a statement as they once were.
    async fn forget(&mut self) -> Result<(), SqlError> {
        self.plans.clear();
        self.tables.clear();
        self.connection.clear_cached_statements().await.map_err(refused)
    }
}

/// The driver's thread died in the midst of a statement.
fn unfinished() -> SqlError {
    refused(sqlx::Error::WorkerCrashed)
}

/// Whether another connection holds a lock.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().is_some_and(|error| error.code().is_some_and(|own| own == code))
}
