//! Who may refresh a connection's tokens: a lease in its grant's row, that one process at a time holds.
//!
//! The times are the processes' own: gateways on one database must agree on the time to within a few seconds.

use uuid::Uuid;

use super::connections::{Connection, ConnectionChange, StoredField, apply, insert};
use super::database::Query;
use super::oauth_grants::{Grant, replace};
use super::rows::{Fields, Statement, clean, id, stored_count};
use super::{Store, StoreError};
use crate::identity::ProjectId;
use crate::time::Timestamp;

/// The right to refresh a connection's tokens once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) project: ProjectId,
    pub(crate) connection: Uuid,
    /// The tokens that it is about: those after so many replacements.
    pub(crate) generation: u64,
    /// This lease's own name.
    pub(crate) holder: Uuid,
    /// An earlier refresh of the same tokens was sent, and nobody knows what came of it.
    pub(crate) is_in_doubt: bool,
    /// Refreshes in a row that failed before.
    pub(crate) failures: u32,
}

/// How a refresh ended that brought no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setback {
    /// When the next may be tried; none if nothing was tried.
    pub(crate) retry_at: Option<Timestamp>,
    /// Whether the server may have replaced the tokens all the same.
    pub(crate) is_in_doubt: bool,
}

/// The row of a lease that is still held, behind an UPDATE's changes.
const HELD: &str = " WHERE refresh_holder = ";

impl Store {
    /// Adds a connection with its tokens and what they came of, all or nothing. Errors as [`Store::insert_connection`].
    pub(crate) async fn insert_granted_connection(
        &self,
        connection: &Connection,
        fields: &[StoredField],
        grant: &Grant,
    ) -> Result<(), StoreError> {
        let mut change = self.begin_change("store the connection").await?;
        insert(&mut change, connection, fields).await?;
        replace(&mut change, grant).await?;
        change.commit().await
    }

    /// Replaces a connection's tokens and what they came of; the connection as it is then, none if there is none. Errors as
    /// [`Store::change_connection`].
    pub(crate) async fn replace_grant(
        &self,
        grant: &Grant,
        change: &ConnectionChange,
    ) -> Result<Option<Connection>, StoreError> {
        let mut transaction = self.begin_change("replace the connection's tokens").await?;
        let changed = apply(&mut transaction, grant.project, grant.connection, change).await?;
        let Some(connection) = changed else { return Ok(None) };
        replace(&mut transaction, grant).await?;
        transaction.commit().await?;
        Ok(Some(connection))
    }

    /// Takes the lease until then, unless another holds it or the tokens are of another generation by now.
    pub(crate) async fn take_refresh(
        &self,
        (project, connection): (ProjectId, Uuid),
        generation: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        let holder = Uuid::now_v7();
        let query = sqlx::query(
            "UPDATE oauth_grants SET refresh_holder = $1, refresh_until = $2 \
             WHERE project_id = $3 AND connection_id = $4 AND generation = $5 \
             AND (refresh_until IS NULL OR refresh_until <= $6) RETURNING refresh_sent_at, failures",
        )
        .bind(id(holder))
        .bind(until.0)
        .bind(id(project))
        .bind(id(connection))
        .bind(stored_count(generation))
        .bind(now.0);
        let mut write = self.inner.database.begin("begin to refresh the connection's tokens").await?;
        let Some(row) = write.row(query).await? else { return Ok(None) };
        write.commit().await?;
        let fields = Fields::of("OAuth2 grant", &row);
        Ok(Some(Lease {
            project,
            connection,
            generation,
            holder,
            is_in_doubt: fields.optional_time("refresh_sent_at")?.is_some(),
            failures: fields.count("failures")?,
        }))
    }

    /// Notes that the request is about to leave; false if the lease is lost, and it must not.
    pub(crate) async fn note_refresh_sent(&self, lease: &Lease, now: Timestamp) -> Result<bool, StoreError> {
        let mut update = Statement::new("UPDATE oauth_grants SET refresh_sent_at = ");
        update.bind(now.0);
        let mut write = self.inner.database.begin("note that tokens are being refreshed").await?;
        let n_changed = write.execute(held(update, lease)).await?;
        write.commit().await?;
        Ok(n_changed == 1)
    }

