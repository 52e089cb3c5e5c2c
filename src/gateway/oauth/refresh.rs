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
/// How many refreshes are waited for: the one under way may have begun for another reason.
const MAX_ROUNDS: usize = 3;
/// How long a connection counts as used, for being refreshed ahead.
pub(super) const LATELY: Duration = Duration::from_secs(3600);
/// How long a 401 refreshes nothing after new tokens were answered with one as well: then it isn't about the token.
const UNHELPED: Duration = Duration::from_secs(60);
/// How old tokens get that nobody uses: those of many providers lapse after some weeks without a refresh.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What this process knows of tokens.
pub(in crate::gateway) struct TokenKeeper {
    pub(super) flights: Flights,
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
#[derive(Clone)]
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
    ) -> Result<Option<Arc<Held>>, RefreshError> {
        let Some(expires_at) = connection.expires_at else { return Ok(None) };
        let (now, keeper) = (Timestamp::now(), &self.inner.tokens);
        let used = Used { project: connection.project, expires_at, at: now };
        keeper.used_lately.insert(connection.id, used);
        let known = keeper.margins.get(&connection.id).filter(|(of, _)| *of == expires_at);
        if now.plus(known.map_or(LONGEST_MARGIN, |(_, margin)| margin)) < expires_at {
            return Ok(None);
        }
        let renewed = self.renew(connection.project, connection.id, Need::Due);
        let renewed = match now < expires_at {
            false => renewed.await,
            true => match tokio::time::timeout(BRIEF, renewed).await {
                Ok(renewed) => renewed,
                Err(_) => return Ok(None),
            },
        };
        match renewed {
            Ok(held) => {
                if let Some(at) = held.connection.expires_at {
                    keeper.margins.insert(connection.id, (at, held.margin(at)));
                }
                Ok(Some(held))
            }
            Err(error @ RefreshError::Gone(_)) => Err(error),
            Err(_) if now < expires_at => Ok(None),
            // What this process knew may be old.
            Err(error) => match self.held(connection.project, connection.id).await {
                Ok(held) if held.is_alive(now) => Ok(Some(Arc::new(held))),
                _ => Err(error),
            },
        }
    }

    /// New tokens for a connection whose access token the service refused; none where they wouldn't help.
    pub(in crate::gateway) async fn tokens_after_refusal(
        &self,
        connection: &Connection,
        refused: Zeroizing<String>,
    ) -> Result<Option<Arc<Held>>, RefreshError> {
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
    ) -> Result<Arc<Held>, RefreshError> {
        let first = match need {
            Need::Asked => self.held(project, connection).await?.grant.generation,
            _ => 0,
        };
        for _ in 0..MAX_ROUNDS {
            let renewal = self.clone().renew_once(project, connection, need.clone(), first);
            // It may be another's, whose need was another.
            let held = self.inner.tokens.flights.join(connection, renewal).await?;
            if self.is_met(&need, &held, first)? {
                return Ok(held);
            }
        }
        let message = "the connection's new tokens expire as soon as they are there".to_owned();
        Err(RefreshError::Unavailable { message, retry_after: None })
    }

    /// Looks at what is stored, and refreshes it if the need isn't met: what is done once for all who want it at a time.
    async fn renew_once(
        self,
        project: ProjectId,
        connection: Uuid,
        need: Need,
        first: u64,
    ) -> Result<Arc<Held>, RefreshError> {
        let held = self.held(project, connection).await?;
        if self.is_met(&need, &held, first)? {
            return Ok(Arc::new(held));
        }
        let is_asked = matches!(need, Need::Asked);
        self.refresh(project, connection, held.grant.generation, is_asked).await?;
        self.held(project, connection).await.map(Arc::new)
    }

    /// The grant, the connection and its fields as they are stored now, read in this order: no token is older than what the
    /// connection says of its end, and none is taken for one of a later generation than it is.
    pub(in crate::gateway) async fn held(
        &self,
        project: ProjectId,
        connection: Uuid,
    ) -> Result<Held, RefreshError> {
        let store = &self.inner.store;
        let read = async {
            let grant = store.oauth_grant(project, connection).await?;
            let filter = ConnectionFilter { id: Some(connection), ..ConnectionFilter::default() };
            let found = store.connections(project, &Viewer::All, &filter).await?.into_iter().next();
            let fields = store.connection_fields_now(project, connection).await?;
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
