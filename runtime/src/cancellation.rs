//! How a caller that no longer wants an answer says so.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Cancels a call from another thread: clones are the same cancellation, and it can't be taken back.
///
/// The process of a connector's code is killed, and an SQL query is cancelled on its server. An HTTP request that is under
/// way is not taken back: what it does, it does.
#[derive(Clone, Default)]
pub struct Cancellation {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    cancelled: watch::Sender<bool>,
    hooks: Mutex<Hooks>,
}

/// What is called at the cancellation: one for each call under way that clones were given to.
#[derive(Default)]
struct Hooks {
    next_id: u64,
    waiting: Vec<(u64, Box<dyn FnOnce() + Send>)>,
}

impl Cancellation {
    /// The answer isn't wanted any more.
    pub fn cancel(&self) {
        self.inner.cancelled.send_replace(true);
        let hooks = std::mem::take(&mut self.hooks().waiting);
        for (_, hook) in hooks {
            hook();
        }
    }

    /// Whether the answer isn't wanted any more.
    pub fn is_cancelled(&self) -> bool {
        *self.inner.cancelled.borrow()
    }

    /// Ends once the answer isn't wanted any more.
    pub(crate) async fn cancelled(&self) {
        // The sender lives as long as `self`, so that this can't end for any other reason.
        let _ = self.inner.cancelled.subscribe().wait_for(|cancelled| *cancelled).await;
    }

    /// Has `hook` called at the cancellation, at once if that has been, until what this returns is dropped.
    pub(crate) fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> HookGuard<'_> {
        let id = {
            let mut hooks = self.hooks();
            hooks.next_id += 1;
            let id = hooks.next_id;
            hooks.waiting.push((id, Box::new(hook)));
            id
        };
        // Looked at only now: a cancellation in between has either seen the hook or is seen here.
        if self.is_cancelled() {
            self.cancel();
        }
        HookGuard { cancellation: self, id }
    }

    fn hooks(&self) -> std::sync::MutexGuard<'_, Hooks> {
        self.inner.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellation").field("is_cancelled", &self.is_cancelled()).finish()
    }
}

/// Takes a hook away when it is dropped.
pub(crate) struct HookGuard<'a> {
    cancellation: &'a Cancellation,
    id: u64,
}

impl Drop for HookGuard<'_> {
    fn drop(&mut self) {
        self.cancellation.hooks().waiting.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counted(n_calls: &Arc<AtomicUsize>) -> impl FnOnce() + Send + 'static {
        let n_calls = Arc::clone(n_calls);
        move || {
            n_calls.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_hook_is_called_once_and_only_while_it_is_wanted() {
        let n_calls = Arc::new(AtomicUsize::new(0));
        let cancellation = Cancellation::default();
        drop(cancellation.on_cancel(counted(&n_calls)));
        let guard = cancellation.on_cancel(counted(&n_calls));
        assert_eq!(n_calls.load(Ordering::SeqCst), 0);
        cancellation.clone().cancel();
        cancellation.cancel();
        drop(guard);
        assert_eq!(n_calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn calls_that_share_a_cancellation_are_all_told() {
        let n_calls = Arc::new(AtomicUsize::new(0));
        let cancellation = Cancellation::default();
        let _first = cancellation.on_cancel(counted(&n_calls));
        drop(cancellation.on_cancel(counted(&n_calls)));
        let _third = cancellation.on_cancel(counted(&n_calls));
        cancellation.cancel();
        assert_eq!(n_calls.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_hook_that_comes_late_is_called_at_once() {
        let n_calls = Arc::new(AtomicUsize::new(0));
        let cancellation = Cancellation::default();
        cancellation.cancel();
        let _guard = cancellation.on_cancel(counted(&n_calls));
        assert_eq!(n_calls.load(Ordering::SeqCst), 1);
    }
}
