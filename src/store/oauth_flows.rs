//! Consents under way: who asked for what, by the hash of a state that only a browser holds.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::connections::{Connection, ConnectionChange, StoredField, apply, insert};
use super::database::Query;
use super::epochs::Change;
use super::oauth_grants::{Grant, replace};
use super::rows::{Fields, Statement, clean, clean_optional, id};
use super::{Store, StoreError};
use crate::identity::{ProjectId, UserName};
use crate::time::Timestamp;
use crate::vault::Sealed;

/// How long the row of an ended consent is kept, so that who comes back to it is told that it has ended.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What a consent is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FlowKind {
    /// A new connection's tokens, by a browser.
    Connect,
    /// Another consent for a connection that had one, by a browser.
    Reconnect,
    /// Tokens by a code that is entered on another device.
    Device,
}

impl FlowKind {
    /// The kind as it is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reconnect => "reconnect",
            Self::Device => "device",
        }
    }
}

/// A consent under way, or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// The hash of the state.
    pub(crate) state_hash: String,
    pub(crate) project: ProjectId,
    pub(crate) connection: Uuid,
    /// Who asked.
    pub(crate) user: UserName,
    pub(crate) kind: FlowKind,
    /// The app's name; none where the connection's own credentials are the client's.
    pub(crate) app: Option<String>,
    /// The scopes that are asked for.
    pub(crate) scopes: Vec<String>,
    pub(crate) redirect_uri: Option<String>,
    /// Where the person is sent afterwards.
    pub(crate) callback_url: Option<String>,
    /// What is secret about it; none once it has ended.
    pub(crate) sealed: Option<Sealed>,
    /// The hash of the cookie of the browser that it began in.
    pub(crate) browser_hash: Option<String>,
    /// When the server is asked next, and how long to wait between two questions: device codes alone.
    pub(crate) poll_at: Option<Timestamp>,
    pub(crate) poll_interval: Option<Duration>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// When its answer came.
    pub(crate) used_at: Option<Timestamp>,
}

impl Flow {
    /// Whether its answer may still come at that time.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        self.used_at.is_none() && now < self.expires_at
    }
}

const SELECT: &str = "SELECT state_hash, project_id, connection_id, user_name, kind, app, scopes, redirect_uri, callback_url, \
                      key_id, nonce, ciphertext, browser_hash, poll_at, poll_interval_ms, created_at, expires_at, used_at \
                      FROM oauth_flows WHERE state_hash = $1";
const SELECT_TO_CONFIRM: &str = "SELECT state_hash, project_id, connection_id, user_name, kind, app, scopes, redirect_uri, \
                                 callback_url, key_id, nonce, ciphertext, browser_hash, poll_at, poll_interval_ms, \
                                 created_at, expires_at, used_at FROM oauth_flows WHERE confirm_hash = $1";
/// The end of a consent, whatever comes of it.
const END: &str = "UPDATE oauth_flows SET key_id = NULL, nonce = NULL, ciphertext = NULL, confirm_hash = NULL, used_at = $2 \
                   WHERE state_hash = $1";
/// Connections that wait for a consent that can't come any more.
const LAPSED: &str = " WHERE mode = 'oauth2' AND status = 'PENDING' AND NOT EXISTS (SELECT 1 FROM oauth_flows \
                      WHERE oauth_flows.project_id = connections.project_id \
                      AND oauth_flows.connection_id = connections.id AND oauth_flows.expires_at > ";

impl Store {
    /// Adds a connection that waits for its consent, with the consent, all or nothing. Errors as
    /// [`Store::insert_connection`].
    pub(crate) async fn insert_pending_connection(
        &self,
        connection: &Connection,
        fields: &[StoredField],
        grant: &Grant,
        flow: &Flow,
    ) -> Result<(), StoreError> {
        let mut change = self.begin_change("store the connection").await?;
        insert(&mut change, connection, fields).await?;
        replace(&mut change, grant).await?;
        insert_flow(&mut change, flow).await?;
        change.commit().await
    }

    /// Adds a consent for a connection that there is, in place of those that were under way; the connection as it is then,
    /// none if there is none any more.
    pub(crate) async fn insert_flow(
        &self,
        flow: &Flow,
        change: &ConnectionChange,
    ) -> Result<Option<Connection>, StoreError> {
        let mut transaction = self.begin_change("begin the consent").await?;
        let Some(connection) = apply(&mut transaction, flow.project, flow.connection, change).await? else {
            return Ok(None);
        };
        let others = sqlx::query("DELETE FROM oauth_flows WHERE project_id = $1 AND connection_id = $2")
            .bind(id(flow.project))
            .bind(id(flow.connection));
        transaction.execute(others).await?;
        insert_flow(&mut transaction, flow).await?;
        transaction.commit().await?;
        Ok(Some(connection))
    }

