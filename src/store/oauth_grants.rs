//! OAuth2 grants: what a connection's tokens came of, and how often they were replaced.

use sqlx::any::AnyRow;
use uuid::Uuid;

use super::epochs::Change;
use super::rows::{Fields, clean, clean_optional, id, stored_count};
use super::{Store, StoreError};
use crate::identity::ProjectId;
use crate::time::Timestamp;

/// What a connection's tokens came of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) project: ProjectId,
    pub(crate) connection: Uuid,
    /// The app's name; none where the connection's own credentials are the client's.
    pub(crate) app: Option<String>,
    /// The scopes that were asked for.
    pub(crate) requested_scopes: Vec<String>,
    /// Whose account it is, as the id token's issuer knows it; names change, this doesn't.
    pub(crate) subject: Option<String>,
    /// Counts replacements of the tokens.
    pub(crate) generation: u64,
    /// When the tokens were had; none before the first.
    pub(crate) obtained_at: Option<Timestamp>,
    /// Set from before a refresh leaves until its answer is saved.
    pub(crate) refresh_sent_at: Option<Timestamp>,
    /// Refreshes in a row that the server didn't answer.
    pub(crate) failures: u32,
    /// When the next refresh may be tried.
    pub(crate) retry_at: Option<Timestamp>,
}

impl Grant {
    /// One that has no tokens yet.
    pub(crate) fn new(
        project: ProjectId,
        connection: Uuid,
        app: Option<String>,
        scopes: Vec<String>,
    ) -> Self {
        Self {
            project,
            connection,
            app,
            requested_scopes: scopes,
            subject: None,
            generation: 0,
            obtained_at: None,
            refresh_sent_at: None,
            failures: 0,
            retry_at: None,
        }
    }
}

const SELECT: &str = "SELECT project_id, connection_id, app, requested_scopes, subject, generation, obtained_at, refresh_sent_at, \
                      failures, retry_at FROM oauth_grants WHERE project_id = $1 AND connection_id = $2";

impl Store {
    /// A connection's grant; none if it has no OAuth2 tokens and waits for none.
    pub(crate) async fn oauth_grant(
        &self,
        project: ProjectId,
        connection: Uuid,
    ) -> Result<Option<Grant>, StoreError> {
        let query = sqlx::query(SELECT).bind(id(project)).bind(id(connection));
        let row = self.inner.database.row("read the connection's grant", query).await?;
        row.as_ref().map(grant_of).transpose()
    }

    /// The slugs of the connections that were made with an app.
    pub(crate) async fn connections_of_app(
        &self,
        project: ProjectId,
        integration: &str,
        app: &str,
    ) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query(
            "SELECT connections.slug FROM oauth_grants JOIN connections \
             ON connections.project_id = oauth_grants.project_id AND connections.id = oauth_grants.connection_id \
             WHERE oauth_grants.project_id = $1 AND connections.integration = $2 AND oauth_grants.app = $3 \
             ORDER BY connections.slug",
        )
        .bind(id(project))
        .bind(clean(integration))
        .bind(clean(app));
        let rows = self.inner.database.rows("look for users of the OAuth2 app", query).await?;
        rows.iter().map(|row| Fields::of("connection", row).text("slug")).collect()
    }
}

/// Sets a grant as a part of a transaction: the tokens are replaced with it, so that its generation is one more than the one
/// stored before, and no refresh that was under way is in doubt or in force any more.
pub(super) async fn replace(change: &mut Change<'_>, grant: &Grant) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO oauth_grants (project_id, connection_id, app, requested_scopes, subject, generation, obtained_at, \
         failures) VALUES ($1, $2, $3, $4, $5, $6, $7, 0) \
         ON CONFLICT (project_id, connection_id) DO UPDATE SET app = excluded.app, \
         requested_scopes = excluded.requested_scopes, subject = excluded.subject, \
         generation = oauth_grants.generation + 1, obtained_at = excluded.obtained_at, refresh_holder = NULL, \
         refresh_until = NULL, refresh_sent_at = NULL, failures = 0, retry_at = NULL",
    )
    .bind(id(grant.project))
    .bind(id(grant.connection))
    .bind(clean_optional(grant.app.as_deref()))
    .bind(serde_json::Value::from(grant.requested_scopes.clone()).to_string())
    .bind(clean_optional(grant.subject.as_deref()))
    .bind(stored_count(grant.generation))
    .bind(grant.obtained_at.map(|time| time.0));
    change.execute(query).await.map(drop)
}

fn grant_of(row: &AnyRow) -> Result<Grant, StoreError> {
    let fields = Fields::of("OAuth2 grant", row);
    Ok(Grant {
        project: fields.project()?,
        connection: fields.uuid("connection_id")?,
        app: fields.optional_text("app")?,
        requested_scopes: fields.json("requested_scopes")?,
        subject: fields.optional_text("subject")?,
        generation: fields.count("generation")?,
        obtained_at: fields.optional_time("obtained_at")?,
        refresh_sent_at: fields.optional_time("refresh_sent_at")?,
        failures: fields.count("failures")?,
        retry_at: fields.optional_time("retry_at")?,
    })
}
