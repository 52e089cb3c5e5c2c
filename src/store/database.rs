//! The connections to the database: how they are set up, how long they may take, and what their errors become.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::any::{AnyArguments, AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::error::DatabaseError;
use sqlx::query::Query as SqlxQuery;
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Row as _, Transaction};
use tokio::time::timeout;
use url::Url;

use super::address::DatabaseUrl;
use super::file::DatabaseFile;
use super::{StoreError, migrate};

/// A statement with its values.
pub(super) type Query = SqlxQuery<'static, Any, AnyArguments>;

/// The longest that a statement may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same while the database is known to be away: those who ask needn't wait to be told.
const BRIEF_PATIENCE: Duration = Duration::from_secs(1);
/// The longest that a connection may take to be made, or to be had from a pool.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

const N_SQLITE_READERS: u32 = 4;
const N_POSTGRES_CONNECTIONS: u32 = 16;

/// What every connection to SQLite begins with; sqlx itself sets foreign_keys and a busy_timeout of 5 s. FULL: a commit that
/// was acknowledged survives a power cut.
const SQLITE_WRITER: &str = "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; \
                             PRAGMA journal_size_limit = 67108864";
const SQLITE_READER: &str = "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; \
                             PRAGMA query_only = ON";
/// A gateway that vanishes in the middle of a transaction must not keep others from writing until TCP gives up.
const POSTGRES: &str = "SET idle_in_transaction_session_timeout = '30s'; SET lock_timeout = '8s'";
/// Whoever starts while another process migrates waits for that, however long it takes.
const POSTGRES_MIGRATION: &str = "SET idle_in_transaction_session_timeout = '30s'";

/// Which kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
}

/// The database, with a connection for whoever asks.
pub(super) struct Database {
    engine: Engine,
    /// SQLite's.
    file: Option<DatabaseFile>,
    options: AnyConnectOptions,
    reader: AnyPool,
    /// On SQLite one connection, so that writers wait for each other here and not for the file's lock.
    writer: AnyPool,
    /// Why the database is away, if it is.
    trouble: Mutex<Option<String>>,
}

impl Database {
    /// Connects, and brings the schema up to date.
    pub(super) async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (engine, file, options) = match url {
            DatabaseUrl::Sqlite(path) => {
                let file = DatabaseFile::open_or_create(path)?;
                let options = options(&file.url())?;
                (Engine::Sqlite, Some(file), options)
            }
            DatabaseUrl::Postgres(url) => (Engine::Postgres, None, options(&named(url)?)?),
        };
        prepare(engine, &options).await?;
        let (reader, writer) = pools(engine, &options);
        Ok(Self { engine, file, options, reader, writer, trouble: Mutex::new(None) })
    }

    /// Which kind it is.
    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    /// How many rows one INSERT may have. On PostgreSQL each statement costs a journey to the server; SQLite looks numbered
    /// places up one by one, which takes longer than the rows where there are hundreds.
    pub(super) fn rows_at_once(&self) -> usize {
        match self.engine {
            Engine::Sqlite => 4,
            Engine::Postgres => 50,
        }
    }

    /// A connection beside the pools, that nobody else waits for.
    pub(super) async fn connect(&self) -> Result<AnyConnection, StoreError> {
        let setup = match self.engine {
            Engine::Sqlite => SQLITE_READER,
            Engine::Postgres => POSTGRES,
        };
        connect(&self.options, setup).await
    }

    /// The rows that a statement reads.
    pub(super) async fn rows(
        &self,
        operation: &'static str,
        query: Query,
    ) -> Result<Vec<AnyRow>, StoreError> {
        self.patiently(operation, query.fetch_all(&self.reader)).await
    }

    /// The first row that a statement reads.
    pub(super) async fn row(
        &self,
        operation: &'static str,
        query: Query,
    ) -> Result<Option<AnyRow>, StoreError> {
        self.patiently(operation, query.fetch_optional(&self.reader)).await
    }

    /// Begins a transaction that may write. READ COMMITTED, whatever the server's default is: a statement sees what was
    /// committed before it began, also by a transaction that it waited for.
    pub(super) async fn begin(&self, operation: &'static str) -> Result<Write<'_>, StoreError> {
        let begin = match self.engine {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            Engine::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        // SQLite would go on writing to a file that was deleted, and all that was acknowledged would be gone with it.
        self.check_file()?;
        let begun = self.patiently(operation, self.writer.begin_with(begin)).await;
        let transaction = match begun {
            Err(error) if is_out_of_step(&error) => {
                self.replace_writer(operation).await?;
                self.patiently(operation, self.writer.begin_with(begin)).await?
            }
            begun => begun?,
        };
        Ok(Write { database: self, operation, transaction })
    }

    /// Closes a writer's connection, so that the pool makes another.
    async fn replace_writer(&self, operation: &'static str) -> Result<(), StoreError> {
        let connection = self.patiently(operation, self.writer.acquire()).await?;
        self.patiently(operation, connection.close()).await
    }

    /// Whether the database's file is where it was; nothing on PostgreSQL.
    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        self.file.as_ref().map_or(Ok(()), DatabaseFile::check)
    }

    /// Notes whether the database is away, and why.
    pub(super) fn note_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Gives free pages of a SQLite file back to the file system, where they are many: over 4 MiB, and over a quarter of the
    /// file. Fewer are left for what is written next.
    pub(super) async fn give_back_space(&self) -> Result<(), StoreError> {
        const OPERATION: &str = "give back free space";
        const N_PAGES_AT_ONCE: i64 = 1_000;
        if self.engine == Engine::Postgres {
            return Ok(());
        }
        loop {
            let mut write = self.begin(OPERATION).await?;
            let n_free = write.number(sqlx::query("PRAGMA freelist_count")).await?;
            let n_pages = write.number(sqlx::query("PRAGMA page_count")).await?;
            if n_free <= N_PAGES_AT_ONCE || n_free <= n_pages / 4 {
                return Ok(());
            }
            write.execute(sqlx::query("PRAGMA incremental_vacuum(1000)")).await?;
            write.commit().await?;
        }
    }

    /// Closes all connections, after what is under way; on SQLite with a checkpoint, so that the file alone holds everything.
    pub(super) async fn close(&self) {
        self.reader.close().await;
        if self.engine == Engine::Sqlite && !self.writer.is_closed() {
            let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.writer);
            // The journal holds what isn't in the file yet, and the next start reads it.
            if let Err(error) = self.patiently("end its journal", checkpoint).await {
                tracing::warn!(error = ?error, "the database's journal stays as it is");
            }
        }
        self.writer.close().await;
    }

    async fn patiently<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        let patience = if self.trouble().is_some() { BRIEF_PATIENCE } else { PATIENCE };
        match timeout(patience, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => {
                let source =
                    self.trouble().unwrap_or_else(|| "the database doesn't answer in time".to_owned());
                Err(StoreError::Unavailable { operation, source: source.into() })
            }
            Ok(Err(error)) => Err(failed(operation, error)),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A transaction that may write. Dropping it undoes it.
pub(super) struct Write<'a> {
    database: &'a Database,
    operation: &'static str,
    transaction: Transaction<'static, Any>,
}

