//! The gateway's tools: the very calls, names and records of the API, for the identity that each request comes with.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use rmcp::ErrorData;
use rmcp::model::JsonObject;
use serde_json::{Value, json};

use super::toolbox::{Called, Changes, Description, Offered, ToolList, Toolbox};
use crate::gateway::approvals::{ApprovalRule, Verdict, approval_required};
use crate::gateway::call::{RequestContext, ToolCall, ToolError};
use crate::gateway::resolve::viewer;
use crate::gateway::tools::CallableTool;
use crate::gateway::{Gateway, GatewayError, agents};
use crate::identity::{Identity, ProjectId};
use crate::store::approvals::Approval;
use crate::store::connections::Viewer;

/// Tools of all lists that are kept together, at most.
const MAX_KEPT: u64 = 100_000;
/// How long a list is kept that nobody asks for.
const KEPT: Duration = Duration::from_secs(600);
/// What is kept as the reason of a decision that was made here.
const REASON: &str = "decided in the caller's MCP client";

/// Who calls: from the key, the header and the path of the request alone.
#[derive(Clone, Debug)]
pub(crate) struct GatewayCaller {
    pub(crate) identity: Identity,
    /// The agent that the path names.
    pub(crate) agent: Option<String>,
    pub(crate) request_id: String,
}

/// Whose list it is.
type Whose = (ProjectId, Viewer, Option<String>);

/// The gateway's tools; clones are the same.
#[derive(Clone)]
pub(super) struct GatewayTools {
    gateway: Gateway,
    /// Lists, each with the state that it was made of.
    lists: Cache<Whose, ((u64, u64), Arc<ToolList>)>,
}

impl GatewayTools {
    pub(super) fn new(gateway: Gateway) -> Self {
        let n_tools = |_: &Whose, (_, list): &(_, Arc<ToolList>)| {
            u32::try_from(list.tools.len() + 1).unwrap_or(u32::MAX)
        };
        let lists = Cache::builder().weigher(n_tools).max_capacity(MAX_KEPT).time_to_idle(KEPT).build();
        Self { gateway, lists }
    }

    async fn list(&self, caller: &GatewayCaller) -> Result<ToolList, GatewayError> {
        let tools = self.gateway.callable_tools(&caller.identity, caller.agent.as_deref()).await?;
        Ok(ToolList::new(tools.into_iter().map(offered).collect()))
    }

    async fn run(&self, caller: &GatewayCaller, call: ToolCall) -> Result<Ran, GatewayError> {
        let context = RequestContext {
            request_id: Some(caller.request_id.clone()),
            agent: caller.agent.clone(),
            ..RequestContext::default()
        };
        let (identity, calls) = (&caller.identity, vec![call]);
        let mut answers = match &caller.agent {
            Some(agent) => self.gateway.run_agent(identity, agent, calls, &context).await?,
            None => self.gateway.run(identity, calls, &context).await?,
        };
        // One call has one answer.
        let answer =
            answers.pop().ok_or_else(|| GatewayError::Unavailable("the call was lost".to_owned()))?;
        Ok(match answer.approval {
            Some(approval) => Ran::Pending(approval),
            None => Ran::Done(answer.result),
        })
    }
}

enum Ran {
    Done(Result<Value, ToolError>),
    Pending(Box<Approval>),
}

impl Toolbox for GatewayTools {
    type Caller = GatewayCaller;
    type Pending = Box<Approval>;

    async fn tools(&self, caller: &GatewayCaller) -> Result<Arc<ToolList>, ErrorData> {
        // Taken before anything is read, so that a kept list is never older than it says.
        let state = self.gateway.tools_state();
        let whose = (caller.identity.project, viewer(&caller.identity), caller.agent.clone());
        if let Some((of, list)) = self.lists.get(&whose)
            && of == state
        {
            return Ok(list);
        }
        let list = Arc::new(self.list(caller).await.map_err(protocol_error)?);
        self.lists.insert(whose, (state, Arc::clone(&list)));
        Ok(list)
    }

    async fn call(
        &self,
        caller: &GatewayCaller,
        name: &str,
        arguments: JsonObject,
    ) -> Result<Called<Box<Approval>>, ErrorData> {
        let call = ToolCall {
            id: "mcp".to_owned(),
            name: name.to_owned(),
            arguments: Value::Object(arguments).to_string(),
            approval: ApprovalRule::Default,
        };
        match self.run(caller, call).await {
            Ok(Ran::Done(Err(error))) if error.code == "TOOL_NOT_FOUND" => Err(unknown_tool(error)),
            Ok(Ran::Done(outcome)) => Ok(Called::Done(outcome)),
            Ok(Ran::Pending(approval)) => Ok(Called::Pending {
                shown: approval_required(&approval),
                question: question(&approval),
                state: approval.id.to_string(),
                pending: approval,
            }),
            Err(error) => tool_error(error).map(|error| Called::Done(Err(error))),
        }
    }

