//! What an agent was granted, as it holds now: the tools that it is offered, and where the names of its calls lead.

use std::sync::Arc;

use portcullis_runtime::manifest::Operation;
use serde_json::{Map, Value, json};

use super::super::approvals::ApprovalRule;
use super::super::call::ToolError;
use super::super::names::{PROVIDER, ToolName, bound_slug, function_name};
use super::super::resolve::{Target, View};
use super::super::{Gateway, GatewayError};
use super::run::not_accessible;
use crate::identity::{Identity, Role};
use crate::integrations::Served;
use crate::store::agents::AgentState;
use crate::store::connections::{Connection, ConnectionStatus};
use crate::store::grants::{Grant, GrantApproval};

/// Tools that a message lists.
const MAX_LISTED: usize = 30;

/// A tool that an agent can call now.
pub(crate) struct OfferedTool {
    /// `{slug}__{tool}`, shortened where it would be too long for a model's API.
    pub(crate) name: String,
    /// For the model.
    pub(crate) description: String,
    /// An object's JSON Schema, as models' APIs take it.
    pub(crate) parameters: Value,
}

/// What a name in a call of an agent stands for.
enum Named<'v> {
    /// A tool of a connection that the acting user sees.
    Tool(&'v Grant, &'v Connection, &'v str),
    /// A tool of a connection that is gone, or that the acting user doesn't see.
    NotAccessible(&'v Grant),
    /// A tool that several of these connections have.
    Several(Vec<&'v Connection>, &'v str),
    /// Nothing that was granted.
    Nothing,
}

impl Gateway {
    /// The tools that an agent can call for the acting user now, by the connections' slugs and in the manifests' order.
    pub(crate) async fn agent_tools(
        &self,
        identity: &Identity,
        agent: &str,
    ) -> Result<Vec<OfferedTool>, GatewayError> {
        Ok(self.agent_view(identity, agent).await?.offered())
    }

    /// What the acting user sees now, where names lead to what the agent was granted and nowhere else.
    pub(in crate::gateway) async fn agent_view(
        &self,
        identity: &Identity,
        agent: &str,
    ) -> Result<View, GatewayError> {
        let state = self.agent_state(identity, agent).await?;
        Ok(self.view(identity).await?.within(state))
    }
}

impl View {
    /// The same, where names lead to what an agent was granted and nowhere else.
    pub(crate) fn within(self, agent: Arc<AgentState>) -> Self {
        Self { agent: Some(agent), ..self }
    }

    /// The tools of active connections that were granted.
    pub(crate) fn offered(&self) -> Vec<OfferedTool> {
        let mut usable: Vec<(&Grant, &Connection, Arc<Served>)> = self
            .grants()
            .iter()
            .filter_map(|grant| {
                let connection =
                    self.connection_of(grant).filter(|one| one.status == ConnectionStatus::Active)?;
                Some((grant, connection, self.served(connection.integration.as_str()).ok()?))
            })
            .collect();
        usable.sort_by(|(_, one, _), (_, other, _)| one.slug.cmp(&other.slug));
        let mut tools = Vec::new();
        for (grant, connection, served) in &usable {
            let is_one_of_several =
                usable.iter().filter(|(_, other, _)| other.integration == connection.integration).count() > 1;
            let account = is_one_of_several.then_some(connection);
            let operations = &served.connector.manifest().operations;
            let granted = operations.iter().filter(|operation| grant.has(operation.name.as_str()));
            tools.extend(granted.filter_map(|operation| offered(grant, operation, account)));
        }
        tools
    }

    /// The operation and the connection that a name in a call of the agent stands for.
    pub(in crate::gateway) fn resolve_granted(&self, name: &str) -> Result<Target, ToolError> {
        match self.named(name) {
            Named::Tool(_, connection, _) if connection.status == ConnectionStatus::Disabled => {
                Err(not_accessible())
            }
            Named::Tool(_, connection, tool) => {
                self.target(connection, tool)?.ok_or_else(|| self.no_granted_tool(name))
            }
            Named::NotAccessible(_) => Err(not_accessible()),
            Named::Several(connections, tool) => Err(several(&connections, tool)),
            Named::Nothing => Err(self.no_granted_tool(name)),
        }
    }

    /// Whether the agent may call an operation of a connection.
    pub(in crate::gateway) fn is_granted(&self, connection: &Connection, operation: &str) -> bool {
        self.grants().iter().any(|grant| grant.connection == connection.id && grant.has(operation))
    }

    /// What the grant that a call is made under says about approvals.
    pub(super) fn rule(&self, name: &str) -> ApprovalRule {
        match self.named(name) {
            Named::Tool(grant, ..) => rule(grant),
            _ => ApprovalRule::Default,
        }
    }

    /// The integration of a granted connection that a call names, and that the acting user can't use: it is gone, hidden or
    /// switched off.
    pub(super) fn inaccessible(&self, name: &str) -> Option<&str> {
        match self.named(name) {
            Named::NotAccessible(grant) => Some(grant.integration.as_str()),
            Named::Tool(grant, connection, _) if connection.status == ConnectionStatus::Disabled => {
                Some(grant.integration.as_str())
            }
            _ => None,
        }
    }

    fn grants(&self) -> &[Grant] {
        self.agent.as_ref().map_or(&[], |state| &state.grants)
    }

    fn connection_of(&self, grant: &Grant) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.id == grant.connection)
    }

    fn named(&self, name: &str) -> Named<'_> {
        let found: Vec<(&Grant, &str)> = match ToolName::parse(name) {
            ToolName::Function { prefix, operation } => self
                .grants()
                .iter()
                .filter(|grant| grant.slug.as_str() == prefix)
                .filter_map(|grant| Some((grant, grant.tool(operation, name)?)))
                .collect(),
            ToolName::Slug { provider: PROVIDER, integration, operation, connection } => self
                .grants()
                .iter()
                .filter(|grant| grant.integration.as_str() == integration)
                .filter(|grant| connection.is_none_or(|slug| grant.slug.as_str() == slug))
                .filter_map(|grant| Some((grant, grant.exact(operation)?)))
                .collect(),
            ToolName::Slug { .. } | ToolName::Other => Vec::new(),
        };
        let seen: Vec<(&Grant, &Connection, &str)> = found
            .iter()
            .filter_map(|(grant, tool)| Some((*grant, self.connection_of(grant)?, *tool)))
            .collect();
        // Only an unbound slug finds several, and of these it means the one that is active.
        let mut active = seen.iter().filter(|(_, one, _)| one.status == ConnectionStatus::Active);
        match (active.next(), active.next(), seen.first(), found.first()) {
            (Some((_, _, tool)), Some(_), ..) => {
                let active = seen.iter().map(|(_, connection, _)| *connection);
                let active = active.filter(|one| one.status == ConnectionStatus::Active);
                Named::Several(active.collect(), tool)
            }
            (Some((grant, connection, tool)), ..) | (None, _, Some((grant, connection, tool)), _) => {
                Named::Tool(grant, connection, tool)
            }
            (None, _, None, Some((grant, _))) => Named::NotAccessible(grant),
            (None, _, None, None) => Named::Nothing,
        }
    }

    fn no_granted_tool(&self, name: &str) -> ToolError {
        let offered = self.offered();
        let mut listed: Vec<&str> = offered.iter().take(MAX_LISTED).map(|tool| tool.name.as_str()).collect();
        if offered.len() > MAX_LISTED {
            listed.push("…");
        }
        let shown: String = name.chars().take(200).collect();
        let has = match listed.as_slice() {
            [] => "none can be used at present".to_owned(),
            listed => format!("it has: {}", listed.join(", ")),
        };
        ToolError::new("TOOL_NOT_FOUND", format!("this agent has no tool {shown:?}; {has}"))
    }
}

