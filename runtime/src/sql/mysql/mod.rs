//! MySQL and MariaDB: connections, read-only and writing transactions, and what a session is left with after a call.
//!
//! Every session is read-only (`SET SESSION TRANSACTION READ ONLY`), and a write lifts that for its own transaction. A
//! read of one plain `SELECT` runs by itself, in one round trip. Any other read runs between `XA START` and
//! `XA ROLLBACK`: in the active state of an XA transaction, whose name nobody else knows, the server refuses `COMMIT`,
//! `ROLLBACK`, `START TRANSACTION` and every statement that commits implicitly, in procedures as well.
//!
//! What the server itself doesn't hold back in a read: a routine that does `SELECT … INTO OUTFILE` for an account with
//! the FILE privilege, and one that sets global variables for an account that may. Accounts for reading should have
//! neither.

mod connect;
mod decode;
mod encode;
mod error;
mod json;
mod reset;
mod statement;
mod tokens;
mod transaction;

use sqlx::mysql::{MySqlConnection, MySqlTypeInfo};
use sqlx::{AssertSqlSafe, Connection as _};

use super::backend::{After, Backend, Failed, Job};
use super::dial::Route;
use super::error::SqlError;
use super::result::ResultSink;

/// MySQL and MariaDB, by sqlx's driver.
#[derive(Debug, Default)]
pub(super) struct Mysql;

/// A session with a server.
pub(super) struct Connection {
    driver: MySqlConnection,
    /// Which database this is, for messages.
    database: String,
    /// The server's number for this session.
    id: u64,
    is_mariadb: bool,
    types: ArgumentTypes,
    json: json::JsonColumns,
    traces: reset::Traces,
}

/// Types for arguments that sqlx has no constructor for: taken from the columns of a result.
#[derive(Clone, Debug)]
struct ArgumentTypes {
    null: MySqlTypeInfo,
    decimal: MySqlTypeInfo,
}

impl Backend for Mysql {
    type Connection = Connection;
    type Canceller = u64;

    async fn connect(&self, route: &Route) -> Result<Connection, SqlError> {
        connect::connect(route).await
    }

    fn canceller(connection: &Connection) -> u64 {
        connection.id
    }

    async fn run(
        &self,
        connection: &mut Connection,
        job: &Job<'_>,
        sink: &mut ResultSink,
    ) -> Result<After, Failed> {
        transaction::run(connection, job, sink).await
    }

    async fn reset(&self, connection: &mut Connection) -> Result<(), SqlError> {
        if connection.traces.are_none(connection.is_mariadb) {
            return Ok(());
        }
        reset::reset(connection).await
    }

    async fn ping(&self, connection: &mut Connection) -> Result<(), SqlError> {
        let answer = connection.driver.ping().await;
        answer.map_err(|error| error::of_statement(&connection.database, error).error)
    }

    async fn cancel(&self, route: &Route, session: u64) {
        // A server that can't be reached ends the query by its own limit.
        let Ok(mut driver) = connect::log_in(route).await else { return };
        let kill = sqlx::raw_sql(AssertSqlSafe(format!("KILL QUERY {session}")));
        // The query may have ended meanwhile, and the session with it.
        let _ = sqlx::Executor::execute(&mut driver, kill).await;
        let _ = driver.close().await;
    }

    async fn close(connection: Connection) {
        // Dropping it closes the socket. sqlx's `close_hard` would wait for the server to send something first, where the
        // connection is encrypted and idle; meanwhile a transaction that is still open would keep its locks.
        drop(connection.driver);
    }
}
