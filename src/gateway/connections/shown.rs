//! Connections as they are shown: one that its connector can't be called with any more says so, whatever its row says.

use std::sync::Arc;

use super::super::credentials::{Opened, missing};
use super::{Gateway, GatewayError};
use crate::identity::ProjectId;
use crate::integrations::Served;
use crate::store::StoreError;
use crate::store::connections::{Connection, ConnectionStatus, StoredField};

/// Why a connection can't be used at present, or what a call of it needs.
pub(super) enum Readiness {
    Ready(Arc<Served>, Opened),
    /// In words: why not, and what to do.
    Unusable(String),
}

impl Gateway {
    /// The connection with what is wrong with it now: its integration is gone or broken, or its connector needs credentials
    /// that it hasn't. Only what claims to be usable, or failed, is looked at.
    pub(in crate::gateway) async fn shown(&self, connection: Connection) -> Result<Connection, GatewayError> {
        if !matches!(connection.status, ConnectionStatus::Active | ConnectionStatus::Failed) {
            return Ok(connection);
        }
        let fields = self.inner.store.connection_fields(connection.project, connection.id).await?;
        Ok(match self.readiness(&connection, &fields).await? {
            Readiness::Ready(..) => connection,
            Readiness::Unusable(reason) => {
                Connection { status: ConnectionStatus::Failed, last_error: Some(reason), ..connection }
            }
        })
    }

    /// Whether the connection can be called with these fields of it.
    pub(super) async fn readiness(
        &self,
        connection: &Connection,
        fields: &[StoredField],
    ) -> Result<Readiness, GatewayError> {
        let served = match self.served(connection.project, connection.integration.as_str()).await {
            Ok(served) => served,
            Err(GatewayError::NotFound(what)) => {
                return Ok(Readiness::Unusable(format!("{what} is not installed")));
            }
            Err(GatewayError::Conflict { message, .. }) => return Ok(Readiness::Unusable(message)),
            Err(error) => return Err(error),
        };
        let opened = match self.open_fields(connection, fields).await {
            Ok(opened) => opened,
            // One damaged connection must not take the others' list with it.
            Err(error @ (GatewayError::Vault(_) | GatewayError::Store(StoreError::Damaged { .. }))) => {
                tracing::error!(connection = %connection.id, %error, "a connection's credentials can't be opened");
                let reason = "its stored credentials can't be opened; update the connection's credentials";
                return Ok(Readiness::Unusable(reason.to_owned()));
            }
            Err(error) => return Err(error),
        };
        let missing = missing(&served.connector, connection.mode, &opened);
        if missing.is_empty() {
            return Ok(Readiness::Ready(served, opened));
        }
        Ok(Readiness::Unusable(format!(
            "the connector now also needs: {}; update the connection's credentials",
            missing.join(", ")
        )))
    }

    /// What is served of an integration: not found if there is none, a conflict if it never loaded.
    pub(in crate::gateway) async fn served(
        &self,
        project: ProjectId,
        slug: &str,
    ) -> Result<Arc<Served>, GatewayError> {
        let integration = self.inner.registry.integration(project, slug).await?;
        let integration = integration.ok_or_else(|| GatewayError::NotFound(format!("integration {slug}")))?;
        integration.served.clone().ok_or_else(|| {
            let problem = integration.problem.as_ref().map_or("it was never loaded", |p| p.message.as_str());
            GatewayError::Conflict {
                code: "INTEGRATION_BROKEN",
                message: format!("integration {slug} doesn't work: {problem}"),
                details: None,
            }
        })
    }
}
