//! Executions: what was called, by whom, and what came of it.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::error::ApiError;
use super::extract::PathId;
use super::query::Query;
use super::respond::{Answer, Json};
use crate::identity::{Identity, UserName};
use crate::store::executions::{Execution, ExecutionFilter, ExecutionOutcome};
use crate::time::Timestamp;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// A page of executions.
#[derive(Serialize, ToSchema)]
struct ExecutionPage {
    /// How many there are in this answer.
    count: usize,
    executions: Vec<ExecutionBody>,
    /// What to give as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid", nullable = false)]
    next_cursor: Option<Uuid>,
}

/// The record of a call. Secrets' values are redacted in all of it.
#[derive(Serialize, ToSchema)]
struct ExecutionBody {
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    /// Whom the call acted for; none for a service key that named nobody.
    user: Option<String>,
    #[schema(value_type = String, format = "uuid")]
    key_id: Uuid,
    agent: Option<String>,
    /// The approval that the call waited for, or that let it run.
    #[schema(value_type = Option<String>, format = "uuid")]
    approval_id: Option<Uuid>,
    #[schema(value_type = Option<String>, format = "uuid")]
    connection_id: Option<Uuid>,
    connection_slug: Option<String>,
    /// The integration's slug.
    integration: Option<String>,
    /// As the caller named it.
    tool: String,
    /// The operation's name, where the tool was found.
    operation: Option<String>,
    /// The manifest's version.
    connector_version: Option<u64>,
    /// SHA-256 of the package that ran.
    connector_digest: Option<String>,
    outcome: OutcomeBody,
    /// The error's code, such as `PROVIDER_ERROR`.
    code: Option<String>,
    message: Option<String>,
    #[schema(format = DateTime)]
    started_at: String,
    /// From request to answer, in milliseconds.
    duration_ms: u64,
    /// Of that, waiting for room, in milliseconds.
    queue_ms: u64,
    /// How often the connector was called: 1, and the retries.
    attempts: u32,
    /// The request's id, as the answer's header `x-request-id` named it.
    request_id: Option<String>,
    /// `[{method, host, path, status, ms, bytes}]`.
    http: Value,
    /// `[{level, message}]`.
    logs: Value,
    /// The arguments, redacted.
    arguments: Value,
}

impl From<Execution> for ExecutionBody {
    fn from(execution: Execution) -> Self {
        Self {
            id: execution.id,
            user: execution.user.map(|user| user.to_string()),
            key_id: execution.key_id,
            agent: execution.agent,
            approval_id: execution.approval_id,
            connection_id: execution.connection_id,
            connection_slug: execution.connection_slug,
            integration: execution.integration,
            tool: execution.tool,
            operation: execution.operation,
            connector_version: execution.connector_version,
            connector_digest: execution.connector_digest,
            outcome: execution.outcome.into(),
            code: execution.code,
            message: execution.message,
            started_at: execution.started_at.to_string(),
            duration_ms: execution.duration_ms,
            queue_ms: execution.queue_ms,
            attempts: execution.attempts,
            request_id: execution.request_id,
            http: execution.http,
            logs: execution.logs,
            arguments: execution.arguments,
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OutcomeBody {
    Ok,
    /// An error of the connector, the provider or the arguments.
    Failed,
    /// At a host or address that isn't allowed.
    Blocked,
    /// Before it ran: no such tool, no usable connection, no room.
    Denied,
    TimedOut,
    /// Before it ran: a person must approve it.
    ApprovalRequired,
}

impl From<ExecutionOutcome> for OutcomeBody {
    fn from(outcome: ExecutionOutcome) -> Self {
        match outcome {
            ExecutionOutcome::Ok => Self::Ok,
            ExecutionOutcome::Failed => Self::Failed,
            ExecutionOutcome::Blocked => Self::Blocked,
            ExecutionOutcome::Denied => Self::Denied,
            ExecutionOutcome::TimedOut => Self::TimedOut,
            ExecutionOutcome::ApprovalRequired => Self::ApprovalRequired,
        }
    }
}

impl From<OutcomeBody> for ExecutionOutcome {
    fn from(outcome: OutcomeBody) -> Self {
        match outcome {
            OutcomeBody::Ok => Self::Ok,
            OutcomeBody::Failed => Self::Failed,
            OutcomeBody::Blocked => Self::Blocked,
            OutcomeBody::Denied => Self::Denied,
            OutcomeBody::TimedOut => Self::TimedOut,
            OutcomeBody::ApprovalRequired => Self::ApprovalRequired,
        }
    }
}

/// Which executions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExecutionQuery {
    /// Those that acted for this user; with other keys than an admin's it is your own in any case.
    #[param(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    user: Option<String>,
    /// Those that ended like this.
    #[param(inline)]
    outcome: Option<OutcomeBody>,
    /// Those of the integration with this slug.
    #[param(max_length = 100, pattern = r"^[^\x00]*$")]
    integration: Option<String>,
    /// Those of the connection with this id.
    #[param(value_type = Option<String>, format = "uuid")]
    connection_id: Option<Uuid>,
    /// Those that the caller named so.
    #[param(max_length = 512, pattern = r"^[^\x00]*$")]
    tool: Option<String>,
    /// Those that failed with this code.
    #[param(max_length = 100, pattern = r"^[^\x00]*$")]
    code: Option<String>,
    /// Those that began at this time or later.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Those that began before this time.
    #[param(format = DateTime)]
    until: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>, format = "uuid")]
    cursor: Option<Uuid>,
}

