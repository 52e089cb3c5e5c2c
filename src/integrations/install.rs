//! Installing and removing uploads: all or nothing, one after the other in each project, compared with what is stored.

use std::sync::Arc;

use portcullis_runtime::manifest::name::Slug;

use super::drift::drift;
use super::loader::{Lane, serve};
use super::problem::{Fault, NotLoaded};
use super::registry::{InstallError, Registry, UninstallError, load_zip};
use super::serving::UploadedVersion;
use super::upload::Upload;
use super::{Integration, Served, Source};
use crate::identity::ProjectId;
use crate::store::StoreError;
use crate::store::integrations::UploadRecord;
use crate::time::Timestamp;

/// How many uploads by other processes one upload is tried against.
const MAX_TRIES: usize = 20;

impl Registry {
    /// Validates, compiles and stores an upload; from the answer on, it is served. On an error nothing has changed.
    pub(crate) async fn install(
        &self,
        project: ProjectId,
        upload: Upload,
        force: bool,
    ) -> Result<Arc<Integration>, InstallError> {
        let load = |engine: &_| Ok(serve(engine, upload.package()?)?);
        let served = self.loader.run(Lane::Uploads, load).await.and_then(|loaded| loaded)?;
        let slug = served.package.slug().clone();
        let lock = self.lock_of(project);
        let _alone = lock.lock().await;
        for _ in 0..MAX_TRIES {
            self.refuse_folders_slug(&slug)?;
            if let Some(record) = self.try_to_store(project, &served, force).await? {
                let (version, integration) = (record.version, slug.as_str());
                tracing::info!(%project, integration, version, digest = record.digest, force, "installed");
                return Ok(self.serve_stored(&record, served).await);
            }
        }
        let message =
            format!("{:?} is being uploaded by others all the time: upload it again", slug.as_str());
        Err(InstallError::Clash(message))
    }

    /// Removes an upload. Its connections stay; calls to them find no tool until it is uploaded again.
    pub(crate) async fn uninstall(&self, project: ProjectId, slug: &str) -> Result<(), UninstallError> {
        let not_found = || UninstallError::NotFound(slug.to_owned());
        let parsed = Slug::parse(slug).map_err(|_| not_found())?;
        let lock = self.lock_of(project);
        let _alone = lock.lock().await;
        if self.store.delete_upload(project, &parsed).await? {
            tracing::info!(%project, integration = slug, "removed");
            if let Err(error) = self.renew(project, None).await {
                tracing::warn!(%project, integration = slug, %error, "removed, but served until the store answers again");
            }
            return Ok(());
        }
        Err(match self.serving.folder(slug).as_deref() {
            Some(Integration { source: Source::Folder(path), .. }) => UninstallError::Folder(format!(
                "{slug:?} is the folder {path:?} on the server, for every project: remove it there"
            )),
            _ => not_found(),
        })
    }

    /// A folder's slug can't be taken by an upload.
    fn refuse_folders_slug(&self, slug: &Slug) -> Result<(), InstallError> {
        let Some(folder) = self.serving.folder(slug.as_str()) else { return Ok(()) };
        let Source::Folder(path) = &folder.source else { return Ok(()) };
        Err(InstallError::Clash(format!(
            "the folder {path:?} on the server has the slug {:?}: upload under another slug, or change the folder",
            slug.as_str()
        )))
    }

    /// Stores the package in place of what is stored now, and gives its record; or none if that was replaced meanwhile.
    async fn try_to_store(
        &self,
        project: ProjectId,
        new: &Arc<Served>,
        force: bool,
    ) -> Result<Option<UploadRecord>, InstallError> {
        let slug = new.package.slug();
        let stored = self.store.upload_package(project, slug).await?;
        let now = Timestamp::now();
        let version = new.connector.manifest().version;
        let mut record = UploadRecord {
            project,
            slug: slug.clone(),
            version: i64::try_from(version).unwrap_or(i64::MAX),
            digest: new.connector.digest().to_owned(),
            created_at: now,
            updated_at: now,
        };
        let replaces = match stored {
            None => None,
            Some((digest, _)) if digest == record.digest => {
                record.updated_at = self.stored_at(&record).await?.unwrap_or(now);
                return Ok(Some(record));
            }
            Some((digest, zip)) => {
                if !force {
                    self.refuse_drift(project, &digest, zip, new).await?;
                }
                Some(digest)
            }
        };
        let is_stored = self.store.put_upload(&record, &new.package.to_zip(), replaces.as_deref()).await?;
        Ok(is_stored.then_some(record))
    }

    async fn stored_at(&self, record: &UploadRecord) -> Result<Option<Timestamp>, StoreError> {
        let records = self.store.uploads(record.project).await?;
        let same =
            records.iter().find(|other| (&other.slug, &other.digest) == (&record.slug, &record.digest));
        Ok(same.map(|same| same.updated_at))
    }

    async fn refuse_drift(
        &self,
        project: ProjectId,
        digest: &str,
        zip: Vec<u8>,
        new: &Served,
    ) -> Result<(), InstallError> {
        let slug = new.package.slug();
        let view = self.serving.latest(project);
        let known = view.and_then(|view| view.upload(slug.as_str())?.version.served.clone());
        let old = match known.filter(|known| known.connector.digest() == digest) {
            Some(known) => known,
            None => match load_zip(&self.loader, slug, zip).await {
                Ok(old) => old,
                Err(failure) if failure.fault == Fault::Sandbox => return Err(failure.into()),
                // What can't be served any more has no operations that anybody relies on.
                Err(_) => return Ok(()),
            },
        };
        let Some(what) = drift(&old.connector, &new.connector) else { return Ok(()) };
        let (old, new) = (old.connector.manifest().version, new.connector.manifest().version);
        Err(InstallError::Drift(format!(
            "{:?} has version {new} after {old}, but its operations changed: {what}. Raise \"version\" in config.json above {old}, or upload with force",
            slug.as_str()
        )))
    }

    /// Serves what was just stored. It is stored for good: should the store fail now, others will find it there.
    async fn serve_stored(&self, record: &UploadRecord, served: Arc<Served>) -> Arc<Integration> {
        let version = Arc::new(UploadedVersion::of(Ok(served)));
        let shown = match self.renew(record.project, Some(&version)).await {
            Ok(view) => view.upload(record.slug.as_str()).and_then(|upload| {
                let is_this = upload.record.digest == record.digest;
                is_this.then(|| view.get(record.slug.as_str()).cloned())?
            }),
            Err(error) => {
                let (project, integration) = (record.project, record.slug.as_str());
                tracing::warn!(%project, integration, %error, "installed, but not served yet");
                None
            }
        };
        // Otherwise it has been replaced already; the answer tells what was installed all the same.
        shown.unwrap_or_else(|| {
            let folder = self.serving.folder(record.slug.as_str());
            Arc::new(Integration::of_upload(record, &version, folder.as_ref()))
        })
    }
}

impl From<NotLoaded> for InstallError {
    fn from(NotLoaded { fault, problem }: NotLoaded) -> Self {
        match fault {
            Fault::Sandbox => Self::Sandbox(problem.message),
            Fault::Package | Fault::Size => Self::Invalid { problem, is_too_large: fault == Fault::Size },
        }
    }
}
