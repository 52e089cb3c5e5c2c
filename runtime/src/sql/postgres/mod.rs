//! PostgreSQL: connections, transactions, and the statements in them, through sqlx.
//!
//! A session is read-only by default; a write says so when it begins. A read of one `SELECT` is a transaction by itself,
//! which the server holds to reading, and takes one round trip.

mod connect;
mod decode;
mod draft;
mod encode;
mod error;
mod harmless;
mod infer;
mod lex;
mod plan;
mod prepare;
mod run;
mod shape;
mod types;
mod unseen;

use std::sync::atomic::AtomicU8;

use futures_util::future::poll_immediate;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use self::plan::Plans;
use super::backend::{After, Backend, Failed, Job};
use super::dial::Route;
use super::error::SqlError;
use super::result::ResultSink;

/// The PostgreSQL backend of one database.
#[derive(Debug, Default)]
pub(super) struct Postgres {
    plans: Plans,
    /// How the server takes a session's settings: see [`connect`].
    startup: AtomicU8,
}

/// A connection, logged in.
#[derive(Debug)]
pub(super) struct Connection {
    pg: PgConnection,
    /// The server's process that serves it.
    process_id: i32,
    /// Settings that the server took after the login only, as SQL; what resets the session undoes them.
    settings: String,
    /// Statements that the query's text prepared may be left, which can't be told from sqlx's own by their names.
    may_have_prepared: bool,
    /// Nothing was run since the last reset that could leave something behind.
    is_clean: bool,
    /// What resets the session was sent, and its answer not yet read.
    is_resetting: bool,
    route: Route,
}

/// The server's process whose query is to be cancelled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canceller {
    process_id: i32,
}

impl Connection {
    /// Sends what resets the session, and leaves its answer to be read by whoever uses the connection next: the server
    /// is done by then, and nobody waited for it.
    async fn send_reset(&mut self) -> Result<(), SqlError> {
        let mut answer = self.pg.execute(connect::RESET);
        match poll_immediate(&mut answer).await {
            Some(done) => done.map(drop).map_err(|error| error::broken(&self.route, &error)),
            None => {
                self.is_resetting = true;
                Ok(())
            }
        }
    }

    /// Waits for the end of a reset that was only sent.
    async fn settle(&mut self) -> Result<(), SqlError> {
        if std::mem::take(&mut self.is_resetting) {
            self.pg.flush().await.map_err(|error| error::broken(&self.route, &error))?;
        }
        Ok(())
    }

    /// Resets the session where that may fail.
    async fn reset_in_full(&mut self) -> Result<(), SqlError> {
        let mut text = connect::RESET.to_owned();
        if std::mem::take(&mut self.may_have_prepared) {
            text.push_str("; ");
            text.push_str(connect::FAIL_IF_PREPARED);
        }
        if !self.settings.is_empty() {
            text.push_str("; ");
            text.push_str(&self.settings);
        }
        let done = self.pg.execute(sqlx::raw_sql(AssertSqlSafe(text))).await;
        done.map(drop).map_err(|error| error::broken(&self.route, &error))
    }
}

impl Backend for Postgres {
    type Connection = Connection;
    type Canceller = Canceller;

    async fn connect(&self, route: &Route) -> Result<Connection, SqlError> {
        connect::connect(route, &self.startup).await
    }

    fn canceller(connection: &Connection) -> Canceller {
        Canceller { process_id: connection.process_id }
    }

    async fn run(
        &self,
        connection: &mut Connection,
        job: &Job<'_>,
        sink: &mut ResultSink,
    ) -> Result<After, Failed> {
        connection.settle().await.map_err(Failed::closing)?;
        run::run(&self.plans, connection, job, sink).await
    }

    async fn reset(&self, connection: &mut Connection) -> Result<(), SqlError> {
        if std::mem::take(&mut connection.is_clean) {
            Ok(())
        } else if connection.settings.is_empty() && !connection.may_have_prepared {
            connection.send_reset().await
        } else {
            connection.reset_in_full().await
        }
    }

    async fn ping(&self, connection: &mut Connection) -> Result<(), SqlError> {
        connection.settle().await?;
        connection.pg.ping().await.map_err(|error| error::broken(&connection.route, &error))
    }

    async fn cancel(&self, route: &Route, canceller: Canceller) {
        let Ok(mut beside) = self.connect(route).await else {
            // There may be no connection left to have. The server notices within a second that its client is gone.
            return;
        };
        let text = format!("SELECT pg_catalog.pg_cancel_backend({})", canceller.process_id);
        let _ = beside.pg.execute(sqlx::raw_sql(AssertSqlSafe(text))).await;
        let _ = beside.pg.close().await;
    }

    async fn close(connection: Connection) {
        // Not `close_hard`, which over TLS waits for a server that may still be busy.
        drop(connection);
    }
}
