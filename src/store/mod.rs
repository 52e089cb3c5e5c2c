//! The store: everything that outlives the process, in SQLite or PostgreSQL; the only place where the product's SQL lives.
//!
//! Both databases get the same SQL text (`$1` places; texts, 64-bit integers and bytes only), through sqlx's `Any` driver.
//! Ids are UUIDv7 as text, times milliseconds since 1970. A NUL character in a text becomes U+FFFD: PostgreSQL takes none.
//!
//! What every call needs (keys, connections, sealed fields, secrets, the list of uploads) is cached. A cached answer is
//! valid within one *epoch*: each write of configuration, in this process or in another one on the same database, begins a
//! new one (the table `changes` counts them; own writes are seen at once, others' within 100 ms on SQLite and 250 ms on
//! PostgreSQL).
//!
//! Invariant: a transaction that changes configuration begins by counting that up, and so holds the row until its end: one
//! comes after the other, in all processes. What it reads can't change under it.

mod address;
pub(crate) mod agents;
pub(crate) mod approvals;
mod cache;
pub(crate) mod connections;
mod database;
mod epochs;
pub(crate) mod executions;
mod file;
pub(crate) mod grants;
pub(crate) mod integrations;
pub(crate) mod keys;
mod migrate;
pub(crate) mod oauth_apps;
mod oauth_devices;
pub(crate) mod oauth_flows;
pub(crate) mod oauth_grants;
pub(crate) mod oauth_refresh;
pub(crate) mod oauth_revocations;
pub(crate) mod projects;
mod rows;
pub(crate) mod sealed;
pub(crate) mod secrets;
#[cfg(test)]
mod tests;
pub(crate) mod webhooks;

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::address::DatabaseUrl;
use self::database::Database;
use self::epochs::Epochs;
use crate::time::Timestamp;

/// Why the store didn't do as told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database can't be reached, is full, or fails: 503.
    #[error("the store can't {operation}")]
    Unavailable {
        /// What it was about to do: "read the connections".
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The name is taken: 409. `what` is like `connection slug "support"`.
    #[error("{what} is taken")]
    Taken {
        /// What is taken.
        what: String,
    },
    /// Data were sealed under a master key that has been replaced meanwhile: seal again under the ring's newest and retry.
    #[error("the master key was rotated meanwhile")]
    KeyRotated,
    /// A row that this program can't have written.
    #[error("the store holds a damaged {what}")]
    Damaged {
        /// Which row.
        what: String,
    },
}

/// Everything that outlives the process; clones are the same store.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<Database>,
    epochs: Arc<Epochs>,
    /// Looks for other processes' changes.
    watch: AbortOnDropHandle<()>,
}

impl Store {
    /// Connects, applies migrations, and begins to watch for other processes' changes.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let database = Arc::new(Database::open(url).await?);
        let mut connection = database.connect().await?;
        let epochs = Arc::new(Epochs::new(epochs::n_changes(&mut connection).await?));
        let watch = tokio::spawn(epochs::watch(database.clone(), epochs.clone(), Some(connection)));
        let watch = AbortOnDropHandle::new(watch);
        Ok(Self { inner: Arc::new(Inner { database, epochs, watch }) })
    }

    /// Whether the database answers, and can write (`/readyz`).
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let database = &self.inner.database;
        database.check_file()?;
        database.row("read", sqlx::query("SELECT n FROM changes")).await?;
        let mut write = database.begin("write").await?;
        write.execute(sqlx::query("UPDATE heartbeat SET at = $1").bind(Timestamp::now().0)).await?;
        write.commit().await
    }

    /// The current epoch: two equal ones with nothing written between them, as far as this process knows.
    pub(crate) fn epoch(&self) -> u64 {
        self.inner.epochs.current()
    }

    /// A receiver of epochs, that wakes at each new one.
    pub(crate) fn epochs(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.epochs.subscribe()
    }

    /// Closes all connections, after what is under way (SQLite: with a checkpoint).
    pub(crate) async fn close(&self) {
        self.inner.watch.abort();
        self.inner.database.close().await;
    }
}
