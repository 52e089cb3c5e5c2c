//! Connections: made, tested, listed, changed and deleted.

mod change;
mod create;
mod given;
mod room;
mod shown;
mod slug;
pub(in crate::gateway) mod test;
mod validate;

use std::collections::BTreeMap;

use portcullis_runtime::manifest::AuthMethod;
use portcullis_runtime::manifest::name::Slug;
use serde_json::{Map, Value};
use uuid::Uuid;

pub(crate) use self::given::GivenCredential;
use self::validate::Problems;
use super::oauth::device::DevicePrompt;
use super::oauth::revoke::Revoked;
use super::{Gateway, GatewayError};
use crate::identity::Identity;
use crate::store::connections::{Connection, ConnectionFilter, ConnectionStatus, Viewer, Visibility};

/// A connection to be made.
pub(crate) struct NewConnection {
    pub(crate) integration: String,
    pub(crate) provider: Option<String>,
    /// The contract's `oauth` is [`AuthMethod::OAuth2`].
    pub(crate) mode: AuthMethod,
    pub(crate) slug: Option<String>,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) credentials: BTreeMap<String, GivenCredential>,
    pub(crate) config: Map<String, Value>,
    /// Where the person is sent after a consent.
    pub(crate) callback_url: Option<String>,
    pub(crate) visibility: Visibility,
    /// The OAuth2 app to connect with, by its name.
    pub(crate) oauth_app: Option<String>,
    /// The OAuth2 scopes to ask for; those of the manifest if absent.
    pub(crate) scopes: Option<Vec<String>>,
}

/// A connection, and where its user gives consent, where that is needed.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) connection: Connection,
    pub(crate) redirect_url: Option<String>,
    /// What the user enters there, where that is on another device.
    pub(crate) device: Option<DevicePrompt>,
}

/// How a connection gets new tokens.
#[derive(Default)]
pub(crate) struct Refresh {
    /// Also where the token that it holds is still good.
    pub(crate) force: bool,
    /// Where the person is sent after a consent.
    pub(crate) callback_url: Option<String>,
}

/// What of a connection its owner changes; absent stays.
#[derive(Default)]
pub(crate) struct ConnectionPatch {
    pub(crate) slug: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<Option<String>>,
    pub(crate) visibility: Option<Visibility>,
    /// ACTIVE (tested first) or DISABLED.
    pub(crate) status: Option<ConnectionStatus>,
    /// Replaces all credentials; tested first.
    pub(crate) credentials: Option<BTreeMap<String, GivenCredential>>,
    /// Replaces the config; tested first.
    pub(crate) config: Option<Map<String, Value>>,
}

/// What a test of a connection found.
pub(crate) struct TestReport {
    pub(crate) connection: Connection,
    pub(crate) success: bool,
    /// The connector's own words.
    pub(crate) message: String,
    pub(crate) duration_ms: u64,
}

impl Gateway {
    /// The connections that the caller sees (admins: all of the project), by slug. The filter's status is compared with the
    /// status that is shown: FAILED for a connection that its connector can't be called with any more.
    pub(crate) async fn connections(
        &self,
        identity: &Identity,
        filter: &ConnectionFilter,
    ) -> Result<Vec<Connection>, GatewayError> {
        let is_slug = |text: &Option<String>| text.as_deref().is_none_or(|text| Slug::parse(text).is_ok());
        if !is_slug(&filter.integration) || !is_slug(&filter.slug) {
            return Ok(Vec::new());
        }
        let of_any_status = ConnectionFilter { status: None, ..filter.clone() };
        let found = self.inner.store.connections(identity.project, &viewer(identity), &of_any_status).await?;
        let mut connections = Vec::with_capacity(found.len());
        for connection in found {
            let connection = self.shown(connection).await?;
            if filter.status.is_none_or(|status| status == connection.status) {
                connections.push(connection);
            }
        }
        Ok(connections)
    }

    /// One of them.
    pub(crate) async fn connection(&self, identity: &Identity, id: Uuid) -> Result<Connection, GatewayError> {
        let connection = self.visible(identity, id).await?;
        self.shown(connection).await
    }

    /// Deletes a connection, and has its OAuth2 tokens revoked; its owner or an admin may.
    pub(crate) async fn delete_connection(
        &self,
        identity: &Identity,
        id: Uuid,
    ) -> Result<Revoked, GatewayError> {
        let connection = self.managed(identity, id).await?;
        self.disconnect(&connection).await?.ok_or_else(|| no_connection(id))
    }

    /// Gets new tokens, by those that the connection holds or else by another consent. Only OAuth2 connections have any;
    /// others are a conflict that says so.
    pub(crate) async fn refresh_connection(
        &self,
        identity: &Identity,
        id: Uuid,
        refresh: Refresh,
    ) -> Result<Connected, GatewayError> {
        let connection = self.managed(identity, id).await?;
        if connection.mode != AuthMethod::OAuth2 {
            return Err(GatewayError::Conflict {
                code: "NOT_OAUTH",
                message: format!(
                    "connection {} holds credentials of mode {}, which are not refreshed: change its credentials instead",
                    connection.slug,
                    mode_name(connection.mode),
                ),
                details: None,
            });
        }
        let mut problems = Problems::default();
        refresh.callback_url.iter().for_each(|url| problems.callback(&self.inner.config, url));
        problems.into_result()?;
        self.refresh_or_reconnect(identity, connection, refresh).await
    }

    /// The connection as it is stored, if the caller sees it.
    async fn visible(&self, identity: &Identity, id: Uuid) -> Result<Connection, GatewayError> {
        let filter = ConnectionFilter { id: Some(id), ..ConnectionFilter::default() };
        let found = self.inner.store.connections(identity.project, &viewer(identity), &filter).await?;
        found.into_iter().next().ok_or_else(|| no_connection(id))
    }

    /// The connection as it is stored, if the caller may change it.
    async fn managed(&self, identity: &Identity, id: Uuid) -> Result<Connection, GatewayError> {
        let connection = self.visible(identity, id).await?;
        let is_owner = identity.user.as_ref() == Some(&connection.owner);
        if is_owner || identity.is_admin() {
            return Ok(connection);
        }
        Err(GatewayError::Forbidden(format!(
            "connection {} is shared with you: only its owner or an admin can change, test or delete it",
            connection.slug
        )))
    }
}

/// Whose connections this identity manages: all of them with an admin's key, otherwise the user's own and shared ones.
fn viewer(identity: &Identity) -> Viewer {
    match &identity.user {
        _ if identity.is_admin() => Viewer::All,
        Some(user) => Viewer::User(user.clone()),
        None => Viewer::Shared,
    }
}

fn no_connection(id: Uuid) -> GatewayError {
    GatewayError::NotFound(format!("connection {id}"))
}

fn conflict(message: String) -> GatewayError {
    GatewayError::Conflict { code: "CONFLICT", message, details: None }
}

/// The mode as the API spells it.
pub(super) fn mode_name(mode: AuthMethod) -> &'static str {
    match mode {
        AuthMethod::OAuth2 => "oauth",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests;
