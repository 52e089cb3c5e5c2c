//! New tokens because somebody asks for them.

use super::super::{Gateway, GatewayError};
use super::refresh::{Need, RefreshError, expired};
use crate::store::connections::{Connection, ConnectionStatus};
use crate::time::Timestamp;

/// What came of asking for new tokens.
pub(in crate::gateway) enum Renewal {
    /// The connection's tokens are good.
    Good(Box<Connection>),
    /// The connection has nothing that new tokens could be had for, in words: its user must consent again.
    NeedsConsent(String),
}

impl Gateway {
    /// New tokens for a connection, by those that it holds. Without `force` only where they are due. A connection that works is
    /// never worse off for it: what it holds stays until something new is stored.
    pub(in crate::gateway) async fn renew_now(
        &self,
        connection: &Connection,
        force: bool,
    ) -> Result<Renewal, GatewayError> {
        match connection.status {
            ConnectionStatus::Active | ConnectionStatus::Disabled => {}
            ConnectionStatus::Expired => return Ok(Renewal::NeedsConsent(expired(connection))),
            ConnectionStatus::Pending => {
                return Ok(Renewal::NeedsConsent("its user has yet to consent".to_owned()));
            }
            ConnectionStatus::Failed => {
                let why = connection.last_error.clone().unwrap_or_else(|| "it failed".to_owned());
                return Ok(Renewal::NeedsConsent(why));
            }
        }
        let need = if force { Need::Asked } else { Need::Due };
        match self.renew(connection.project, connection.id, need).await {
            Ok(held) => Ok(Renewal::Good(Box::new(held.connection.clone()))),
            Err(RefreshError::Gone(why)) => Ok(Renewal::NeedsConsent(why)),
            Err(_) if !force && connection.expires_at.is_none_or(|at| Timestamp::now() < at) => {
                Ok(Renewal::Good(Box::new(connection.clone())))
            }
            Err(RefreshError::Broken(message)) => Err(GatewayError::Unavailable(message)),
            Err(error) => Err(GatewayError::Unprocessable {
                code: "REFRESH_FAILED",
                message: format!("connection {} got no new token: {error}", connection.slug),
                details: None,
            }),
        }
    }
}
