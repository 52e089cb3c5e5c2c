//! Approvals: calls that wait for a person, and what was decided about them.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::body::{JsonBody, MaybeJsonOf};
use super::error::{ApiError, ErrorBody};
use super::extract::{PathId, RequestId};
use super::query::Query;
use super::respond::{Answer, Json};
use crate::gateway::approvals::{Decided, OUTCOME_UNKNOWN, Verdict};
use crate::gateway::call::ToolError;
use crate::gateway::names::tool_slug;
use crate::identity::{Identity, UserName};
use crate::store::approvals::{Approval, ApprovalFilter, ApprovalStatus};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(approve))
        .routes(routes!(reject))
}

/// A page of approvals.
#[derive(Serialize, ToSchema)]
struct ApprovalPage {
    /// How many there are in this answer.
    count: usize,
    approvals: Vec<ApprovalBody>,
    /// What to give as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid", nullable = false)]
    next_cursor: Option<Uuid>,
}

/// A call that waits for a person, or did.
#[derive(Serialize, ToSchema)]
struct ApprovalBody {
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    status: ApprovalStatusBody,
    /// The tool's slug.
    tool: String,
    /// The integration's slug.
    integration: String,
    operation: String,
    operation_type: String,
    /// None where the integration needs none.
    #[schema(value_type = Option<String>, format = "uuid")]
    connection_id: Option<Uuid>,
    connection_slug: Option<String>,
    /// Whose account the connection is to, where the service has said.
    account: Option<String>,
    /// The manifest's version.
    connector_version: u64,
    /// SHA-256 of the package.
    connector_digest: String,
    /// The arguments, without secrets.
    #[schema(value_type = Object, additional_properties)]
    arguments: Value,
    /// SHA-256 of what would run; where that has changed, it can't be approved any more.
    hash: String,
    /// Whom the call acts for; none for a service key that named nobody.
    user: Option<String>,
    /// The key that asked.
    #[schema(value_type = String, format = "uuid")]
    key_id: Uuid,
    agent: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
    /// Who decided, when and why; none if nobody did.
    decision: Option<DecisionBody>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<String>,
    /// The record of what ran.
    #[schema(value_type = Option<String>, format = "uuid")]
    execution_id: Option<Uuid>,
    /// The code of the error that it ended with.
    code: Option<String>,
}

/// Who decided.
#[derive(Serialize, ToSchema)]
struct DecisionBody {
    #[schema(format = DateTime)]
    at: String,
    /// The person whom the key belongs to.
    user: Option<String>,
    #[schema(value_type = String, format = "uuid")]
    key_id: Uuid,
    reason: Option<String>,
}

/// Where an approval stands.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum ApprovalStatusBody {
    Pending,
    /// It was approved, and runs.
    Running,
    /// It ran, with a result.
    Done,
    /// It ran, with an error.
    Failed,
    Rejected,
    /// Nobody decided in time.
    Expired,
    /// What would have run was no longer what was asked for.
    Stale,
    /// It was approved, and whether it was sent isn't known.
    Unknown,
}

impl From<ApprovalStatus> for ApprovalStatusBody {
    fn from(status: ApprovalStatus) -> Self {
        match status {
            ApprovalStatus::Pending => Self::Pending,
            ApprovalStatus::Running => Self::Running,
            ApprovalStatus::Done => Self::Done,
            ApprovalStatus::Failed => Self::Failed,
            ApprovalStatus::Rejected => Self::Rejected,
            ApprovalStatus::Expired => Self::Expired,
            ApprovalStatus::Stale => Self::Stale,
            ApprovalStatus::Unknown => Self::Unknown,
        }
    }
}

impl From<ApprovalStatusBody> for ApprovalStatus {
    fn from(status: ApprovalStatusBody) -> Self {
        match status {
            ApprovalStatusBody::Pending => Self::Pending,
            ApprovalStatusBody::Running => Self::Running,
            ApprovalStatusBody::Done => Self::Done,
            ApprovalStatusBody::Failed => Self::Failed,
            ApprovalStatusBody::Rejected => Self::Rejected,
            ApprovalStatusBody::Expired => Self::Expired,
            ApprovalStatusBody::Stale => Self::Stale,
            ApprovalStatusBody::Unknown => Self::Unknown,
        }
    }
}

