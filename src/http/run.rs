//! Running tools: a batch of calls as a model's API gives them, answered as it takes them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::{not_json, read_json};
use super::error::{ApiError, ErrorBody};
use super::extract::{PathAgent, RequestId};
use super::prefer::Wait;
use super::respond::{Answer, Json};
use crate::gateway::agents::message_of;
use crate::gateway::approvals::{ApprovalRule, approval_required};
use crate::gateway::call::{Answer as CallAnswer, MAX_BATCH, RequestContext, ToolCall, ToolError};
use crate::identity::Identity;

/// The largest body, in bytes.
const MAX_RUN_BYTES: usize = 8 * 1024 * 1024;
/// The longest name of a tool, in characters.
const MAX_NAME: usize = 512;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(run)).routes(routes!(run_agent))
}

/// Calls as a model made them. Fields that aren't named here are ignored: models' APIs have some of their own.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"tool_calls": [{
    "id": "call_1", "type": "function", "function": {"name": "clay__find_person", "arguments": "{\"email\": \"ada@example.com\"}"}
}]}))]
struct RunBody {
    /// 1 to 50 calls; they run side by side.
    #[schema(min_items = 1, max_items = 50)]
    tool_calls: Vec<CallBody>,
}

/// A call.
#[derive(Deserialize, ToSchema)]
struct CallBody {
    /// The model's own id of the call.
    id: String,
    #[serde(rename = "type")]
    #[schema(inline)]
    kind: CallKind,
    function: FunctionBody,
}

/// What is called.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum CallKind {
    Function,
}

/// A tool and its arguments.
#[derive(Deserialize, ToSchema)]
struct FunctionBody {
    /// A slug, a bound slug, or a function name of the catalog.
    #[schema(max_length = 512, pattern = r"^[^\x00]*$")]
    name: String,
    /// The arguments, as JSON text.
    arguments: String,
}

/// What came of the calls.
#[derive(Serialize, ToSchema)]
struct RunAnswer {
    /// A message for each call, in the calls' order.
    tool_messages: Vec<ToolMessage>,
    /// Why calls failed, for those that did.
    errors: Vec<RunError>,
    /// Approvals that calls wait for: what their messages say, with the call's id.
    #[schema(value_type = Vec<PendingApproval>)]
    approvals: Vec<Value>,
}

/// An answer to a call, for the model.
#[derive(Serialize, ToSchema)]
struct ToolMessage {
    /// Always `tool`.
    #[schema(pattern = "^tool$")]
    role: &'static str,
    /// The call's id.
    tool_call_id: String,
    /// JSON text: the result, or `{"error": {code, message, retryable, details}}`.
    content: String,
}

/// An approval that a call waits for.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used: the message that models get has the same fields")]
struct PendingApproval {
    /// The call's id.
    tool_call_id: String,
    /// Always `approval_required`.
    #[schema(pattern = "^approval_required$")]
    status: String,
    #[schema(format = "uuid")]
    approval_id: String,
    /// The tool's slug.
    tool: String,
    /// The connection's slug; none where the integration needs none.
    connection: Option<String>,
    /// Whose account the connection is to, where the service has said.
    account: Option<String>,
    #[schema(format = DateTime)]
    expires_at: String,
    /// What a model should do.
    message: String,
}

/// Why a call failed.
#[derive(Serialize, ToSchema)]
struct RunError {
    /// Such as `PROVIDER_ERROR`.
    code: String,
    message: String,
    /// The call's id.
    tool_call_id: String,
    /// Whether the same call may work later.
    retryable: bool,
    /// More for programs.
    #[schema(value_type = Object, additional_properties)]
    details: Value,
}

