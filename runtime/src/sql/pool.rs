//! The connections to one database: as many as its bound allows, kept while they are used, each clean when it is handed out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, Object, RecycleError, RecycleResult};
use futures_util::future::poll_immediate;
use tokio_util::task::TaskTracker;

use super::backend::{After, Backend, Failed, Job};
use super::dial::Route;
use super::error::SqlError;
use super::result::ResultSink;
use crate::cancellation::Cancellation;

/// A connection that lay idle for longer is tried before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(2);
/// Cancelling, resetting and closing happen after the caller has its answer, and may take so long.
const AFTERMATH: Duration = Duration::from_secs(10);

/// The connections to one database.
pub(super) struct Database<B: Backend> {
    backend: Arc<B>,
    route: Route,
    pool: managed::Pool<Connector<B>>,
    /// What happens after callers have their results.
    aftermath: TaskTracker,
}

/// What the pool makes connections with.
struct Connector<B> {
    backend: Arc<B>,
    route: Route,
}

impl<B: Backend> managed::Manager for Connector<B> {
    type Type = B::Connection;
    type Error = SqlError;

    async fn create(&self) -> Result<B::Connection, SqlError> {
        let limit = self.route.settings.connection_timeout;
        match tokio::time::timeout(limit, self.backend.connect(&self.route)).await {
            Ok(connected) => connected,
            Err(_) => Err(SqlError::Unreachable {
                database: self.route.settings.to_string(),
                detail: format!("no connection within {} ms", limit.as_millis()),
            }),
        }
    }

    async fn recycle(&self, connection: &mut B::Connection, metrics: &Metrics) -> RecycleResult<SqlError> {
        if metrics.last_used() < TRUSTED_IDLE {
            return Ok(());
        }
        let limit = self.route.settings.connection_timeout;
        match tokio::time::timeout(limit, self.backend.ping(connection)).await {
            Ok(answer) => answer.map_err(RecycleError::Backend),
            Err(_) => Err(RecycleError::message("no answer")),
        }
    }
}

impl<B: Backend> Database<B> {
    pub(super) fn new(backend: B, route: Route, aftermath: TaskTracker) -> Result<Self, SqlError> {
        let backend = Arc::new(backend);
        let size = usize::try_from(route.settings.pool_size).unwrap_or(usize::MAX);
        let connector = Connector { backend: Arc::clone(&backend), route: route.clone() };
        let pool = managed::Pool::builder(connector).max_size(size).build();
        let pool = pool.map_err(|error| SqlError::Settings(error.to_string()))?;
        Ok(Self { backend, route, pool, aftermath })
    }

    async fn connection(&self, job: &Job<'_>) -> Result<Lent<B>, SqlError> {
        let until = tokio::time::Instant::from_std(job.deadline);
        match tokio::time::timeout_at(until, self.pool.get()).await {
            Ok(Ok(connection)) => Ok(Lent { connection: Some(connection) }),
            Ok(Err(managed::PoolError::Backend(error))) => Err(error),
            Ok(Err(error)) => Err(self.route.unreachable(&error)),
            Err(_) => Err(SqlError::Unreachable {
                database: self.route.settings.to_string(),
                detail: self.why_none(),
            }),
        }
    }

    /// Why no connection was to be had in time.
    fn why_none(&self) -> String {
        let status = self.pool.status();
        if status.waiting > 0 || status.size >= status.max_size {
            format!("all of its {} connections are in use", status.max_size)
        } else {
            "no connection came about before the call's deadline".to_owned()
        }
    }

