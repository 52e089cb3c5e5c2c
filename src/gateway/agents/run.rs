//! Calls of an agent: only what it was granted, and only once it has all that it declares.

use serde_json::{Value, json};

use super::super::call::{Answer, RequestContext, ToolCall, ToolError};
use super::super::{Gateway, GatewayError};
use super::requirements::Requirement;
use crate::identity::Identity;

/// The code of a call to a granted connection that is gone, hidden or switched off; no other call of an agent has it.
const NOT_ACCESSIBLE: &str = "CONNECTION_NOT_FOUND";

/// What a call's message says that failed. One to a connection that isn't accessible has a form of its own, as the contract's §6
/// spells it.
pub(crate) fn message_of(error: &ToolError) -> Value {
    match error.code.as_str() {
        NOT_ACCESSIBLE => json!({"success": false, "error": error.message}),
        _ => json!({ "error": error }),
    }
}

/// Why a call can't use a connection that its agent was granted. Whether it is gone or hidden isn't told.
pub(super) fn not_accessible() -> ToolError {
    ToolError::new(NOT_ACCESSIBLE, "Connection not accessible")
}

impl Gateway {
    /// Runs an agent's calls as [`Gateway::run`] does, under its grants as they are now. Fails before the first call where the
    /// agent lacks something that it declares; but a call to a granted connection that isn't accessible says so itself, and
    /// what that one would fulfil isn't asked for.
    pub(crate) async fn run_agent(
        &self,
        identity: &Identity,
        agent: &str,
        mut calls: Vec<ToolCall>,
        context: &RequestContext,
    ) -> Result<Vec<Answer>, GatewayError> {
        let view = self.agent_view(identity, agent).await?;
        let mut lacking = self.unmet(identity, &view).await?;
        let told: Vec<&str> = calls.iter().filter_map(|call| view.inaccessible(&call.name)).collect();
        lacking.retain(|item| item.integration.as_deref().is_none_or(|slug| !told.contains(&slug)));
        if !lacking.is_empty() {
            return Err(requirements_missing(agent, &lacking));
        }
        for call in &mut calls {
            call.approval = view.rule(&call.name);
        }
        let context = RequestContext { agent: Some(agent.to_owned()), ..context.clone() };
        self.run_in(identity, Some(view), calls, &context).await
    }
}

fn requirements_missing(agent: &str, lacking: &[Requirement]) -> GatewayError {
    let messages: Vec<&str> = lacking.iter().map(|item| item.message.as_str()).collect();
    GatewayError::Unprocessable {
        code: "REQUIREMENTS_MISSING",
        message: format!("the agent {agent} lacks what it declares: {}", messages.join("; ")),
        details: Some(json!({ "requirements": lacking })),
    }
}
