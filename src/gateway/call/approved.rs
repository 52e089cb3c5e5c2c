//! A call that a person has approved: looked up anew, compared with what was asked for, and carried out like any other, but
//! once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tracing::Instrument;
use uuid::Uuid;

use super::super::approvals::call_hash;
use super::super::fairness::{Stop, Ticket};
use super::super::names::{bound_slug, tool_slug};
use super::super::resolve::{Asked, Target};
use super::super::{Gateway, GatewayError};
use super::prepare::{Next, PreparedCall};
use super::record::{Caller, Times};
use super::{RequestContext, ToolError};
use crate::identity::Identity;
use crate::store::approvals::Approval;

/// What was approved, and on what occasion it runs.
pub(in crate::gateway) struct ApprovedCall<'a> {
    pub(in crate::gateway) approval: &'a Approval,
    /// As they were asked for.
    pub(in crate::gateway) arguments: Value,
    pub(in crate::gateway) request_id: &'a str,
    pub(in crate::gateway) started: Instant,
    pub(in crate::gateway) ticket: &'a Arc<Ticket>,
    pub(in crate::gateway) stop: &'a Stop,
}

/// What came of an approved call.
pub(in crate::gateway) enum Ran {
    /// Nothing ran: this isn't what was asked for any more.
    Stale(String),
    /// Nothing ran: it can't now, for a reason that may go away.
    Unready(ToolError),
    Ended {
        result: Result<Value, ToolError>,
        execution: Uuid,
        /// It was told to stop while it ran: what became of its requests isn't known.
        was_cut_off: bool,
    },
}

impl Gateway {
    /// Runs an approved call as the one who asked for it. An error is the store's alone: nothing ran.
    pub(in crate::gateway) async fn run_approved(&self, call: ApprovedCall<'_>) -> Result<Ran, GatewayError> {
        let approval = call.approval;
        let asker = Identity {
            project: approval.project,
            key: approval.asker.key,
            role: approval.asker.role,
            user: approval.asker.user.clone(),
            on_behalf: true,
        };
        let view = match &approval.asker.agent {
            None => self.view(&asker).await?,
            Some(agent) => match self.agent_view(&asker, agent).await {
                Err(GatewayError::NotFound(what)) => {
                    return Ok(Ran::Stale(format!("there is no {what} any more")));
                }
                view => view?,
            },
        };
        let connection_id = approval.connection.as_ref().map(|connection| connection.id);
        let target = match view.asked(&approval.integration, &approval.operation, connection_id) {
            Asked::Gone(what) => return Ok(Ran::Stale(what)),
            Asked::Found { target, connection } => {
                let connector = &target.served.connector;
                let hash = call_hash(connector, &approval.operation, connection.as_deref(), &call.arguments);
                if hash != approval.hash {
                    return Ok(Ran::Stale(difference(approval, &target)));
                }
                *target
            }
        };
        if let Err(error) = &target.connection {
            return Ok(Ran::Unready(error.clone()));
        }
        let resolved = call.started.elapsed();
        match self.ready(approval.project, &target, &call.arguments, call.stop).await? {
            Next::Run(secret_call) => {
                let prepared = self.approved(call, &asker, target, Next::Run(secret_call), resolved);
                let span = prepared.span();
                let answer = prepared.carry_out().instrument(span).await;
                let was_cut_off = answer.attempts > 0
                    && answer.result.as_ref().is_err_and(|error| error.code == "CANCELLED");
                let (result, execution) = (answer.result, answer.execution);
                Ok(Ran::Ended { result, execution, was_cut_off })
            }
            Next::Refuse(error) => Ok(Ran::Unready(error)),
            Next::Approve(_) => Ok(Ran::Stale("it would wait for another approval".to_owned())),
        }
    }

    fn approved(
        &self,
        call: ApprovedCall<'_>,
        asker: &Identity,
        target: Target,
        next: Next,
        resolved: Duration,
    ) -> PreparedCall {
        let ApprovedCall { approval, arguments, request_id, started, ticket, stop } = call;
        let (integration, operation) = (&approval.integration, &approval.operation);
        let tool = match target.connection.as_ref().ok().and_then(Option::as_ref) {
            Some(connection) => bound_slug(integration, operation, connection.slug.as_str()),
            None => tool_slug(integration, operation),
        };
        let context = RequestContext {
            request_id: Some(request_id.to_owned()),
            agent: approval.asker.agent.clone(),
            cancellation: stop.cancellation.clone(),
        };
        PreparedCall {
            gateway: self.clone(),
            id: String::new(),
            execution: Uuid::now_v7(),
            tool,
            caller: Caller::of(asker, &context),
            times: Times { started, resolved, queued: Duration::ZERO, sandbox: Duration::ZERO },
            ticket: Arc::clone(ticket),
            stop: stop.clone(),
            target: Some(target),
            arguments,
            approval: Some(approval.id),
            is_once: true,
            next,
        }
    }
}

/// What is different, as far as the approval tells.
fn difference(approval: &Approval, target: &Target) -> String {
    let connector = &target.served.connector;
    let (old, new) = (approval.connector_version, connector.manifest().version);
    let slug = &approval.integration;
    if new != old {
        format!("the connector {slug} has version {new} now instead of {old}")
    } else if connector.digest() != approval.connector_digest {
        format!("the connector {slug} was changed")
    } else {
        "the connection is one to another account now".to_owned()
    }
}
