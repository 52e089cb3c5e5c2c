//! What a call leaves: its execution, its metrics, its span.

use std::time::{Duration, Instant};

use moka::sync::Cache;
use portcullis_runtime::{Cancellation, Redactor};
use serde_json::Value;
use tracing::{Span, field};
use uuid::Uuid;

use super::super::Gateway;
use super::super::resolve::Target;
use super::attempt::Traces;
use super::masked;
use super::prepare::{Next, PreparedCall};
use super::{RequestContext, ToolError, outcome};
use crate::identity::{Identity, ProjectId, UserName};
use crate::store::approvals::Approval;
use crate::store::executions::{Execution, ExecutionOutcome};
use crate::time::Timestamp;

/// Bytes of a tool's name, or of a message, that are recorded.
const MAX_TEXT: usize = 4096;
/// Bytes of a tool's name in logs.
const MAX_NAME: usize = 160;

/// Who calls, and on what occasion.
pub(super) struct Caller {
    project: ProjectId,
    user: Option<UserName>,
    key: Uuid,
    agent: Option<String>,
    request_id: Option<String>,
}

/// Where a call's time went.
pub(super) struct Times {
    /// When the request came.
    pub(super) started: Instant,
    /// Until the call was prepared.
    pub(super) resolved: Duration,
    /// Waiting for the rate limit and for room.
    pub(super) queued: Duration,
    /// Inside the connector, all attempts together.
    pub(super) sandbox: Duration,
}

/// How a call ended.
pub(super) enum Ending {
    Ok(Value),
    /// It was stopped before it ran, and waits for this.
    ApprovalRequired(Box<Approval>),
    Failed(ToolError),
}

/// The redactors of connections that were used lately: to make one takes longer than many a call.
pub(crate) struct Redactors {
    /// By connection, each with the store's epoch that its secrets are of.
    recent: Cache<Uuid, (u64, Redactor)>,
}

impl Default for Redactors {
    fn default() -> Self {
        // A redactor holds its secrets in a form of its own, so none is kept for long.
        Self { recent: Cache::builder().max_capacity(256).time_to_idle(Duration::from_secs(60)).build() }
    }
}

impl Redactors {
    /// The redactor of a connection's secrets, which were read in `epoch`.
    fn get<'s>(&self, connection: Uuid, epoch: u64, secrets: impl IntoIterator<Item = &'s str>) -> Redactor {
        if let Some((of, redactor)) = self.recent.get(&connection)
            && of == epoch
        {
            return redactor;
        }
        let redactor = Redactor::new(secrets);
        self.recent.insert(connection, (epoch, redactor.clone()));
        redactor
    }
}

impl Caller {
    pub(super) fn of(identity: &Identity, context: &RequestContext) -> Self {
        Self {
            project: identity.project,
            user: identity.user.clone(),
            key: identity.key,
            agent: context.agent.clone(),
            request_id: context.request_id.clone(),
        }
    }
}

impl PreparedCall {
    /// The span of the call; what isn't known yet is recorded at its end.
    pub(super) fn span(&self) -> Span {
        let integration = self.target.as_ref().map(Target::integration);
        let operation = self.target.as_ref().map(|target| target.operation().name.as_str());
        tracing::info_span!(
            "call",
            execution = %self.execution,
            tool = masked::cut(&self.tool, MAX_NAME),
            integration,
            operation,
            outcome = field::Empty,
            code = field::Empty,
            ms = field::Empty,
        )
    }

    /// Leaves the execution, the metrics and the span's last fields.
    pub(super) async fn leave_record(&mut self, ending: &Ending, traces: &Traces) {
        let (outcome, error) = match ending {
            Ending::Ok(_) => (ExecutionOutcome::Ok, None),
            Ending::ApprovalRequired(_) => (ExecutionOutcome::ApprovalRequired, None),
            Ending::Failed(error) => (outcome::recorded(error, traces.n_attempts), Some(error)),
        };
        let duration = self.times.started.elapsed();
        self.trace(outcome, error, duration);
        self.measure(outcome, error, duration);
        let arguments = self.masked_arguments().await;
        let execution = self.execution(outcome, error, traces, arguments, duration);
        self.gateway.inner.recorder.record(execution);
    }

    fn trace(&self, outcome: ExecutionOutcome, error: Option<&ToolError>, duration: Duration) {
        let span = Span::current();
        span.record("outcome", name_of(outcome)).record("ms", whole_ms(duration));
        match error {
            Some(error) => {
                span.record("code", error.code.as_str());
                tracing::info!("the call failed");
            }
            None => tracing::debug!("the call ended"),
        }
    }

