//! Tokens that are good: looked at before they are used, and replaced by one refresh for however many calls want them.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::super::{Gateway, GatewayError};
use super::due::{LONGEST_MARGIN, margin};
use super::flights::Flights;
use crate::error::chain;
use crate::identity::ProjectId;
use crate::store::connections::{
    ACCESS_TOKEN_FIELD, Connection, ConnectionFilter, ConnectionStatus, StoredField, Viewer,
};
use crate::store::oauth_grants::Grant;
use crate::time::Timestamp;

/// How long a call waits for new tokens while the old one still lives.
const BRIEF: Duration = Duration::from_secs(5);
/// How often what is stored is looked at again after a refresh, which another may have followed.
const MAX_ROUNDS: usize = 3;
/// How long a connection counts as used, for being refreshed ahead.
pub(super) const LATELY: Duration = Duration::from_secs(3600);
/// How long a 401 refreshes nothing after new tokens were answered with one as well: then it isn't about the token.
const UNHELPED: Duration = Duration::from_secs(60);
/// How old tokens get that nobody uses: those of many providers lapse after some weeks without a refresh.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What this process knows of tokens.
pub(in crate::gateway) struct TokenKeeper {
    pub(super) flights: Flights<()>,
    /// Looks at what is stored: many calls at once need but one.
    looks: Flights<Held>,
    /// Margins by connection, each of the token that expires then: to know one takes a look into the store.
    margins: Cache<Uuid, (Timestamp, Duration)>,
    /// Connections that calls used.
    pub(super) used_lately: Cache<Uuid, Used>,
    /// Connections that new tokens didn't help.
    unhelped: Cache<Uuid, ()>,
}

impl Default for TokenKeeper {
    fn default() -> Self {
        Self {
            flights: Flights::default(),
            looks: Flights::default(),
            margins: Cache::builder().max_capacity(10_000).build(),
            used_lately: Cache::builder().max_capacity(10_000).time_to_live(LATELY).build(),
            unhelped: Cache::builder().max_capacity(10_000).time_to_live(UNHELPED).build(),
        }
    }
}

impl TokenKeeper {
    /// Waits for refreshes that are under way, for so long at most.
    pub(in crate::gateway) async fn settle(&self, patience: Duration) {
        self.flights.settle(patience).await;
    }
}

/// A connection that a call used.
#[derive(Clone, Copy)]
pub(super) struct Used {
    pub(super) project: ProjectId,
    /// When the tokens expire that the last call had, or that were had since.
    pub(super) expires_at: Timestamp,
    /// When the last call was.
    pub(super) at: Timestamp,
}

/// Why new tokens are wanted.
pub(in crate::gateway) enum Need {
    /// These expire within their margin, or have expired.
    Due,
    /// These expire within twice their margin.
    Ahead,
    /// These are older than [`MAX_IDLE`].
    Idle,
    /// The service doesn't take this access token.
    Rejected(Zeroizing<String>),
    /// Somebody wants new ones.
    Asked,
}

/// A connection with its tokens as they are stored now.
#[derive(Clone)]
pub(in crate::gateway) struct Held {
    pub(in crate::gateway) connection: Connection,
    pub(in crate::gateway) fields: Arc<Vec<StoredField>>,
    pub(in crate::gateway) grant: Grant,
}

/// Why there are no new tokens. No message holds a token.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::gateway) enum RefreshError {
    /// There can be none without a new consent.
    #[error("{0}")]
    Gone(String),
    /// The authorization server doesn't answer, or asked to be left alone.
    #[error("{message}")]
    Unavailable { message: String, retry_after: Option<Duration> },
    /// The server, or what is set up for it, is in the way; not the consent.
    #[error("{0}")]
    Refused(String),
    /// This server's own fault.
    #[error("{0}")]
    Broken(String),
}

impl From<GatewayError> for RefreshError {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::NotFound(what) => Self::Gone(format!("there is no {what}")),
            GatewayError::Unprocessable { message, .. } | GatewayError::Conflict { message, .. } => {
                Self::Refused(message)
            }
            error => {
                tracing::error!(error = chain(&error), "tokens can't be refreshed");
                Self::Broken("this server can't refresh the connection's tokens at the moment".to_owned())
            }
        }
    }
}

impl Held {
    /// Whether the access token hasn't expired, as far as is known.
    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        self.connection.expires_at.is_none_or(|at| now < at)
    }

    fn margin(&self, expires_at: Timestamp) -> Duration {
        margin(self.connection.id, self.grant.obtained_at, expires_at)
    }

    fn expires_within(&self, n_margins: u32, now: Timestamp) -> bool {
        self.connection.expires_at.is_some_and(|at| at <= now.plus(self.margin(at) * n_margins))
    }
}

