//! Tokens that are still to be revoked at their authorization servers: an outbox, filled with what takes them out of use.

use std::time::Duration;

use portcullis_runtime::manifest::name::Slug;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::connections::ConnectionStatus;
use super::database::Query;
use super::epochs::Change;
use super::rows::{Fields, clean, id};
use super::{Store, StoreError};
use crate::identity::ProjectId;
use crate::time::Timestamp;
use crate::vault::Sealed;

/// Tokens to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) project: ProjectId,
    pub(crate) id: Uuid,
    pub(crate) integration: Slug,
    pub(crate) connection_slug: Slug,
    /// The tokens, the client, and where to say it.
    pub(crate) sealed: Sealed,
    pub(crate) attempts: u32,
    /// When the next attempt is due.
    pub(crate) next_at: Timestamp,
    pub(crate) created_at: Timestamp,
}

impl Store {
    /// Takes a connection's tokens away, makes it EXPIRED (unless it is switched off) and leaves the tokens to be revoked, all
    /// or nothing; whether there was such a connection. Errors as [`Store::delete_connection`].
    pub(crate) async fn expire_and_revoke(
        &self,
        project: ProjectId,
        connection: Uuid,
        reason: &str,
        revocation: Option<&Revocation>,
    ) -> Result<bool, StoreError> {
        let mut change = self.begin_change("take the connection's tokens away").await?;
        let expire = sqlx::query(
            "UPDATE connections SET status = CASE status WHEN $1 THEN status ELSE $2 END, last_error = $3, \
             expires_at = NULL, updated_at = $4 WHERE project_id = $5 AND id = $6",
        )
        .bind(ConnectionStatus::Disabled.as_str())
        .bind(ConnectionStatus::Expired.as_str())
        .bind(clean(reason))
        .bind(Timestamp::now().0)
        .bind(id(project))
        .bind(id(connection));
        if change.execute(expire).await? == 0 {
            return Ok(false);
        }
        let fields =
            "DELETE FROM connection_fields WHERE project_id = $1 AND connection_id = $2 AND kind = 'token'";
        // What is being refreshed meanwhile is of an old generation, and isn't saved. Nor is what a consent still brings.
        let grant = "UPDATE oauth_grants SET generation = generation + 1, refresh_holder = NULL, refresh_until = NULL, \
                     refresh_sent_at = NULL WHERE project_id = $1 AND connection_id = $2";
        let flows = "DELETE FROM oauth_flows WHERE project_id = $1 AND connection_id = $2";
        for statement in [fields, grant, flows] {
            change.execute(sqlx::query(statement).bind(id(project)).bind(id(connection))).await?;
        }
        if let Some(revocation) = revocation {
            insert(&mut change, revocation).await?;
        }
        change.commit().await?;
        Ok(true)
    }

    /// Leaves tokens to be revoked that no connection has. Errors as [`Store::delete_connection`].
    pub(crate) async fn insert_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let mut change = self.begin_change("leave tokens to be revoked").await?;
        insert(&mut change, revocation).await?;
        change.commit().await
    }

    /// Up to `limit` revocations that are due, each of which is then this process's for so long: another is due for no one.
    pub(crate) async fn take_revocations(
        &self,
        now: Timestamp,
        patience: Duration,
        limit: u32,
    ) -> Result<Vec<Revocation>, StoreError> {
        let due = sqlx::query(
            "SELECT project_id, id, integration, connection_slug, key_id, nonce, ciphertext, attempts, next_at, created_at \
             FROM oauth_revocations WHERE next_at <= $1 ORDER BY next_at LIMIT $2",
        )
        .bind(now.0)
        .bind(i64::from(limit));
        let rows = self.inner.database.rows("read the tokens to be revoked", due).await?;
        let mut taken = Vec::with_capacity(rows.len());
        for row in &rows {
            let revocation = revocation_of(row)?;
            let next_at = now.plus(patience);
            let claim = sqlx::query(
                "UPDATE oauth_revocations SET next_at = $1 WHERE project_id = $2 AND id = $3 AND next_at = $4",
            )
            .bind(next_at.0)
            .bind(id(revocation.project))
            .bind(id(revocation.id))
            .bind(revocation.next_at.0);
            if self.write_one("take tokens to be revoked", claim).await? {
                taken.push(Revocation { next_at, ..revocation });
            }
        }
        Ok(taken)
    }

    /// Notes an attempt that failed.
    pub(crate) async fn postpone_revocation(
        &self,
        revocation: &Revocation,
        next_at: Timestamp,
        error: &str,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE oauth_revocations SET attempts = attempts + 1, next_at = $1, last_error = $2 \
             WHERE project_id = $3 AND id = $4",
        )
        .bind(next_at.0)
        .bind(clean(error))
        .bind(id(revocation.project))
        .bind(id(revocation.id));
        self.write_one("note that tokens weren't revoked", query).await.map(drop)
    }

    /// Forgets tokens that are revoked, or given up.
    pub(crate) async fn delete_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM oauth_revocations WHERE project_id = $1 AND id = $2")
            .bind(id(revocation.project))
            .bind(id(revocation.id));
        self.write_one("forget revoked tokens", query).await.map(drop)
    }

    /// Runs a statement on one row; whether it changed it.
    async fn write_one(&self, operation: &'static str, query: Query) -> Result<bool, StoreError> {
        let mut write = self.inner.database.begin(operation).await?;
        let n_changed = write.execute(query).await?;
        write.commit().await?;
        Ok(n_changed == 1)
    }
}

/// Adds a revocation as a part of a transaction.
pub(super) async fn insert(change: &mut Change<'_>, revocation: &Revocation) -> Result<(), StoreError> {
    change.check_master_key([&revocation.sealed]).await?;
    let query = sqlx::query(
        "INSERT INTO oauth_revocations (project_id, id, integration, connection_slug, key_id, nonce, ciphertext, attempts, \
         next_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(id(revocation.project))
    .bind(id(revocation.id))
    .bind(revocation.integration.as_str().to_owned())
    .bind(revocation.connection_slug.as_str().to_owned())
    .bind(clean(&revocation.sealed.key_id))
    .bind(revocation.sealed.nonce.to_vec())
    .bind(revocation.sealed.ciphertext.clone())
    .bind(i64::from(revocation.attempts))
    .bind(revocation.next_at.0)
    .bind(revocation.created_at.0);
    change.execute(query).await.map(drop)
}

fn revocation_of(row: &AnyRow) -> Result<Revocation, StoreError> {
    let fields = Fields::of("revocation", row);
    Ok(Revocation {
        project: fields.project()?,
        id: fields.uuid("id")?,
        integration: fields.slug("integration")?,
        connection_slug: fields.slug("connection_slug")?,
        sealed: fields.sealed()?,
        attempts: fields.count("attempts")?,
        next_at: fields.time("next_at")?,
        created_at: fields.time("created_at")?,
    })
}
