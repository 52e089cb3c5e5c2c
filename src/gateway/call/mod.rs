//! One call, and a batch of them: from a model's tool call to its answer.
//!
//! Every call of a batch is prepared before any begins, so that a store that fails fails the whole request and nothing has
//! been sent. From its ticket on a call goes on to its end and its record, even if nobody waits for the answer any more.

mod approved;
mod arguments;
mod attempt;
mod masked;
mod outcome;
mod prepare;
mod record;
mod tokens;

use std::sync::Arc;
use std::time::Instant;

use portcullis_runtime::Cancellation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tracing::Instrument;
use uuid::Uuid;

pub(in crate::gateway) use self::approved::{ApprovedCall, Ran};
pub(in crate::gateway) use self::masked::shown as shown_arguments;
use self::prepare::PreparedCall;
pub(crate) use arguments::check as check_arguments;
pub(crate) use record::Redactors;

use super::approvals::ApprovalRule;
use super::fairness::{Stop, Ticket};
use super::resolve::View;
use super::{Gateway, GatewayError};
use crate::identity::Identity;
use crate::store::approvals::Approval;

/// Calls that one request may hold.
pub(crate) const MAX_BATCH: usize = 50;

/// A tool call as a model made it.
#[derive(Clone, Debug)]
pub(crate) struct ToolCall {
    /// The model's own id of the call.
    pub(crate) id: String,
    /// A slug, a bound slug or a function name.
    pub(crate) name: String,
    /// JSON text.
    pub(crate) arguments: String,
    /// What the grant that it is made under says about approvals.
    pub(crate) approval: ApprovalRule,
}

/// An error of a call, as the contract's §6 spells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToolError {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) retryable: bool,
    /// An object; empty where there is nothing more to say.
    pub(crate) details: Value,
}

impl ToolError {
    /// An error that trying again doesn't help, without details.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), retryable: false, details: json!({}) }
    }

    /// The same with details, an object.
    #[must_use]
    pub(crate) fn with(self, details: Value) -> Self {
        Self { details, ..self }
    }

    /// The same as one that may go away by itself.
    #[must_use]
    pub(crate) fn passing(self) -> Self {
        Self { retryable: true, ..self }
    }
}

/// What came of a call.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) id: String,
    /// The result, or why there is none.
    pub(crate) result: Result<Value, ToolError>,
    /// The record of it.
    pub(crate) execution: uuid::Uuid,
    /// What it waits for.
    pub(crate) approval: Option<Box<Approval>>,
    /// How often the connector was called.
    pub(crate) attempts: u32,
}

/// What else is known of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestContext {
    /// The request's id.
    pub(crate) request_id: Option<String>,
    /// The agent that calls, where one is named.
    pub(crate) agent: Option<String>,
    /// Cancelled when nobody waits for the answer any more.
    pub(crate) cancellation: Cancellation,
}

impl Gateway {
    /// Runs calls side by side; the answers keep their order, and one failing call fails alone. An error is one of the whole
    /// request: too many calls, no room at all, or a store that doesn't answer. Dropping the future cancels the calls.
    pub(crate) async fn run(
        &self,
        identity: &Identity,
        calls: Vec<ToolCall>,
        context: &RequestContext,
    ) -> Result<Vec<Answer>, GatewayError> {
        self.run_in(identity, None, calls, context).await
    }

    /// The same with names that are looked up in a view; in what the acting user sees, where there is none.
    pub(super) async fn run_in(
        &self,
        identity: &Identity,
        view: Option<View>,
        calls: Vec<ToolCall>,
        context: &RequestContext,
    ) -> Result<Vec<Answer>, GatewayError> {
        let started = Instant::now();
        check_size(calls.len())?;
        let stop = Stop { cancellation: context.cancellation.clone(), ..Stop::default() };
        let tickets = self.inner.fairness.admit(identity.project, calls.len(), &stop)?;
        let mut abandoned = StopIfDropped(Some(stop.clone()));
        let (identity, context) = (identity.clone(), context.clone());
        let batch = Batch { gateway: self.clone(), identity, view, context, calls, tickets, stop, started };
        let answers = match tokio::spawn(batch.carry_out().in_current_span()).await {
            Ok(answers) => answers,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(GatewayError::Unavailable("the server is shutting down".to_owned())),
            },
        };
        abandoned.0 = None;
        answers
    }
}

/// The calls of a request. They go on to their end and their records even if nobody waits for the answers any more.
struct Batch {
    gateway: Gateway,
    identity: Identity,
    view: Option<View>,
    context: RequestContext,
    calls: Vec<ToolCall>,
    /// One for each call.
    tickets: Vec<Ticket>,
    stop: Stop,
    started: Instant,
}

impl Batch {
    async fn carry_out(self) -> Result<Vec<Answer>, GatewayError> {
        let mut prepared = self.prepare().await?;
        if prepared.len() > 1 {
            return Ok(side_by_side(prepared).await);
        }
        // One alone has this task to itself.
        let Some(call) = prepared.pop() else { return Ok(Vec::new()) };
        let span = call.span();
        Ok(vec![call.carry_out().instrument(span).await])
    }

    /// All of them are prepared before any begins.
    async fn prepare(self) -> Result<Vec<PreparedCall>, GatewayError> {
        let Self { gateway, identity, view, context, calls, tickets, stop, started } = self;
        let view = match view {
            Some(view) => view,
            None => gateway.view(&identity).await?,
        };
        let mut prepared = Vec::with_capacity(calls.len());
        for (call, ticket) in calls.into_iter().zip(tickets) {
            let held = (Arc::new(ticket), stop.clone());
            prepared.push(gateway.prepare(&identity, &view, &context, call, started, held).await?);
        }
        Ok(prepared)
    }
}

/// Each in a task of its own, so that a fault in one is no other's.
async fn side_by_side(calls: Vec<PreparedCall>) -> Vec<Answer> {
    let running: Vec<(String, Uuid, JoinHandle<Answer>)> = calls
        .into_iter()
        .map(|call| {
            let (id, execution, span) = (call.id.clone(), call.execution, call.span());
            (id, execution, tokio::spawn(call.carry_out().instrument(span)))
        })
        .collect();
    let mut answers = Vec::with_capacity(running.len());
    for (id, execution, task) in running {
        answers.push(task.await.unwrap_or_else(|error| {
            tracing::error!(%execution, %error, "a call's task ended without an answer");
            let message = "the call ended without an answer; the server's log says why";
            let result = Err(ToolError::new("SANDBOX_CRASHED", message));
            Answer { id, result, execution, approval: None, attempts: 0 }
        }));
    }
    answers
}

fn check_size(n_calls: usize) -> Result<(), GatewayError> {
    let message = match n_calls {
        0 => "tool_calls is empty: name at least one call".to_owned(),
        n if n > MAX_BATCH => format!("tool_calls has {n} calls; one request may hold {MAX_BATCH}"),
        _ => return Ok(()),
    };
    Err(GatewayError::Invalid { code: "INVALID_REQUEST", message, details: None })
}

/// Ends the calls when the request's future is dropped: its client has gone.
struct StopIfDropped(Option<Stop>);

impl Drop for StopIfDropped {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            stop.stop();
        }
    }
}

#[cfg(test)]
mod tests;
