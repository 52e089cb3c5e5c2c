//! Taking tokens out of use: at the authorization server where it has an endpoint for that (RFC 7009), again until it is
//! done, and by an outbox that is written with what deletes them here.

use std::time::Duration;

use portcullis_runtime::manifest::AuthMethod;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::super::retry::random;
use super::super::{Gateway, GatewayError};
use super::client::{endpoint, oauth2_config};
use super::refresh::Held;
use crate::error::chain;
use crate::identity::{Identity, ProjectId};
use crate::oauth::endpoint::{ClientAuth, OAuthClient, TokenError, revoke_token};
use crate::store::StoreError;
use crate::store::connections::{
    ACCESS_TOKEN_FIELD, Connection, ConnectionFilter, ConnectionStatus, REFRESH_TOKEN_FIELD, StoredField,
    Viewer,
};
use crate::store::oauth_revocations::Revocation;
use crate::time::Timestamp;
use crate::vault::{Binding, VaultError};

/// How long who disconnects waits for the authorization server.
const AT_ONCE: Duration = Duration::from_secs(15);
/// How long one attempt is one process's alone: longer than it takes for two tokens.
const ALONE: Duration = Duration::from_secs(60);
/// The first pause after an attempt that failed, and the longest: it doubles each time.
const PAUSES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));
/// When it is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Attempts side by side.
const MAX_AT_ONCE: u32 = 8;

/// What became of tokens at the authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Revoked {
    /// There was nothing to revoke, or the server has no endpoint for it.
    NotNeeded,
    /// The server has revoked them.
    Done,
    /// It hasn't, for this reason, and is asked again.
    Retrying(String),
    /// It can't be asked, for this reason.
    Impossible(String),
}

/// What [`Gateway::revoke_all`] did with one connection.
pub(crate) struct RevokedConnection {
    pub(crate) connection: Connection,
    pub(crate) revoked: Revoked,
}

/// Tokens to be revoked, and how: what a [`Revocation`] seals. `true` marks a refresh token.
#[derive(Serialize, Deserialize)]
struct Orphans {
    url: Url,
    client_id: String,
    client_secret: Option<Zeroizing<String>>,
    auth: ClientAuth,
    tokens: Vec<(Zeroizing<String>, bool)>,
}

impl Gateway {
    /// Deletes a connection, and has its tokens revoked.
    pub(in crate::gateway) async fn disconnect(
        &self,
        connection: &Connection,
    ) -> Result<Option<Revoked>, GatewayError> {
        let orphans = self.orphans_of(connection).await?;
        let (project, id) = (connection.project, connection.id);
        let delete = async |left: Option<Revocation>| {
            let deleted = self.inner.store.delete_connection(project, id, left.as_ref()).await?;
            Ok(deleted.then_some(left))
        };
        let deleted =
            self.write_and_leave(connection, orphans.as_ref().ok().and_then(Option::as_ref), delete).await?;
        let Some(left) = deleted else { return Ok(None) };
        Ok(Some(self.revoke_now(orphans, left).await))
    }

    /// Takes all tokens of an integration's connections away, makes the connections EXPIRED and has the tokens revoked: for
    /// the day of a breach. Admins may.
    pub(crate) async fn revoke_all(
        &self,
        identity: &Identity,
        integration: &str,
    ) -> Result<Vec<RevokedConnection>, GatewayError> {
        if !identity.is_admin() {
            return Err(GatewayError::Forbidden("only an admin's key may revoke all tokens".to_owned()));
        }
        let filter =
            ConnectionFilter { integration: Some(integration.to_owned()), ..ConnectionFilter::default() };
        let found = self.inner.store.connections(identity.project, &Viewer::All, &filter).await?;
        let known = self.inner.registry.integration(identity.project, integration).await?;
        if known.is_none() && found.is_empty() {
            return Err(GatewayError::NotFound(format!("integration {integration}")));
        }
        // First all are out of use here; what the servers say comes after.
        let mut revoking = Vec::new();
        for connection in found.into_iter().filter(|connection| connection.mode == AuthMethod::OAuth2) {
            let orphans = self.orphans_of(&connection).await?;
            let left =
                self.expire_revoked(&connection, orphans.as_ref().ok().and_then(Option::as_ref)).await?;
            if let Some(left) = left {
                revoking.push((connection, orphans, left));
            }
        }
        let (mut running, mut revoked) = (JoinSet::new(), Vec::with_capacity(revoking.len()));
        for (connection, orphans, left) in revoking {
            if running.len() >= MAX_AT_ONCE as usize {
                revoked.extend(running.join_next().await.and_then(Result::ok));
            }
            let gateway = self.clone();
            running.spawn(async move {
                let revoked = gateway.revoke_now(orphans, left).await;
                RevokedConnection { connection, revoked }
            });
        }
        revoked.extend(running.join_all().await);
        revoked.sort_by(|one, other| one.connection.slug.as_str().cmp(other.connection.slug.as_str()));
        for one in &mut revoked {
            one.connection.status = match one.connection.status {
                ConnectionStatus::Disabled => ConnectionStatus::Disabled,
                _ => ConnectionStatus::Expired,
            };
        }
        Ok(revoked)
    }

