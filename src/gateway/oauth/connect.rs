//! What a new OAuth2 connection begins with: an app, the scopes to ask for, and a consent.

use portcullis_runtime::manifest::GrantType;

use super::super::connections::NewConnection;
use super::super::credentials::Opened;
use super::super::{Gateway, GatewayError};
use super::client::{oauth2_config, unconfigured};
use super::consent::{Asked, Beginning, refuse_foreign_endpoint};
use crate::identity::Identity;
use crate::integrations::Served;
use crate::store::connections::Connection;
use crate::store::oauth_flows::FlowKind;
use crate::store::oauth_grants::Grant;

/// What is stored with a new OAuth2 connection.
pub(in crate::gateway) struct OAuthStart {
    pub(in crate::gateway) grant: Grant,
    pub(in crate::gateway) consent: Beginning,
}

impl Gateway {
    /// What a new connection begins with. Nothing is stored of it yet.
    pub(in crate::gateway) async fn oauth_start(
        &self,
        identity: &Identity,
        connection: &Connection,
        served: &Served,
        opened: &Opened,
        new: &NewConnection,
    ) -> Result<OAuthStart, GatewayError> {
        let manifest = served.connector.manifest();
        let config = oauth2_config(manifest)?;
        if config.grant_type != GrantType::AuthorizationCode {
            return Err(unconfigured("the integration's grantType has no consent in a browser".to_owned()));
        }
        let integration = connection.integration.as_str();
        let app = self.chosen_app(connection.project, integration, new.oauth_app.as_deref()).await?;
        refuse_foreign_endpoint(identity, manifest, &app, opened)?;
        let scopes = new.scopes.clone().unwrap_or_else(|| config.scopes.clone());
        let grant = Grant::new(connection.project, connection.id, Some(app.name.clone()), scopes.clone());
        let asked = Asked {
            user: connection.owner.clone(),
            kind: FlowKind::Connect,
            scopes,
            callback_url: new.callback_url.clone(),
        };
        let consent = self.beginning(connection, served, &app, opened, asked).await?;
        Ok(OAuthStart { grant, consent })
    }
}