impl RunAnswer {
    /// `message_of` gives what the message of a failed call says.
    fn of(answers: Vec<CallAnswer>, message_of: fn(&ToolError) -> Value) -> Self {
        let mut run = Self {
            tool_messages: Vec::with_capacity(answers.len()),
            errors: Vec::new(),
            approvals: Vec::new(),
        };
        for CallAnswer { id, result, execution, approval, .. } in answers {
            // The answer has no place for it: with the log, a caller's id leads to the record.
            tracing::debug!(tool_call_id = id, %execution, "answered a tool call");
            if let Some(approval) = approval {
                let mut pending = approval_required(&approval);
                pending["tool_call_id"] = id.clone().into();
                run.approvals.push(pending);
            }
            let content = match result {
                Ok(value) => value.to_string(),
                Err(error) => {
                    let content = message_of(&error).to_string();
                    let ToolError { code, message, retryable, details } = error;
                    run.errors.push(RunError { code, message, tool_call_id: id.clone(), retryable, details });
                    content
                }
            };
            run.tool_messages.push(ToolMessage { role: "tool", tool_call_id: id, content });
        }
        run
    }
}

/// Call tools
///
/// The calls run side by side. Each has its message, in order; one that fails fails alone, and the answer is 200 all the
/// same. Calls whose client goes away are cancelled. One that a person must approve first is answered with what it waits for,
/// or with `Prefer: wait=N`, where someone approves it in time, as if it had run at once.
#[utoipa::path(post, path = "/api/tools/run", tag = "Tools", operation_id = "run_tools", params(Wait), request_body = RunBody,
    responses((status = 200, description = "What came of the calls.", body = RunAnswer)))]
async fn run(
    identity: Identity,
    RequestId(request_id): RequestId,
    wait: Wait,
    State(app): State<Arc<App>>,
    request: Request,
) -> Answer<impl IntoResponse> {
    let bytes = read_json(request, MAX_RUN_BYTES).await?;
    let context = RequestContext { request_id: Some(request_id), ..RequestContext::default() };
    // Where the client goes away this is dropped, and the gateway cancels the calls.
    let answers = app.gateway.run(&identity, calls(&bytes)?, &context).await?;
    Ok(answered(&app, answers, wait, |error| json!({ "error": error })).await)
}

/// Call tools as an agent
///
/// As `POST /api/tools/run`, with the tools that the agent was granted and no others. Grants are looked at as they are now: a
/// call to a granted connection that is gone, or that you don't see, answers
/// `{"success": false, "error": "Connection not accessible"}`. Where the agent lacks something that it declares, nothing runs.
#[utoipa::path(post, path = "/api/agents/{agent}/run", tag = "Agents", operation_id = "run_agent_tools",
    params(PathAgent, Wait), request_body = RunBody,
    responses(
        (status = 200, description = "What came of the calls.", body = RunAnswer),
        (status = 422, description = "`REQUIREMENTS_MISSING`: what the agent lacks; nothing ran.", body = ErrorBody),
    ))]
async fn run_agent(
    identity: Identity,
    RequestId(request_id): RequestId,
    wait: Wait,
    State(app): State<Arc<App>>,
    PathAgent(agent): PathAgent,
    request: Request,
) -> Answer<impl IntoResponse> {
    let bytes = read_json(request, MAX_RUN_BYTES).await?;
    let context = RequestContext { request_id: Some(request_id), ..RequestContext::default() };
    let answers = app.gateway.run_agent(&identity, &agent, calls(&bytes)?, &context).await?;
    Ok(answered(&app, answers, wait, message_of).await)
}

/// What came of calls, once the caller has waited for decisions as long as it wants to.
async fn answered(
    app: &App,
    mut answers: Vec<CallAnswer>,
    wait: Wait,
    message_of: fn(&ToolError) -> Value,
) -> impl IntoResponse + use<> {
    if let Some(wait) = wait.duration() {
        answers = app.gateway.await_decisions(answers, wait, &app.shutdown).await;
    }
    (wait.applied(), Json(RunAnswer::of(answers, message_of)))
}

/// The calls of a body. What a connector gets is checked by its own schemas; here only the frame is.
fn calls(bytes: &[u8]) -> Result<Vec<ToolCall>, ApiError> {
    let body: RunBody = serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => ApiError::invalid(format!(
            "the body isn't valid: {error}; it must be {{\"tool_calls\": [{{\"id\", \"type\": \"function\", \
             \"function\": {{\"name\", \"arguments\": \"<JSON text>\"}}}}]}}"
        )),
        _ => not_json(&error),
    })?;
    if body.tool_calls.len() > MAX_BATCH {
        return Err(ApiError::invalid(format!(
            "{} calls in one request; there may be {MAX_BATCH} at most",
            body.tool_calls.len()
        )));
    }
    body.tool_calls.into_iter().enumerate().map(|(index, call)| tool_call(index, call)).collect()
}

