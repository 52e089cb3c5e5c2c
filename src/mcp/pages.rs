//! Results that were too long for one answer, kept for a while so that the rest can be read.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::watch;

use super::result::Source;
use crate::vault::random;

/// How long the rest of a result is kept.
pub(super) const KEPT: Duration = Duration::from_secs(600);
/// Bytes of text that are kept at a time.
const MAX_BYTES: u64 = 128 * 1024 * 1024;

/// A result in full.
#[derive(Debug)]
pub(super) struct Kept {
    owner: String,
    pub(super) text: String,
    pub(super) source: Source,
}

/// The results that are kept.
#[derive(Clone)]
pub(crate) struct Pages {
    kept: Cache<String, Arc<Kept>>,
    /// Whoever kept something within the time that it is kept.
    owners: Cache<String, ()>,
    /// Counts up when an owner comes to have something.
    changes: Arc<watch::Sender<u64>>,
}

impl Default for Pages {
    fn default() -> Self {
        let weigh = |_: &String, kept: &Arc<Kept>| u32::try_from(kept.text.len()).unwrap_or(u32::MAX);
        Self {
            kept: Cache::builder().weigher(weigh).max_capacity(MAX_BYTES).time_to_live(KEPT).build(),
            owners: Cache::builder().max_capacity(100_000).time_to_live(KEPT).build(),
            changes: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Pages {
    /// Keeps a result; its id.
    pub(super) fn keep(&self, owner: &str, text: String, source: Source) -> String {
        let id: String = random::bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        self.kept.insert(id.clone(), Arc::new(Kept { owner: owner.to_owned(), text, source }));
        let is_first = !self.has_any(owner);
        self.owners.insert(owner.to_owned(), ());
        if is_first {
            self.changes.send_modify(|n| *n += 1);
        }
        id
    }

    /// What the owner kept under this id.
    pub(super) fn get(&self, owner: &str, id: &str) -> Option<Arc<Kept>> {
        self.kept.get(id).filter(|kept| kept.owner == owner)
    }

    /// Whether there may be something for the owner to read.
    pub(super) fn has_any(&self, owner: &str) -> bool {
        self.owners.contains_key(owner)
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_caller_left_no_other_reads() {
        let pages = Pages::default();
        let mut changes = pages.changes();
        assert!(!pages.has_any("ada"));
        let id = pages.keep("ada", "text".to_owned(), Source::default());
        assert_eq!(pages.get("ada", &id).map(|kept| kept.text.clone()).as_deref(), Some("text"));
        assert!(pages.get("eve", &id).is_none() && pages.get("ada", "0").is_none());
        assert!(pages.has_any("ada") && !pages.has_any("eve"));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        pages.keep("ada", "more".to_owned(), Source::default());
        assert!(!changes.has_changed().unwrap(), "the list is the same as before");
    }
}
