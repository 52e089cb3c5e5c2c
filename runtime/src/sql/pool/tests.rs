//! Tests of the pool, with a backend that does as its query says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, json};

use super::*;
use crate::egress::{Client, EgressConfig};
use crate::manifest::{Kind, Manifest};
use crate::sql::dial::Network;
use crate::sql::placeholder::{Dialect, Query};
use crate::sql::settings::Settings;

/// Counts what the pool does with connections. Its queries are `SELECT 'word'`, and the word says what happens.
#[derive(Default)]
struct Counting {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicUsize,
    dropped: AtomicUsize,
    reset: AtomicUsize,
    cancelled: AtomicUsize,
    busy: AtomicUsize,
    most_busy: AtomicUsize,
}

struct Connection {
    counts: Arc<Counts>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Backend for Counting {
    type Connection = Connection;
    type Canceller = ();

    async fn connect(&self, route: &Route) -> Result<Connection, SqlError> {
        if route.settings.database == "slow" {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        self.counts.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Connection { counts: Arc::clone(&self.counts) })
    }

    fn canceller(_connection: &Connection) {}

    async fn run(
        &self,
        connection: &mut Connection,
        job: &Job<'_>,
        _sink: &mut ResultSink,
    ) -> Result<After, Failed> {
        let busy = connection.counts.busy.fetch_add(1, Ordering::SeqCst) + 1;
        connection.counts.most_busy.fetch_max(busy, Ordering::SeqCst);
        let text = job.query.text();
        if text.contains("hang") {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        connection.counts.busy.fetch_sub(1, Ordering::SeqCst);
        match text {
            text if text.contains("spoil") => Ok(After::Close),
            text if text.contains("fail") => Err(Failed::in_order(SqlError::database("failed", None))),
            text if text.contains("break") => Err(Failed::closing(SqlError::database("broke", None))),
            _ => Ok(After::Reset),
        }
    }

    async fn reset(&self, connection: &mut Connection) -> Result<(), SqlError> {
        connection.counts.reset.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn ping(&self, _connection: &mut Connection) -> Result<(), SqlError> {
        Ok(())
    }

    async fn cancel(&self, _route: &Route, _canceller: ()) {
        self.counts.cancelled.fetch_add(1, Ordering::SeqCst);
    }

    async fn close(connection: Connection) {
        drop(connection);
    }
}

struct Pool {
    database: Arc<Database<Counting>>,
    counts: Arc<Counts>,
    aftermath: TaskTracker,
}

/// A pool of at most two connections, with a query timeout of 150 ms and a connection timeout of 100 ms.
fn pool(database: &str) -> Pool {
    let manifest = json!({
        "title": "Pool", "type": "sql", "authMethod": "basic_auth",
        "sqlConnectionConfig": {
            "engine": "postgres",
            "options": {"connectionTimeout": 100},
            "security": {"maxConnectionPoolSize": 2, "queryTimeoutMs": 150},
        },
        "sqlOperations": [{"name": "one", "query": "SELECT 1"}],
    });
    let (manifest, _) = Manifest::parse(&manifest.to_string()).unwrap();
    let Kind::Sql(config) = manifest.kind else { panic!("it is SQL") };
    let mut connection = Map::new();
    connection.insert("server".to_owned(), json!("db.example"));
    connection.insert("database".to_owned(), json!(database));
    let secrets = BTreeMap::from([("username".to_owned(), "me".to_owned())]);
    let settings = Settings::gather(&config, &connection, &secrets).unwrap();
    let client = Client::new(&EgressConfig::default()).unwrap();
    let (counts, aftermath) = (Arc::new(Counts::default()), TaskTracker::new());
    let backend = Counting { counts: Arc::clone(&counts) };
    let route = Route::new(Arc::new(settings), Network::new(&client));
    let database = Arc::new(Database::new(backend, route, aftermath.clone()).unwrap());
    Pool { database, counts, aftermath }
}

impl Pool {
    async fn run(&self, word: &str) -> Result<(), SqlError> {
        self.run_until(word, &Cancellation::default()).await
    }

    async fn run_until(&self, word: &str, cancellation: &Cancellation) -> Result<(), SqlError> {
        let query = Query::parse(Dialect::Postgres, &format!("SELECT '{word}'"), &[]).0.unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let job = Job { query: &query, arguments: Vec::new(), read_only: true, deadline };
        let sink = ResultSink::new(10, 1000);
        Database::run(Arc::clone(&self.database), &job, sink, cancellation).await.map(drop)
    }

    /// Waits for what follows the calls.
    async fn settle(&self) {
        self.aftermath.close();
        self.aftermath.wait().await;
        self.aftermath.reopen();
    }

    /// How many connections were opened, and how many of them are gone.
    fn opened_and_dropped(&self) -> (usize, usize) {
        (self.counts.opened.load(Ordering::SeqCst), self.counts.dropped.load(Ordering::SeqCst))
    }
}

fn on_a_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn a_connection_is_used_again_once_it_is_reset() {
    on_a_runtime(async {
        let pool = pool("a");
        for word in ["fine", "fail", "fine"] {
            let _ = pool.run(word).await;
            pool.settle().await;
        }
        assert_eq!(pool.opened_and_dropped(), (1, 0));
        assert_eq!(pool.counts.reset.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn a_connection_that_may_be_in_disorder_is_closed() {
    on_a_runtime(async {
        let pool = pool("a");
        for word in ["spoil", "break"] {
            let _ = pool.run(word).await;
            pool.settle().await;
        }
        assert_eq!(pool.opened_and_dropped(), (2, 2));
        assert_eq!(pool.counts.reset.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_query_past_its_time_is_cancelled_and_its_connection_closed() {
    on_a_runtime(async {
        let pool = pool("a");
        let error = pool.run("hang").await.unwrap_err();
        assert!(matches!(error, SqlError::TimedOut(_)), "{error}");
        pool.settle().await;
        assert_eq!(pool.counts.cancelled.load(Ordering::SeqCst), 1);
        assert_eq!(pool.opened_and_dropped(), (1, 1));
    });
}

#[test]
fn a_caller_that_goes_away_has_its_query_cancelled() {
    on_a_runtime(async {
        let pool = pool("a");
        let cancellation = Cancellation::default();
        let later = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            cancellation.cancel();
        };
        let (ended, ()) = tokio::join!(pool.run_until("hang", &cancellation), later);
        assert!(matches!(ended, Err(SqlError::Cancelled)), "{ended:?}");
        pool.settle().await;
        assert_eq!(pool.counts.cancelled.load(Ordering::SeqCst), 1);
        assert_eq!(pool.opened_and_dropped(), (1, 1));
    });
}

#[test]
fn a_future_that_is_dropped_gives_no_busy_connection_back() {
    on_a_runtime(async {
        let pool = pool("a");
        let dropped = tokio::time::timeout(Duration::from_millis(20), pool.run("hang")).await;
        assert!(dropped.is_err());
        assert_eq!(pool.opened_and_dropped(), (1, 1));
    });
}

#[test]
fn there_are_never_more_connections_than_allowed() {
    on_a_runtime(async {
        let pool = pool("a");
        let calls = (0..20).map(|_| pool.run("fine"));
        assert!(futures_util::future::join_all(calls).await.iter().all(Result::is_ok));
        assert_eq!(pool.counts.most_busy.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn connecting_ends_in_time_and_says_what_to() {
    on_a_runtime(async {
        let error = pool("slow").run("fine").await.unwrap_err();
        let expected = "the PostgreSQL database \"slow\" on db.example:5432 can't be reached: no connection within 100 ms";
        assert_eq!(error.to_string(), expected);
    });
}

#[test]
fn idle_connections_are_closed() {
    on_a_runtime(async {
        let pool = pool("a");
        pool.run("fine").await.unwrap();
        pool.settle().await;
        assert!(!pool.database.close_idle(Duration::from_secs(60)));
        assert_eq!(pool.opened_and_dropped(), (1, 0));
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(pool.database.close_idle(Duration::from_millis(1)));
        assert_eq!(pool.opened_and_dropped(), (1, 1));
    });
}