    async fn may_ask(&self, caller: &GatewayCaller, pending: &Box<Approval>) -> bool {
        self.gateway.may_approve(&caller.identity, pending).await
    }

    async fn decide(
        &self,
        caller: &GatewayCaller,
        pending: Box<Approval>,
        is_approved: bool,
    ) -> Result<Value, ToolError> {
        let verdict = if is_approved { Verdict::Approve } else { Verdict::Reject };
        let (identity, reason) = (&caller.identity, Some(REASON.to_owned()));
        let decided = self.gateway.decide(identity, pending.id, verdict, reason, &caller.request_id).await;
        match decided {
            Ok(decided) => decided.told().unwrap_or_else(|| {
                let message = "the call was approved and hasn't ended yet";
                Err(ToolError::new("APPROVAL_NOT_PENDING", message).with(json!({"approval_id": pending.id})))
            }),
            Err(error) => {
                Err(tool_error(error).unwrap_or_else(|error| ToolError::new("INTERNAL", error.message)))
            }
        }
    }

    fn message_of(&self, caller: &GatewayCaller, error: &ToolError) -> Value {
        match caller.agent {
            Some(_) => agents::message_of(error),
            None => json!({ "error": error }),
        }
    }

    fn changes(&self) -> Changes {
        Changes(self.gateway.tools_changes().into())
    }

    fn owner(&self, caller: &GatewayCaller) -> String {
        let Identity { project, key, user, .. } = &caller.identity;
        let user = user.as_ref().map_or("", |user| user.as_str());
        format!("{project} {key} {user:?} {:?}", caller.agent)
    }
}

fn offered(tool: CallableTool) -> Offered {
    let described = Description {
        name: tool.name,
        title: &tool.title,
        description: tool.description,
        is_write: tool.is_write,
        input: &tool.input_schema,
        output: tool.output_schema,
    };
    Offered { tool: described.tool(), integration: tool.integration, connection: tool.connection }
}

/// What a person is asked: all that they need to know.
fn question(approval: &Approval) -> String {
    let connection = approval.connection.as_ref();
    let account = connection.map_or_else(String::new, |connection| {
        let account =
            connection.account.as_ref().map_or_else(String::new, |account| format!(", account {account}"));
        format!("\nConnection: {}{account}", connection.slug)
    });
    format!(
        "May {}'s operation {} be called?{account}\nArguments: {:#}",
        approval.integration, approval.operation, approval.arguments
    )
}

fn unknown_tool(error: ToolError) -> ErrorData {
    let message = format!("unknown tool: {}", error.message);
    ErrorData::invalid_params(message, Some(json!({ "error": error })))
}

/// What a model can do something about, as a result; the rest is the protocol's.
fn tool_error(error: GatewayError) -> Result<ToolError, ErrorData> {
    let object = |details: Option<Value>| details.unwrap_or_else(|| json!({}));
    match error {
        GatewayError::Conflict { code, message, details }
        | GatewayError::Unprocessable { code, message, details } => {
            Ok(ToolError::new(code, message).with(object(details)))
        }
        GatewayError::TooBusy { message, retry_after } => {
            let details = json!({"retry_after": retry_after.as_secs().max(1)});
            Ok(ToolError::new("RATE_LIMITED", message).with(details).passing())
        }
        GatewayError::Unavailable(message) => Ok(ToolError::new("UNAVAILABLE", message).passing()),
        other => Err(protocol_error(other)),
    }
}

/// An error as the protocol's, with nothing of the server's insides.
fn protocol_error(error: GatewayError) -> ErrorData {
    let coded = |code: &str| Some(json!({"code": code}));
    match error {
        GatewayError::Invalid { code, message, .. } => ErrorData::invalid_params(message, coded(code)),
        GatewayError::Forbidden(message) => ErrorData::invalid_request(message, coded("FORBIDDEN")),
        GatewayError::NotFound(_) => ErrorData::invalid_params(error.to_string(), coded("NOT_FOUND")),
        GatewayError::TooLarge { message, .. } => {
            ErrorData::invalid_params(message, coded("PAYLOAD_TOO_LARGE"))
        }
        GatewayError::Conflict { code, message, details }
        | GatewayError::Unprocessable { code, message, details } => {
            ErrorData::invalid_request(message, Some(json!({"code": code, "details": details})))
        }
        GatewayError::TooBusy { message, .. } => ErrorData::internal_error(message, coded("RATE_LIMITED")),
        GatewayError::Unavailable(message) => ErrorData::internal_error(message, coded("UNAVAILABLE")),
        GatewayError::Store(_) | GatewayError::Vault(_) => {
            tracing::error!(error = crate::error::chain(&error), "an MCP request failed");
            ErrorData::internal_error(
                "the server's store doesn't answer; try again",
                coded("STORE_UNAVAILABLE"),
            )
        }
    }
}