impl From<Approval> for ApprovalBody {
    fn from(approval: Approval) -> Self {
        let Approval { asker, connection, decision, integration, operation, .. } = approval;
        let (connection_id, connection_slug, account) = match connection {
            Some(connection) => (Some(connection.id), Some(connection.slug), connection.account),
            None => (None, None, None),
        };
        Self {
            id: approval.id,
            status: approval.status.into(),
            tool: tool_slug(&integration, &operation),
            integration,
            operation,
            operation_type: approval.operation_type,
            connection_id,
            connection_slug,
            account,
            connector_version: approval.connector_version,
            connector_digest: approval.connector_digest,
            arguments: approval.arguments,
            hash: approval.hash,
            user: asker.user.map(|user| user.to_string()),
            key_id: asker.key,
            agent: asker.agent,
            created_at: approval.created_at.to_string(),
            expires_at: approval.expires_at.to_string(),
            decision: decision.map(|decision| DecisionBody {
                at: decision.at.to_string(),
                user: decision.user.map(|user| user.to_string()),
                key_id: decision.key,
                reason: decision.reason,
            }),
            ended_at: approval.ended_at.map(|time| time.to_string()),
            execution_id: approval.execution,
            code: approval.code,
        }
    }
}

/// An approval, and what came of its call: `result`, or `error`.
#[derive(Serialize, ToSchema)]
struct DecidedBody {
    #[serde(flatten)]
    approval: ApprovalBody,
    /// What the call gave; absent unless it ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    /// Why it gave nothing; absent unless it failed, was rejected, or its outcome isn't known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<ApprovalError>,
}

/// Why the call of an approval gave nothing.
#[derive(Serialize, ToSchema)]
struct ApprovalError {
    /// Such as `PROVIDER_ERROR` or `APPROVAL_REJECTED`.
    code: String,
    message: String,
    /// Whether the same call may work later.
    retryable: bool,
    /// More for programs.
    #[schema(value_type = Object, additional_properties)]
    details: Value,
}

impl From<Decided> for DecidedBody {
    fn from(decided: Decided) -> Self {
        let Decided { approval, outcome } = decided;
        let outcome = outcome.or_else(|| match approval.status {
            ApprovalStatus::Rejected => {
                Some(Err(ToolError::new("APPROVAL_REJECTED", "the call was rejected; nothing was sent")))
            }
            ApprovalStatus::Unknown => Some(Err(ToolError::new("APPROVAL_OUTCOME_UNKNOWN", OUTCOME_UNKNOWN))),
            _ => None,
        });
        let (result, error) = match outcome {
            None => (None, None),
            Some(Ok(value)) => (Some(value), None),
            Some(Err(ToolError { code, message, retryable, details })) => {
                (None, Some(ApprovalError { code, message, retryable, details }))
            }
        };
        Self { approval: approval.into(), result, error }
    }
}

/// Which approvals.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ApprovalQuery {
    /// Those that stand so.
    #[param(inline)]
    status: Option<ApprovalStatusBody>,
    /// Those that act for this user; with other keys than an admin's it is your own in any case.
    #[param(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    user: Option<String>,
    /// Those that this agent asked for.
    #[param(max_length = 100, pattern = r"^[^\x00]*$")]
    agent: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>, format = "uuid")]
    cursor: Option<Uuid>,
}

const DEFAULT_LIMIT: u32 = 50;

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "agreed with Ada on the phone"}))]
struct DecisionReason {
    /// For the record, and for whoever asked.
    #[schema(max_length = 2000, pattern = r"^[^\x00]*$", nullable = false)]
    reason: Option<String>,
}

impl JsonBody for DecisionReason {}

