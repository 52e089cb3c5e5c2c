//! What is served: the folders' integrations for all projects, and each project's view of them and its uploads.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use portcullis_runtime::Diagnostic;
use portcullis_runtime::manifest::name::Slug;
use tokio::sync::watch;

use super::{Integration, Problem, Served, Source};
use crate::identity::ProjectId;
use crate::store::integrations::UploadRecord;

/// What is served now. Nothing here waits for anything but another's few microseconds.
pub(super) struct Serving {
    state: RwLock<State>,
    /// Counts the changes. Counted while the state is locked for writing: who sees the count sees what it counts.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    folders: Arc<FolderSet>,
    views: HashMap<ProjectId, Arc<View>>,
}

/// The integrations in folders.
#[derive(Default)]
pub(super) struct FolderSet {
    by_slug: HashMap<Slug, Arc<Integration>>,
    /// By slug.
    list: Arc<Vec<Arc<Integration>>>,
}

/// A project's integrations.
pub(super) struct View {
    /// The store's epoch that the uploads are of.
    epoch: u64,
    folders: Arc<FolderSet>,
    uploads: HashMap<Slug, Upload>,
    /// When the first of them is to be tried again.
    retry_at: Option<Instant>,
    /// All of them, by slug.
    list: Arc<Vec<Arc<Integration>>>,
}

/// An upload of the project.
pub(super) struct Upload {
    pub(super) record: UploadRecord,
    pub(super) version: Arc<UploadedVersion>,
    integration: Arc<Integration>,
}

/// What became of an uploaded package.
#[derive(Debug)]
pub(super) struct UploadedVersion {
    /// None if it doesn't load.
    pub(super) served: Option<Arc<Served>>,
    /// Why not.
    pub(super) problem: Option<Problem>,
    pub(super) warnings: Vec<Diagnostic>,
    /// When to try again, where it wasn't the package's fault.
    pub(super) retry_at: Option<Instant>,
}

impl Serving {
    pub(super) fn new() -> Self {
        Self { state: RwLock::default(), changes: watch::Sender::new(0) }
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The folder's integration of this slug.
    pub(super) fn folder(&self, slug: &str) -> Option<Arc<Integration>> {
        self.read().folders.by_slug.get(slug).cloned()
    }

    /// The project's view, if it is that of this epoch and of the folders as they are.
    pub(super) fn current(&self, project: ProjectId, epoch: u64) -> Option<Arc<View>> {
        let state = self.read();
        let view = state.views.get(&project)?;
        let is_current =
            view.epoch == epoch && Arc::ptr_eq(&view.folders, &state.folders) && !is_due(view.retry_at);
        is_current.then(|| Arc::clone(view))
    }

    /// The project's last view, however old.
    pub(super) fn latest(&self, project: ProjectId) -> Option<Arc<View>> {
        self.read().views.get(&project).cloned()
    }

    /// The projects that were asked for.
    pub(super) fn projects(&self) -> Vec<ProjectId> {
        self.read().views.keys().copied().collect()
    }

    /// Serves these folders, which come by slug. True if that is a change.
    pub(super) fn set_folders<'a>(
        &self,
        folders: impl Iterator<Item = (&'a Slug, &'a Arc<Integration>)> + Clone,
    ) -> bool {
        let mut state = self.write();
        let list = &state.folders.list;
        let is_same =
            folders.clone().map(|(_, integration)| Arc::as_ptr(integration)).eq(list.iter().map(Arc::as_ptr));
        if is_same {
            return false;
        }
        state.folders = Arc::new(FolderSet {
            by_slug: folders
                .clone()
                .map(|(slug, integration)| (slug.clone(), Arc::clone(integration)))
                .collect(),
            list: Arc::new(folders.map(|(_, integration)| Arc::clone(integration)).collect()),
        });
        self.changes.send_modify(|count| *count += 1);
        true
    }

    /// Serves these uploads in the project, as the store had them in this epoch.
    pub(super) fn set_uploads(
        &self,
        project: ProjectId,
        epoch: u64,
        uploads: Vec<(UploadRecord, Arc<UploadedVersion>)>,
    ) -> Arc<View> {
        let mut state = self.write();
        let before = state.views.get(&project);
        let view = Arc::new(View::new(epoch, Arc::clone(&state.folders), uploads, before.map(Arc::as_ref)));
        let has_changed = match before {
            Some(before) => !view.has_uploads_of(before),
            None => !view.uploads.is_empty(),
        };
        state.views.insert(project, Arc::clone(&view));
        if has_changed {
            self.changes.send_modify(|count| *count += 1);
        }
        view
    }

