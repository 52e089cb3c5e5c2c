//! Workspace secrets: named values of a project that connections' credentials may refer to.

use std::sync::Arc;

use sqlx::any::AnyRow;

use super::rows::{Fields, clean, id};
use super::{Store, StoreError};
use crate::identity::ProjectId;
use crate::time::Timestamp;
use crate::vault::Sealed;

/// A secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct SecretRecord {
    pub(crate) name: String,
    /// What may be shown of the value.
    pub(crate) mask: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl Store {
    /// Sets a secret; whether it is new. [`StoreError::KeyRotated`] if `sealed` is under a replaced key.
    pub(crate) async fn put_secret(
        &self,
        project: ProjectId,
        name: &str,
        mask: &str,
        sealed: &Sealed,
    ) -> Result<(SecretRecord, bool), StoreError> {
        let mut change = self.begin_change("store the secret").await?;
        change.check_master_key([sealed]).await?;
        let now = Timestamp::now();
        let found = sqlx::query("SELECT created_at FROM secrets WHERE project_id = $1 AND name = $2")
            .bind(id(project))
            .bind(clean(name));
        let found = change.row(found).await?;
        let created_at = found
            .as_ref()
            .map(|row| Fields::of("secret", row).time("created_at"))
            .transpose()?
            .unwrap_or(now);
        let query = sqlx::query(
            "INSERT INTO secrets (project_id, name, mask, key_id, nonce, ciphertext, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (project_id, name) DO UPDATE SET mask = excluded.mask, key_id = excluded.key_id, \
             nonce = excluded.nonce, ciphertext = excluded.ciphertext, updated_at = excluded.updated_at",
        )
        .bind(id(project))
        .bind(clean(name))
        .bind(clean(mask))
        .bind(clean(&sealed.key_id))
        .bind(sealed.nonce.to_vec())
        .bind(sealed.ciphertext.clone())
        .bind(created_at.0)
        .bind(now.0);
        change.execute(query).await?;
        change.commit().await?;
        let record = SecretRecord { name: clean(name), mask: clean(mask), created_at, updated_at: now };
        Ok((record, found.is_none()))
    }

    /// The project's secrets, by name.
    pub(crate) async fn secrets(&self, project: ProjectId) -> Result<Vec<SecretRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT name, mask, created_at, updated_at FROM secrets WHERE project_id = $1 ORDER BY name",
        )
        .bind(id(project));
        self.inner.database.rows("read the secrets", query).await?.iter().map(record).collect()
    }

    /// A secret's sealed value. Cached.
    pub(crate) async fn secret(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<Option<Arc<Sealed>>, StoreError> {
        let read = self.read_secret(project, name);
        self.inner.epochs.cached(|caches| &caches.secrets, (project, name.to_owned()), read).await
    }

    /// Deletes a secret; whether there was one.
    pub(crate) async fn delete_secret(&self, project: ProjectId, name: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM secrets WHERE project_id = $1 AND name = $2")
            .bind(id(project))
            .bind(clean(name));
        let mut change = self.begin_change("delete the secret").await?;
        if change.execute(query).await? == 0 {
            return Ok(false);
        }
        change.commit().await?;
        Ok(true)
    }

    /// The slugs of the connections whose credentials refer to a secret.
    pub(crate) async fn users_of_secret(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query(
            "SELECT DISTINCT connections.slug FROM connection_fields JOIN connections \
             ON connections.project_id = connection_fields.project_id AND connections.id = connection_fields.connection_id \
             WHERE connection_fields.project_id = $1 AND connection_fields.secret_name = $2 ORDER BY connections.slug",
        )
        .bind(id(project))
        .bind(clean(name));
        let rows = self.inner.database.rows("look for users of the secret", query).await?;
        rows.iter().map(|row| Fields::of("connection", row).text("slug")).collect()
    }

    async fn read_secret(&self, project: ProjectId, name: &str) -> Result<Option<Arc<Sealed>>, StoreError> {
        let query = sqlx::query(
            "SELECT name, key_id, nonce, ciphertext FROM secrets WHERE project_id = $1 AND name = $2",
        )
        .bind(id(project))
        .bind(clean(name));
        let row = self.inner.database.row("read the secret", query).await?;
        row.map(|row| Fields::of("secret", &row).sealed().map(Arc::new)).transpose()
    }
}

fn record(row: &AnyRow) -> Result<SecretRecord, StoreError> {
    let fields = Fields::of("secret", row);
    Ok(SecretRecord {
        name: fields.text("name")?,
        mask: fields.text("mask")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}
