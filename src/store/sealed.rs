//! Sealed values at large: the master key that is in force, and what a rotation has still to seal anew.

use sqlx::any::AnyRow;

use super::database::{Query, Write};
use super::rows::{Fields, Statement, clean, id};
use super::{Store, StoreError};
use crate::identity::ProjectId;
use crate::vault::Sealed;

/// Where a sealed value stands: which row, and what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedRow {
    pub(crate) project: ProjectId,
    /// The `kind` of its [`crate::vault::Binding`].
    pub(crate) kind: String,
    /// The `owner` of its binding.
    pub(crate) owner: String,
    /// The `field` of its binding.
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
             UNION ALL SELECT project_id, 'oauth_app', integration, name, key_id, nonce, ciphertext FROM oauth_apps \
             WHERE key_id IS NOT NULL AND key_id <> $1 \
             UNION ALL SELECT project_id, 'oauth_flow', connection_id, state_hash, key_id, nonce, ciphertext \
             FROM oauth_flows WHERE key_id IS NOT NULL AND key_id <> $1 \
             UNION ALL SELECT project_id, 'oauth_revocation', integration, id, key_id, nonce, ciphertext \
             FROM oauth_revocations WHERE key_id <> $1 \
             UNION ALL SELECT project_id, 'approval', approval_id, field, key_id, nonce, ciphertext \
             FROM approval_values WHERE key_id <> $1 \
             UNION ALL SELECT project_id, 'webhook', '', '', key_id, nonce, ciphertext \
             FROM approval_webhooks WHERE key_id <> $1 \
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

impl Write<'_> {
    /// Refuses values under another master key than the one in force, as `Change::check_master_key` does, in a transaction that
    /// changes no configuration: none comes into force before it ends.
    pub(super) async fn lock_master_key(
        &mut self,
        values: impl IntoIterator<Item = &Sealed>,
    ) -> Result<(), StoreError> {
        let values: Vec<&Sealed> = values.into_iter().collect();
        if values.is_empty() {
            return Ok(());
        }
        let row = self.row(sqlx::query("UPDATE master_key SET key_id = key_id RETURNING key_id")).await?;
        let active =
            row.map(|row| Fields::of("master key", &row).optional_text("key_id")).transpose()?.flatten();
        match active {
            Some(active) if values.iter().any(|sealed| sealed.key_id != active) => {
                Err(StoreError::KeyRotated)
            }
            _ => Ok(()),
        }
    }
}

/// Puts the value in place of the very one that was read.
fn replacement(row: &SealedRow, sealed: &Sealed) -> Query {
    let (table, field, owner) = match row.kind.as_str() {
        "secret" => ("secrets", Some("name"), None),
        "oauth_app" => ("oauth_apps", Some("name"), Some("integration")),
        "oauth_flow" => ("oauth_flows", Some("state_hash"), Some("connection_id")),
        "oauth_revocation" => ("oauth_revocations", Some("id"), Some("integration")),
        "approval" => ("approval_values", Some("field"), Some("approval_id")),
        "webhook" => ("approval_webhooks", None, None),
        _ => ("connection_fields", Some("field"), Some("connection_id")),
    };
    let mut update = Statement::new("UPDATE ");
    update.push(table).push(" SET ");
    place(&mut update, sealed, ", ");
    update.push(" WHERE ");
    place(&mut update, &row.sealed, " AND ");
    update.push(" AND project_id = ").bind(id(row.project));
    for (column, value) in [(field, &row.field), (owner, &row.owner)] {
        if let Some(column) = column {
            update.push(" AND ").push(column).push(" = ").bind(clean(value));
        }
    }
    if table == "connection_fields" {
        update.push(" AND kind = ").bind(clean(&row.kind));
    }
    update.query()
}

/// The columns of a sealed value, each with its value.
fn place(statement: &mut Statement, sealed: &Sealed, separator: &'static str) {
    statement.push("key_id = ").bind(clean(&sealed.key_id)).push(separator);
    statement.push("nonce = ").bind(sealed.nonce.to_vec()).push(separator);
    statement.push("ciphertext = ").bind(sealed.ciphertext.clone());
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
