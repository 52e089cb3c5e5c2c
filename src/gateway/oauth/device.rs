//! Consent on another device (RFC 8628): a person enters a code there, and the gateway asks until that is done.
//!
//! What is waited for is a row of the store, so that it outlives the process; whichever process takes a poll asks.

use std::time::Duration;

use portcullis_runtime::manifest::Manifest;
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::Zeroizing;

use super::super::credentials::Opened;
use super::super::{Gateway, GatewayError};
use super::callback::{ASK_ADMIN, Failure, Refusal, TRY_AGAIN, is_same_account};
use super::client::{endpoint, oauth2_config, refused, unconfigured};
use super::consent::{Pending, asks_for_identity, issuer_name};
use crate::error::chain;
use crate::identity::UserName;
use crate::integrations::Served;
use crate::oauth::endpoint::{Grant as TokenGrant, TokenError, Tokens, request_device_code, request_tokens};
use crate::oauth::identity::{Expected, Issuer, account};
use crate::oauth::state;
use crate::store::connections::Connection;
use crate::store::oauth_apps::OAuthApp;
use crate::store::oauth_flows::{Flow, FlowKind};
use crate::time::Timestamp;
use crate::vault::{Binding, Sealed, VaultError};

/// How long a poll is one process's alone.
const ALONE: Duration = Duration::from_secs(60);
/// How much longer the pauses get where the server asks for that (RFC 8628, 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// The pause where no other is known.
const INTERVAL: Duration = Duration::from_secs(5);
/// Polls that are taken at once.
const MAX_AT_ONCE: u32 = 32;
/// The longest that a code is waited for, whatever the server says.
const MAX_LIFE: Duration = Duration::from_secs(3600);

/// What the connection's user enters on another device.
#[derive(Clone, Debug)]
pub(crate) struct DevicePrompt {
    pub(crate) user_code: String,
    pub(crate) verification_uri: String,
    pub(crate) expires_at: Timestamp,
}

/// A consent on another device that is about to begin.
pub(in crate::gateway) struct DeviceBeginning {
    flow: Flow,
    secrets: DeviceSecrets,
    pub(in crate::gateway) prompt: DevicePrompt,
    /// Where the code is entered, or has been already.
    pub(in crate::gateway) redirect_url: String,
}

/// What is secret about it, and what it began with.
#[derive(Serialize, Deserialize)]
struct DeviceSecrets {
    device_code: Zeroizing<String>,
    client_id: String,
    token_url: Url,
    issuer: Option<String>,
}

impl DeviceBeginning {
    /// The consent, ready to be stored.
    pub(in crate::gateway) fn sealed(&self, gateway: &Gateway) -> Result<Flow, VaultError> {
        let connection = self.flow.connection.to_string();
        // Texts can always be written as JSON.
        let json = Zeroizing::new(serde_json::to_vec(&self.secrets).unwrap_or_default());
        let sealed = gateway.inner.vault.seal(&binding(&self.flow, &connection), &json)?;
        Ok(Flow { sealed: Some(sealed), ..self.flow.clone() })
    }
}

impl Gateway {
    /// Asks for a code that a person enters on another device. Nothing is stored of it yet.
    pub(super) async fn device(
        &self,
        connection: &Connection,
        served: &Served,
        app: Option<&OAuthApp>,
        opened: &Opened,
        scopes: Vec<String>,
        user: UserName,
    ) -> Result<DeviceBeginning, GatewayError> {
        let manifest = served.connector.manifest();
        let (token_url, device_url) = urls(manifest, opened)?;
        let issuer = oauth2_config(manifest)?.issuer.as_deref();
        let issuer = issuer.map(|issuer| issuer_name(issuer, manifest, opened)).transpose()?;
        let client = self.client_for(app, opened).await?;
        let asked = request_device_code(self.inner.engine.egress(), &device_url, &client, scopes.clone());
        let device = asked.await.map_err(|error| refused("the provider gave no device code", &error))?;
        let now = Timestamp::now();
        let expires_at = now.plus(device.expires_in.min(MAX_LIFE));
        Ok(DeviceBeginning {
            flow: Flow {
                // Nobody comes back with its state.
                state_hash: state::hash(&state::random_text()),
                project: connection.project,
                connection: connection.id,
                user,
                kind: FlowKind::Device,
                app: app.map(|app| app.name.clone()),
                scopes,
                redirect_uri: None,
                callback_url: None,
                sealed: None,
                browser_hash: None,
                poll_at: Some(now.plus(device.interval)),
                poll_interval: Some(device.interval),
                created_at: now,
                expires_at,
                used_at: None,
            },
            secrets: DeviceSecrets {
                device_code: device.device_code,
                client_id: client.client_id.clone(),
                token_url,
                issuer,
            },
            redirect_url: device.verification_uri_complete.unwrap_or_else(|| device.verification_uri.clone()),
            prompt: DevicePrompt {
                user_code: device.user_code,
                verification_uri: device.verification_uri,
                expires_at,
            },
        })
    }

    /// Asks for the tokens of each code whose time to be asked for has come, as far as this process gets to it.
    pub(super) async fn poll_devices(&self) -> Result<(), GatewayError> {
        let now = Timestamp::now();
        for flow in self.inner.store.take_device_polls(now, ALONE, MAX_AT_ONCE).await? {
            let gateway = self.clone();
            tokio::spawn(async move {
                let polled = gateway.poll_device(&flow).await;
                if let Err(error) = polled {
                    // It is this process's for a minute, and then anybody's.
                    tracing::warn!(connection = %flow.connection, error = chain(&error), "a device code can't be asked for");
                }
            });
        }
        Ok(())
    }

