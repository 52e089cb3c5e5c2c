//! A call of a tool: progress while it runs, an end when nobody waits for it, and a person's word where it needs one.

use std::collections::BTreeMap;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ElicitRequest, ElicitRequestParams,
    ElicitResult, ElicitationAction, ElicitationSchema, InputRequest, InputRequiredResult, JsonObject,
    ProgressNotificationParam, ProtocolVersion,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::result::{READ_MORE, Source};
use super::search::{self, CALL_TOOL, FIND_TOOLS};
use super::server::{Line, McpServer};
use super::toolbox::{Called, Toolbox};
use crate::gateway::call::ToolError;

/// How long a call may take before its client hears of it, and how often it does from then on.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// How long a person has to answer in their client.
const PERSONS_TIME: Duration = Duration::from_secs(600);
/// The one question in a request for input.
const QUESTION: &str = "approval";

/// What a person said.
enum Word {
    Approved,
    Rejected,
    /// Nothing, or the client can't ask.
    Nothing,
    /// The client is to ask and call again.
    Ask(Box<InputRequiredResult>),
}

impl<T: Toolbox> McpServer<T> {
    /// Answers a call, tells of its progress meanwhile, and ends it when it is cancelled or its client has gone.
    pub(super) async fn perform(
        &self,
        line: &Line<T::Caller>,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let started = Instant::now();
        let token = context.meta.get_progress_token();
        let mut ticks = interval_at(started + PROGRESS_EVERY, PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answering = Box::pin(self.answer(line, request, context));
        loop {
            tokio::select! {
                biased;
                answer = &mut answering => return answer,
                // Dropping the call's future is what cancels it.
                () = context.ct.cancelled() => break,
                () = line.gone.cancelled() => break,
                _ = ticks.tick() => {
                    let Some(token) = token.clone() else { continue };
                    let mut progress = ProgressNotificationParam::new(token, started.elapsed().as_secs_f64());
                    progress.message = Some("still running".to_owned());
                    // A client that can't be told goes away by itself.
                    let _ = context.peer.notify_progress(progress).await;
                }
            }
        }
        Err(ErrorData::internal_error("the call was cancelled", None))
    }

    async fn answer(
        &self,
        line: &Line<T::Caller>,
        mut request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.take().unwrap_or_default();
        let text = |key: &str| arguments.get(key).and_then(Value::as_str);
        match request.name.as_ref() {
            READ_MORE => match text("cursor") {
                Some(cursor) => Ok(self.writer(&self.owner(line)).more(cursor)?.into()),
                None => Ok(self.refuse(line, "cursor", "a text, from the answer that was cut").into()),
            },
            FIND_TOOLS => match text("query") {
                Some(query) => {
                    let tools = self.toolbox.tools(&line.caller).await?;
                    let found = search::find(&tools, query, arguments.get("limit").and_then(Value::as_u64));
                    Ok(CallToolResult::structured(found).into())
                }
                None => Ok(self.refuse(line, "query", "a text: what the tool should do").into()),
            },
            CALL_TOOL => match (text("name"), arguments.get("arguments")) {
                (None, _) => Ok(self.refuse(line, "name", "a tool's name, as find_tools gives it").into()),
                (Some(name), None | Some(Value::Null)) => {
                    self.call(line, name, JsonObject::new(), &request, context).await
                }
                (Some(name), Some(Value::Object(inner))) => {
                    self.call(line, name, inner.clone(), &request, context).await
                }
                (Some(_), Some(_)) => {
                    Ok(self.refuse(line, "arguments", "an object, as the tool's inputSchema says").into())
                }
            },
            name => self.call(line, name, arguments.clone(), &request, context).await,
        }
    }

    /// A built-in tool's arguments are wrong.
    fn refuse(&self, line: &Line<T::Caller>, argument: &str, expected: &str) -> CallToolResult {
        let message = format!("the argument {argument:?} must be {expected}");
        let violations = json!({"violations": [{"path": format!("/{argument}"), "message": &message}]});
        let error = ToolError::new("INVALID_ARGUMENTS", message).with(violations);
        let message = json!({ "error": error });
        self.writer(&self.owner(line)).outcome(Err(message), Source::default())
    }

    async fn call(
        &self,
        line: &Line<T::Caller>,
        name: &str,
        arguments: JsonObject,
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let owner = self.owner(line);
        let writer = self.writer(&owner);
        let told = |outcome: Result<Value, ToolError>| {
            outcome.map_err(|error| self.toolbox.message_of(&line.caller, &error))
        };
        // Looked up before the call, which may change what there is.
        let source = self.source(line, name).await;
        let (shown, question, state, pending) = match self.toolbox.call(&line.caller, name, arguments).await?
        {
            Called::Done(outcome) => return Ok(writer.outcome(told(outcome), source).into()),
            Called::Pending { shown, question, state, pending } => (shown, question, state, pending),
        };
        if !can_ask(context) || !self.toolbox.may_ask(&line.caller, &pending).await {
            return Ok(writer.pending(shown).into());
        }
        let is_approved = match ask(context, request, question, state).await {
            Word::Approved => true,
            Word::Rejected => false,
            Word::Nothing => return Ok(writer.pending(shown).into()),
            Word::Ask(input_required) => return Ok((*input_required).into()),
        };
        let outcome = self.toolbox.decide(&line.caller, pending, is_approved).await;
        Ok(writer.outcome(told(outcome), source).into())
    }

    /// Whose words the tool's results are; unknown for one that isn't listed.
    async fn source(&self, line: &Line<T::Caller>, name: &str) -> Source {
        let tools = self.toolbox.tools(&line.caller).await.ok();
        tools.as_deref().and_then(|tools| tools.find(name)).map_or_else(Source::default, |offered| Source {
            integration: Some(offered.integration.clone()),
            connection: offered.connection.clone(),
        })
    }
}

/// Whether the client can show a person a question.
fn can_ask(context: &RequestContext<RoleServer>) -> bool {
    let capabilities = context.client_capabilities();
    let elicitation = capabilities.and_then(|capabilities| capabilities.elicitation);
    // One that names no mode has forms.
    elicitation.is_some_and(|modes| modes.form.is_some() || modes.url.is_none())
}

/// Has the client ask the person who sits at it: at once where it keeps a session, otherwise by its calling again.
async fn ask(
    context: &RequestContext<RoleServer>,
    request: &CallToolRequestParams,
    question: String,
    state: String,
) -> Word {
    let params = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: question,
        requested_schema: ElicitationSchema::new(BTreeMap::new()),
    };
    let calls_again =
        context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28);
    if calls_again {
        // What was said is said of the call that was asked about, and of no other.
        let said = (request.request_state.as_ref() == Some(&state))
            .then(|| request.input_responses.as_ref()?.get(QUESTION).cloned())
            .flatten();
        return match said.map(serde_json::from_value::<ElicitResult>) {
            Some(Ok(result)) => word(&result.action),
            Some(Err(_)) => Word::Nothing,
            None => {
                let input = InputRequest::Elicitation(ElicitRequest::new(params));
                let requests = BTreeMap::from([(QUESTION.to_owned(), input)]);
                Word::Ask(Box::new(InputRequiredResult::new(Some(requests), Some(state))))
            }
        };
    }
    match context.peer.create_elicitation_with_timeout(params, Some(PERSONS_TIME)).await {
        Ok(result) => word(&result.action),
        Err(error) => {
            tracing::debug!(%error, "a client didn't ask its person");
            Word::Nothing
        }
    }
}

fn word(action: &ElicitationAction) -> Word {
    match action {
        ElicitationAction::Accept => Word::Approved,
        ElicitationAction::Decline => Word::Rejected,
        _ => Word::Nothing,
    }
}