    /// The consent with this state.
    pub(crate) async fn flow(&self, state_hash: &str) -> Result<Option<Flow>, StoreError> {
        let query = sqlx::query(SELECT).bind(clean(state_hash));
        let row = self.inner.database.row("read the consent", query).await?;
        row.as_ref().map(flow_of).transpose()
    }

    /// The consent that waits for the confirmation with this token.
    pub(crate) async fn flow_to_confirm(&self, confirm_hash: &str) -> Result<Option<Flow>, StoreError> {
        let query = sqlx::query(SELECT_TO_CONFIRM).bind(clean(confirm_hash));
        let row = self.inner.database.row("read the consent", query).await?;
        row.as_ref().map(flow_of).transpose()
    }

    /// Binds a consent to the browser that it begins in; false if it is another's, or has ended.
    pub(crate) async fn bind_flow(
        &self,
        state_hash: &str,
        browser_hash: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE oauth_flows SET browser_hash = $2 WHERE state_hash = $1 AND used_at IS NULL AND expires_at > $3 \
             AND (browser_hash IS NULL OR browser_hash = $2)",
        )
        .bind(clean(state_hash))
        .bind(clean(browser_hash))
        .bind(now.0);
        self.claim("bind the consent to its browser", query).await
    }

    /// Takes a consent's answer, of which there is one; false if it was taken before, or comes too late.
    pub(crate) async fn use_flow(&self, state_hash: &str, now: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE oauth_flows SET used_at = $2 WHERE state_hash = $1 AND used_at IS NULL AND expires_at > $2",
        )
        .bind(clean(state_hash))
        .bind(now.0);
        self.claim("take the consent's answer", query).await
    }

    /// Takes the confirmation that a consent waits for, of which there is one; false if it was taken before, or comes too
    /// late. What it confirms is still sealed in the consent.
    pub(crate) async fn use_confirmation(
        &self,
        state_hash: &str,
        confirm_hash: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE oauth_flows SET confirm_hash = NULL WHERE state_hash = $1 AND confirm_hash = $2 AND expires_at > $3",
        )
        .bind(clean(state_hash))
        .bind(clean(confirm_hash))
        .bind(now.0);
        self.claim("take the confirmation", query).await
    }

    /// Keeps what a consent brought until somebody confirms it. [`StoreError::KeyRotated`] if `sealed` is under a replaced
    /// key.
    pub(crate) async fn await_confirmation(
        &self,
        state_hash: &str,
        confirm_hash: &str,
        sealed: &Sealed,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.begin_change("keep the consent's answer").await?;
        change.check_master_key([sealed]).await?;
        let query = sqlx::query(
            "UPDATE oauth_flows SET confirm_hash = $2, key_id = $3, nonce = $4, ciphertext = $5, expires_at = $6 \
             WHERE state_hash = $1",
        )
        .bind(clean(state_hash))
        .bind(clean(confirm_hash))
        .bind(clean(&sealed.key_id))
        .bind(sealed.nonce.to_vec())
        .bind(sealed.ciphertext.clone())
        .bind(expires_at.0);
        change.execute(query).await?;
        change.commit().await
    }

    /// Ends a consent with what came of it: the connection's change and, where it brought tokens, the grant. The connection
    /// as it is then; none if there is none any more. Errors as [`Store::insert_connection`].
    pub(crate) async fn end_flow(
        &self,
        flow: &Flow,
        change: &ConnectionChange,
        grant: Option<&Grant>,
    ) -> Result<Option<Connection>, StoreError> {
        let mut transaction = self.begin_change("end the consent").await?;
        let Some(connection) = apply(&mut transaction, flow.project, flow.connection, change).await? else {
            return Ok(None);
        };
        if let Some(grant) = grant {
            replace(&mut transaction, grant).await?;
        }
        let end = sqlx::query(END).bind(clean(&flow.state_hash)).bind(Timestamp::now().0);
        transaction.execute(end).await?;
        transaction.commit().await?;
        Ok(Some(connection))
    }

    /// Whether a consent for the connection may still come.
    pub(crate) async fn has_open_flow(
        &self,
        project: ProjectId,
        connection: Uuid,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "SELECT state_hash FROM oauth_flows WHERE project_id = $1 AND connection_id = $2 AND expires_at > $3",
        )
        .bind(id(project))
        .bind(id(connection))
        .bind(now.0);
        Ok(self.inner.database.row("look for a consent", query).await?.is_some())
    }

    /// Makes connections FAILED, with this reason, that wait for a consent that can't come any more; how many. Forgets
    /// consents that ended long ago.
    pub(crate) async fn lapse_flows(&self, reason: &str, now: Timestamp) -> Result<u64, StoreError> {
        self.forget_flows(now).await?;
        let mut select = Statement::new("SELECT id FROM connections");
        select.push(LAPSED).bind(now.0).push(")");
        if self.inner.database.row("look for lapsed consents", select.query()).await?.is_none() {
            return Ok(0);
        }
        let mut update = Statement::new("UPDATE connections SET status = 'FAILED', last_error = ");
        update.bind(clean(reason)).push(", updated_at = ").bind(now.0);
        update.push(LAPSED).bind(now.0).push(")");
        let mut change = self.begin_change("note lapsed consents").await?;
        let n_lapsed = change.execute(update.query()).await?;
        change.commit().await?;
        Ok(n_lapsed)
    }

    async fn forget_flows(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut write = self.inner.database.begin("forget consents").await?;
        // What is secret about a consent isn't needed once nobody can answer it.
        let wipe = sqlx::query(
            "UPDATE oauth_flows SET key_id = NULL, nonce = NULL, ciphertext = NULL, confirm_hash = NULL \
             WHERE expires_at <= $1 AND key_id IS NOT NULL",
        );
        write.execute(wipe.bind(now.0)).await?;
        let forget = sqlx::query("DELETE FROM oauth_flows WHERE expires_at <= $1");
        write.execute(forget.bind(now.minus(KEPT).0)).await?;
        write.commit().await
    }

    /// Runs a statement that changes a row where nobody was quicker; whether it did.
    pub(super) async fn claim(&self, operation: &'static str, query: Query) -> Result<bool, StoreError> {
        let mut write = self.inner.database.begin(operation).await?;
        let n_changed = write.execute(query).await?;
        write.commit().await?;
        Ok(n_changed == 1)
    }
}