    /// Has tokens revoked that were had for a connection that is gone by now.
    pub(super) async fn revoke_orphans(
        &self,
        held: &Held,
        tokens: Vec<(Zeroizing<String>, bool)>,
    ) -> Result<(), GatewayError> {
        let (connection, app) = (&held.connection, held.grant.app.clone());
        let Some(orphans) = self.orphans(connection, &held.fields, tokens, app).await? else { return Ok(()) };
        let insert = async |left: Option<Revocation>| {
            if let Some(left) = &left {
                self.inner.store.insert_revocation(left).await?;
            }
            Ok(left)
        };
        let left = self.write_and_leave(connection, Some(&orphans), insert).await?;
        self.revoke_now(Ok(Some(orphans)), left).await;
        Ok(())
    }

    /// Revokes what is due, as far as this process gets to it.
    pub(super) async fn revoke_due(&self) -> Result<(), GatewayError> {
        let due = self.inner.store.take_revocations(Timestamp::now(), ALONE, MAX_AT_ONCE).await?;
        let mut running = JoinSet::new();
        for revocation in due {
            let gateway = self.clone();
            running.spawn(async move {
                match gateway.open_orphans(&revocation) {
                    Ok(orphans) => drop(gateway.attempt_revocation(&orphans, &revocation).await),
                    Err(error) => {
                        tracing::error!(revocation = %revocation.id, error = chain(&error), "tokens to be revoked can't be opened");
                        gateway.postpone_revocation(&revocation, "they can't be opened").await;
                    }
                }
            });
        }
        running.join_all().await;
        Ok(())
    }

    async fn expire_revoked(
        &self,
        connection: &Connection,
        orphans: Option<&Orphans>,
    ) -> Result<Option<Option<Revocation>>, GatewayError> {
        const WHY: &str = "an admin revoked all tokens of the integration: reconnect";
        let (project, id) = (connection.project, connection.id);
        let expire = async |left: Option<Revocation>| {
            let expired = self.inner.store.expire_and_revoke(project, id, WHY, left.as_ref()).await?;
            Ok(expired.then_some(left))
        };
        self.write_and_leave(connection, orphans, expire).await
    }

    /// A write that takes the tokens away, with a row of the outbox if there is anything to revoke.
    async fn write_and_leave<T, Writing: Future<Output = Result<T, StoreError>>>(
        &self,
        connection: &Connection,
        orphans: Option<&Orphans>,
        write: impl Fn(Option<Revocation>) -> Writing,
    ) -> Result<T, GatewayError> {
        let seal = || orphans.map(|orphans| self.seal_orphans(connection, orphans)).transpose();
        self.inner.vault.sealed_write(&self.inner.store, seal, write).await
    }

    /// What is to be revoked of a connection's tokens; none if there is nothing, or no endpoint. The inner error says why it
    /// can't be.
    async fn orphans_of(
        &self,
        connection: &Connection,
    ) -> Result<Result<Option<Orphans>, String>, GatewayError> {
        if connection.mode != AuthMethod::OAuth2 {
            return Ok(Ok(None));
        }
        let fields = self.inner.store.connection_fields_now(connection.project, connection.id).await?;
        let grant = self.inner.store.oauth_grant(connection.project, connection.id).await?;
        let token = |name| self.open_token(connection, &fields, name);
        let tokens = [(REFRESH_TOKEN_FIELD, true), (ACCESS_TOKEN_FIELD, false)]
            .into_iter()
            .filter_map(|(name, is_refresh)| Some(token(name).transpose()?.map(|token| (token, is_refresh))))
            .collect::<Result<Vec<_>, _>>();
        let app = grant.and_then(|grant| grant.app);
        let orphans = match tokens {
            Ok(tokens) => self.orphans(connection, &fields, tokens, app).await,
            Err(error) => Err(error.into()),
        };
        match orphans {
            Ok(orphans) => Ok(Ok(orphans)),
            Err(error @ GatewayError::Store(_)) => Err(error),
            Err(error @ GatewayError::Vault(_)) => {
                tracing::error!(connection = %connection.id, error = chain(&error), "tokens can't be opened to be revoked");
                Ok(Err("its stored tokens can't be opened; revoke them at the provider".to_owned()))
            }
            Err(error) => Ok(Err(format!("{error}; revoke its tokens at the provider"))),
        }
    }

    async fn orphans(
        &self,
        connection: &Connection,
        fields: &[StoredField],
        tokens: Vec<(Zeroizing<String>, bool)>,
        app: Option<String>,
    ) -> Result<Option<Orphans>, GatewayError> {
        if tokens.is_empty() {
            return Ok(None);
        }
        let served = self.served(connection.project, connection.integration.as_str()).await?;
        let manifest = served.connector.manifest();
        let Some(url) = &oauth2_config(manifest)?.revocation_url else { return Ok(None) };
        let opened = self.open_fields(connection, fields).await?;
        let url = endpoint(url, manifest, &opened.config)?;
        let integration = connection.integration.as_str();
        let client = self.oauth_client(connection.project, integration, app.as_deref(), &opened).await?;
        let OAuthClient { client_id, client_secret, auth } = client;
        Ok(Some(Orphans { url, client_id, client_secret, auth, tokens }))
    }

