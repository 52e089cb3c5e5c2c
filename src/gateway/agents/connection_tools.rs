//! What an agent may call of which connection: shown, and granted anew as a whole.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::super::resolve::viewer;
use super::super::{Gateway, GatewayError};
use super::no_agent;
use super::problems::Problems;
use crate::identity::Identity;
use crate::integrations::Served;
use crate::store::agents::AgentState;
use crate::store::connections::{Connection, Viewer};
use crate::store::grants::{GoneOf, Grant, GrantApproval, Replaced};
use crate::time::Timestamp;

/// A connection, what it can do, and what of it an agent may call.
pub(crate) struct ConnectionTools {
    /// With the status that it is shown with.
    pub(crate) connection: Connection,
    /// What its integration has; nothing where it doesn't work at present.
    pub(crate) tools: Vec<ToolSummary>,
    /// Those that the agent may call.
    pub(crate) enabled_tools: Vec<String>,
    pub(crate) approval: GrantApproval,
}

/// A tool of a connection.
pub(crate) struct ToolSummary {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
}

/// What an agent is to be allowed.
pub(crate) struct NewGrant {
    pub(crate) connection: Uuid,
    /// None of them is the same as no grant.
    pub(crate) tools: Vec<String>,
    pub(crate) approval: GrantApproval,
}

impl Gateway {
    /// Each connection that the acting user sees (an admin who acts for nobody: all of the project), with what the agent may
    /// call of it.
    pub(crate) async fn connection_tools(
        &self,
        identity: &Identity,
        agent: &str,
    ) -> Result<Vec<ConnectionTools>, GatewayError> {
        let state = self.agent_state(identity, agent).await?;
        let visible = self.grantable(identity).await?;
        let mut all = Vec::with_capacity(visible.len());
        for connection in visible.iter() {
            let served = self.served_now(connection).await?;
            let grant = grant_on(&state, connection.id);
            all.push(ConnectionTools {
                connection: self.shown(connection.clone()).await?,
                tools: served.as_deref().map(summaries).unwrap_or_default(),
                enabled_tools: grant.map(|grant| grant.tools.clone()).unwrap_or_default(),
                approval: grant.map(|grant| grant.approval).unwrap_or_default(),
            });
        }
        Ok(all)
    }

    /// Replaces what an agent may call of the connections that the acting user sees; what isn't named is revoked, and others'
    /// connections are left alone. All that is wrong is told, and nothing changes then.
    pub(crate) async fn put_connection_tools(
        &self,
        identity: &Identity,
        agent: &str,
        new: Vec<NewGrant>,
    ) -> Result<Vec<ConnectionTools>, GatewayError> {
        let state = self.agent_state(identity, agent).await?;
        let visible = self.grantable(identity).await?;
        let (mut problems, mut seen, mut grants) = (Problems::default(), HashSet::new(), Vec::new());
        for (index, new) in new.iter().enumerate() {
            let at = format!("/connections/{index}/connectionId");
            if !seen.insert(new.connection) {
                problems.push(at, "the connection stands further up already: name each once");
                continue;
            }
            let Some(connection) = visible.iter().find(|connection| connection.id == new.connection) else {
                problems.push(at, format!("there is no connection {} that you can grant", new.connection));
                continue;
            };
            let held = grant_on(&state, connection.id);
            let served = self.served_now(connection).await?;
            let tools = known_tools(&mut problems, index, &new.tools, served.as_deref(), held);
            if !tools.is_empty() {
                grants.push(granted(identity, connection, tools, new.approval));
            }
        }
        problems.into_result("the grants aren't valid")?;
        let replaced = Replaced {
            connections: visible.iter().map(|connection| connection.id).collect(),
            gone_of: match acts_for_all(identity) {
                true => GoneOf::Everyone,
                false => GoneOf::User(identity.user.clone()),
            },
        };
        if !self.inner.store.replace_grants(identity.project, agent, &replaced, &grants).await? {
            return Err(no_agent(agent));
        }
        self.connection_tools(identity, agent).await
    }

    /// The connections whose tools the caller may grant.
    async fn grantable(&self, identity: &Identity) -> Result<Arc<Vec<Connection>>, GatewayError> {
        let viewer = if acts_for_all(identity) { Viewer::All } else { viewer(identity) };
        Ok(self.inner.store.visible_connections(identity.project, &viewer).await?)
    }

    /// What is served of a connection's integration; nothing where it is gone or broken.
    async fn served_now(&self, connection: &Connection) -> Result<Option<Arc<Served>>, GatewayError> {
        match self.served(connection.project, connection.integration.as_str()).await {
            Ok(served) => Ok(Some(served)),
            Err(GatewayError::NotFound(_) | GatewayError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether the caller sees all of the project: an admin, unless it acts for a person.
fn acts_for_all(identity: &Identity) -> bool {
    identity.is_admin() && !identity.on_behalf
}

fn grant_on(state: &AgentState, connection: Uuid) -> Option<&Grant> {
    state.grants.iter().find(|grant| grant.connection == connection)
}

fn summaries(served: &Served) -> Vec<ToolSummary> {
    let operations = served.connector.manifest().operations.iter();
    operations
        .map(|operation| ToolSummary {
            name: operation.name.to_string(),
            description: operation.description.clone().or_else(|| operation.title.clone()),
        })
        .collect()
}

/// The tools in the manifest's order, each once. One that was granted before may be kept, even where the integration hasn't got
/// it at present: what is read can be written back.
fn known_tools(
    problems: &mut Problems,
    index: usize,
    tools: &[String],
    served: Option<&Served>,
    held: Option<&Grant>,
) -> Vec<String> {
    let operations =
        served.map(|served| served.connector.manifest().operations.as_slice()).unwrap_or_default();
    let own: Vec<&str> = operations.iter().map(|operation| operation.name.as_str()).collect();
    let is_held = |tool: &String| held.is_some_and(|grant| grant.tools.contains(tool));
    for (place, tool) in
        tools.iter().enumerate().filter(|(_, tool)| !own.contains(&tool.as_str()) && !is_held(tool))
    {
        let at = format!("/connections/{index}/enabledTools/{place}");
        problems.push(at, unknown_tool(tool, &own));
    }
    let wanted: BTreeSet<&str> = tools.iter().map(String::as_str).collect();
    let kept = wanted.iter().filter(|tool| !own.contains(*tool));
    own.iter().filter(|tool| wanted.contains(*tool)).chain(kept).map(|tool| (*tool).to_owned()).collect()
}

fn unknown_tool(tool: &str, own: &[&str]) -> String {
    const MAX_LISTED: usize = 30;
    let shown = Value::from(tool.chars().take(100).collect::<String>());
    match own {
        [] => format!("there is no tool {shown}: the integration doesn't work at present"),
        own => {
            let more = if own.len() > MAX_LISTED { ", …" } else { "" };
            let listed: Vec<&str> = own.iter().copied().take(MAX_LISTED).collect();
            format!("there is no tool {shown}; there are: {}{more}", listed.join(", "))
        }
    }
}

fn granted(
    identity: &Identity,
    connection: &Connection,
    tools: Vec<String>,
    approval: GrantApproval,
) -> Grant {
    Grant {
        connection: connection.id,
        integration: connection.integration.clone(),
        slug: connection.slug.clone(),
        tools,
        approval,
        granted_role: identity.role,
        granted_by: identity.user.clone(),
        updated_at: Timestamp::now(),
    }
}
