//! SQL Server, through tiberius: a query is one batch, run by `sp_executesql` in one transaction.
//!
//! What it comes to, on the server's side:
//!
//! - A call is three requests: `BEGIN TRANSACTION`, the batch with its parameters, and the transaction's end. A write is
//!   committed. SQL Server has no read-only transactions, so a read's is always rolled back; it is begun two levels deep,
//!   so that a single COMMIT in a procedure or in dynamic SQL, where it isn't seen at load time, commits nothing, and a
//!   read whose transaction isn't as deep at its end is an error. A text that goes out of its way (`EXEC('WHILE
//!   @@TRANCOUNT > 0 COMMIT; …')`) can write all the same: what really holds a connection to reading is an account that
//!   may not write.
//! - `sp_executesql` is a scope of its own: temporary tables, SET options and USE end with it. What outlives it comes from
//!   procedures, dynamic SQL, cursors and global temporary tables; after those the connection is closed. (TDS has a flag
//!   that resets a session; tiberius doesn't set it.)
//! - A query that is given up is cancelled with an Attention, and the connection closed. SQL Server has no limit of its own
//!   on a query's time, only on waiting for locks (`LOCK_TIMEOUT`, a second longer than the query may run); a gateway
//!   that is killed leaves closed connections, whose queries the server ends.
//!
//! No SQL Server was at hand: this was run against the test suite's own TDS server (`tests/servers`), which FreeTDS agrees
//! with. What depends on T-SQL itself follows Microsoft's documentation.

mod batch;
mod connect;
mod decode;
mod encode;
mod error;
mod run;
mod tokens;
mod wire;

use std::time::Duration;

use tokio_util::compat::Compat;

use self::wire::{Allowance, Metered, guarded};
use super::backend::{After, Backend, Failed, Job};
use super::dial::Route;
use super::error::SqlError;
use super::result::ResultSink;

/// How long the server may take to acknowledge an Attention before the connection is closed all the same.
const ATTENTION: Duration = Duration::from_secs(2);
/// The most bytes that the answer to a request of our own takes, or anything before a result's first row.
const SMALL_ANSWER: u64 = 1 << 20;

/// SQL Server, and Azure SQL.
#[derive(Debug, Default)]
pub(super) struct Mssql;

/// A session.
pub(super) struct Connection {
    client: tiberius::Client<Compat<Metered>>,
    allowance: Allowance,
    /// Whether a request was sent whose answer hasn't been read to its end.
    is_busy: bool,
    /// The database, for messages.
    database: String,
}

impl Backend for Mssql {
    type Connection = Connection;
    /// A query is cancelled from its own connection, in [`Backend::close`].
    type Canceller = ();

    async fn connect(&self, route: &Route) -> Result<Connection, SqlError> {
        match guarded(Box::pin(connect::connect(route))).await {
            Ok(connected) => connected,
            Err(panicked) => Err(route.unreachable(&panicked)),
        }
    }

    fn canceller(_connection: &Connection) {}

    async fn run(
        &self,
        connection: &mut Connection,
        job: &Job<'_>,
        sink: &mut ResultSink,
    ) -> Result<After, Failed> {
        match guarded(Box::pin(run::run(connection, job, sink))).await {
            Ok(ended) => ended,
            Err(panicked) => Err(Failed::closing(connection.broken(&panicked))),
        }
    }

    /// There is nothing to do, and no round trip: see the module's description.
    async fn reset(&self, connection: &mut Connection) -> Result<(), SqlError> {
        if connection.is_busy { Err(connection.out_of_step()) } else { Ok(()) }
    }

    async fn ping(&self, connection: &mut Connection) -> Result<(), SqlError> {
        match guarded(connection.batch("SELECT @@TRANCOUNT")).await {
            Ok(Ok(Some(0))) => Ok(()),
            Ok(Ok(_)) => Err(connection.out_of_step()),
            Ok(Err(error)) => Err(connection.broken(&error)),
            Err(panicked) => Err(connection.broken(&panicked)),
        }
    }

    /// The connection itself is what cancels.
    async fn cancel(&self, _route: &Route, (): ()) {}

    /// The server is told to stop what it is doing first.
    async fn close(mut connection: Connection) {
        connection.allowance.grant(u64::MAX);
        if connection.is_busy {
            // If it can't be told, or doesn't answer: the end of the connection tells it as well.
            let _ = tokio::time::timeout(ATTENTION, guarded(connection.client.cancel_query())).await;
        }
        let _ = tokio::time::timeout(ATTENTION, guarded(connection.client.close())).await;
    }
}

impl Connection {
    /// Runs a batch without parameters, and gives the integer that its last row begins with.
    async fn batch(&mut self, sql: &str) -> tiberius::Result<Option<i64>> {
        self.is_busy = true;
        self.allowance.grant(SMALL_ANSWER);
        let rows = match self.client.simple_query(sql).await {
            Ok(answer) => answer.into_results().await,
            Err(error) => Err(error),
        };
        // An error of the server's is given when the answer has been read to its end.
        self.is_busy = !matches!(rows, Ok(_) | Err(tiberius::error::Error::Server(_)));
        let last = rows?.into_iter().flatten().last();
        Ok(last.and_then(|row| row.into_iter().next()).and_then(|value| decode::small_integer(&value)))
    }

    /// The connection broke in the middle.
    fn broken(&self, error: &dyn std::error::Error) -> SqlError {
        SqlError::Unreachable {
            database: self.database.clone(),
            detail: format!("the connection broke: {error}"),
        }
    }

    fn out_of_step(&self) -> SqlError {
        let detail = "the session was left in the middle of something".to_owned();
        SqlError::Unreachable { database: self.database.clone(), detail }
    }
}
