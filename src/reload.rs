//! Live reload: watches `integrations/`, and has the registry look again when something there has come to rest.

mod watches;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout_at};

use self::watches::Watches;
use crate::integrations::Registry;

/// Whoever writes a file or copies a folder is taken to be done after so long without an event,
const QUIET: Duration = Duration::from_millis(100);
/// but after so long in any case.
const MAX_UNREST: Duration = Duration::from_millis(400);
/// The pause between two looks where events don't tell, or don't tell all.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// The pause between two looks that no event asked for: what a network file system never tells is found by them.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Watches until dropped.
pub(crate) struct Reload {
    task: JoinHandle<()>,
}

/// Begins to watch the folder. Where the system can't watch it (no inotify left, a network file system), it is looked at
/// every half second instead, and the log says so. Runs within a Tokio runtime.
pub(crate) fn watch(folder: &Path, registry: Arc<Registry>) -> Reload {
    let touched = Arc::new(Notify::new());
    let watches = Watches::new(folder, Arc::clone(&touched));
    Reload { task: tokio::spawn(follow(watches, touched, registry)) }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Looks at once, since something may have changed before it was watched, and again whenever there is reason to.
async fn follow(mut watches: Watches, touched: Arc<Notify>, registry: Arc<Registry>) {
    loop {
        // Watched first, looked at then: a change in between is told and seen, one after it is told.
        watches = match spawn_blocking(move || watches.renewed()).await {
            Ok(watches) => watches,
            Err(error) => {
                tracing::error!(%error, "live reload has ended");
                return;
            }
        };
        registry.rescan().await;
        reason_to_look(&watches, &touched).await;
    }
}

/// Waits until there is reason to look at the folder again.
async fn reason_to_look(watches: &Watches, touched: &Notify) {
    let latest = Instant::now() + LOOK_EVERY;
    loop {
        tokio::select! {
            () = touched.notified() => return come_to_rest(touched).await,
            () = sleep(POLL_EVERY) => {}
        }
        if watches.must_poll() || watches.is_outdated() || Instant::now() >= latest {
            return;
        }
    }
}

async fn come_to_rest(touched: &Notify) {
    let latest = Instant::now() + MAX_UNREST;
    loop {
        let rest = latest.min(Instant::now() + QUIET);
        if timeout_at(rest, touched.notified()).await.is_err() || Instant::now() >= latest {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