impl Write<'_> {
    /// Runs a statement; how many rows it changed.
    pub(super) async fn execute(&mut self, query: Query) -> Result<u64, StoreError> {
        let done = self.database.patiently(self.operation, query.execute(&mut *self.transaction)).await?;
        Ok(done.rows_affected())
    }

    /// Runs a statement that makes something whose name must be free.
    pub(super) async fn insert(
        &mut self,
        query: Query,
        what: impl FnOnce() -> String,
    ) -> Result<(), StoreError> {
        match self.execute(query).await {
            Err(StoreError::Unavailable { source, .. }) if is_unique_violation(&*source) => {
                Err(StoreError::Taken { what: what() })
            }
            done => done.map(drop),
        }
    }

    /// The first row that a statement reads.
    pub(super) async fn row(&mut self, query: Query) -> Result<Option<AnyRow>, StoreError> {
        self.database.patiently(self.operation, query.fetch_optional(&mut *self.transaction)).await
    }

    /// The number that a statement reads.
    pub(super) async fn number(&mut self, query: Query) -> Result<i64, StoreError> {
        let row = self.database.patiently(self.operation, query.fetch_one(&mut *self.transaction)).await?;
        row.try_get(0).map_err(|error| failed(self.operation, error))
    }

    /// Makes it last.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.database.patiently(self.operation, self.transaction.commit()).await
    }
}

/// Whether sqlx believes a transaction to be open that SQLite has rolled back by itself, as it does when the disk is full.
fn is_out_of_step(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else { return false };
    matches!(source.downcast_ref(), Some(sqlx::Error::InvalidSavePointStatement | sqlx::Error::BeginFailed))
}

fn is_unique_violation(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(sqlx::Error::Database(error)) if error.is_unique_violation())
}

/// The number that a statement reads, on a connection beside the pools.
pub(super) async fn read_number(
    operation: &'static str,
    connection: &mut AnyConnection,
    query: Query,
) -> Result<i64, StoreError> {
    let row = query.fetch_one(connection).await.map_err(|error| failed(operation, error))?;
    row.try_get(0).map_err(|error| failed(operation, error))
}

