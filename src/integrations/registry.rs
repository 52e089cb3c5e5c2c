//! All integrations that this process serves, by project and slug.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::{Diagnostic, Engine, Package};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::folders::Folders;
use super::loader::{Lane, Loader, serve};
use super::problem::{Fault, NotLoaded};
use super::serving::{Serving, UploadedVersion, View};
use super::upload::Upload;
use super::{Integration, Problem};
use crate::identity::ProjectId;
use crate::store::integrations::UploadRecord;
use crate::store::{Store, StoreError};

/// How long until an upload that the sandbox failed to load is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How many uploads of a project are read and loaded at once.
const MAX_FETCHES: usize = 8;
/// The pause between two looks at what other processes uploaded.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why an upload was not installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    /// It is no package, or the manifest or code is wrong: 422 (413 where it is too large).
    #[error("{}", .problem.message)]
    Invalid {
        problem: Problem,
        /// Whether a cap on size was passed.
        is_too_large: bool,
    },
    /// Operations or parameters changed and the version did not: 409 unless forced.
    #[error("{0}")]
    Drift(String),
    /// A folder under `integrations/` has this slug, or another upload was faster: 409.
    #[error("{0}")]
    Clash(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sandbox doesn't work; the package may be fine: 503.
    #[error("{0}")]
    Sandbox(String),
}

