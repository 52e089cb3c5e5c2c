//! Agents: what each declares, may call, and still needs from whom it acts for.

mod connection_tools;
mod declaration;
mod granted;
mod problems;
mod requirements;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use portcullis_runtime::manifest::name::Slug;

pub(crate) use self::connection_tools::{ConnectionTools, NewGrant};
pub(crate) use self::granted::OfferedTool;
pub(crate) use self::requirements::{Requirement, RequirementStatus, Requirements};
pub(crate) use self::run::message_of;
use super::{Gateway, GatewayError};
use crate::identity::{Identity, Role};
use crate::store::agents::{Agent, AgentState, DeclaredConnection};
use crate::time::Timestamp;

impl Gateway {
    /// The project's agents, by name.
    pub(crate) async fn agents(&self, identity: &Identity) -> Result<Vec<Agent>, GatewayError> {
        Ok(self.inner.store.agents(identity.project).await?)
    }

    /// One of them.
    pub(crate) async fn agent(&self, identity: &Identity, name: &str) -> Result<Agent, GatewayError> {
        Ok(self.agent_state(identity, name).await?.agent.clone())
    }

    /// Sets an agent's declaration; whether the agent is new. `name` is a slug, `title` what people call it. Admins and service keys may.
    pub(crate) async fn put_agent(
        &self,
        identity: &Identity,
        name: &str,
        title: Option<String>,
        connections: Vec<DeclaredConnection>,
    ) -> Result<(Agent, bool), GatewayError> {
        require_author(identity)?;
        let name = Slug::parse(name).map_err(|error| GatewayError::Invalid {
            code: "INVALID_REQUEST",
            message: format!("an agent's name is a slug: {error}"),
            details: None,
        })?;
        declaration::check(&connections)?;
        let now = Timestamp::now();
        let title = title.unwrap_or_else(|| name.to_string());
        let (project, created_at, updated_at) = (identity.project, now, now);
        let agent = Agent { project, name, title, connections, created_at, updated_at };
        Ok(self.inner.store.put_agent(&agent).await?)
    }

    /// Deletes an agent with all that it was granted. Admins and service keys may.
    pub(crate) async fn delete_agent(&self, identity: &Identity, name: &str) -> Result<(), GatewayError> {
        require_author(identity)?;
        match self.inner.store.delete_agent(identity.project, name).await? {
            true => Ok(()),
            false => Err(no_agent(name)),
        }
    }

    /// What is stored of an agent.
    async fn agent_state(&self, identity: &Identity, name: &str) -> Result<Arc<AgentState>, GatewayError> {
        // What is no slug isn't looked for: it would only fill the cache.
        if Slug::parse(name).is_err() {
            return Err(no_agent(name));
        }
        self.inner.store.agent(identity.project, name).await?.ok_or_else(|| no_agent(name))
    }
}

/// Refuses those who may not write declarations: a person's key is for running agents.
fn require_author(identity: &Identity) -> Result<(), GatewayError> {
    match identity.role {
        Role::Admin | Role::Service => Ok(()),
        Role::User => {
            Err(GatewayError::Forbidden("this needs a key with the role admin or service".to_owned()))
        }
    }
}

fn no_agent(name: &str) -> GatewayError {
    GatewayError::NotFound(format!("agent {name:?}"))
}