    async fn poll_device(&self, flow: &Flow) -> Result<(), GatewayError> {
        let Some(connection) = self.connection_of(flow).await? else { return Ok(()) };
        let Some(secrets) = self.open_device(flow)? else { return Ok(()) };
        let opened = self.open_credentials(&connection).await?;
        let integration = connection.integration.as_str();
        let client = self.oauth_client(flow.project, integration, flow.app.as_deref(), &opened).await?;
        let interval = flow.poll_interval.unwrap_or(INTERVAL);
        let grant = TokenGrant::DeviceCode { device_code: secrets.device_code.clone() };
        let refusal = match request_tokens(self.inner.engine.egress(), &secrets.token_url, &client, grant)
            .await
        {
            Ok(tokens) => return self.end_device(flow, &connection, &secrets, opened, tokens).await,
            Err(TokenError::Unavailable { retry_after, .. }) => {
                let pause = retry_after.unwrap_or_default().clamp(interval, ALONE.max(interval));
                return Ok(self.inner.store.poll_later(flow, Timestamp::now().plus(pause), interval).await?);
            }
            Err(TokenError::Refused { error, .. }) if error == "authorization_pending" => {
                return Ok(self
                    .inner
                    .store
                    .poll_later(flow, Timestamp::now().plus(interval), interval)
                    .await?);
            }
            Err(TokenError::Refused { error, .. }) if error == "slow_down" => {
                let interval = interval + SLOWER;
                return Ok(self
                    .inner
                    .store
                    .poll_later(flow, Timestamp::now().plus(interval), interval)
                    .await?);
            }
            Err(TokenError::Refused { error, .. }) if error == "access_denied" => {
                Refusal::new("consent was denied on the other device", TRY_AGAIN)
            }
            Err(TokenError::Refused { error, .. }) if error == "expired_token" => {
                Refusal::new("the code was not entered in time: reconnect to get another", TRY_AGAIN)
            }
            Err(error) => {
                Refusal::new(format!("the code could not be exchanged for tokens: {error}"), ASK_ADMIN)
            }
        };
        self.refuse(flow, &connection, refusal).await.map(drop)
    }

    /// The code was entered: tries the tokens out, and stores them if they are the account's that they may be.
    async fn end_device(
        &self,
        flow: &Flow,
        connection: &Connection,
        secrets: &DeviceSecrets,
        opened: Opened,
        tokens: Tokens,
    ) -> Result<(), GatewayError> {
        let (store, now) = (&self.inner.store, Timestamp::now());
        if !store.use_flow(&flow.state_hash, now).await? {
            return Ok(());
        }
        let grant = store.oauth_grant(flow.project, flow.connection).await?;
        let brought = match self.try_device(flow, connection, secrets, opened, tokens, now).await {
            Ok(brought) => brought,
            Err(Failure::Gateway(error)) => return Err(error),
            Err(Failure::Refused(refusal)) => return self.refuse(flow, connection, refusal).await.map(drop),
        };
        if is_same_account(connection, grant.as_ref(), &brought) {
            return self.keep(flow, connection, &brought, true).await.map(drop);
        }
        // There is no browser that could be asked whether that is meant.
        let account = |name: Option<&String>| name.map_or("another account", String::as_str).to_owned();
        let reason = format!(
            "the code was entered as {}, and the connection is {}'s: to change accounts, delete it and connect anew",
            account(brought.identity.as_ref()),
            account(connection.identity.as_ref())
        );
        self.refuse(flow, connection, Refusal::new(reason, TRY_AGAIN)).await.map(drop)
    }

    async fn try_device(
        &self,
        flow: &Flow,
        connection: &Connection,
        secrets: &DeviceSecrets,
        opened: Opened,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<Pending, Failure> {
        let served = self.served(flow.project, connection.integration.as_str()).await?;
        let id_token = tokens.id_token.as_ref().filter(|_| asks_for_identity(&flow.scopes));
        let here = secrets.token_url.as_str();
        let issuer = secrets.issuer.as_deref().map_or(Issuer::At([here; 2]), Issuer::Named);
        let expected = Expected { issuer, client_id: &secrets.client_id, nonce: None, now };
        let account = id_token.map(|token| account(token, &expected)).transpose().map_err(|problem| {
            let reason = format!("the service's id token can't be trusted: {problem}");
            Failure::Refused(Refusal::new(reason, ASK_ADMIN))
        })?;
        self.try_tokens(flow, served, opened, tokens, account, now).await
    }

    fn open_device(&self, flow: &Flow) -> Result<Option<DeviceSecrets>, GatewayError> {
        let Some(sealed): Option<&Sealed> = flow.sealed.as_ref() else { return Ok(None) };
        let connection = flow.connection.to_string();
        let binding = binding(flow, &connection);
        let json = self.inner.vault.open(&binding, sealed)?;
        let secrets = serde_json::from_slice(&json);
        Ok(Some(secrets.map_err(|_| VaultError::Refused { kind: binding.kind.to_owned() })?))
    }
}

/// The token endpoint's URL, and the device authorization endpoint's.
fn urls(manifest: &Manifest, opened: &Opened) -> Result<(Url, Url), GatewayError> {
    let config = oauth2_config(manifest)?;
    let device_url = config.device_authorization_url.as_deref();
    let device_url =
        device_url.ok_or_else(|| unconfigured("the integration gives no device codes".to_owned()))?;
    let filled = |pattern| endpoint(pattern, manifest, &opened.config);
    Ok((filled(&config.token_url)?, filled(device_url)?))
}

fn binding<'a>(flow: &'a Flow, connection: &'a str) -> Binding<'a> {
    Binding::oauth_flow(flow.project, connection, &flow.state_hash)
}
