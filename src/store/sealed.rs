//! Sealed values at large: the master key that is in force, and what a rotation has still to seal anew.

use sqlx::any::AnyRow;

use super::database::Query;
use super::rows::{Fields, clean, id};
use super::{Store, StoreError};
use crate::identity::ProjectId;
use crate::vault::Sealed;

/// Where a sealed value stands: which row, and what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedRow {
    pub(crate) project: ProjectId,
    /// `credential`, `config` or `secret`: the `kind` of its [`crate::vault::Binding`].
    pub(crate) kind: String,
    /// The connection's id; empty for a workspace secret.
    pub(crate) owner: String,
    /// The credential's key, or the secret's name.
    pub(crate) field: String,
    pub(crate) sealed: Sealed,
}

impl Store {
    /// The id of the master key that new values must be sealed under; none before the first.
    pub(crate) async fn active_master_key(&self) -> Result<Option<String>, StoreError> {
        let row = self
            .inner
            .database
            .row("read the master key's id", sqlx::query("SELECT key_id FROM master_key"))
            .await?;
        Ok(row.map(|row| Fields::of("master key", &row).optional_text("key_id")).transpose()?.flatten())
    }

    /// Makes a master key the one in force. From then on, no transaction commits a value under another
    /// ([`StoreError::KeyRotated`]): one that was about to is waited for.
    pub(crate) async fn set_active_master_key(&self, key_id: &str) -> Result<(), StoreError> {
        let mut change = self.begin_change("set the master key's id").await?;
        change.execute(sqlx::query("UPDATE master_key SET key_id = $1").bind(clean(key_id))).await?;
        change.commit().await
    }

    /// Up to `limit` values that are sealed under another key than this one.
    pub(crate) async fn sealed_under_other_keys(
        &self,
        key_id: &str,
        limit: u32,
    ) -> Result<Vec<SealedRow>, StoreError> {
        let query = sqlx::query(
            "SELECT project_id, kind, connection_id AS owner, field, key_id, nonce, ciphertext FROM connection_fields \
             WHERE key_id IS NOT NULL AND key_id <> $1 \
             UNION ALL SELECT project_id, 'secret', '', name, key_id, nonce, ciphertext FROM secrets WHERE key_id <> $1 \
             LIMIT $2",
        )
        .bind(clean(key_id))
        .bind(i64::from(limit));
        let rows = self.inner.database.rows("read the values that another master key seals", query).await?;
        rows.iter().map(sealed_row).collect()
    }

    /// Puts a newly sealed value in a row's place, unless the row has changed since it was read; whether it did.
    pub(crate) async fn reseal(&self, row: &SealedRow, sealed: &Sealed) -> Result<bool, StoreError> {
        let mut change = self.begin_change("store the newly sealed value").await?;
        change.check_master_key([sealed]).await?;
        if change.execute(replacement(row, sealed)).await? == 0 {
            return Ok(false);
        }
        change.commit().await?;
        Ok(true)
    }
}

/// Puts the value in place of the very one that was read.
fn replacement(row: &SealedRow, sealed: &Sealed) -> Query {
    let place = if row.kind == "secret" {
        sqlx::query(
            "UPDATE secrets SET key_id = $1, nonce = $2, ciphertext = $3 \
             WHERE key_id = $4 AND nonce = $5 AND ciphertext = $6 AND project_id = $7 AND name = $8",
        )
    } else {
        sqlx::query(
            "UPDATE connection_fields SET key_id = $1, nonce = $2, ciphertext = $3 \
             WHERE key_id = $4 AND nonce = $5 AND ciphertext = $6 AND project_id = $7 AND field = $8 AND kind = $9 \
             AND connection_id = $10",
        )
    };
    let values = [sealed, &row.sealed].into_iter().fold(place, |query, sealed| {
        query.bind(clean(&sealed.key_id)).bind(sealed.nonce.to_vec()).bind(sealed.ciphertext.clone())
    });
    let query = values.bind(id(row.project)).bind(clean(&row.field));
    if row.kind == "secret" { query } else { query.bind(clean(&row.kind)).bind(clean(&row.owner)) }
}

fn sealed_row(row: &AnyRow) -> Result<SealedRow, StoreError> {
    let fields = Fields::of("sealed value", row);
    Ok(SealedRow {
        project: fields.project()?,
        kind: fields.text("kind")?,
        owner: fields.text("owner")?,
        field: fields.text("field")?,
        sealed: fields.sealed()?,
    })
}
