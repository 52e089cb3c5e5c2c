//! Agents: what each says that it needs, by name within a project.

use std::sync::Arc;

use portcullis_runtime::manifest::name::Slug;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use super::grants::{self, Grant};
use super::rows::{Fields, Statement, clean, id};
use super::{Store, StoreError};
use crate::identity::ProjectId;
use crate::time::Timestamp;

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agent {
    pub(crate) project: ProjectId,
    /// Unique in the project.
    pub(crate) name: Slug,
    /// What people call it.
    pub(crate) title: String,
    /// What it needs to be of use to anyone.
    pub(crate) connections: Vec<DeclaredConnection>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// Something that an agent needs. This is also how it is stored, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeclaredConnection {
    /// An integration's slug; of other sources, what they call it.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) source: ConnectionSource,
    /// Which of several: the connection's slug or name; of a secret, its name where that isn't `kind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Operations that the integration must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<Vec<String>>,
}

/// Where something that an agent needs comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ConnectionSource {
    /// A connection to one of our integrations.
    #[default]
    Connector,
    /// Another system's MCP server; this one has none.
    NativeMcp,
    /// Composio; this server doesn't use it.
    Composio,
    /// A workspace secret.
    Secret,
}

/// All that a call of an agent looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentState {
    pub(crate) agent: Agent,
    /// By slug, those of connections that are gone among them.
    pub(crate) grants: Vec<Grant>,
}

const SELECT: &str =
    "SELECT project_id, name, title, declaration, created_at, updated_at FROM agents WHERE project_id = ";

impl Store {
    /// Sets an agent's declaration; as it is stored, and whether it is new. Its grants stay.
    pub(crate) async fn put_agent(&self, agent: &Agent) -> Result<(Agent, bool), StoreError> {
        let mut change = self.begin_change("store the agent").await?;
        let found = sqlx::query("SELECT created_at FROM agents WHERE project_id = $1 AND name = $2")
            .bind(id(agent.project))
            .bind(agent.name.as_str().to_owned());
        let found = change.row(found).await?;
        let created_at = found.as_ref().map(|row| Fields::of("agent", row).time("created_at")).transpose()?;
        let stored = Agent { created_at: created_at.unwrap_or(agent.created_at), ..agent.clone() };
        let query = sqlx::query(
            "INSERT INTO agents (project_id, name, title, declaration, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (project_id, name) DO UPDATE SET title = excluded.title, declaration = excluded.declaration, \
             updated_at = excluded.updated_at",
        )
        .bind(id(stored.project))
        .bind(stored.name.as_str().to_owned())
        .bind(clean(&stored.title))
        // Texts and lists of them can always be written.
        .bind(clean(&serde_json::to_string(&stored.connections).unwrap_or_default()))
        .bind(stored.created_at.0)
        .bind(stored.updated_at.0);
        change.execute(query).await?;
        change.commit().await?;
        Ok((stored, found.is_none()))
    }

    /// The project's agents, by name.
    pub(crate) async fn agents(&self, project: ProjectId) -> Result<Vec<Agent>, StoreError> {
        let mut select = Statement::new(SELECT);
        select.bind(id(project)).push(" ORDER BY name");
        self.inner.database.rows("read the agents", select.query()).await?.iter().map(agent_of).collect()
    }

    /// An agent and what it may call. Cached.
    pub(crate) async fn agent(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<Option<Arc<AgentState>>, StoreError> {
        let read = self.read_agent(project, name);
        self.inner.epochs.cached(|caches| &caches.agents, (project, name.to_owned()), read).await
    }

    /// Deletes an agent with its grants; whether there was one.
    pub(crate) async fn delete_agent(&self, project: ProjectId, name: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM agents WHERE project_id = $1 AND name = $2")
            .bind(id(project))
            .bind(clean(name));
        let mut change = self.begin_change("delete the agent").await?;
        if change.execute(query).await? == 0 {
            return Ok(false);
        }
        change.commit().await?;
        Ok(true)
    }

    async fn read_agent(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<Option<Arc<AgentState>>, StoreError> {
        let mut select = Statement::new(SELECT);
        select.bind(id(project)).push(" AND name = ").bind(clean(name));
        let Some(row) = self.inner.database.row("read the agent", select.query()).await? else {
            return Ok(None);
        };
        let agent = agent_of(&row)?;
        let rows = self.inner.database.rows("read the agent's grants", grants::of_agent(project, name));
        let grants = rows.await?.iter().map(grants::grant_of).collect::<Result<_, _>>()?;
        Ok(Some(Arc::new(AgentState { agent, grants })))
    }
}

fn agent_of(row: &AnyRow) -> Result<Agent, StoreError> {
    let fields = Fields::of("agent", row);
    Ok(Agent {
        project: fields.project()?,
        name: fields.slug("name")?,
        title: fields.text("title")?,
        connections: fields.json("declaration")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}
