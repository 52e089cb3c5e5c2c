//! Connections and their sealed fields.

mod stored;

use std::sync::Arc;

use portcullis_runtime::manifest::AuthMethod;
use portcullis_runtime::manifest::name::Slug;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::stored::{
    INSERT, SELECT, UPDATE, connection_of, delete_fields, field_of, insert_fields, sealed_values, with_values,
};
use super::epochs::Change;
use super::grants;
use super::oauth_revocations::{self, Revocation};
use super::rows::{Statement, clean, clean_optional, id};
use super::{Store, StoreError};
use crate::identity::{ProjectId, UserName};
use crate::time::Timestamp;
use crate::vault::Sealed;

/// Whether a connection can be used, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ConnectionStatus {
    /// Consent is still to be given.
    Pending,
    /// It can be used.
    Active,
    /// Its token is no longer accepted.
    Expired,
    /// Its test or its consent failed.
    Failed,
    /// Switched off.
    Disabled,
}

impl ConnectionStatus {
    /// The status as it is stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Active => "ACTIVE",
            Self::Expired => "EXPIRED",
            Self::Failed => "FAILED",
            Self::Disabled => "DISABLED",
        }
    }
}

/// Who may use a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Visibility {
    /// Its owner alone.
    User,
    /// Everyone in the project.
    Project,
}

impl Visibility {
    /// The visibility as it is stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
        }
    }
}

/// An account at an integration; its credentials are elsewhere ([`StoredField`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) id: Uuid,
    pub(crate) project: ProjectId,
    pub(crate) owner: UserName,
    pub(crate) integration: Slug,
    pub(crate) slug: Slug,
    pub(crate) mode: AuthMethod,
    pub(crate) status: ConnectionStatus,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) last_error: Option<String>,
    /// Whose account it is, as the service says.
    pub(crate) identity: Option<String>,
    /// OAuth2 scopes that were granted.
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) visibility: Visibility,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// What a stored field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FieldKind {
    /// A credential: one row for each key.
    Credential,
    /// The connection's config: one row, its JSON object, with an empty field name.
    Config,
    /// An OAuth2 token: [`ACCESS_TOKEN_FIELD`] or [`REFRESH_TOKEN_FIELD`].
    Token,
}

/// The field of the token that calls are made with.
pub(crate) const ACCESS_TOKEN_FIELD: &str = "access_token";
/// The field of the token that new ones are had for.
pub(crate) const REFRESH_TOKEN_FIELD: &str = "refresh_token";

impl FieldKind {
    /// The kind as it is stored, and as sealed values are bound to it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Config => "config",
            Self::Token => "token",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Credential, Self::Config, Self::Token].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FieldContent {
    /// The value itself, sealed.
    Sealed(Sealed),
    /// The name of a workspace secret that holds the value.
    Secret(String),
}

/// A credential or the config of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredField {
    pub(crate) kind: FieldKind,
    pub(crate) field: String,
    pub(crate) content: FieldContent,
}

/// Whose connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Viewer {
    /// Every connection of the project: an admin's view.
    All,
    /// A user's own, and what the project shares.
    User(UserName),
    /// What the project shares.
    Shared,
}

/// Which connections a list is to hold; an absent field doesn't restrict it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionFilter {
    pub(crate) integration: Option<String>,
    pub(crate) id: Option<Uuid>,
    pub(crate) slug: Option<String>,
    pub(crate) status: Option<ConnectionStatus>,
}

/// What of a connection changes; an absent field stays. The inner option of a field that may be absent clears it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionChange {
    pub(crate) slug: Option<Slug>,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<Option<String>>,
    pub(crate) mode: Option<AuthMethod>,
    pub(crate) status: Option<ConnectionStatus>,
    pub(crate) last_error: Option<Option<String>>,
    pub(crate) identity: Option<Option<String>>,
    pub(crate) scopes: Option<Option<Vec<String>>>,
    pub(crate) expires_at: Option<Option<Timestamp>>,
    pub(crate) visibility: Option<Visibility>,
    /// All fields of these kinds are replaced by these.
    pub(crate) fields: Option<(Vec<FieldKind>, Vec<StoredField>)>,
}

impl Store {
    /// Adds a connection with its fields, all or nothing. [`StoreError::Taken`] if the slug is;
    /// [`StoreError::KeyRotated`] if a field is sealed under a replaced key.
    pub(crate) async fn insert_connection(
        &self,
        connection: &Connection,
        fields: &[StoredField],
    ) -> Result<(), StoreError> {
        let mut change = self.begin_change("store the connection").await?;
        insert(&mut change, connection, fields).await?;
        change.commit().await
    }

    /// The connections that `viewer` sees and that pass the filter, by slug.
    pub(crate) async fn connections(
        &self,
        project: ProjectId,
        viewer: &Viewer,
        filter: &ConnectionFilter,
    ) -> Result<Vec<Connection>, StoreError> {
        let mut select = Statement::new(SELECT);
        select.bind(id(project));
        match viewer {
            Viewer::All => {}
            Viewer::User(user) => {
                select.push(" AND (owner = ").bind(user.as_str());
                select.push(" OR visibility = ").bind(Visibility::Project.as_str()).push(")");
            }
            Viewer::Shared => {
                select.push(" AND visibility = ").bind(Visibility::Project.as_str());
            }
        }
        select
            .and(" AND integration = ", clean_optional(filter.integration.as_deref()))
            .and(" AND id = ", filter.id.map(id))
            .and(" AND slug = ", clean_optional(filter.slug.as_deref()))
            .and(" AND status = ", filter.status.map(ConnectionStatus::as_str))
            .push(" ORDER BY slug");
        self.inner
            .database
            .rows("read the connections", select.query())
            .await?
            .iter()
            .map(connection_of)
            .collect()
    }

