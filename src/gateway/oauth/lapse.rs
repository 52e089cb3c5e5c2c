//! Consents that never came: their connections fail, so that nobody waits for ever.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::super::{Gateway, GatewayError};
use super::consent::LAPSED;
use crate::error::chain;
use crate::store::Store;
use crate::store::connections::{Connection, ConnectionStatus};
use crate::time::Timestamp;

/// How often it is looked for them. Whoever reads a connection sees it at once.
const INTERVAL: Duration = Duration::from_secs(30);

/// Notes lapsed consents, for as long as the handle lives.
pub(in crate::gateway) fn watch(store: Store) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            match store.lapse_flows(LAPSED, Timestamp::now()).await {
                Ok(0) => {}
                Ok(n_lapsed) => tracing::info!(n_lapsed, "connections failed whose consent never came"),
                Err(error) => tracing::warn!(error = chain(&error), "lapsed consents can't be noted"),
            }
        }
    }))
}

impl Gateway {
    /// A connection that waits for a consent which can't come any more is shown as failed, whether or not that is noted.
    pub(in crate::gateway) async fn without_lapsed_consent(
        &self,
        connection: Connection,
    ) -> Result<Connection, GatewayError> {
        let (project, id) = (connection.project, connection.id);
        if connection.status != ConnectionStatus::Pending
            || self.inner.store.has_open_flow(project, id, Timestamp::now()).await?
        {
            return Ok(connection);
        }
        Ok(Connection { status: ConnectionStatus::Failed, last_error: Some(LAPSED.to_owned()), ..connection })
    }
}
