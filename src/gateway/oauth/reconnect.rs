//! New tokens for a connection that somebody asks for: none where those it holds are good, otherwise by another consent.

use super::super::connections::{Connected, Refresh};
use super::super::{Gateway, GatewayError};
use super::consent::required_scopes;
use crate::identity::Identity;
use crate::store::connections::{Connection, ConnectionStatus};
use crate::time::Timestamp;

impl Gateway {
    /// Leaves a connection alone that works, unless that is forced; otherwise begins another consent.
    pub(in crate::gateway) async fn refresh_or_reconnect(
        &self,
        identity: &Identity,
        connection: Connection,
        refresh: Refresh,
    ) -> Result<Connected, GatewayError> {
        let served = self.served(connection.project, connection.integration.as_str()).await?;
        let granted = connection.scopes.as_deref().unwrap_or_default();
        let has_all = required_scopes(served.connector.manifest()).all(|scope| granted.contains(scope));
        if has_all && !refresh.force && is_good(&connection) {
            return Ok(Connected { connection: self.shown(connection).await?, redirect_url: None });
        }
        let (connection, redirect_url) = self.reconnect(identity, &connection, refresh.callback_url).await?;
        Ok(Connected { connection: self.shown(connection).await?, redirect_url: Some(redirect_url) })
    }
}

/// Whether the token that the connection holds is taken, as far as is known.
fn is_good(connection: &Connection) -> bool {
    let has_expired = connection.expires_at.is_some_and(|end| end <= Timestamp::now());
    matches!(connection.status, ConnectionStatus::Active | ConnectionStatus::Disabled) && !has_expired
}
