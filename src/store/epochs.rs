//! Epochs: how long what is cached stays true, and how other processes' changes are noticed.

use std::future::Future;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::AnyConnection;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::cache::{Answers, Caches};
use super::database::{Database, Engine, Write, read_number};
use super::rows::Fields;
use super::{Store, StoreError};
use crate::vault::Sealed;

/// How long a look at the counter may take; longer counts as a change.
const POLL_PATIENCE: Duration = Duration::from_secs(1);

/// The current epoch, and what is cached in it.
pub(super) struct Epochs {
    current: watch::Sender<u64>,
    /// The number in the table `changes` that the current epoch knows of.
    seen: Mutex<i64>,
    caches: Caches,
}

impl Epochs {
    /// The first epoch, of a database whose counter stands at `n`.
    pub(super) fn new(n: i64) -> Self {
        Self { current: watch::Sender::new(0), seen: Mutex::new(n), caches: Caches::new() }
    }

    /// The current epoch.
    pub(super) fn current(&self) -> u64 {
        *self.current.borrow()
    }

    /// A receiver that wakes at each new epoch.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.current.subscribe()
    }

    /// The answer that is kept for this epoch, or the one that `read` gives. The epoch is taken before anything is read: what
    /// is read in it may be newer, and is never older.
    pub(super) async fn cached<K, V>(
        &self,
        answers: impl FnOnce(&Caches) -> &Answers<K, V>,
        question: K,
        read: impl Future<Output = Result<V, StoreError>>,
    ) -> Result<V, StoreError>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let (answers, key) = (answers(&self.caches), (self.current(), question));
        if let Some(answer) = answers.get(&key) {
            return Ok(answer);
        }
        let answer = read.await?;
        answers.insert(key, answer.clone());
        Ok(answer)
    }

    /// Begins an epoch. What was cached before is never found again (the epoch is part of its key): the caches are cleared
    /// only for its room.
    fn begin(&self) {
        self.current.send_modify(|epoch| *epoch += 1);
        self.caches.clear();
    }

    /// The counter stood at `n` when it was read in epoch `read_in`: a number that isn't the last one means that something
    /// changed. In a newer epoch the number says nothing: the next look will tell.
    fn observe(&self, read_in: u64, n: i64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen != n && self.current() == read_in {
            *seen = n;
            self.begin();
        }
    }

    /// This process has made change `n`. All changes up to it came before it.
    fn begin_own(&self, n: i64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = n;
        self.begin();
    }
}

/// Looks for other processes' changes, for ever. While the database is away each look begins an epoch.
pub(super) async fn watch(
    database: Arc<Database>,
    epochs: Arc<Epochs>,
    mut connection: Option<AnyConnection>,
) {
    let interval = match database.engine() {
        Engine::Sqlite => Duration::from_millis(100),
        Engine::Postgres => Duration::from_millis(250),
    };
    loop {
        sleep(interval).await;
        let epoch = epochs.current();
        match timeout(POLL_PATIENCE, poll(&database, &mut connection)).await {
            Ok(Ok(n)) => {
                database.note_trouble(None);
                epochs.observe(epoch, n);
            }
            Ok(Err(error)) => {
                connection = None;
                database.note_trouble(Some(chain(&error)));
                epochs.begin();
            }
            Err(_) => {
                connection = None;
                epochs.begin();
            }
        }
    }
}

async fn poll(database: &Database, connection: &mut Option<AnyConnection>) -> Result<i64, StoreError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(database.connect().await?),
    };
    n_changes(connection).await
}

/// How many changes there were.
pub(super) async fn n_changes(connection: &mut AnyConnection) -> Result<i64, StoreError> {
    let query = sqlx::query("SELECT n FROM changes");
    read_number("look for changes", connection, query).await
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// A transaction that changes configuration. One runs at a time, in all processes on the database: it holds the row of
/// `changes`, and so sees all that was changed before it.
pub(super) struct Change<'a> {
    write: Write<'a>,
    epochs: &'a Epochs,
    /// The change's number.
    n: i64,
}

impl Store {
    /// Begins to change configuration; waits for whoever does so.
    pub(super) async fn begin_change(&self, operation: &'static str) -> Result<Change<'_>, StoreError> {
        let mut write = self.inner.database.begin(operation).await?;
        let n = write.number(sqlx::query("UPDATE changes SET n = n + 1 RETURNING n")).await?;
        Ok(Change { write, epochs: &self.inner.epochs, n })
    }
}

impl Change<'_> {
    /// Refuses values under another master key than the one in force. None comes into force before this transaction ends.
    pub(super) async fn check_master_key(
        &mut self,
        values: impl IntoIterator<Item = &Sealed>,
    ) -> Result<(), StoreError> {
        let row = self.row(sqlx::query("SELECT key_id FROM master_key")).await?;
        let active =
            row.map(|row| Fields::of("master key", &row).optional_text("key_id")).transpose()?.flatten();
        match active {
            Some(active) if values.into_iter().any(|sealed| sealed.key_id != active) => {
                Err(StoreError::KeyRotated)
            }
            _ => Ok(()),
        }
    }

    /// Makes it last, and begins an epoch: also where the commit's answer was lost, and it may have been made.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let committed = self.write.commit().await;
        self.epochs.begin_own(self.n);
        committed
    }
}

impl<'a> Deref for Change<'a> {
    type Target = Write<'a>;

    fn deref(&self) -> &Write<'a> {
        &self.write
    }
}

impl<'a> DerefMut for Change<'a> {
    fn deref_mut(&mut self) -> &mut Write<'a> {
        &mut self.write
    }
}