fn tool_call(index: usize, call: CallBody) -> Result<ToolCall, ApiError> {
    let CallBody { id, kind: CallKind::Function, function: FunctionBody { name, arguments } } = call;
    if name.contains('\0') || name.chars().count() > MAX_NAME {
        return Err(ApiError::invalid(format!(
            "the body isn't valid: /tool_calls/{index}/function/name: must have at most {MAX_NAME} characters, none of \
             them NUL"
        )));
    }
    Ok(ToolCall { id, name, arguments, approval: ApprovalRule::Default })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(body: &str, part: &str) {
        let error = calls(body.as_bytes()).unwrap_err();
        assert_eq!(error.status.as_u16(), 400);
        assert!(error.message.contains(part), "{part} in {}", error.message);
    }

    #[test]
    fn calls_are_taken_with_whatever_else_a_model_adds() {
        let body = r#"{"model": "m", "tool_calls": [{"id": "c1", "index": 0, "type": "function",
            "function": {"name": "a__b", "arguments": "{\"x\": 1}", "strict": true}}]}"#;
        let calls = calls(body.as_bytes()).unwrap();
        assert_eq!(calls.len(), 1);
        let call = &calls[0];
        assert_eq!((&*call.id, &*call.name, &*call.arguments), ("c1", "a__b", "{\"x\": 1}"));
    }

    #[test]
    fn a_body_that_holds_no_calls_says_what_is_wrong() {
        refused("{", "line 1 column 1");
        refused("{}", "tool_calls");
        refused(
            r#"{"tool_calls": [{"id": "1", "type": "custom", "function": {"name": "a", "arguments": ""}}]}"#,
            "custom",
        );
        refused(
            r#"{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "a", "arguments": {}}}]}"#,
            "map",
        );
        refused(
            r#"{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "a\u0000", "arguments": ""}}]}"#,
            "/tool_calls/0/function/name",
        );
        let call = r#"{"id": "1", "type": "function", "function": {"name": "a", "arguments": "{}"}}"#;
        refused(&format!("{{\"tool_calls\": [{}]}}", vec![call; MAX_BATCH + 1].join(",")), "51 calls");
        assert_eq!(
            calls(format!("{{\"tool_calls\": [{}]}}", vec![call; MAX_BATCH].join(",")).as_bytes())
                .unwrap()
                .len(),
            MAX_BATCH
        );
    }

    #[test]
    fn messages_keep_the_calls_order_and_failures_stand_in_both_lists() {
        let error = ToolError {
            code: "TOOL_NOT_FOUND".to_owned(),
            message: "there is no tool \"x\"".to_owned(),
            retryable: false,
            details: json!({}),
        };
        let answer = |id: &str, result| CallAnswer {
            id: id.to_owned(),
            result,
            execution: uuid::Uuid::nil(),
            approval: None,
            attempts: 0,
        };
        let answers = vec![answer("b", Err(error)), answer("a", Ok(json!({"ok": [1]})))];
        let shown = serde_json::to_value(RunAnswer::of(answers, |error| json!({ "error": error }))).unwrap();
        assert_eq!(
            shown,
            json!({
                "tool_messages": [
                    {"role": "tool", "tool_call_id": "b", "content": "{\"error\":{\"code\":\"TOOL_NOT_FOUND\",\"message\":\"there is no tool \\\"x\\\"\",\"retryable\":false,\"details\":{}}}"},
                    {"role": "tool", "tool_call_id": "a", "content": "{\"ok\":[1]}"},
                ],
                "errors": [
                    {"code": "TOOL_NOT_FOUND", "message": "there is no tool \"x\"", "tool_call_id": "b", "retryable": false, "details": {}},
                ],
                "approvals": [],
            })
        );
    }
}
