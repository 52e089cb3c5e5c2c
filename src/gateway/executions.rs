//! Executions, listed and looked at.

use uuid::Uuid;

use super::{Gateway, GatewayError};
use crate::identity::Identity;
use crate::store::executions::{Execution, ExecutionFilter};

impl Gateway {
    /// The caller's executions, or with an admin's key the project's, newest first; `filter.user` counts for admins only.
    /// What was recorded before the call is in it.
    pub(crate) async fn executions(
        &self,
        identity: &Identity,
        filter: ExecutionFilter,
    ) -> Result<Vec<Execution>, GatewayError> {
        let user = if identity.is_admin() { filter.user } else { Some(identity.user.clone()) };
        self.inner.recorder.flush().await;
        let filter = ExecutionFilter { user, ..filter };
        Ok(self.inner.store.executions(identity.project, &filter).await?)
    }

    /// One of them.
    pub(crate) async fn execution(&self, identity: &Identity, id: Uuid) -> Result<Execution, GatewayError> {
        self.inner.recorder.flush().await;
        let execution = self.inner.store.execution(identity.project, id).await?;
        execution
            .filter(|execution| identity.is_admin() || execution.user == identity.user)
            .ok_or_else(|| GatewayError::NotFound(format!("execution {id}")))
    }
}
