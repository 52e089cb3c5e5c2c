//! Uploaded integrations: one package per project and slug.

use std::sync::Arc;

use portcullis_runtime::manifest::name::Slug;
use sqlx::any::AnyRow;

use super::rows::{Fields, clean, id};
use super::{Store, StoreError};
use crate::identity::ProjectId;
use crate::time::Timestamp;

/// An uploaded integration, without its package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UploadRecord {
    pub(crate) project: ProjectId,
    pub(crate) slug: Slug,
    /// The manifest's version.
    pub(crate) version: i64,
    /// `Package::digest`.
    pub(crate) digest: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl Store {
    /// Stores a package in place of the one with digest `replaces` (none: there is none yet). False, and nothing changed, if
    /// what is stored is another by now.
    pub(crate) async fn put_upload(
        &self,
        upload: &UploadRecord,
        package_zip: &[u8],
        replaces: Option<&str>,
    ) -> Result<bool, StoreError> {
        let mut change = self.begin_change("store the integration").await?;
        let found = sqlx::query("SELECT digest FROM uploads WHERE project_id = $1 AND slug = $2")
            .bind(id(upload.project))
            .bind(upload.slug.as_str());
        let found = change.row(found).await?;
        let found = found.map(|row| Fields::of("integration", &row).text("digest")).transpose()?;
        if found.as_deref() != replaces {
            return Ok(false);
        }
        let query = sqlx::query(
            "INSERT INTO uploads (project_id, slug, version, digest, created_at, updated_at, package) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (project_id, slug) DO UPDATE SET version = excluded.version, digest = excluded.digest, \
             updated_at = excluded.updated_at, package = excluded.package",
        )
        .bind(id(upload.project))
        .bind(upload.slug.as_str())
        .bind(upload.version)
        .bind(clean(&upload.digest))
        .bind(upload.created_at.0)
        .bind(upload.updated_at.0)
        .bind(package_zip.to_vec());
        change.execute(query).await?;
        change.commit().await?;
        Ok(true)
    }

    /// All uploads of a project, by slug. Cached.
    pub(crate) async fn uploads(&self, project: ProjectId) -> Result<Arc<Vec<UploadRecord>>, StoreError> {
        self.inner.epochs.cached(|caches| &caches.uploads, project, self.read_uploads(project)).await
    }

    /// All uploads of all projects.
    pub(crate) async fn all_uploads(&self) -> Result<Vec<UploadRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT project_id, slug, version, digest, created_at, updated_at FROM uploads ORDER BY project_id, slug",
        );
        self.inner.database.rows("read the integrations", query).await?.iter().map(upload).collect()
    }

    /// The zip of an upload, and its digest.
    pub(crate) async fn upload_package(
        &self,
        project: ProjectId,
        slug: &Slug,
    ) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        let query =
            sqlx::query("SELECT slug, digest, package FROM uploads WHERE project_id = $1 AND slug = $2")
                .bind(id(project))
                .bind(slug.as_str());
        let Some(row) = self.inner.database.row("read the integration's package", query).await? else {
            return Ok(None);
        };
        let fields = Fields::of("integration", &row);
        Ok(Some((fields.text("digest")?, fields.bytes("package")?)))
    }

    /// Deletes an upload; whether there was one.
    pub(crate) async fn delete_upload(&self, project: ProjectId, slug: &Slug) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM uploads WHERE project_id = $1 AND slug = $2")
            .bind(id(project))
            .bind(slug.as_str());
        let mut change = self.begin_change("delete the integration").await?;
        if change.execute(query).await? == 0 {
            return Ok(false);
        }
        change.commit().await?;
        Ok(true)
    }

    async fn read_uploads(&self, project: ProjectId) -> Result<Arc<Vec<UploadRecord>>, StoreError> {
        let query = sqlx::query(
            "SELECT project_id, slug, version, digest, created_at, updated_at FROM uploads \
             WHERE project_id = $1 ORDER BY slug",
        )
        .bind(id(project));
        let rows = self.inner.database.rows("read the integrations", query).await?;
        rows.iter().map(upload).collect::<Result<_, _>>().map(Arc::new)
    }
}

fn upload(row: &AnyRow) -> Result<UploadRecord, StoreError> {
    let fields = Fields::of("integration", row);
    Ok(UploadRecord {
        project: fields.project()?,
        slug: fields.slug("slug")?,
        version: fields.integer("version")?,
        digest: fields.text("digest")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}
