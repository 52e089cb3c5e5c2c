//! New tokens for a connection that somebody asks for: by those that it holds, otherwise by another consent.

use std::sync::Arc;

use portcullis_runtime::manifest::{GrantType, Manifest};

use super::super::connections::{Connected, Refresh};
use super::super::{Gateway, GatewayError};
use super::client::oauth2_config;
use super::consent::{required_scopes, union};
use super::device::DeviceBeginning;
use super::renew::Renewal;
use crate::identity::Identity;
use crate::integrations::Served;
use crate::store::connections::{Connection, ConnectionChange, ConnectionStatus};
use crate::store::oauth_flows::Flow;

impl Gateway {
    /// Has a connection's tokens renewed, or begins another consent where those bring nothing, or are worth too little: where an
    /// operation needs scopes that weren't granted.
    pub(in crate::gateway) async fn refresh_or_reconnect(
        &self,
        identity: &Identity,
        connection: Connection,
        refresh: Refresh,
    ) -> Result<Connected, GatewayError> {
        let served = self.served(connection.project, connection.integration.as_str()).await?;
        let manifest = served.connector.manifest();
        let lacks_scopes = |connection: &Connection| {
            let granted = connection.scopes.as_deref().unwrap_or_default();
            required_scopes(manifest).any(|scope| !granted.contains(scope))
        };
        // A client that asks for itself gets scopes and tokens with one grant.
        let is_client = oauth2_config(manifest)?.grant_type == GrantType::ClientCredentials;
        if is_client && lacks_scopes(&connection) {
            return self.connect_again(identity, &connection, served, refresh.callback_url).await;
        }
        let connection = match self.renew_now(&connection, refresh.force).await? {
            Renewal::Good(renewed) if lacks_scopes(&renewed) => *renewed,
            Renewal::Good(renewed) => {
                let connection = self.shown(*renewed).await?;
                return Ok(Connected { connection, redirect_url: None, device: None });
            }
            Renewal::NeedsConsent(why) => {
                tracing::info!(connection = %connection.id, why, "a connection needs another consent");
                connection
            }
        };
        self.connect_again(identity, &connection, served, refresh.callback_url).await
    }

    /// Begins anew, in the way that the integration has its tokens: with a consent, or at once.
    async fn connect_again(
        &self,
        identity: &Identity,
        connection: &Connection,
        served: Arc<Served>,
        callback_url: Option<String>,
    ) -> Result<Connected, GatewayError> {
        let manifest = served.connector.manifest();
        let grant_type = oauth2_config(manifest)?.grant_type;
        if grant_type == GrantType::AuthorizationCode {
            let (connection, redirect_url) = self.reconnect(identity, connection, callback_url).await?;
            let connection = self.shown(connection).await?;
            return Ok(Connected { connection, redirect_url: Some(redirect_url), device: None });
        }
        let scopes = self.scopes_to_ask(connection, manifest).await?;
        if grant_type == GrantType::ClientCredentials {
            let connection = self.reconnect_client(identity, connection, served, scopes).await?;
            let connection = self.shown(connection).await?;
            return Ok(Connected { connection, redirect_url: None, device: None });
        }
        let (connection, device) = self.reconnect_device(identity, connection, &served, scopes).await?;
        let connection = self.shown(connection).await?;
        Ok(Connected { connection, redirect_url: Some(device.redirect_url), device: Some(device.prompt) })
    }

    async fn reconnect_device(
        &self,
        identity: &Identity,
        connection: &Connection,
        served: &Served,
        scopes: Vec<String>,
    ) -> Result<(Connection, DeviceBeginning), GatewayError> {
        let store = &self.inner.store;
        let grant = store.oauth_grant(connection.project, connection.id).await?;
        let name = grant.as_ref().and_then(|grant| grant.app.as_deref());
        let opened = self.open_credentials(connection).await?;
        let app = self.app_for(identity, connection, served.connector.manifest(), &opened, name).await?;
        let user = identity.user.clone().unwrap_or_else(|| connection.owner.clone());
        let device = self.device(connection, served, app.as_ref(), &opened, scopes, user).await?;
        let change = while_waiting(connection);
        let seal = || device.sealed(self);
        let write = async |flow: Flow| store.insert_flow(&flow, &change).await;
        let changed: Result<Option<Connection>, GatewayError> =
            self.inner.vault.sealed_write(store, seal, write).await;
        let changed =
            changed?.ok_or_else(|| GatewayError::NotFound(format!("connection {}", connection.id)))?;
        Ok((changed, device))
    }

    /// The scopes that were granted, those that were asked for, and those that the connector's operations need.
    pub(super) async fn scopes_to_ask(
        &self,
        connection: &Connection,
        manifest: &Manifest,
    ) -> Result<Vec<String>, GatewayError> {
        let grant = self.inner.store.oauth_grant(connection.project, connection.id).await?;
        let asked_before = grant.iter().flat_map(|grant| &grant.requested_scopes);
        let granted = connection.scopes.iter().flatten();
        Ok(union(granted.chain(asked_before).chain(required_scopes(manifest))))
    }
}

/// What becomes of a connection while another consent is waited for. What doesn't work yet is waited for; what works, or is
/// known to have expired, is shown as that.
pub(super) fn while_waiting(connection: &Connection) -> ConnectionChange {
    let is_idle = connection.status == ConnectionStatus::Failed;
    ConnectionChange {
        status: is_idle.then_some(ConnectionStatus::Pending),
        last_error: is_idle.then_some(None),
        ..ConnectionChange::default()
    }
}