async fn insert_flow(change: &mut Change<'_>, flow: &Flow) -> Result<(), StoreError> {
    change.check_master_key(&flow.sealed).await?;
    let poll_interval =
        flow.poll_interval.map(|interval| i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
    let query = sqlx::query(
        "INSERT INTO oauth_flows (state_hash, project_id, connection_id, user_name, kind, app, scopes, redirect_uri, \
         callback_url, key_id, nonce, ciphertext, browser_hash, poll_at, poll_interval_ms, created_at, expires_at, used_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
    )
    .bind(clean(&flow.state_hash))
    .bind(id(flow.project))
    .bind(id(flow.connection))
    .bind(flow.user.as_str().to_owned())
    .bind(flow.kind.as_str())
    .bind(clean_optional(flow.app.as_deref()))
    .bind(clean(&serde_json::Value::from(flow.scopes.clone()).to_string()))
    .bind(clean_optional(flow.redirect_uri.as_deref()))
    .bind(clean_optional(flow.callback_url.as_deref()))
    .bind(flow.sealed.as_ref().map(|sealed| clean(&sealed.key_id)))
    .bind(flow.sealed.as_ref().map(|sealed| sealed.nonce.to_vec()))
    .bind(flow.sealed.as_ref().map(|sealed| sealed.ciphertext.clone()))
    .bind(clean_optional(flow.browser_hash.as_deref()))
    .bind(flow.poll_at.map(|time| time.0))
    .bind(poll_interval)
    .bind(flow.created_at.0)
    .bind(flow.expires_at.0)
    .bind(flow.used_at.map(|time| time.0));
    change.insert(query, || "the consent's state".to_owned()).await
}

pub(super) fn flow_of(row: &AnyRow) -> Result<Flow, StoreError> {
    let fields = Fields::of("consent", row);
    let sealed = fields.optional_text("key_id")?.map(|_| fields.sealed()).transpose()?;
    Ok(Flow {
        state_hash: fields.text("state_hash")?,
        project: fields.project()?,
        connection: fields.uuid("connection_id")?,
        user: fields.user("user_name")?,
        kind: fields.word("kind")?,
        app: fields.optional_text("app")?,
        scopes: fields.json("scopes")?,
        redirect_uri: fields.optional_text("redirect_uri")?,
        callback_url: fields.optional_text("callback_url")?,
        sealed,
        browser_hash: fields.optional_text("browser_hash")?,
        poll_at: fields.optional_time("poll_at")?,
        poll_interval: fields.optional_count("poll_interval_ms")?.map(Duration::from_millis),
        created_at: fields.time("created_at")?,
        expires_at: fields.time("expires_at")?,
        used_at: fields.optional_time("used_at")?,
    })
}