    fn measure(&self, outcome: ExecutionOutcome, error: Option<&ToolError>, duration: Duration) {
        // Slugs of integrations that exist: what else is called isn't counted by name.
        let integration = self.target.as_ref().map_or("", Target::integration).to_owned();
        let code = error.map_or_else(String::new, |error| error.code.clone());
        metrics::counter!(
            "portcullis_calls_total",
            "integration" => integration, "outcome" => name_of(outcome), "code" => code
        )
        .increment(1);
        let Times { resolved, queued, sandbox, .. } = &self.times;
        for (phase, time) in
            [("resolve", resolved), ("queue", queued), ("sandbox", sandbox), ("total", &duration)]
        {
            metrics::histogram!("portcullis_call_phase_seconds", "phase" => phase).record(*time);
        }
    }

    /// The arguments as they may be recorded; nothing of them where the connection's secrets can't be told.
    async fn masked_arguments(&mut self) -> Value {
        let arguments = std::mem::take(&mut self.arguments);
        match self.redactor().await {
            Some(redactor) => masked::arguments(arguments, &redactor),
            None => Value::Null,
        }
    }

    /// What takes the connection's secrets out. Those of a call that never ran are opened for this alone: its arguments may
    /// hold them just as well.
    async fn redactor(&self) -> Option<Redactor> {
        let Some(target) = &self.target else { return Some(Redactor::default()) };
        match (&self.next, self.connection()) {
            (Next::Run(call), Some(connection)) => {
                let redactors = &self.gateway.inner.recorder.redactors;
                let hidden = target.served.connector.hidden_values(&call.call);
                Some(redactors.get(connection.id, call.epoch, hidden))
            }
            _ => self.gateway.redactor_of(target).await,
        }
    }

    fn execution(
        &self,
        outcome: ExecutionOutcome,
        error: Option<&ToolError>,
        traces: &Traces,
        arguments: Value,
        duration: Duration,
    ) -> Execution {
        let Caller { project, user, key, agent, request_id } = &self.caller;
        let target = self.target.as_ref();
        let connector = target.map(|target| &target.served.connector);
        let connection = self.connection();
        Execution {
            id: self.execution,
            project: *project,
            user: user.clone(),
            key_id: *key,
            agent: agent.clone(),
            approval_id: self.approval,
            connection_id: connection.map(|connection| connection.id),
            connection_slug: connection.map(|connection| connection.slug.to_string()),
            integration: connector.map(|connector| connector.slug().to_owned()),
            tool: text(&self.tool),
            operation: target.map(|target| target.operation().name.to_string()),
            connector_version: connector.map(|connector| connector.manifest().version),
            connector_digest: connector.map(|connector| connector.digest().to_owned()),
            outcome,
            code: error.map(|error| error.code.clone()),
            message: error.map(|error| text(&outcome::recorded_message(error))),
            started_at: Timestamp::now().minus(duration),
            duration_ms: whole_ms(duration),
            queue_ms: whole_ms(self.times.queued),
            attempts: traces.n_attempts,
            request_id: request_id.clone(),
            http: masked::exchanges(&traces.http),
            logs: masked::logs(&traces.logs),
            arguments,
        }
    }
}

impl Gateway {
    /// What takes the secrets of a target's connection out; none if they can't be told.
    pub(in crate::gateway) async fn redactor_of(&self, target: &Target) -> Option<Redactor> {
        let Ok(Some(connection)) = &target.connection else { return Some(Redactor::default()) };
        let epoch = self.inner.store.epoch();
        let opened = self.open_credentials(connection).await.ok()?;
        let call = opened.into_call(None, Value::Null, Cancellation::default());
        let hidden = target.served.connector.hidden_values(&call);
        Some(self.inner.recorder.redactors.get(connection.id, epoch, hidden))
    }
}

/// The text as a database takes it: no longer than a few KiB, and without NUL, which PostgreSQL has no room for.
fn text(text: &str) -> String {
    masked::cut(text, MAX_TEXT).replace('\0', "\u{fffd}")
}

fn name_of(outcome: ExecutionOutcome) -> &'static str {
    match outcome {
        ExecutionOutcome::Ok => "ok",
        ExecutionOutcome::Failed => "failed",
        ExecutionOutcome::Blocked => "blocked",
        ExecutionOutcome::Denied => "denied",
        ExecutionOutcome::TimedOut => "timed_out",
        ExecutionOutcome::ApprovalRequired => "approval_required",
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
