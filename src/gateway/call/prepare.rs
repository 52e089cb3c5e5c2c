//! Everything about a call that is settled before it runs: its tool, its connection, its arguments and its credentials.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_runtime::Call;
use portcullis_runtime::manifest::{AuthMethod, Operation};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use zeroize::Zeroize;

use super::super::approvals::ApprovalRule;
use super::super::credentials::{Opened, missing};
use super::super::fairness::{RateKey, Stop, Ticket};
use super::super::resolve::{Target, View};
use super::super::{Gateway, GatewayError};
use super::record::{Caller, Times};
use super::{RequestContext, ToolCall, ToolError, arguments};
use crate::error::chain;
use crate::identity::{Identity, ProjectId};
use crate::store::approvals::Approval;
use crate::store::connections::Connection;

/// A call that can run, or of which it is known why it can't.
pub(super) struct PreparedCall {
    pub(super) gateway: Gateway,
    /// The model's own id of it.
    pub(super) id: String,
    /// Its record's.
    pub(super) execution: Uuid,
    /// As the caller named it.
    pub(super) tool: String,
    pub(super) caller: Caller,
    pub(super) times: Times,
    pub(super) ticket: Arc<Ticket>,
    pub(super) stop: Stop,
    /// The operation and its connection, where they were found.
    pub(super) target: Option<Target>,
    /// The arguments as given, where they are JSON.
    pub(super) arguments: Value,
    /// The approval that it waits for, or that lets it run.
    pub(super) approval: Option<Uuid>,
    /// It is never made a second time, whatever comes of the first.
    pub(super) is_once: bool,
    pub(super) next: Next,
}

/// What is to be done with a prepared call.
pub(super) enum Next {
    /// It can't run.
    Refuse(ToolError),
    /// A person must approve it first.
    Approve(Box<Approval>),
    /// It can run.
    Run(Arc<SecretCall>),
}

/// What the connector is called with. Its secrets are wiped when the last thread lets go of it.
pub(super) struct SecretCall {
    pub(super) call: Call,
    /// Whose requests are counted with this call's, and how many they may be a minute.
    pub(super) rate: Option<(RateKey, u32)>,
    /// The store's epoch before the secrets were read.
    pub(super) epoch: u64,
}

impl Drop for SecretCall {
    fn drop(&mut self) {
        self.call.secrets.values_mut().for_each(Zeroize::zeroize);
    }
}

impl PreparedCall {
    pub(super) fn connection(&self) -> Option<&Connection> {
        self.target.as_ref()?.connection.as_ref().ok()?.as_ref()
    }
}

impl Gateway {
    /// Settles all that can be settled before anything runs. An error is the store's alone.
    pub(super) async fn prepare(
        &self,
        identity: &Identity,
        view: &View,
        context: &RequestContext,
        call: ToolCall,
        started: Instant,
        (ticket, stop): (Arc<Ticket>, Stop),
    ) -> Result<PreparedCall, GatewayError> {
        let resolved = view.resolve(&call.name);
        let parsed = arguments::parse(&call.arguments);
        let next = match (&resolved, &parsed) {
            (Err(error), _) | (Ok(Target { connection: Err(error), .. }), _) | (Ok(_), Err(error)) => {
                Next::Refuse(error.clone())
            }
            (Ok(target), Ok(arguments)) => {
                self.next(identity, context, target, arguments, call.approval, &stop).await?
            }
        };
        Ok(PreparedCall {
            gateway: self.clone(),
            id: call.id,
            execution: Uuid::now_v7(),
            tool: call.name,
            caller: Caller::of(identity, context),
            times: Times {
                started,
                resolved: started.elapsed(),
                queued: Duration::ZERO,
                sandbox: Duration::ZERO,
            },
            ticket,
            stop,
            target: resolved.ok(),
            arguments: parsed.unwrap_or(Value::Null),
            approval: match &next {
                Next::Approve(approval) => Some(approval.id),
                Next::Refuse(_) | Next::Run(_) => None,
            },
            is_once: false,
            next,
        })
    }