    async fn run(
        self: Arc<Self>,
        job: &Job<'_>,
        mut sink: ResultSink,
        cancellation: &Cancellation,
    ) -> Result<ResultSink, SqlError> {
        let mut connection = tokio::select! {
            connection = self.connection(job) => connection?,
            () = cancellation.cancelled() => return Err(SqlError::Cancelled),
        };
        let canceller = B::canceller(connection.get()?);
        let started = Instant::now();
        let deadline = job.deadline.min(started + self.route.settings.query_timeout);
        let ended = tokio::select! {
            ended = self.backend.run(connection.get()?, job, &mut sink) => ended,
            () = tokio::time::sleep_until(deadline.into()) => {
                self.abandon(connection.returned()?, canceller);
                return Err(SqlError::TimedOut(deadline.duration_since(started)));
            }
            () = cancellation.cancelled() => {
                self.abandon(connection.returned()?, canceller);
                return Err(SqlError::Cancelled);
            }
        };
        let after = ended.as_ref().map_or_else(|failed| failed.after, |after| *after);
        self.put_back(connection.returned()?, after).await;
        ended.map(|_| sink).map_err(|Failed { error, .. }| error)
    }

    /// Cleans a connection up and gives it back; what has to be waited for happens while the caller has its result.
    async fn put_back(self: Arc<Self>, mut connection: Object<Connector<B>>, after: After) {
        let aftermath = self.aftermath.clone();
        let mut cleaning = Box::pin(async move {
            let in_order = after == After::Reset
                && tokio::time::timeout(AFTERMATH, self.backend.reset(&mut connection))
                    .await
                    .is_ok_and(|reset| reset.is_ok());
            if !in_order {
                discard::<B>(connection).await;
            }
        });
        if poll_immediate(&mut cleaning).await.is_none() {
            aftermath.spawn(cleaning);
        }
    }

    /// Cancels on the server what a connection is doing, and closes it. It keeps its place in the pool until then.
    fn abandon(self: Arc<Self>, connection: Object<Connector<B>>, canceller: B::Canceller) {
        self.aftermath.clone().spawn(async move {
            // The server may be gone; it ends the query by its own limit then, if it comes back at all.
            let _ = tokio::time::timeout(AFTERMATH, self.backend.cancel(&self.route, canceller)).await;
            discard::<B>(connection).await;
        });
    }
}

/// A connection while a query uses it. Unless it is returned in order it never goes back to the pool: a future that is
/// dropped in the middle of a query leaves it in no state to be used.
struct Lent<B: Backend> {
    connection: Option<Object<Connector<B>>>,
}

impl<B: Backend> Lent<B> {
    fn get(&mut self) -> Result<&mut B::Connection, SqlError> {
        self.connection.as_deref_mut().ok_or(SqlError::Cancelled)
    }

    fn returned(mut self) -> Result<Object<Connector<B>>, SqlError> {
        self.connection.take().ok_or(SqlError::Cancelled)
    }
}

impl<B: Backend> Drop for Lent<B> {
    fn drop(&mut self) {
        self.connection.take().map(Object::take);
    }
}

async fn discard<B: Backend>(connection: Object<Connector<B>>) {
    let connection = Object::take(connection);
    // What isn't closed politely in time is closed by being dropped.
    let _ = tokio::time::timeout(AFTERMATH, B::close(connection)).await;
}

/// A [`Database`] of any engine.
pub(super) trait AnyDatabase: Send + Sync {
    /// Runs a query; ends at the job's deadline or the settings' query timeout at the latest.
    fn run<'a>(
        self: Arc<Self>,
        job: &'a Job<'a>,
        sink: ResultSink,
        cancellation: &'a Cancellation,
    ) -> Pin<Box<dyn Future<Output = Result<ResultSink, SqlError>> + Send + 'a>>;

    /// Closes the connections that nobody has used for so long; whether none is left.
    fn close_idle(&self, idle: Duration) -> bool;
}

impl<B: Backend> AnyDatabase for Database<B> {
    fn run<'a>(
        self: Arc<Self>,
        job: &'a Job<'a>,
        sink: ResultSink,
        cancellation: &'a Cancellation,
    ) -> Pin<Box<dyn Future<Output = Result<ResultSink, SqlError>> + Send + 'a>> {
        Box::pin(Self::run(self, job, sink, cancellation))
    }

    fn close_idle(&self, idle: Duration) -> bool {
        self.pool.retain(|_, metrics| metrics.last_used() < idle);
        self.pool.status().size == 0
    }
}

#[cfg(test)]
mod tests;