/// Calls that wait for a person, or did
///
/// Newest first: those on your own behalf, with an admin's key the project's, with a service key those that it asked for.
#[utoipa::path(get, path = "/api/approvals", tag = "Approvals", operation_id = "list_approvals", params(ApprovalQuery),
    responses((status = 200, description = "The approvals.", body = ApprovalPage)))]
async fn list(
    identity: Identity,
    State(app): State<Arc<App>>,
    Query(query): Query<ApprovalQuery>,
) -> Answer<Json<ApprovalPage>> {
    let user = query.user.map(|name| UserName::new(name).map(Some)).transpose();
    let user = user
        .map_err(|error| ApiError::invalid(format!("the query parameters aren't valid: /user: {error}")))?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    // One more than asked for shows whether there is another page.
    let filter = ApprovalFilter {
        user,
        key: None,
        status: query.status.map(Into::into),
        agent: query.agent,
        before: query.cursor,
        limit: limit + 1,
    };
    let mut approvals = app.gateway.approvals(&identity, filter).await?;
    let has_more = approvals.len() > limit as usize;
    approvals.truncate(limit as usize);
    let next_cursor = approvals.last().filter(|_| has_more).map(|last| last.id);
    let approvals: Vec<ApprovalBody> = approvals.into_iter().map(Into::into).collect();
    Ok(Json(ApprovalPage { count: approvals.len(), approvals, next_cursor }))
}

/// One approval, with what came of its call
#[utoipa::path(get, path = "/api/approvals/{id}", tag = "Approvals", operation_id = "get_approval", params(PathId),
    responses((status = 200, description = "The approval.", body = DecidedBody)))]
async fn get(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathId(id): PathId,
) -> Answer<Json<DecidedBody>> {
    let decided = app.gateway.approval(&identity, id).await?;
    Ok(Json(decided.into()))
}

/// Approve a call, and run it
///
/// It runs once, as the one who asked for it, and the answer has what came of it. For admins, and where the project's settings
/// say so for the person whom the call acts for; never for a service key.
#[utoipa::path(post, path = "/api/approvals/{id}/approve", tag = "Approvals", operation_id = "approve", params(PathId),
    request_body = Option<DecisionReason>,
    responses(
        (status = 200, description = "It ran; `status` says how that ended.", body = DecidedBody),
        (status = 409, description = "It isn't pending any more (`APPROVAL_NOT_PENDING`); what would run isn't what was asked for (`APPROVAL_STALE`); or it can't run now and stays pending (`APPROVAL_NOT_READY`).", body = ErrorBody),
    ))]
async fn approve(
    identity: Identity,
    RequestId(request_id): RequestId,
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    MaybeJsonOf(body): MaybeJsonOf<DecisionReason>,
) -> Answer<Json<DecidedBody>> {
    decide(&app, &identity, id, Verdict::Approve, body, &request_id).await
}

/// Reject a call
///
/// Nothing of it is ever sent. For admins, and for the person whom the call acts for.
#[utoipa::path(post, path = "/api/approvals/{id}/reject", tag = "Approvals", operation_id = "reject", params(PathId),
    request_body = Option<DecisionReason>,
    responses(
        (status = 200, description = "It is rejected.", body = DecidedBody),
        (status = 409, description = "It isn't pending any more (`APPROVAL_NOT_PENDING`).", body = ErrorBody),
    ))]
async fn reject(
    identity: Identity,
    RequestId(request_id): RequestId,
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    MaybeJsonOf(body): MaybeJsonOf<DecisionReason>,
) -> Answer<Json<DecidedBody>> {
    decide(&app, &identity, id, Verdict::Reject, body, &request_id).await
}

async fn decide(
    app: &App,
    identity: &Identity,
    id: Uuid,
    verdict: Verdict,
    body: Option<DecisionReason>,
    request_id: &str,
) -> Answer<Json<DecidedBody>> {
    let reason = body.and_then(|body| body.reason).filter(|reason| !reason.trim().is_empty());
    let decided = app.gateway.decide(identity, id, verdict, reason, request_id).await?;
    Ok(Json(decided.into()))
}