    /// A thread that panicked left the state whole: it is only ever replaced.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    fn new(
        epoch: u64,
        folders: Arc<FolderSet>,
        uploads: Vec<(UploadRecord, Arc<UploadedVersion>)>,
        before: Option<&Self>,
    ) -> Self {
        let uploads = uploads.into_iter().map(|(record, version)| {
            let integration = Integration::of_upload(&record, &version, folders.by_slug.get(&record.slug));
            let old = before.and_then(|before| before.uploads.get(&record.slug)).map(|old| &old.integration);
            let integration = match old {
                Some(old) if old.is_same(&integration) => Arc::clone(old),
                _ => Arc::new(integration),
            };
            (record.slug.clone(), Upload { record, version, integration })
        });
        let uploads: HashMap<Slug, Upload> = uploads.collect();
        let retry_at = uploads.values().filter_map(|upload| upload.version.retry_at).min();
        let mut view = Self { epoch, uploads, retry_at, list: Arc::clone(&folders.list), folders };
        match before {
            Some(before) if Arc::ptr_eq(&before.folders, &view.folders) && view.has_uploads_of(before) => {
                view.list = Arc::clone(&before.list);
            }
            _ if view.uploads.is_empty() => {}
            _ => view.list = view.merged(),
        }
        view
    }

    /// The project's integration of this slug. An upload wins over a folder that came later.
    pub(super) fn get(&self, slug: &str) -> Option<&Arc<Integration>> {
        match self.uploads.get(slug) {
            Some(upload) => Some(&upload.integration),
            None => self.folders.by_slug.get(slug),
        }
    }

    /// All of them, by slug.
    pub(super) fn list(&self) -> &Arc<Vec<Arc<Integration>>> {
        &self.list
    }

    /// The upload of this slug.
    pub(super) fn upload(&self, slug: &str) -> Option<&Upload> {
        self.uploads.get(slug)
    }

    /// Whether these are the uploads that it has.
    pub(super) fn is_of(&self, records: &[&UploadRecord]) -> bool {
        self.uploads.len() == records.len()
            && records.iter().all(|record| {
                self.uploads.get(&record.slug).is_some_and(|upload| {
                    (&upload.record.digest, upload.record.updated_at) == (&record.digest, record.updated_at)
                })
            })
    }

    fn merged(&self) -> Arc<Vec<Arc<Integration>>> {
        let of_folders =
            self.folders.list.iter().filter(|integration| !self.uploads.contains_key(&integration.slug));
        let of_uploads = self.uploads.values().map(|upload| &upload.integration);
        let mut list: Vec<_> = of_folders.chain(of_uploads).cloned().collect();
        list.sort_by(|a, b| a.slug.cmp(&b.slug));
        Arc::new(list)
    }

    fn has_uploads_of(&self, other: &Self) -> bool {
        self.uploads.len() == other.uploads.len()
            && self.uploads.iter().all(|(slug, upload)| {
                other.uploads.get(slug).is_some_and(|old| Arc::ptr_eq(&old.integration, &upload.integration))
            })
    }
}

impl UploadedVersion {
    /// Whether another try to load it is due.
    pub(super) fn has_to_retry(&self) -> bool {
        is_due(self.retry_at)
    }
}

fn is_due(time: Option<Instant>) -> bool {
    time.is_some_and(|time| time <= Instant::now())
}

impl Integration {
    /// An upload as its project sees it, beside the folder of the same slug if there is one.
    pub(super) fn of_upload(
        record: &UploadRecord,
        version: &UploadedVersion,
        folder: Option<&Arc<Self>>,
    ) -> Self {
        let clash = folder.map(|folder| clash(&folder.source));
        let problem = match (version.problem.clone(), clash) {
            (Some(problem), Some(clash)) => {
                Some(Problem { message: format!("{}; and {clash}", problem.message), ..problem })
            }
            (problem, None) => problem,
            (None, Some(clash)) => Some(Problem { message: clash, diagnostics: Vec::new() }),
        };
        Self {
            slug: record.slug.clone(),
            source: Source::Upload,
            served: version.served.clone(),
            problem,
            warnings: version.warnings.clone(),
            updated_at: record.updated_at,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let is_same_served = match (&self.served, &other.served) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        is_same_served
            && self.source == other.source
            && self.problem == other.problem
            && self.warnings == other.warnings
            && self.updated_at == other.updated_at
    }
}

fn clash(folder: &Source) -> String {
    let place = match folder {
        Source::Folder(path) => format!("the folder {path:?} on the server"),
        Source::Upload => "another upload".to_owned(),
    };
    format!(
        "{place} has the same slug; this project goes on with its upload: delete the upload to use the folder, or remove the folder"
    )
}