    /// In this order: a usable connection, valid arguments, granted scopes, an approval, complete credentials.
    async fn next(
        &self,
        identity: &Identity,
        context: &RequestContext,
        target: &Target,
        arguments: &Value,
        rule: ApprovalRule,
        stop: &Stop,
    ) -> Result<Next, GatewayError> {
        let connection = match &target.connection {
            Ok(connection) => connection.as_ref(),
            Err(error) => return Ok(Next::Refuse(error.clone())),
        };
        let operation = target.operation();
        if let Err(error) = arguments::check(operation, arguments) {
            return Ok(Next::Refuse(error));
        }
        if let Some(error) = connection.and_then(|connection| insufficient_scope(operation, connection)) {
            return Ok(Next::Refuse(error));
        }
        if rule.holds(operation) {
            let asked = Box::pin(self.ask_for_approval(identity, context, target, arguments)).await?;
            return Ok(asked.map_or_else(Next::Refuse, |approval| Next::Approve(Box::new(approval))));
        }
        self.ready(identity.project, target, arguments, stop).await
    }

    /// The call with its credentials, or why it can't be made.
    pub(super) async fn ready(
        &self,
        project: ProjectId,
        target: &Target,
        arguments: &Value,
        stop: &Stop,
    ) -> Result<Next, GatewayError> {
        let connection = match &target.connection {
            Ok(connection) => connection.as_ref(),
            Err(error) => return Ok(Next::Refuse(error.clone())),
        };
        let operation = target.operation();
        if let Some(error) = connection.and_then(|connection| insufficient_scope(operation, connection)) {
            return Ok(Next::Refuse(error));
        }
        let epoch = self.inner.store.epoch();
        let mut opened = match connection {
            None => Opened::default(),
            Some(connection) => match self.open_credentials(connection).await {
                Ok(opened) => opened,
                Err(GatewayError::Vault(error)) => {
                    tracing::error!(connection = %connection.id, error = chain(&error), "credentials can't be opened");
                    return Ok(Next::Refuse(unreadable(connection)));
                }
                Err(error) => return Err(error),
            },
        };
        if let Some(connection) = connection {
            let missing = missing(&target.served.connector, connection.mode, &opened);
            if !missing.is_empty() {
                return Ok(Next::Refuse(incomplete(connection, &missing)));
            }
        }
        let call = Call {
            operation: Some(operation.name.as_str().to_owned()),
            arguments: arguments.clone(),
            secrets: std::mem::take(&mut opened.secrets),
            config: std::mem::take(&mut opened.config),
            cancellation: stop.cancellation.clone(),
        };
        let rate = rate(project, target, connection, &call.config);
        Ok(Next::Run(Arc::new(SecretCall { call, rate, epoch })))
    }
}

/// The limit of requests a minute: the connection's own `rateLimit`, or the manifest's.
fn rate(
    project: ProjectId,
    target: &Target,
    connection: Option<&Connection>,
    config: &Map<String, Value>,
) -> Option<(RateKey, u32)> {
    let own =
        config.get("rateLimit").and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    let own = own.filter(|limit| *limit > 0).map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let limit = own.or(target.served.connector.manifest().rate_limit)?;
    let key = match connection {
        Some(connection) => RateKey::Connection(connection.id),
        None => RateKey::Integration(project, target.integration().into()),
    };
    Some((key, limit))
}

/// The refusal of an operation that needs scopes which the connection's consent didn't grant.
fn insufficient_scope(operation: &Operation, connection: &Connection) -> Option<ToolError> {
    let granted = connection.scopes.as_deref().unwrap_or_default();
    let missing: Vec<&String> =
        operation.required_scopes.iter().filter(|scope| !granted.contains(scope)).collect();
    if connection.mode != AuthMethod::OAuth2 || missing.is_empty() {
        return None;
    }
    let slug = connection.slug.as_str();
    let listed: Vec<&str> = missing.iter().map(|scope| scope.as_str()).collect();
    let message = format!(
        "the operation {} needs scopes that the connection {slug:?} wasn't granted: {}. Nothing was sent. Reconnect it to \
         grant them",
        operation.name,
        listed.join(", ")
    );
    let details = json!({"missing": missing, "granted": granted, "connection": slug});
    Some(ToolError::new("INSUFFICIENT_SCOPE", message).with(details))
}

fn unreadable(connection: &Connection) -> ToolError {
    let slug = connection.slug.as_str();
    let message = format!("the stored credentials of the connection {slug:?} can't be read; give them anew");
    ToolError::new("CONNECTION_INACTIVE", message).with(json!({"connection": slug}))
}

fn incomplete(connection: &Connection, missing: &[String]) -> ToolError {
    let (slug, integration) = (connection.slug.as_str(), connection.integration.as_str());
    let message = format!(
        "the connection {slug:?} lacks credentials that {integration} reads: {}; update the connection with them",
        missing.join(", ")
    );
    ToolError::new("CONNECTION_INACTIVE", message).with(json!({"connection": slug, "missing": missing}))
}