    /// Replaces the tokens with what the refresh brought and ends the lease, in one transaction; the connection as it is then.
    /// None, and nothing changed, if the lease is lost: the tokens were replaced otherwise, or the connection is gone.
    /// [`StoreError::KeyRotated`] as for [`Store::change_connection`].
    pub(crate) async fn finish_refresh(
        &self,
        lease: &Lease,
        change: &ConnectionChange,
        now: Timestamp,
    ) -> Result<Option<Connection>, StoreError> {
        let mut update = Statement::new(
            "UPDATE oauth_grants SET generation = generation + 1, refresh_holder = NULL, refresh_until = NULL, \
             refresh_sent_at = NULL, failures = 0, retry_at = NULL, obtained_at = ",
        );
        update.bind(now.0);
        let mut transaction = self.begin_change("store the connection's new tokens").await?;
        if transaction.execute(held(update, lease)).await? == 0 {
            return Ok(None);
        }
        let Some(connection) = apply(&mut transaction, lease.project, lease.connection, change).await? else {
            return Ok(None);
        };
        transaction.commit().await?;
        Ok(Some(connection))
    }

    /// Ends the lease without new tokens.
    pub(crate) async fn give_up_refresh(&self, lease: &Lease, setback: Setback) -> Result<(), StoreError> {
        let mut update =
            Statement::new("UPDATE oauth_grants SET refresh_holder = NULL, refresh_until = NULL");
        if !setback.is_in_doubt {
            update.push(", refresh_sent_at = NULL");
        }
        if let Some(retry_at) = setback.retry_at {
            update.push(", failures = failures + 1, retry_at = ").bind(retry_at.0);
        }
        let mut write = self.inner.database.begin("note that tokens weren't refreshed").await?;
        write.execute(held(update, lease)).await?;
        write.commit().await
    }

    /// Ends the lease and makes the connection EXPIRED with this reason, unless it is switched off; whether the lease was
    /// still held.
    pub(crate) async fn expire_connection(&self, lease: &Lease, reason: &str) -> Result<bool, StoreError> {
        let update = Statement::new(
            "UPDATE oauth_grants SET refresh_holder = NULL, refresh_until = NULL, refresh_sent_at = NULL, failures = 0, \
             retry_at = NULL",
        );
        let mut change = self.begin_change("note that the connection is expired").await?;
        if change.execute(held(update, lease)).await? == 0 {
            return Ok(false);
        }
        let query = sqlx::query(
            "UPDATE connections SET status = CASE status WHEN 'DISABLED' THEN status ELSE 'EXPIRED' END, \
             last_error = $1, updated_at = $2 WHERE project_id = $3 AND id = $4",
        )
        .bind(clean(reason))
        .bind(Timestamp::now().0)
        .bind(id(lease.project))
        .bind(id(lease.connection));
        change.execute(query).await?;
        change.commit().await?;
        Ok(true)
    }

    /// Up to `limit` connections that are in use, whose tokens were last replaced before `before`, and that aren't being
    /// refreshed or left alone now.
    pub(crate) async fn idle_grants(
        &self,
        before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(ProjectId, Uuid)>, StoreError> {
        let query = sqlx::query(
            "SELECT oauth_grants.project_id AS project_id, connection_id FROM oauth_grants JOIN connections \
             ON connections.project_id = oauth_grants.project_id AND connections.id = oauth_grants.connection_id \
             WHERE connections.status = 'ACTIVE' AND obtained_at < $1 AND (retry_at IS NULL OR retry_at < $2) \
             AND (refresh_until IS NULL OR refresh_until < $3) \
             AND EXISTS (SELECT 1 FROM connection_fields WHERE connection_fields.project_id = oauth_grants.project_id \
             AND connection_fields.connection_id = oauth_grants.connection_id AND kind = 'token' \
             AND field = 'refresh_token') ORDER BY obtained_at LIMIT $4",
        )
        .bind(before.0)
        .bind(now.0)
        .bind(now.0)
        .bind(i64::from(limit));
        let rows = self.inner.database.rows("look for tokens that were long not refreshed", query).await?;
        let place = |row| {
            let fields = Fields::of("OAuth2 grant", row);
            Ok((fields.project()?, fields.uuid("connection_id")?))
        };
        rows.iter().map(place).collect()
    }
}

/// An update of the lease's row, if the lease is still held.
fn held(mut update: Statement, lease: &Lease) -> Query {
    update.push(HELD).bind(id(lease.holder));
    update.push(" AND project_id = ").bind(id(lease.project));
    update.push(" AND connection_id = ").bind(id(lease.connection));
    update.push(" AND generation = ").bind(stored_count(lease.generation));
    update.query()
}
