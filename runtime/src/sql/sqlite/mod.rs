//! SQLite: databases that are files in the operator's folder. Reads can't write, because their file is opened for reading.

mod decode;
mod encode;
mod file;
mod link;
mod plan;
mod reading;
mod shape;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::file::Identity;
pub(super) use self::file::file;
use self::link::{Access, Link};
use super::backend::{After, Backend, Failed, Job};
use super::dial::Route;
use super::error::{DatabaseError, SqlError};
use super::result::ResultSink;

/// A locked database is waited for until so long before the query would time out, so that the error says what it was.
const BEFORE_TIMEOUT: Duration = Duration::from_millis(250);

/// SQLite, with one file.
#[derive(Debug)]
pub(super) struct Sqlite {
    file: PathBuf,
}

/// A connection to the file: one for reading that stays open, and one for writing for each query that writes. Nothing of a
/// write, such as temporary tables or the last row's id, is left for the next query.
pub(super) struct Connection {
    reader: Link,
    file: Identity,
    query_timeout: Duration,
    stop: StopOnDrop,
}

/// Ends what a connection's threads are doing.
#[derive(Debug, Default)]
pub(super) struct Interrupt {
    /// The connection is about to be closed.
    stopped: AtomicBool,
    /// The rest of the current statement isn't wanted.
    skipped: AtomicBool,
}

/// However a connection ends, its threads do.
#[derive(Debug, Default)]
struct StopOnDrop(Arc<Interrupt>);

impl Sqlite {
    /// The database in this file, which [`file`] found.
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file }
    }
}

impl Backend for Sqlite {
    type Connection = Connection;
    type Canceller = Arc<Interrupt>;

    async fn connect(&self, route: &Route) -> Result<Connection, SqlError> {
        let unreachable = |error: SqlError| SqlError::Unreachable {
            database: route.settings.to_string(),
            detail: error.to_string(),
        };
        let file = file::identity(&self.file).map_err(|error| route.unreachable(&error))?;
        let stop = StopOnDrop::default();
        let mut reader = open(&self.file, Access::Read, &stop.0).await.map_err(unreachable)?;
        reader.check().await.map_err(unreachable)?;
        Ok(Connection { reader, file, query_timeout: route.settings.query_timeout, stop })
    }

    fn canceller(connection: &Connection) -> Arc<Interrupt> {
        Arc::clone(&connection.stop.0)
    }

    async fn run(
        &self,
        connection: &mut Connection,
        job: &Job<'_>,
        sink: &mut ResultSink,
    ) -> Result<After, Failed> {
        let patience = before(job.deadline.min(Instant::now() + connection.query_timeout));
        let arguments = encode::encode(&job.arguments).map_err(Failed::in_order)?;
        if job.read_only {
            return connection.reader.run(job, &arguments, patience, sink).await;
        }
        let mut writer =
            open(&self.file, Access::Write, &connection.stop.0).await.map_err(Failed::in_order)?;
        let ended = writer.run(job, &arguments, patience, sink).await;
        // The writer is closed whatever became of it, and the reader wasn't touched.
        ended.map(|_| After::Reset).map_err(|Failed { error, .. }| Failed::in_order(error))
    }

    async fn reset(&self, _connection: &mut Connection) -> Result<(), SqlError> {
        // Reads leave nothing behind, and what writes with is closed.
        Ok(())
    }

    async fn ping(&self, connection: &mut Connection) -> Result<(), SqlError> {
        let now = file::identity(&self.file).map_err(|error| SqlError::Settings(error.to_string()))?;
        if now != connection.file {
            return Err(SqlError::Settings(
                "another file is in the place of the one that is open".to_owned(),
            ));
        }
        connection.reader.ping().await
    }

    async fn cancel(&self, _route: &Route, interrupt: Arc<Interrupt>) {
        interrupt.stop();
    }

    async fn close(connection: Connection) {
        connection.stop.0.stop();
        connection.reader.close().await;
    }
}

impl Interrupt {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn skip(&self, skip: bool) {
        self.skipped.store(skip, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.skipped.load(Ordering::Relaxed)
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Opens the file, provided that nothing else came in its place. SQLite can be told not to follow a symbolic link
/// (`SQLITE_OPEN_NOFOLLOW`), but its driver can't tell it so: whoever may write into the operator's folder could put a
/// link there between this look and the opening.
async fn open(file: &Path, access: Access, interrupt: &Arc<Interrupt>) -> Result<Link, SqlError> {
    file::identity(file).map_err(|error| SqlError::Settings(format!("{}: {error}", file.display())))?;
    Link::open(file, access, interrupt).await
}

fn before(timeout: Instant) -> Instant {
    timeout.checked_sub(BEFORE_TIMEOUT).unwrap_or(timeout)
}

/// What the driver says, as an error of a call.
fn refused(error: sqlx::Error) -> SqlError {
    let sqlx::Error::Database(error) = error else {
        return SqlError::database(format!("SQLite's driver failed: {error}"), None);
    };
    let code = error.code().unwrap_or_default().into_owned();
    let mut message = error.message().to_owned();
    let number: i32 = code.parse().unwrap_or_default();
    // The primary code is in the lowest byte: https://www.sqlite.org/rescode.html
    match number & 0xff {
        5 | 6 => message.push_str(" (another program is using it)"),
        8 => message.push_str(
            " (an operation that reads can't write, and neither can one whose file is write-protected)",
        ),
        _ => {}
    }
    let mut details = serde_json::Map::new();
    // A violated constraint is named behind the message: its columns as "table.column", or the name of a CHECK.
    if let (19, Some((_, constraint))) = (number & 0xff, message.split_once(" failed: ")) {
        details.insert("constraint".to_owned(), Value::from(constraint));
    }
    SqlError::Database(Box::new(DatabaseError { message, code: Some(code), details }))
}
