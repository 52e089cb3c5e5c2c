//! What a new OAuth2 connection begins with: an app, the scopes to ask for, and one of three ways to tokens.

use std::sync::Arc;

use portcullis_runtime::manifest::{GrantType, Manifest};

use super::super::connections::NewConnection;
use super::super::credentials::Opened;
use super::super::{Gateway, GatewayError};
use super::client::{has_own_client, oauth2_config};
use super::consent::{Asked, Beginning, refuse_foreign_endpoint};
use super::device::{DeviceBeginning, DevicePrompt};
use crate::identity::Identity;
use crate::integrations::Served;
use crate::oauth::endpoint::Tokens;
use crate::store::connections::{Connection, StoredField};
use crate::store::oauth_apps::OAuthApp;
use crate::store::oauth_flows::{Flow, FlowKind};
use crate::store::oauth_grants::Grant;
use crate::vault::VaultError;

/// What is stored with a new OAuth2 connection.
pub(in crate::gateway) struct OAuthStart {
    pub(in crate::gateway) grant: Grant,
    way: Way,
}

/// How a connection comes to its tokens.
enum Way {
    /// A person consents in a browser.
    Consent(Box<Beginning>),
    /// A person enters a code on another device.
    Device(Box<DeviceBeginning>),
    /// It has them: the client asked for itself.
    Tokens(Tokens),
}

impl OAuthStart {
    /// Where the connection's user goes, where somebody must consent.
    pub(in crate::gateway) fn redirect_url(&self) -> Option<&str> {
        match &self.way {
            Way::Consent(consent) => Some(&consent.redirect_url),
            Way::Device(device) => Some(&device.redirect_url),
            Way::Tokens(_) => None,
        }
    }

    /// What its user enters on another device.
    pub(in crate::gateway) fn device(&self) -> Option<&DevicePrompt> {
        match &self.way {
            Way::Device(device) => Some(&device.prompt),
            Way::Consent(_) | Way::Tokens(_) => None,
        }
    }

    /// What is secret about it, sealed: the tokens, or the consent that is waited for.
    pub(in crate::gateway) fn sealed(
        &self,
        gateway: &Gateway,
    ) -> Result<(Vec<StoredField>, Option<Flow>), VaultError> {
        Ok(match &self.way {
            Way::Consent(consent) => (Vec::new(), Some(consent.sealed(gateway)?)),
            Way::Device(device) => (Vec::new(), Some(device.sealed(gateway)?)),
            Way::Tokens(tokens) => {
                let refresh_token = tokens.refresh_token.as_ref().map(|token| token.as_str());
                let (project, connection) = (self.grant.project, self.grant.connection);
                (gateway.seal_tokens(project, connection, &tokens.access_token, refresh_token)?, None)
            }
        })
    }
}

impl Gateway {
    /// What a new connection begins with; where that is tokens, the connection works from then on. Nothing is stored of it
    /// yet.
    pub(in crate::gateway) async fn oauth_start(
        &self,
        identity: &Identity,
        connection: &mut Connection,
        served: Arc<Served>,
        opened: Opened,
        new: &NewConnection,
    ) -> Result<OAuthStart, GatewayError> {
        let manifest = served.connector.manifest();
        let config = oauth2_config(manifest)?;
        let app = self.app_for(identity, connection, manifest, &opened, new.oauth_app.as_deref()).await?;
        let app_name = app.as_ref().map(|app| app.name.clone());
        let scopes = new.scopes.clone().unwrap_or_else(|| config.scopes.clone());
        let mut grant = Grant::new(connection.project, connection.id, app_name, scopes.clone());
        let way = match (config.grant_type, app) {
            (GrantType::ClientCredentials, app) => {
                let granted = self.client_tokens(connection, served, app.as_ref(), opened, scopes).await?;
                grant.obtained_at = Some(granted.obtained_at);
                granted.enter_into(connection);
                Way::Tokens(granted.tokens)
            }
            (GrantType::DeviceCode, app) => {
                let user = connection.owner.clone();
                let device = self.device(connection, &served, app.as_ref(), &opened, scopes, user).await?;
                Way::Device(Box::new(device))
            }
            (GrantType::AuthorizationCode, app) => {
                // Only a consent in a browser is asked for with parameters of the app's.
                let app = match app {
                    Some(app) => app,
                    None => {
                        self.chosen_app(connection.project, connection.integration.as_str(), None).await?
                    }
                };
                let asked = Asked {
                    user: connection.owner.clone(),
                    kind: FlowKind::Connect,
                    scopes,
                    callback_url: new.callback_url.clone(),
                };
                Way::Consent(Box::new(self.beginning(connection, &served, &app, &opened, asked).await?))
            }
        };
        Ok(OAuthStart { grant, way })
    }

    /// The app that the connection is had with; none where its own credentials are a client's and no app is named.
    pub(super) async fn app_for(
        &self,
        identity: &Identity,
        connection: &Connection,
        manifest: &Manifest,
        opened: &Opened,
        name: Option<&str>,
    ) -> Result<Option<OAuthApp>, GatewayError> {
        let is_own = oauth2_config(manifest)?.grant_type != GrantType::AuthorizationCode;
        if name.is_none() && is_own && has_own_client(opened) {
            return Ok(None);
        }
        let app = self.chosen_app(connection.project, connection.integration.as_str(), name).await?;
        refuse_foreign_endpoint(identity, manifest, &app, opened)?;
        Ok(Some(app))
    }
}