impl Grant {
    fn has(&self, tool: &str) -> bool {
        self.exact(tool).is_some()
    }

    fn exact(&self, tool: &str) -> Option<&str> {
        self.tools.iter().map(String::as_str).find(|own| *own == tool)
    }

    /// The granted tool that a function name of the connection stands for, in full or shortened.
    fn tool(&self, operation: &str, name: &str) -> Option<&str> {
        let shortened = |own: &&str| function_name(self.slug.as_str(), own) == name;
        self.exact(operation).or_else(|| self.tools.iter().map(String::as_str).find(shortened))
    }
}

fn rule(grant: &Grant) -> ApprovalRule {
    match grant.approval {
        GrantApproval::Default => ApprovalRule::Default,
        GrantApproval::Always => ApprovalRule::Always,
        GrantApproval::Never => ApprovalRule::Never { by_admin: grant.granted_role == Role::Admin },
    }
}

/// A granted operation as a model is told of it; `account` is given where it must be told which of several it is. None for one
/// whose shortened name another one has.
fn offered(grant: &Grant, operation: &Operation, account: Option<&&Connection>) -> Option<OfferedTool> {
    let own = operation.name.as_str();
    let name = function_name(grant.slug.as_str(), own);
    let in_full = name.split_once("__").map_or("", |(_, operation)| operation);
    if grant.tool(in_full, &name) != Some(own) {
        return None;
    }
    let said = operation.description.as_deref().or(operation.title.as_deref()).unwrap_or(own);
    let description = match account {
        Some(connection) => format!("{said} (account: {})", connection.name),
        None => said.to_owned(),
    };
    Some(OfferedTool { name, description, parameters: as_object(operation.parameters.as_value()) })
}

/// The schema with what models' APIs insist on: a type and properties.
fn as_object(schema: &Value) -> Value {
    let mut members = match schema {
        Value::Object(members) => members.clone(),
        _ => Map::new(),
    };
    members.entry("type").or_insert_with(|| json!("object"));
    members.entry("properties").or_insert_with(|| json!({}));
    Value::Object(members)
}

fn several(connections: &[&Connection], tool: &str) -> ToolError {
    let slugs: Vec<String> =
        connections.iter().map(|one| bound_slug(one.integration.as_str(), tool, one.slug.as_str())).collect();
    let message = format!(
        "this agent has {} connections with this tool; name one of: {}",
        slugs.len(),
        slugs.join(", ")
    );
    ToolError::new("CONNECTION_AMBIGUOUS", message).with(json!({"connections": slugs}))
}
