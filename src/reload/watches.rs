//! The system's watches: one on the folder of integrations, and one on each integration's folder.
//!
//! Not on what is below: a package's files lie at its top, and a `node_modules` would use up the system's watches.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::integrations::scan::folders;

/// Which folder stands at a path: its device and inode.
type FolderId = (u64, u64);

/// Watches on the folders that there are.
pub(super) struct Watches {
    root: PathBuf,
    /// Told of each event.
    touched: Arc<Notify>,
    /// Whether the system is asked at all.
    has_events: bool,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, FolderId>,
    /// Why events don't tell everything.
    gap: Option<String>,
}

impl Watches {
    /// None yet; those that [`Watches::renewed`] makes notify `touched` of each change.
    pub(super) fn new(root: &Path, touched: Arc<Notify>) -> Self {
        Self {
            root: root.to_owned(),
            touched,
            has_events: true,
            watcher: None,
            watched: BTreeMap::new(),
            gap: None,
        }
    }

    /// Watches as on a system that has none to give.
    #[cfg(test)]
    pub(super) fn without_events(root: &Path, touched: Arc<Notify>) -> Self {
        Self { has_events: false, ..Self::new(root, touched) }
    }

    /// Whether the folder must be looked at again and again.
    pub(super) fn must_poll(&self) -> bool {
        self.gap.is_some()
    }

    /// Whether another folder, or none, stands in the place of the one that is watched.
    pub(super) fn is_outdated(&self) -> bool {
        id(&self.root).ok().as_ref() != self.watched.get(&self.root)
    }

    /// The same for the folders that there are now. Blocks.
    pub(super) fn renewed(mut self) -> Self {
        let gap = self.renew().err();
        if gap != self.gap {
            match &gap {
                Some(gap) => tracing::warn!(folder = ?self.root, "looked at every half second: {gap}"),
                None => tracing::info!(folder = ?self.root, "watched for changes"),
            }
        }
        self.gap = gap;
        self
    }

    /// The error says what events won't tell.
    fn renew(&mut self) -> Result<(), String> {
        if !self.has_events {
            return Err("the system has no events for it".to_owned());
        }
        let root = self.root.clone();
        self.watch(&root).map_err(|error| match error.kind {
            ErrorKind::PathNotFound => "it isn't there".to_owned(),
            _ => told(&error),
        })?;
        let folders = folders(&root).map_err(|error| format!("it can't be read: {error}"))?;
        let folders: BTreeSet<PathBuf> = folders.into_iter().map(|(path, _)| path).collect();
        self.unwatch_all_but(&folders);
        for folder in &folders {
            match self.watch(folder) {
                // Gone since; the watch on the root tells.
                Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => {}
                watched => watched.map_err(|error| told(&error))?,
            }
        }
        match folders.iter().find(|folder| folder.is_symlink()) {
            Some(link) => Err(format!("{link:?} is a link, and what stands behind it may change unseen")),
            None => Ok(()),
        }
    }

    /// Watches a folder, even if it is watched already: when a folder is moved, notify forgets its watch some time after
    /// having told of it, though another one may stand there by then.
    fn watch(&mut self, folder: &Path) -> notify::Result<()> {
        let id = id(folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => notify::Error::path_not_found(),
            _ => notify::Error::io(error),
        });
        if self.watched.get(folder) != id.as_ref().ok() {
            self.unwatch(folder);
        }
        let id = id?;
        self.watcher()?.watch(folder, RecursiveMode::NonRecursive)?;
        self.watched.insert(folder.to_owned(), id);
        Ok(())
    }

    fn unwatch_all_but(&mut self, folders: &BTreeSet<PathBuf>) {
        let gone: Vec<PathBuf> = self
            .watched
            .keys()
            .filter(|path| **path != self.root && !folders.contains(*path))
            .cloned()
            .collect();
        for folder in gone {
            self.unwatch(&folder);
        }
    }

    fn unwatch(&mut self, folder: &Path) {
        if let (Some(_), Some(watcher)) = (self.watched.remove(folder), &mut self.watcher) {
            // It fails where the watch went with its folder.
            let _ = watcher.unwatch(folder);
        }
    }

    fn watcher(&mut self) -> notify::Result<&mut RecommendedWatcher> {
        let watcher = match self.watcher.take() {
            Some(watcher) => watcher,
            None => {
                let touched = Arc::clone(&self.touched);
                notify::recommended_watcher(move |event: notify::Result<Event>| {
                    if is_change(&event) {
                        touched.notify_one();
                    }
                })?
            }
        };
        Ok(self.watcher.insert(watcher))
    }
}

fn id(folder: &Path) -> io::Result<FolderId> {
    folder.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether something may have changed. Looking at the folders makes events as well, which must not lead to another look.
fn is_change(event: &notify::Result<Event>) -> bool {
    match event {
        Ok(event) => match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => event.need_rescan(),
            _ => true,
        },
        Err(_) => true,
    }
}

fn told(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the system's watches are used up (raise fs.inotify.max_user_watches)".to_owned()
        }
        ErrorKind::Io(error) => format!("the system can't watch it: {error}"),
        _ => format!("the system can't watch it: {error}"),
    }
}