/// Why an integration was not removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UninstallError {
    /// There is none: 404.
    #[error("there is no integration {0:?}")]
    NotFound(String),
    /// It is a folder on the server, to be removed there: 409.
    #[error("{0}")]
    Folder(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What checking an upload found.
#[derive(Debug, serde::Serialize)]
pub(crate) struct CheckReport {
    pub(crate) valid: bool,
    /// None where the upload can't be read far enough to tell.
    pub(crate) slug: Option<String>,
    /// What is wrong; none if it is valid.
    pub(crate) problem: Option<Problem>,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// All integrations; shared by everything that calls or lists them.
pub(crate) struct Registry {
    pub(super) store: Store,
    pub(super) loader: Arc<Loader>,
    pub(super) serving: Serving,
    folders: Option<Folders>,
    /// Held while a project's view is made or an upload of it is stored, so that each package is loaded once.
    projects: Mutex<HashMap<ProjectId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Registry {
    /// A registry of the folder's integrations and the store's uploads. Nothing is loaded yet. Runs within a Tokio runtime,
    /// where it follows what other processes upload.
    pub(crate) fn new(engine: Engine, store: Store, folder: Option<PathBuf>) -> Arc<Self> {
        let epochs = store.epochs();
        let registry = Arc::new(Self {
            store,
            loader: Arc::new(Loader::new(engine)),
            serving: Serving::new(),
            folders: folder.map(Folders::new),
            projects: Mutex::default(),
        });
        tokio::spawn(follow(Arc::downgrade(&registry), epochs));
        registry
    }

    /// Loads every folder and upload, some at a time. A broken one is a [`Problem`] of its own, never an error here.
    pub(crate) async fn load_all(&self) -> Result<(), StoreError> {
        self.rescan().await;
        for project in by_project(&self.store.all_uploads().await?).into_keys() {
            self.view(project).await?;
        }
        Ok(())
    }

    /// Looks at the folder again, and loads what has changed since; called by `crate::reload` when something did. True if
    /// anything is served otherwise than before.
    pub(crate) async fn rescan(&self) -> bool {
        match &self.folders {
            Some(folders) => folders.rescan(&self.loader, &self.serving).await,
            None => false,
        }
    }

    /// The project's integrations, by slug; broken ones too.
    pub(crate) async fn integrations(
        &self,
        project: ProjectId,
    ) -> Result<Arc<Vec<Arc<Integration>>>, StoreError> {
        Ok(Arc::clone(self.view(project).await?.list()))
    }

    /// One of them.
    pub(crate) async fn integration(
        &self,
        project: ProjectId,
        slug: &str,
    ) -> Result<Option<Arc<Integration>>, StoreError> {
        Ok(self.view(project).await?.get(slug).cloned())
    }

    /// Validates and compiles an upload, and changes nothing. An error if the sandbox doesn't work: nothing is known of
    /// the upload then.
    pub(crate) async fn check(&self, upload: Upload) -> Result<CheckReport, InstallError> {
        let found = self
            .loader
            .run(Lane::Uploads, |engine| {
                let package = upload.package().map_err(|error| (None, error.into()))?;
                let slug = package.slug().to_string();
                serve(engine, package).map_err(|error| (Some(slug), error.into()))
            })
            .await
            .unwrap_or_else(|failure| Err((None, failure)));
        match found {
            Ok(served) => Ok(CheckReport {
                valid: true,
                slug: Some(served.connector.slug().to_owned()),
                problem: None,
                warnings: served.connector.warnings().to_vec(),
            }),
            Err((_, NotLoaded { fault: Fault::Sandbox, problem })) => {
                Err(InstallError::Sandbox(problem.message))
            }
            Err((slug, NotLoaded { problem, .. })) => {
                Ok(CheckReport { valid: false, slug, problem: Some(problem), warnings: Vec::new() })
            }
        }
    }

    /// Counts up whenever what is served changes; what is derived from integrations is cached by it. The change is there
    /// to be seen before it is counted.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.serving.changes()
    }

    /// The project's integrations as the store and the folders have them. Where this is known, nothing is waited for.
    async fn view(&self, project: ProjectId) -> Result<Arc<View>, StoreError> {
        if let Some(view) = self.serving.current(project, self.store.epoch()) {
            return Ok(view);
        }
        let lock = self.lock_of(project);
        let _alone = lock.lock().await;
        match self.serving.current(project, self.store.epoch()) {
            Some(view) => Ok(view),
            None => self.renew(project, None).await,
        }
    }

    /// What to hold while the project's uploads are looked at or changed.
    pub(super) fn lock_of(&self, project: ProjectId) -> Arc<tokio::sync::Mutex<()>> {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(projects.entry(project).or_default())
    }

    /// Makes the project's view anew from what the store holds, and loads what isn't loaded yet; `loaded` is. Needs
    /// [`Registry::lock_of`] held.
    pub(super) async fn renew(
        &self,
        project: ProjectId,
        loaded: Option<&Arc<UploadedVersion>>,
    ) -> Result<Arc<View>, StoreError> {
        // Read first: what is written after this makes another epoch, and the view is made anew.
        let epoch = self.store.epoch();
        let records = self.store.uploads(project).await?;
        let before = self.serving.latest(project);
        let mut uploads = Vec::with_capacity(records.len());
        let mut missing = Vec::new();
        for record in records.iter() {
            let known = before.as_ref().and_then(|before| before.upload(record.slug.as_str()));
            let known = known.filter(|known| known.record.digest == record.digest);
            let known = known.map(|known| &known.version).filter(|version| !version.has_to_retry());
            match known.or(loaded.filter(|version| version.is_package_of(record))) {
                Some(version) => uploads.push((record.clone(), Arc::clone(version))),
                None => missing.push(record.clone()),
            }
        }
        uploads.extend(self.fetch_all(missing).await?);
        Ok(self.serving.set_uploads(project, epoch, uploads))
    }

    /// Reads these uploads from the store and loads them, a few at a time: each takes up to a megabyte.
    async fn fetch_all(
        &self,
        records: Vec<UploadRecord>,
    ) -> Result<Vec<(UploadRecord, Arc<UploadedVersion>)>, StoreError> {
        let mut uploads = Vec::with_capacity(records.len());
        let mut records = records.into_iter();
        let mut loads = JoinSet::new();
        loop {
            for record in records.by_ref().take(MAX_FETCHES - loads.len()) {
                let (store, loader) = (self.store.clone(), Arc::clone(&self.loader));
                loads.spawn(async move { fetch(&store, &loader, record).await });
            }
            match loads.join_next().await {
                Some(Ok(fetched)) => uploads.extend(fetched?),
                Some(Err(error)) => tracing::error!(%error, "an upload was not loaded"),
                None => return Ok(uploads),
            }
        }
    }
}

impl UploadedVersion {
    /// Whether it was loaded from the record's package.
    fn is_package_of(&self, record: &UploadRecord) -> bool {
        self.served.as_ref().is_some_and(|served| {
            served.connector.digest() == record.digest && served.package.slug() == &record.slug
        })
    }

    /// What became of loading a package.
    pub(super) fn of(loaded: Result<Arc<super::Served>, NotLoaded>) -> Self {
        match loaded {
            Ok(served) => Self {
                warnings: served.connector.warnings().to_vec(),
                served: Some(served),
                problem: None,
                retry_at: None,
            },
            Err(NotLoaded { fault, problem }) => Self {
                served: None,
                problem: Some(problem),
                warnings: Vec::new(),
                retry_at: (fault == Fault::Sandbox).then(|| Instant::now() + RETRY_AFTER),
            },
        }
    }
}

/// Reads an upload's package from the store and loads it; none if it was deleted meanwhile.
async fn fetch(
    store: &Store,
    loader: &Loader,
    record: UploadRecord,
) -> Result<Option<(UploadRecord, Arc<UploadedVersion>)>, StoreError> {
    let Some((digest, zip)) = store.upload_package(record.project, &record.slug).await? else {
        return Ok(None);
    };
    let version = UploadedVersion::of(load_zip(loader, &record.slug, zip).await);
    if let Some(problem) = &version.problem {
        let (project, integration) = (record.project, record.slug.as_str());
        tracing::warn!(%project, integration, problem = problem.message, "an upload can't be served");
    }
    // It may have been replaced since the record was read; the view is then made anew.
    Ok(Some((UploadRecord { digest, ..record }, Arc::new(version))))
}

/// Loads a package that the store holds.
pub(super) async fn load_zip(
    loader: &Loader,
    slug: &Slug,
    zip: Vec<u8>,
) -> Result<Arc<super::Served>, NotLoaded> {
    let slug = slug.clone();
    let load = move |engine: &Engine| Ok(serve(engine, Package::from_zip(&zip, Some(slug))?)?);
    loader.run(Lane::Uploads, load).await?
}

fn by_project(records: &[UploadRecord]) -> BTreeMap<ProjectId, Vec<&UploadRecord>> {
    let mut projects: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records {
        projects.entry(record.project).or_default().push(record);
    }
    projects
}

/// Has the registry look at the uploads in each new epoch. Ends with the store or the registry.
async fn follow(registry: Weak<Registry>, mut epochs: watch::Receiver<u64>) {
    let mut has_failed = false;
    while epochs.changed().await.is_ok() {
        let Some(registry) = registry.upgrade() else { return };
        let caught_up = registry.catch_up().await;
        drop(registry);
        // While the store is away each of its looks makes an epoch; one line in the log is enough.
        if let (Err(error), false) = (&caught_up, has_failed) {
            tracing::warn!(%error, "can't look for uploads of other processes; trying on");
        }
        has_failed = caught_up.is_err();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Registry {
    /// Makes projects' views anew where their uploads have changed, so that what another process uploads is counted even if
    /// nobody asks for it.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let all = self.store.all_uploads().await?;
        let projects = by_project(&all);
        let asked_for = self.serving.projects();
        for project in asked_for.iter().chain(projects.keys().filter(|project| !asked_for.contains(project)))
        {
            let records = projects.get(project).map(Vec::as_slice).unwrap_or_default();
            let is_current = self.serving.latest(*project).is_some_and(|view| view.is_of(records));
            if !is_current {
                self.view(*project).await?;
            }
        }
        Ok(())
    }
}