    fn seal_orphans(&self, connection: &Connection, orphans: &Orphans) -> Result<Revocation, VaultError> {
        let (project, id, now) = (connection.project, Uuid::now_v7(), Timestamp::now());
        // URLs, texts and flags can always be written.
        let json = Zeroizing::new(serde_json::to_vec(orphans).unwrap_or_default());
        let field = id.to_string();
        let sealed =
            self.inner.vault.seal(&binding(project, connection.integration.as_str(), &field), &json)?;
        Ok(Revocation {
            project,
            id,
            integration: connection.integration.clone(),
            connection_slug: connection.slug.clone(),
            sealed,
            attempts: 0,
            // The first attempt is made at once, by who writes this.
            next_at: now.plus(ALONE),
            created_at: now,
        })
    }

    fn open_orphans(&self, revocation: &Revocation) -> Result<Orphans, VaultError> {
        let (field, integration) = (revocation.id.to_string(), revocation.integration.as_str());
        let binding = binding(revocation.project, integration, &field);
        let json = self.inner.vault.open(&binding, &revocation.sealed)?;
        serde_json::from_slice(&json).map_err(|_| VaultError::Refused { kind: binding.kind.to_owned() })
    }

    /// The first attempt, after what was to be written is.
    async fn revoke_now(
        &self,
        orphans: Result<Option<Orphans>, String>,
        left: Option<Revocation>,
    ) -> Revoked {
        let (orphans, left) = match (orphans, left) {
            (Err(why), _) => return Revoked::Impossible(why),
            (Ok(Some(orphans)), Some(left)) => (orphans, left),
            (Ok(_), _) => return Revoked::NotNeeded,
        };
        let gateway = self.clone();
        // It goes on, should nobody wait for it any more: the outbox is to know what came of it.
        let attempt = tokio::spawn(async move { gateway.attempt_revocation(&orphans, &left).await });
        match tokio::time::timeout(AT_ONCE, attempt).await {
            Ok(Ok(Ok(()))) => Revoked::Done,
            Ok(Ok(Err(why))) => Revoked::Retrying(why),
            Ok(Err(_)) => Revoked::Retrying("the attempt broke off inside this server".to_owned()),
            Err(_) => Revoked::Retrying("the authorization server doesn't answer in time".to_owned()),
        }
    }

    /// Asks the server for each token, and notes in the outbox what came of it.
    async fn attempt_revocation(&self, orphans: &Orphans, revocation: &Revocation) -> Result<(), String> {
        let client = OAuthClient {
            client_id: orphans.client_id.clone(),
            client_secret: orphans.client_secret.clone(),
            auth: orphans.auth,
        };
        for (token, is_refresh) in &orphans.tokens {
            let revoked =
                revoke_token(self.inner.engine.egress(), &orphans.url, &client, token.clone(), *is_refresh);
            match revoked.await {
                Ok(()) => {}
                // An access token that isn't kept anywhere can't be revoked; it dies by itself, and can't be renewed.
                Err(TokenError::Refused { error, .. })
                    if !is_refresh && error == "unsupported_token_type" => {}
                Err(error) => {
                    let why = error.to_string();
                    self.postpone_revocation(revocation, &why).await;
                    return Err(why);
                }
            }
        }
        metrics::counter!("portcullis_token_revocations_total", "outcome" => "revoked").increment(1);
        if let Err(error) = self.inner.store.delete_revocation(revocation).await {
            // They are revoked once more, which does no harm.
            tracing::warn!(revocation = %revocation.id, error = chain(&error), "revoked tokens can't be forgotten yet");
        }
        Ok(())
    }

    /// Notes a failure, or gives up.
    async fn postpone_revocation(&self, revocation: &Revocation, why: &str) {
        let (store, now) = (&self.inner.store, Timestamp::now());
        let is_over = now > revocation.created_at.plus(GIVEN_UP_AFTER);
        let outcome = if is_over { "given_up" } else { "failed" };
        metrics::counter!("portcullis_token_revocations_total", "outcome" => outcome).increment(1);
        tracing::warn!(
            integration = %revocation.integration, connection = %revocation.connection_slug, outcome, error = why,
            "tokens of a connection that is gone weren't revoked at the provider"
        );
        let pause = PAUSES.0.saturating_mul(2_u32.saturating_pow(revocation.attempts)).min(PAUSES.1);
        let noted = match is_over {
            true => store.delete_revocation(revocation).await,
            false => {
                store
                    .postpone_revocation(revocation, now.plus(pause.mul_f64(0.5 + random() / 2.0)), why)
                    .await
            }
        };
        if let Err(error) = noted {
            tracing::error!(revocation = %revocation.id, error = chain(&error), "a revocation's failure can't be noted");
        }
    }
}

fn binding<'a>(project: ProjectId, integration: &'a str, field: &'a str) -> Binding<'a> {
    Binding { project, kind: "oauth_revocation", owner: integration, field }
}
