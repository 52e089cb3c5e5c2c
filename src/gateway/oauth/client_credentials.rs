//! Tokens that a client asks for itself: there is no person, and no consent (RFC 6749, 4.4).

use std::sync::Arc;

use super::super::credentials::{ACCESS_TOKEN, Opened};
use super::super::{Gateway, GatewayError};
use super::client::{endpoint, oauth2_config, refused};
use crate::identity::Identity;
use crate::integrations::Served;
use crate::oauth::endpoint::{Grant as TokenGrant, Tokens, request_tokens};
use crate::store::connections::{Connection, ConnectionChange, ConnectionStatus, FieldKind};
use crate::store::oauth_apps::OAuthApp;
use crate::store::oauth_grants::Grant;
use crate::time::Timestamp;

/// Tokens that the connector's own test has passed with.
pub(super) struct Granted {
    pub(super) tokens: Tokens,
    pub(super) obtained_at: Timestamp,
    scopes: Vec<String>,
    identity: Option<String>,
}

impl Granted {
    /// Makes the connection one that works.
    pub(super) fn enter_into(&self, connection: &mut Connection) {
        connection.status = ConnectionStatus::Active;
        connection.identity = self.identity.clone();
        connection.scopes = Some(self.scopes.clone());
        connection.expires_at = self.expires_at();
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.tokens.expires_in.map(|life| self.obtained_at.plus(life))
    }
}

impl Gateway {
    /// Tokens for a connection whose client asks for itself.
    pub(super) async fn client_tokens(
        &self,
        connection: &Connection,
        served: Arc<Served>,
        app: Option<&OAuthApp>,
        mut opened: Opened,
        scopes: Vec<String>,
    ) -> Result<Granted, GatewayError> {
        let manifest = served.connector.manifest();
        let url = endpoint(&oauth2_config(manifest)?.token_url, manifest, &opened.config)?;
        let client = self.client_for(app, &opened).await?;
        let grant = TokenGrant::ClientCredentials { scopes: scopes.clone() };
        let tokens = request_tokens(self.inner.engine.egress(), &url, &client, grant).await;
        let tokens = tokens.map_err(|error| refused("the provider gave no token", &error))?;
        let obtained_at = Timestamp::now();
        opened.secrets.insert(ACCESS_TOKEN.to_owned(), tokens.access_token.to_string());
        let passed = self.try_out(connection.project, served, opened).await?.into_passed()?;
        let scopes = tokens.scopes.clone().unwrap_or(scopes);
        Ok(Granted { tokens, obtained_at, scopes, identity: passed.identity })
    }

    /// New tokens for such a connection in place of whatever it has.
    pub(super) async fn reconnect_client(
        &self,
        identity: &Identity,
        connection: &Connection,
        served: Arc<Served>,
        scopes: Vec<String>,
    ) -> Result<Connection, GatewayError> {
        let store = &self.inner.store;
        let (project, id) = (connection.project, connection.id);
        let name = store.oauth_grant(project, id).await?.and_then(|grant| grant.app);
        let opened = self.open_credentials(connection).await?;
        let app =
            self.app_for(identity, connection, served.connector.manifest(), &opened, name.as_deref()).await?;
        let granted = self.client_tokens(connection, served, app.as_ref(), opened, scopes.clone()).await?;
        let is_off = connection.status == ConnectionStatus::Disabled;
        let change = ConnectionChange {
            status: (!is_off).then_some(ConnectionStatus::Active),
            last_error: Some(None),
            identity: Some(granted.identity.clone()),
            scopes: Some(Some(granted.scopes.clone())),
            expires_at: Some(granted.expires_at()),
            ..ConnectionChange::default()
        };
        let app = app.map(|app| app.name);
        let grant = Grant { obtained_at: Some(granted.obtained_at), ..Grant::new(project, id, app, scopes) };
        let tokens = &granted.tokens;
        let refresh_token = tokens.refresh_token.as_ref().map(|token| token.as_str());
        let seal = || self.seal_tokens(project, id, &tokens.access_token, refresh_token);
        let write = async |fields| {
            let change =
                ConnectionChange { fields: Some((vec![FieldKind::Token], fields)), ..change.clone() };
            store.replace_grant(&grant, &change).await
        };
        let changed: Result<Option<Connection>, GatewayError> =
            self.inner.vault.sealed_write(store, seal, write).await;
        changed?.ok_or_else(|| GatewayError::NotFound(format!("connection {id}")))
    }
}
