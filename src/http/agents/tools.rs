//! What bodies hold of the tools that agents are granted and offered.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::bodies::ToolName;
use crate::gateway::agents::{ConnectionTools, NewGrant, OfferedTool};
use crate::gateway::names::PROVIDER;
use crate::http::body::JsonBody;
use crate::http::connections::StatusBody;
use crate::store::grants::GrantApproval;

/// Connections, and what an agent may call of each.
#[derive(Serialize, ToSchema)]
pub(super) struct ConnectionToolsList {
    /// How many there are in this answer.
    count: usize,
    connections: Vec<ConnectionToolsBody>,
}

impl From<Vec<ConnectionTools>> for ConnectionToolsList {
    fn from(connections: Vec<ConnectionTools>) -> Self {
        let connections: Vec<ConnectionToolsBody> = connections.into_iter().map(Into::into).collect();
        Self { count: connections.len(), connections }
    }
}

/// A connection, and what an agent may call of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ConnectionToolsBody {
    #[schema(value_type = String, format = "uuid")]
    connection_id: Uuid,
    /// The connection's name in lists.
    name: String,
    /// The connection's slug.
    slug: String,
    /// Always `connector`.
    provider: &'static str,
    /// The integration's slug.
    integration: String,
    status: StatusBody,
    /// What its integration can do.
    tools: Vec<ToolSummaryBody>,
    /// The names of those that the agent may call.
    enabled_tools: Vec<String>,
    approval: GrantApprovalBody,
}

impl From<ConnectionTools> for ConnectionToolsBody {
    fn from(tools: ConnectionTools) -> Self {
        let ConnectionTools { connection, tools, enabled_tools, approval } = tools;
        let tools = tools.into_iter();
        Self {
            connection_id: connection.id,
            slug: connection.slug.to_string(),
            provider: PROVIDER,
            integration: connection.integration.to_string(),
            status: connection.status.into(),
            name: connection.name,
            tools: tools
                .map(|tool| ToolSummaryBody { name: tool.name, description: tool.description })
                .collect(),
            enabled_tools,
            approval: approval.into(),
        }
    }
}

/// A tool of a connection.
#[derive(Serialize, ToSchema)]
struct ToolSummaryBody {
    name: String,
    description: Option<String>,
}

/// What an agent is to be allowed: the whole set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"connections": [{"connectionId": "01932c07-2a5e-7f00-8000-000000000001", "enabledTools": ["list_messages"]}]}))]
pub(super) struct GrantsBody {
    #[schema(max_items = 1000)]
    connections: Vec<GrantBody>,
}

impl JsonBody for GrantsBody {}

impl GrantsBody {
    pub(super) fn into_grants(self) -> Vec<NewGrant> {
        let grants = self.connections.into_iter();
        grants
            .map(|grant| NewGrant {
                connection: grant.connection_id,
                tools: grant.enabled_tools.into_iter().map(|ToolName(tool)| tool).collect(),
                approval: grant.approval.into(),
            })
            .collect()
    }
}

/// What an agent may call of a connection.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GrantBody {
    #[schema(value_type = String, format = "uuid")]
    connection_id: Uuid,
    /// Names of its tools; none of them is the same as leaving the connection out.
    #[schema(max_items = 1000)]
    enabled_tools: Vec<ToolName>,
    #[serde(default)]
    approval: GrantApprovalBody,
}

/// Whether a person must approve the agent's calls.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum GrantApprovalBody {
    /// As each tool says.
    #[default]
    Default,
    /// Each call.
    Always,
    /// Not for changing something. What a tool demands in so many words is lifted if an admin's key says so.
    Never,
}

impl From<GrantApprovalBody> for GrantApproval {
    fn from(approval: GrantApprovalBody) -> Self {
        match approval {
            GrantApprovalBody::Default => Self::Default,
            GrantApprovalBody::Always => Self::Always,
            GrantApprovalBody::Never => Self::Never,
        }
    }
}

impl From<GrantApproval> for GrantApprovalBody {
    fn from(approval: GrantApproval) -> Self {
        match approval {
            GrantApproval::Default => Self::Default,
            GrantApproval::Always => Self::Always,
            GrantApproval::Never => Self::Never,
        }
    }
}

/// An agent's tools.
#[derive(Serialize, ToSchema)]
pub(super) struct AgentToolList {
    /// How many there are in this answer.
    count: usize,
    tools: Vec<AgentToolBody>,
}

impl From<Vec<OfferedTool>> for AgentToolList {
    fn from(tools: Vec<OfferedTool>) -> Self {
        let tools: Vec<AgentToolBody> = tools.into_iter().map(Into::into).collect();
        Self { count: tools.len(), tools }
    }
}

/// A tool, as OpenAI's API takes it.
#[derive(Serialize, ToSchema)]
struct AgentToolBody {
    /// Always `function`.
    #[serde(rename = "type")]
    #[schema(pattern = "^function$")]
    kind: &'static str,
    function: AgentFunctionBody,
}

impl From<OfferedTool> for AgentToolBody {
    fn from(tool: OfferedTool) -> Self {
        let OfferedTool { name, description, parameters } = tool;
        Self { kind: "function", function: AgentFunctionBody { name, description, parameters } }
    }
}

/// A function that a model can call.
#[derive(Serialize, ToSchema)]
struct AgentFunctionBody {
    /// `{connection's slug}__{tool}`, shortened past 64 characters.
    #[schema(pattern = "^[a-zA-Z0-9_-]{1,64}$")]
    name: String,
    description: String,
    /// The arguments' JSON Schema.
    #[schema(value_type = Object, additional_properties)]
    parameters: Value,
}
