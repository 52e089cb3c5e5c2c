//! One refresh of one connection's tokens, under a lease that keeps every other process from it.
//!
//! Invariant: a refresh token is sent once, and what it brought is stored before anybody uses it. Where a process ends
//! in between, the next one knows that it did: the time of sending stands in the grant's row until the answer is saved.

use std::time::{Duration, Instant};

use portcullis_runtime::manifest::GrantType;
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::super::retry::random;
use super::super::{Gateway, GatewayError};
use super::client::{endpoint, oauth2_config};
use super::due::pause;
use super::refresh::{Held, RefreshError, expired};
use crate::error::chain;
use crate::identity::ProjectId;
use crate::oauth::endpoint::{DEADLINE, Grant, OAuthClient, TokenError, Tokens, request_tokens};
use crate::store::StoreError;
use crate::store::connections::{
    ACCESS_TOKEN_FIELD, ConnectionChange, ConnectionStatus, FieldKind, REFRESH_TOKEN_FIELD,
};
use crate::store::oauth_refresh::{Lease, Setback};
use crate::time::Timestamp;

/// How long a lease lasts: longer than the exchange, with time for saving.
const LEASE: Duration = Duration::from_secs(30);
const _: () = assert!(LEASE.as_secs() > DEADLINE.as_secs());
/// How long to wait for another process's refresh.
const PATIENCE: Duration = Duration::from_secs(35);
/// How often that is looked for.
const POLL: Duration = Duration::from_millis(100);
/// How long saving new tokens is tried. While the store is away, nobody else can take the lease either.
const SAVE_PATIENCE: Duration = Duration::from_secs(600);
/// The first pause between two tries, and the longest: it doubles.
const SAVE_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What is sent for new tokens.
struct Exchange {
    url: Url,
    client: OAuthClient,
    grant: Grant,
    /// Kept where the server gives no new one.
    refresh_token: Option<Zeroizing<String>>,
}

impl Gateway {
    /// Replaces the tokens of this generation, or waits until another process has.
    pub(super) async fn refresh(
        &self,
        project: ProjectId,
        connection: Uuid,
        generation: u64,
        is_asked: bool,
    ) -> Result<(), RefreshError> {
        let Some(lease) = self.take_lease(project, connection, generation, is_asked).await? else {
            return Ok(());
        };
        let result = self.refresh_under(&lease, is_asked).await;
        let outcome = match &result {
            Ok(()) => "refreshed",
            Err(RefreshError::Gone(_)) => "expired",
            Err(RefreshError::Unavailable { .. }) => "unavailable",
            Err(RefreshError::Refused(_)) => "refused",
            Err(RefreshError::Broken(_)) => "broken",
        };
        metrics::counter!("portcullis_token_refreshes_total", "outcome" => outcome).increment(1);
        match &result {
            Ok(()) => tracing::debug!(%connection, "the connection's tokens were refreshed"),
            Err(error) => {
                tracing::warn!(%connection, outcome, %error, "the connection's tokens weren't refreshed");
            }
        }
        result
    }

    /// The lease; none once the tokens have been replaced by whoever held it before.
    async fn take_lease(
        &self,
        project: ProjectId,
        connection: Uuid,
        generation: u64,
        is_asked: bool,
    ) -> Result<Option<Lease>, RefreshError> {
        let (store, begun) = (&self.inner.store, Instant::now());
        loop {
            let grant = store.oauth_grant(project, connection).await.map_err(GatewayError::from)?;
            let grant =
                grant.ok_or_else(|| RefreshError::Gone(format!("there is no connection {connection}")))?;
            if grant.generation != generation {
                return Ok(None);
            }
            let now = Timestamp::now();
            let left = grant.retry_at.map(|at| at.0 - now.0).and_then(|ms| u64::try_from(ms).ok());
            if let Some(left) = left.filter(|ms| *ms > 0 && !is_asked) {
                let message = format!(
                    "the authorization server gave no new tokens {} times in a row and is left alone for a while",
                    grant.failures
                );
                return Err(RefreshError::Unavailable {
                    message,
                    retry_after: Some(Duration::from_millis(left)),
                });
            }
            let taken = store.take_refresh((project, connection), generation, now, now.plus(LEASE)).await;
            if let Some(lease) = taken.map_err(GatewayError::from)? {
                return Ok(Some(lease));
            }
            if begun.elapsed() > PATIENCE {
                let message =
                    "another gateway has been refreshing the connection's tokens for too long".to_owned();
                return Err(RefreshError::Unavailable { message, retry_after: None });
            }
            tokio::time::sleep(POLL.mul_f64(0.75 + random() / 2.0)).await;
        }
    }

