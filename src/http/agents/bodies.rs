//! What bodies hold of agents: what they declare, and what they lack.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::gateway::agents::{Requirement, RequirementStatus, Requirements};
use crate::http::body::JsonBody;
use crate::store::agents::{Agent, ConnectionSource, DeclaredConnection};

/// A list of agents.
#[derive(Serialize, ToSchema)]
pub(super) struct AgentList {
    /// How many there are in this answer.
    pub(super) count: usize,
    pub(super) agents: Vec<AgentBody>,
}

/// An agent.
#[derive(Serialize, ToSchema)]
pub(super) struct AgentBody {
    /// What the paths call it.
    agent: String,
    /// What people call it.
    name: String,
    /// What it needs.
    connections: Vec<DeclaredBody>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl From<Agent> for AgentBody {
    fn from(agent: Agent) -> Self {
        Self {
            agent: agent.name.to_string(),
            name: agent.title,
            connections: agent.connections.into_iter().map(Into::into).collect(),
            created_at: agent.created_at.to_string(),
            updated_at: agent.updated_at.to_string(),
        }
    }
}

/// What an agent needs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"connections": [{"type": "gmail", "tools": ["list_messages"]}, {"type": "clay_key", "source": "secret"}]}))]
pub(super) struct DeclarationBody {
    /// What people call the agent; absent: as the path does.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00]*$")]
    name: Option<String>,
    /// The connections and secrets without which it is of no use.
    #[serde(default)]
    #[schema(max_items = 100)]
    connections: Vec<DeclaredBody>,
}

impl JsonBody for DeclarationBody {}

impl DeclarationBody {
    /// What people call the agent, if it says so, and what it needs.
    pub(super) fn into_parts(self) -> (Option<String>, Vec<DeclaredConnection>) {
        (self.name, self.connections.into_iter().map(Into::into).collect())
    }
}

/// Something that an agent needs.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeclaredBody {
    /// An integration's slug; of other sources, what they call it.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]*$")]
    kind: String,
    #[serde(default)]
    source: ConnectionSourceBody,
    /// Which of several: the connection's slug or name. Of a secret, its name where that isn't `type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]*$")]
    name: Option<String>,
    /// Operations that the integration must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 500)]
    tools: Option<Vec<ToolName>>,
}

/// A tool's name.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]*$")]
pub(super) struct ToolName(pub(super) String);

impl From<DeclaredBody> for DeclaredConnection {
    fn from(body: DeclaredBody) -> Self {
        let DeclaredBody { kind, source, name, tools } = body;
        let tools = tools.map(|tools| tools.into_iter().map(|ToolName(tool)| tool).collect());
        Self { kind, source: source.into(), name, tools }
    }
}

impl From<DeclaredConnection> for DeclaredBody {
    fn from(declared: DeclaredConnection) -> Self {
        let DeclaredConnection { kind, source, name, tools } = declared;
        let tools = tools.map(|tools| tools.into_iter().map(ToolName).collect());
        Self { kind, source: source.into(), name, tools }
    }
}

/// Where something that an agent needs comes from.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum ConnectionSourceBody {
    /// A connection to an integration.
    #[default]
    Connector,
    /// Another system's MCP server. This server provides none.
    NativeMcp,
    /// Composio. This server doesn't provide it.
    Composio,
    /// A workspace secret.
    Secret,
}

impl From<ConnectionSourceBody> for ConnectionSource {
    fn from(source: ConnectionSourceBody) -> Self {
        match source {
            ConnectionSourceBody::Connector => Self::Connector,
            ConnectionSourceBody::NativeMcp => Self::NativeMcp,
            ConnectionSourceBody::Composio => Self::Composio,
            ConnectionSourceBody::Secret => Self::Secret,
        }
    }
}

impl From<ConnectionSource> for ConnectionSourceBody {
    fn from(source: ConnectionSource) -> Self {
        match source {
            ConnectionSource::Connector => Self::Connector,
            ConnectionSource::NativeMcp => Self::NativeMcp,
            ConnectionSource::Composio => Self::Composio,
            ConnectionSource::Secret => Self::Secret,
        }
    }
}

/// What an agent lacks for the acting user.
#[derive(Serialize, ToSchema)]
pub(super) struct RequirementList {
    /// How many there are in this answer.
    count: usize,
    /// The agent's name.
    agent: String,
    /// Whether it can run.
    ready: bool,
    requirements: Vec<RequirementBody>,
}

impl From<Requirements> for RequirementList {
    fn from(requirements: Requirements) -> Self {
        let Requirements { agent, items } = requirements;
        let requirements: Vec<RequirementBody> = items.into_iter().map(Into::into).collect();
        Self { count: requirements.len(), agent, ready: requirements.is_empty(), requirements }
    }
}

/// Something that an agent lacks.
#[derive(Serialize, ToSchema)]
struct RequirementBody {
    /// As it is declared.
    #[serde(rename = "type")]
    kind: String,
    source: ConnectionSourceBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    status: RequirementStatusBody,
    /// What a person does about it.
    message: String,
    /// The integration to connect; none where it isn't one.
    integration: Option<String>,
    /// The request that fulfils it; none where no single one does.
    connect: Option<ConnectRequestBody>,
}

impl From<Requirement> for RequirementBody {
    fn from(item: Requirement) -> Self {
        Self {
            kind: item.kind,
            source: item.source.into(),
            name: item.name,
            status: item.status.into(),
            message: item.message,
            integration: item.integration,
            connect: item.connect.map(|connect| ConnectRequestBody {
                method: connect.method,
                path: connect.path,
                body: connect.body,
            }),
        }
    }
}

/// In what way something is lacking.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RequirementStatusBody {
    /// There is none.
    Missing,
    /// It is switched off, failed, or still waits for consent.
    Inactive,
    /// It is no longer accepted.
    Expired,
    /// It was granted fewer scopes than its tools need.
    Scope,
    /// The integration hasn't got the tools.
    Tools,
    /// This server doesn't provide it.
    Unsupported,
}

impl From<RequirementStatus> for RequirementStatusBody {
    fn from(status: RequirementStatus) -> Self {
        match status {
            RequirementStatus::Missing => Self::Missing,
            RequirementStatus::Inactive => Self::Inactive,
            RequirementStatus::Expired => Self::Expired,
            RequirementStatus::Scope => Self::Scope,
            RequirementStatus::Tools => Self::Tools,
            RequirementStatus::Unsupported => Self::Unsupported,
        }
    }
}

/// A request to this API.
#[derive(Serialize, ToSchema)]
struct ConnectRequestBody {
    #[schema(pattern = "^(POST|PUT|PATCH)$")]
    method: &'static str,
    path: String,
    /// With `…` where a person fills something in; null where it is no JSON.
    body: Value,
}