const DEFAULT_LIMIT: u32 = 50;

impl ExecutionQuery {
    /// The filter, for one entry more than asked for: it shows whether there is another page.
    fn filter(self) -> Result<ExecutionFilter, ApiError> {
        let user = self.user.map(|name| UserName::new(name).map(Some)).transpose();
        let user = user.map_err(|error| {
            ApiError::invalid(format!("the query parameters aren't valid: /user: {error}"))
        })?;
        Ok(ExecutionFilter {
            user,
            outcome: self.outcome.map(Into::into),
            integration: self.integration,
            connection_id: self.connection_id,
            tool: self.tool,
            code: self.code,
            since: time("since", self.since)?,
            until: time("until", self.until)?,
            before: self.cursor,
            limit: self.limit.unwrap_or(DEFAULT_LIMIT) + 1,
        })
    }
}

fn time(name: &str, text: Option<String>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    let refuse = |_| {
        ApiError::invalid(format!(
            "the query parameters aren't valid: /{name}: must be a time as in RFC 3339"
        ))
    };
    parsed.map(|time| Some(Timestamp(time.as_millisecond()))).map_err(refuse)
}

/// The calls that were made
///
/// Newest first: your own, with an admin's key the project's.
#[utoipa::path(get, path = "/api/executions", tag = "Executions", operation_id = "list_executions", params(ExecutionQuery),
    responses((status = 200, description = "The executions.", body = ExecutionPage)))]
async fn list(
    identity: Identity,
    State(app): State<Arc<App>>,
    Query(query): Query<ExecutionQuery>,
) -> Answer<Json<ExecutionPage>> {
    let filter = query.filter()?;
    let limit = filter.limit as usize - 1;
    let mut executions = app.gateway.executions(&identity, filter).await?;
    let has_more = executions.len() > limit;
    executions.truncate(limit);
    let next_cursor = executions.last().filter(|_| has_more).map(|last| last.id);
    let executions: Vec<ExecutionBody> = executions.into_iter().map(Into::into).collect();
    Ok(Json(ExecutionPage { count: executions.len(), executions, next_cursor }))
}

/// One execution
#[utoipa::path(get, path = "/api/executions/{id}", tag = "Executions", operation_id = "get_execution", params(PathId),
    responses((status = 200, description = "The execution.", body = ExecutionBody)))]
async fn get(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathId(id): PathId,
) -> Answer<Json<ExecutionBody>> {
    let execution = app.gateway.execution(&identity, id).await?;
    Ok(Json(execution.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        let ms = |text: &str| time("since", Some(text.to_owned())).map(|time| time.map(|Timestamp(ms)| ms));
        assert_eq!(ms("1970-01-01T00:00:01.5Z").unwrap(), Some(1500));
        assert_eq!(ms("1970-01-01T01:00:00+01:00").unwrap(), Some(0));
        assert_eq!(ms("yesterday").unwrap_err().status.as_u16(), 400);
    }
}
