//! Refreshes under way in this process: one for each connection, however many wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::refresh::{Held, RefreshError};

/// What came of a refresh: the connection as it is stored then.
type Landed = Result<Arc<Held>, RefreshError>;
/// Refreshes by connection.
type Running = HashMap<Uuid, watch::Receiver<Option<Landed>>>;

/// The refreshes under way; clones share them.
#[derive(Clone, Default)]
pub(in crate::gateway) struct Flights {
    running: Arc<Mutex<Running>>,
}

impl Flights {
    /// Waits for the refresh of this connection that is under way, or begins `refresh`, which goes on to its end even if nobody
    /// waits for it any more: its answer must be saved.
    pub(super) async fn join(
        &self,
        connection: Uuid,
        refresh: impl Future<Output = Landed> + Send + 'static,
    ) -> Landed {
        let mut landed = self.begin(connection, refresh);
        match landed.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(landed)) => landed.clone(),
            Ok(None) | Err(_) => Err(RefreshError::Broken(
                "the refresh broke off inside this server; its log says why".to_owned(),
            )),
        }
    }

    /// Waits until none is under way, for so long at most.
    pub(super) async fn settle(&self, patience: Duration) {
        let all: Vec<watch::Receiver<Option<Landed>>> = self.running().values().cloned().collect();
        let until_landed = async {
            for mut landed in all {
                // One that broke off has ended too.
                let _ = landed.wait_for(Option::is_some).await;
            }
        };
        if tokio::time::timeout(patience, until_landed).await.is_err() {
            tracing::warn!("refreshes of tokens were still under way after {patience:?}");
        }
    }

    fn begin(
        &self,
        connection: Uuid,
        refresh: impl Future<Output = Landed> + Send + 'static,
    ) -> watch::Receiver<Option<Landed>> {
        let mut running = self.running();
        if let Some(landed) = running.get(&connection) {
            return landed.clone();
        }
        let (sender, landed) = watch::channel(None);
        running.insert(connection, landed.clone());
        let entry = Entry { flights: self.clone(), connection };
        tokio::spawn(async move {
            let result = refresh.await;
            // First, so that who comes now looks at what is stored.
            drop(entry);
            sender.send_replace(Some(result));
        });
        landed
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends with the refresh, also where that panics.
struct Entry {
    flights: Flights,
    connection: Uuid,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.flights.running().remove(&self.connection);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_wait_for_one_and_the_next_begins_anew() {
        let (flights, n_begun) = (Flights::default(), Arc::new(AtomicUsize::new(0)));
        let connection = Uuid::now_v7();
        for round in 1..=2 {
            let joined: Vec<_> = (0..50)
                .map(|_| {
                    let (flights, n_begun) = (flights.clone(), Arc::clone(&n_begun));
                    tokio::spawn(async move {
                        let refresh = async move {
                            n_begun.fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            Err(RefreshError::Gone("the test's own".to_owned()))
                        };
                        flights.join(connection, refresh).await
                    })
                })
                .collect();
            for one in joined {
                assert!(matches!(one.await.expect("joined"), Err(RefreshError::Gone(_))));
            }
            assert_eq!(n_begun.load(Ordering::SeqCst), round);
        }
        assert!(flights.running().is_empty());
    }

    #[tokio::test]
    async fn one_that_panics_leaves_nothing_behind() {
        let flights = Flights::default();
        let landed = flights.join(Uuid::nil(), async { panic!("a fault of the test's own") }).await;
        assert!(matches!(landed, Err(RefreshError::Broken(_))));
        assert!(flights.running().is_empty());
        let gone = async { Err(RefreshError::Gone(String::new())) };
        assert!(matches!(flights.join(Uuid::nil(), gone).await, Err(RefreshError::Gone(_))));
    }
}