    /// All connections that `viewer` sees, by slug. Cached: what calls and catalogs resolve against.
    pub(crate) async fn visible_connections(
        &self,
        project: ProjectId,
        viewer: &Viewer,
    ) -> Result<Arc<Vec<Connection>>, StoreError> {
        let read =
            async { self.connections(project, viewer, &ConnectionFilter::default()).await.map(Arc::new) };
        self.inner.epochs.cached(|caches| &caches.connections, (project, viewer.clone()), read).await
    }

    /// The connection's fields. Cached.
    pub(crate) async fn connection_fields(
        &self,
        project: ProjectId,
        connection: Uuid,
    ) -> Result<Arc<Vec<StoredField>>, StoreError> {
        let read = self.connection_fields_now(project, connection);
        self.inner.epochs.cached(|caches| &caches.fields, (project, connection), read).await
    }

    /// Changes a connection, in one transaction, and `updated_at` with it; none if there is none. Errors as
    /// [`Store::insert_connection`].
    pub(crate) async fn change_connection(
        &self,
        project: ProjectId,
        connection: Uuid,
        change: &ConnectionChange,
    ) -> Result<Option<Connection>, StoreError> {
        let mut transaction = self.begin_change("change the connection").await?;
        let Some(changed) = apply(&mut transaction, project, connection, change).await? else {
            return Ok(None);
        };
        transaction.commit().await?;
        Ok(Some(changed))
    }

    /// Deletes a connection and its fields, and leaves tokens to be revoked, all or nothing; whether there was one.
    /// [`StoreError::KeyRotated`] if those are sealed under a replaced key.
    pub(crate) async fn delete_connection(
        &self,
        project: ProjectId,
        connection: Uuid,
        revocation: Option<&Revocation>,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM connections WHERE project_id = $1 AND id = $2")
            .bind(id(project))
            .bind(id(connection));
        let mut change = self.begin_change("delete the connection").await?;
        if change.execute(query).await? == 0 {
            return Ok(false);
        }
        if let Some(revocation) = revocation {
            oauth_revocations::insert(&mut change, revocation).await?;
        }
        change.commit().await?;
        Ok(true)
    }

    /// Whether a slug is taken in the project, by anyone's connection.
    pub(crate) async fn is_slug_taken(&self, project: ProjectId, slug: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT id FROM connections WHERE project_id = $1 AND slug = $2")
            .bind(id(project))
            .bind(clean(slug));
        Ok(self.inner.database.row("look for the slug", query).await?.is_some())
    }

    /// The same as it is stored now.
    pub(crate) async fn connection_fields_now(
        &self,
        project: ProjectId,
        connection: Uuid,
    ) -> Result<Arc<Vec<StoredField>>, StoreError> {
        let query = sqlx::query(
            "SELECT kind, field AS name, key_id, nonce, ciphertext, secret_name FROM connection_fields \
             WHERE project_id = $1 AND connection_id = $2 ORDER BY kind, field",
        )
        .bind(id(project))
        .bind(id(connection));
        let rows = self.inner.database.rows("read the connection's fields", query).await?;
        rows.iter().map(field_of).collect::<Result<_, _>>().map(Arc::new)
    }
}

/// Adds a connection with its fields, as a part of a transaction.
pub(super) async fn insert(
    change: &mut Change<'_>,
    connection: &Connection,
    fields: &[StoredField],
) -> Result<(), StoreError> {
    change.check_master_key(sealed_values(fields)).await?;
    let query = with_values(sqlx::query(INSERT), connection);
    change.insert(query, || taken(&connection.slug)).await?;
    insert_fields(change, connection.project, connection.id, fields).await
}

/// Changes a connection as a part of a transaction; none if there is none.
pub(super) async fn apply(
    transaction: &mut Change<'_>,
    project: ProjectId,
    connection: Uuid,
    change: &ConnectionChange,
) -> Result<Option<Connection>, StoreError> {
    let mut select = Statement::new(SELECT);
    select.bind(id(project)).push(" AND id = ").bind(id(connection));
    let Some(row) = transaction.row(select.query()).await? else { return Ok(None) };
    let changed = changed(connection_of(&row)?, change);
    transaction.insert(with_values(sqlx::query(UPDATE), &changed), || taken(&changed.slug)).await?;
    if change.slug.is_some() {
        grants::rename(transaction, project, connection, &changed.slug).await?;
    }
    if let Some((kinds, fields)) = &change.fields {
        transaction.check_master_key(sealed_values(fields)).await?;
        delete_fields(transaction, project, connection, kinds).await?;
        insert_fields(transaction, project, connection, fields).await?;
    }
    Ok(Some(changed))
}

fn taken(slug: &Slug) -> String {
    format!("connection slug {:?}", slug.as_str())
}

/// The connection as the change leaves it: also in what is replaced for the store (see [`clean`]).
fn changed(old: Connection, change: &ConnectionChange) -> Connection {
    let text = |new: &Option<Option<String>>, old: Option<String>| match new {
        Some(new) => clean_optional(new.as_deref()),
        None => old,
    };
    Connection {
        slug: change.slug.clone().unwrap_or(old.slug),
        name: change.name.as_deref().map_or(old.name, clean),
        description: text(&change.description, old.description),
        mode: change.mode.unwrap_or(old.mode),
        status: change.status.unwrap_or(old.status),
        last_error: text(&change.last_error, old.last_error),
        identity: text(&change.identity, old.identity),
        scopes: change.scopes.clone().unwrap_or(old.scopes),
        expires_at: change.expires_at.unwrap_or(old.expires_at),
        visibility: change.visibility.unwrap_or(old.visibility),
        updated_at: Timestamp::now(),
        ..old
    }
}