    async fn refresh_under(&self, lease: &Lease, is_asked: bool) -> Result<(), RefreshError> {
        let store = &self.inner.store;
        let held = match self.held(lease.project, lease.connection).await {
            // Whoever held the lease before found that there is nothing to refresh any more.
            Ok(held) if held.connection.status == ConnectionStatus::Expired => {
                Err(RefreshError::Gone(expired(&held.connection)))
            }
            held => held,
        };
        let prepared = match held {
            Ok(held) => self.refresh_request(&held).await.map(|exchange| (held, exchange)),
            Err(error) => Err(error),
        };
        let (held, exchange) = match prepared {
            Ok((held, Some(exchange))) => (held, exchange),
            Ok((held, None)) => return Err(self.without_refresh_token(lease, &held).await?),
            Err(error) => {
                // Nothing was sent: what was in doubt still is.
                let setback = Setback { retry_at: None, is_in_doubt: lease.is_in_doubt };
                store.give_up_refresh(lease, setback).await.map_err(GatewayError::from)?;
                return Err(error);
            }
        };
        if !store.note_refresh_sent(lease, Timestamp::now()).await.map_err(GatewayError::from)? {
            return Ok(());
        }
        let Exchange { url, client, grant, refresh_token } = exchange;
        match request_tokens(self.inner.engine.egress(), &url, &client, grant).await {
            Ok(tokens) => self.save_tokens(lease, &held, tokens, refresh_token).await,
            Err(error) => Err(self.refresh_failed(lease, &held, error, is_asked).await?),
        }
    }

    /// What to send; none if there is nothing that new tokens could be had for.
    async fn refresh_request(&self, held: &Held) -> Result<Option<Exchange>, RefreshError> {
        let Held { connection, fields, grant } = held;
        let served = self.served(connection.project, connection.integration.as_str()).await?;
        let manifest = served.connector.manifest();
        let config = oauth2_config(manifest)?;
        let refresh_token =
            self.open_token(connection, fields, REFRESH_TOKEN_FIELD).map_err(GatewayError::from)?;
        let asked = match (&refresh_token, config.grant_type) {
            (Some(token), _) => Grant::RefreshToken { token: token.clone() },
            (None, GrantType::ClientCredentials) => {
                Grant::ClientCredentials { scopes: grant.requested_scopes.clone() }
            }
            (None, _) => return Ok(None),
        };
        let opened = self.open_fields(connection, fields).await?;
        let url = endpoint(&config.token_url, manifest, &opened.config)?;
        let (project, integration) = (connection.project, connection.integration.as_str());
        let client = self.oauth_client(project, integration, grant.app.as_deref(), &opened).await?;
        Ok(Some(Exchange { url, client, grant: asked, refresh_token }))
    }

    async fn without_refresh_token(&self, lease: &Lease, held: &Held) -> Result<RefreshError, RefreshError> {
        const WHY: &str =
            "the access token is no longer good, and the provider gave no refresh token: reconnect";
        let store = &self.inner.store;
        // Whether the token is at fault for a 401 isn't certain; its own time is.
        if held.is_alive(Timestamp::now()) {
            let setback = Setback { retry_at: None, is_in_doubt: false };
            store.give_up_refresh(lease, setback).await.map_err(GatewayError::from)?;
        } else {
            store.expire_connection(lease, WHY).await.map_err(GatewayError::from)?;
        }
        Ok(RefreshError::Gone(WHY.to_owned()))
    }

