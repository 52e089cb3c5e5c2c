//! New tokens for a connection that somebody asks for: by those that it holds, otherwise by another consent.

use super::super::connections::{Connected, Refresh};
use super::super::{Gateway, GatewayError};
use super::consent::required_scopes;
use super::renew::Renewal;
use crate::identity::Identity;
use crate::store::connections::Connection;

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
        let granted = connection.scopes.as_deref().unwrap_or_default();
        let has_all = required_scopes(served.connector.manifest()).all(|scope| granted.contains(scope));
        if has_all {
            match self.renew_now(&connection, refresh.force).await? {
                Renewal::Good(connection) => {
                    return Ok(Connected { connection: self.shown(*connection).await?, redirect_url: None });
                }
                Renewal::NeedsConsent(why) => {
                    tracing::info!(connection = %connection.id, why, "a connection needs another consent");
                }
            }
        }
        let (connection, redirect_url) = self.reconnect(identity, &connection, refresh.callback_url).await?;
        Ok(Connected { connection: self.shown(connection).await?, redirect_url: Some(redirect_url) })
    }
}