impl Gateway {
    /// The connection's tokens as they are now, refreshed if that is due; none if those that `connection` stands for are good.
    /// Where a refresh fails, or takes long, those that still live are good enough.
    pub(in crate::gateway) async fn fresh_tokens(
        &self,
        connection: &Connection,
    ) -> Result<Option<Held>, RefreshError> {
        let Some(expires_at) = connection.expires_at else { return Ok(None) };
        let (now, keeper) = (Timestamp::now(), &self.inner.tokens);
        let used = Used { project: connection.project, expires_at, at: now };
        keeper.used_lately.insert(connection.id, used);
        let known = keeper.margins.get(&connection.id).filter(|(of, _)| *of == expires_at);
        if now.plus(known.map_or(LONGEST_MARGIN, |(_, margin)| margin)) < expires_at {
            return Ok(None);
        }
        let held = self.look(connection.project, connection.id).await?;
        if let Some(at) = held.connection.expires_at {
            keeper.margins.insert(connection.id, (at, held.margin(at)));
        }
        if !held.expires_within(1, now) {
            return Ok(Some(held));
        }
        let renewed = self.renew(connection.project, connection.id, Need::Due);
        if !held.is_alive(now) {
            return renewed.await.map(Some);
        }
        match tokio::time::timeout(BRIEF, renewed).await {
            Ok(Ok(renewed)) => Ok(Some(renewed)),
            Ok(Err(error @ RefreshError::Gone(_))) => Err(error),
            Ok(Err(_)) | Err(_) => Ok(Some(held)),
        }
    }

    /// New tokens for a connection whose access token the service refused; none where they wouldn't help.
    pub(in crate::gateway) async fn tokens_after_refusal(
        &self,
        connection: &Connection,
        refused: Zeroizing<String>,
    ) -> Result<Option<Held>, RefreshError> {
        if self.inner.tokens.unhelped.contains_key(&connection.id) {
            return Ok(None);
        }
        self.renew(connection.project, connection.id, Need::Rejected(refused)).await.map(Some)
    }

    /// Notes that the service refused new tokens as well.
    pub(in crate::gateway) fn note_unhelped(&self, connection: Uuid) {
        self.inner.tokens.unhelped.insert(connection, ());
    }

    /// A connection whose tokens are such that the need is met: as they are stored, or after one refresh.
    pub(in crate::gateway) async fn renew(
        &self,
        project: ProjectId,
        connection: Uuid,
        need: Need,
    ) -> Result<Held, RefreshError> {
        let mut held = self.look(project, connection).await?;
        let first = held.grant.generation;
        for _ in 0..MAX_ROUNDS {
            if self.is_met(&need, &held, first)? {
                return Ok(held);
            }
            let is_asked = matches!(need, Need::Asked);
            let refresh = self.clone().refresh(project, connection, held.grant.generation, is_asked);
            self.inner.tokens.flights.join(connection, refresh).await?;
            held = self.look(project, connection).await?;
        }
        if self.is_met(&need, &held, first)? {
            return Ok(held);
        }
        let message = "the connection's new tokens expire as soon as they are there".to_owned();
        Err(RefreshError::Unavailable { message, retry_after: None })
    }

    /// The same as [`Gateway::held`], which it shares with whoever asks at the same time; so it may be that of a moment ago.
    /// Whoever takes a lease on it is told if it was older.
    async fn look(&self, project: ProjectId, connection: Uuid) -> Result<Held, RefreshError> {
        let gateway = self.clone();
        let look = async move { gateway.held(project, connection).await };
        self.inner.tokens.looks.join(connection, look).await
    }

    /// The connection, its fields and its grant as they are stored now. What isn't of one moment is noticed when the lease is
    /// taken: the grant is read first.
    pub(in crate::gateway) async fn held(
        &self,
        project: ProjectId,
        connection: Uuid,
    ) -> Result<Held, RefreshError> {
        let store = &self.inner.store;
        let read = async {
            let grant = store.oauth_grant(project, connection).await?;
            let fields = store.connection_fields_now(project, connection).await?;
            let filter = ConnectionFilter { id: Some(connection), ..ConnectionFilter::default() };
            let found = store.connections(project, &Viewer::All, &filter).await?.into_iter().next();
            Ok::<_, GatewayError>((found, fields, grant))
        };
        match read.await? {
            (Some(connection), fields, Some(grant)) => Ok(Held { connection, fields, grant }),
            (Some(connection), _, None) => Err(RefreshError::Gone(format!(
                "connection {} has no tokens: connect it anew",
                connection.slug
            ))),
            (None, ..) => Err(RefreshError::Gone(format!("there is no connection {connection}"))),
        }
    }

    fn is_met(&self, need: &Need, held: &Held, first: u64) -> Result<bool, RefreshError> {
        if held.connection.status == ConnectionStatus::Expired {
            return Err(RefreshError::Gone(expired(&held.connection)));
        }
        let now = Timestamp::now();
        Ok(match need {
            Need::Due => !held.expires_within(1, now),
            Need::Ahead => !held.expires_within(2, now),
            Need::Idle => held.grant.obtained_at.is_some_and(|at| at > now.minus(MAX_IDLE)),
            Need::Asked => held.grant.generation > first,
            Need::Rejected(refused) => {
                let token = self.open_token(&held.connection, &held.fields, ACCESS_TOKEN_FIELD);
                token.map_err(GatewayError::from)?.is_some_and(|token| token != *refused)
            }
        })
    }
}

/// Why an EXPIRED connection is, in words.
pub(super) fn expired(connection: &Connection) -> String {
    connection.last_error.clone().unwrap_or_else(|| "the connection is expired: reconnect it".to_owned())
}