    /// Notes that the server gave nothing, and what that means.
    async fn refresh_failed(
        &self,
        lease: &Lease,
        held: &Held,
        error: TokenError,
        is_asked: bool,
    ) -> Result<RefreshError, RefreshError> {
        let (store, now) = (&self.inner.store, Timestamp::now());
        if error.is_grant_gone() {
            let why = match lease.is_in_doubt {
                true => format!(
                    "the provider's answer to an earlier refresh was lost, and it doesn't take the refresh token again \
                     ({error}): reconnect"
                ),
                false => format!("the provider no longer accepts the refresh token ({error}): reconnect"),
            };
            // Whoever asks for new tokens must not lose the one that still works for it.
            if is_asked && held.is_alive(now) {
                let setback = Setback { retry_at: None, is_in_doubt: lease.is_in_doubt };
                store.give_up_refresh(lease, setback).await.map_err(GatewayError::from)?;
            } else {
                store.expire_connection(lease, &why).await.map_err(GatewayError::from)?;
            }
            return Ok(RefreshError::Gone(why));
        }
        let asked = match &error {
            TokenError::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        };
        let pause = pause(lease.failures, asked, random());
        // Only a server's own word ends a doubt.
        let is_in_doubt =
            error.is_lost() || (lease.is_in_doubt && !matches!(error, TokenError::Refused { .. }));
        let setback = Setback { retry_at: Some(now.plus(pause)), is_in_doubt };
        store.give_up_refresh(lease, setback).await.map_err(GatewayError::from)?;
        Ok(match error {
            TokenError::Unavailable { message, .. } => {
                RefreshError::Unavailable { message, retry_after: Some(pause) }
            }
            error => RefreshError::Refused(format!("the provider gave no new token: {error}")),
        })
    }

    /// Stores new tokens, however long the store takes to come back: nobody else has them.
    async fn save_tokens(
        &self,
        lease: &Lease,
        held: &Held,
        tokens: Tokens,
        old_refresh_token: Option<Zeroizing<String>>,
    ) -> Result<(), RefreshError> {
        let (begun, now) = (Instant::now(), Timestamp::now());
        let refresh_token = tokens.refresh_token.clone().or(old_refresh_token);
        let is_active = held.connection.status == ConnectionStatus::Active;
        let change = ConnectionChange {
            // One that says nothing of scopes at a refresh took none away.
            scopes: tokens.scopes.clone().filter(|scopes| !scopes.is_empty()).map(Some),
            expires_at: Some(tokens.expires_in.map(|life| now.plus(life))),
            last_error: is_active.then_some(None),
            ..ConnectionChange::default()
        };
        let (store, mut wait) = (&self.inner.store, SAVE_PAUSES.0);
        loop {
            let refresh_token = refresh_token.as_ref().map(|token| token.as_str());
            let seal =
                || self.seal_tokens(lease.project, lease.connection, &tokens.access_token, refresh_token);
            let write = async |fields| {
                let change =
                    ConnectionChange { fields: Some((vec![FieldKind::Token], fields)), ..change.clone() };
                store.finish_refresh(lease, &change, now).await
            };
            match self.inner.vault.sealed_write(store, seal, write).await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => return self.superseded(lease, held, tokens).await,
                Err(GatewayError::Store(error @ StoreError::Unavailable { .. }))
                    if begun.elapsed() < SAVE_PATIENCE =>
                {
                    tracing::error!(connection = %lease.connection, error = chain(&error), "new tokens can't be stored yet");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(SAVE_PAUSES.1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// New tokens found no place: they are stored already (an earlier commit's answer was lost), others have taken their place,
    /// or the connection is gone, and then nobody must be left with tokens that work.
    async fn superseded(&self, lease: &Lease, held: &Held, tokens: Tokens) -> Result<(), RefreshError> {
        let connection = &held.connection;
        let fields = self.inner.store.connection_fields_now(lease.project, lease.connection).await;
        let fields = fields.map_err(GatewayError::from)?;
        let stored = self.open_token(connection, &fields, ACCESS_TOKEN_FIELD).map_err(GatewayError::from)?;
        if stored.is_some() {
            return Ok(());
        }
        let tokens = [tokens.refresh_token.map(|token| (token, true)), Some((tokens.access_token, false))];
        self.revoke_orphans(held, tokens.into_iter().flatten().collect()).await?;
        Err(RefreshError::Gone(format!("connection {} was disconnected", connection.slug)))
    }
}