fn failed(operation: &'static str, error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            StoreError::Damaged { what: format!("row, read to {operation}") }
        }
        error => StoreError::Unavailable { operation, source: Box::new(error) },
    }
}

fn options(url: &str) -> Result<AnyConnectOptions, StoreError> {
    let options: AnyConnectOptions = url.parse().map_err(|error| failed("read the database's URL", error))?;
    // What fails is told by its caller; statements would fill the log.
    Ok(options.disable_statement_logging())
}

/// The URL with the application's name, unless it has one.
fn named(url: &str) -> Result<String, StoreError> {
    const OPERATION: &str = "read the database's URL";
    let mut url = Url::parse(url)
        .map_err(|error| StoreError::Unavailable { operation: OPERATION, source: Box::new(error) })?;
    if !url.query_pairs().any(|(key, _)| key == "application_name") {
        url.query_pairs_mut().append_pair("application_name", "portcullis");
    }
    Ok(url.into())
}

async fn connect(options: &AnyConnectOptions, setup: &'static str) -> Result<AnyConnection, StoreError> {
    const OPERATION: &str = "connect to the database";
    let connecting = async {
        let mut connection = options.connect().await?;
        sqlx::raw_sql(setup).execute(&mut connection).await?;
        Ok(connection)
    };
    match timeout(CONNECT_PATIENCE, connecting).await {
        Ok(connected) => connected.map_err(|error| failed(OPERATION, error)),
        Err(_) => {
            Err(StoreError::Unavailable { operation: OPERATION, source: "it doesn't answer in time".into() })
        }
    }
}

/// Makes the database what this program expects, on a connection of its own: whatever goes wrong, its locks end with it.
async fn prepare(engine: Engine, options: &AnyConnectOptions) -> Result<(), StoreError> {
    let setup = match engine {
        Engine::Sqlite => SQLITE_WRITER,
        Engine::Postgres => POSTGRES_MIGRATION,
    };
    let mut connection = connect(options, setup).await?;
    if engine == Engine::Sqlite {
        use_write_ahead_log(&mut connection).await?;
    }
    migrate::run(engine, &mut connection).await?;
    connection.close().await.map_err(|error| failed("prepare the database", error))
}

/// Readers and a writer then don't wait for each other. SQLite doesn't wait for others here, so this does.
async fn use_write_ahead_log(connection: &mut AnyConnection) -> Result<(), StoreError> {
    const OPERATION: &str = "switch the database to a write-ahead log";
    // It must come before the first table.
    let vacuum = sqlx::raw_sql("PRAGMA auto_vacuum = INCREMENTAL").execute(&mut *connection).await;
    vacuum.map_err(|error| failed(OPERATION, error))?;
    let deadline = tokio::time::Instant::now() + CONNECT_PATIENCE;
    loop {
        let mode =
            sqlx::query_scalar::<Any, String>("PRAGMA journal_mode = WAL").fetch_one(&mut *connection).await;
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Err(error) if !is_busy(&error) || tokio::time::Instant::now() > deadline => {
                return Err(failed(OPERATION, error));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(_) => {
                let source = "SQLite can't keep one there: is it a network file system?".into();
                return Err(StoreError::Unavailable { operation: OPERATION, source });
            }
        }
    }
}

/// SQLITE_BUSY is 5, and its extended codes end in it.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

/// The pools for readers and for writers; on PostgreSQL they are the same.
fn pools(engine: Engine, options: &AnyConnectOptions) -> (AnyPool, AnyPool) {
    match engine {
        Engine::Sqlite => {
            // A connection is a file that is open: it doesn't go stale.
            let lasting =
                || AnyPoolOptions::new().test_before_acquire(false).max_lifetime(None).idle_timeout(None);
            let reader = with_setup(lasting().max_connections(N_SQLITE_READERS), SQLITE_READER);
            let writer = with_setup(lasting().max_connections(1), SQLITE_WRITER);
            (
                reader.acquire_timeout(PATIENCE).connect_lazy_with(options.clone()),
                writer.acquire_timeout(PATIENCE).connect_lazy_with(options.clone()),
            )
        }
        Engine::Postgres => {
            let pool = with_setup(AnyPoolOptions::new().max_connections(N_POSTGRES_CONNECTIONS), POSTGRES)
                .acquire_timeout(CONNECT_PATIENCE)
                .connect_lazy_with(options.clone());
            (pool.clone(), pool)
        }
    }
}

fn with_setup(options: AnyPoolOptions, setup: &'static str) -> AnyPoolOptions {
    options.after_connect(move |connection, _| {
        Box::pin(async move { sqlx::raw_sql(setup).execute(connection).await.map(drop) })
    })
}
