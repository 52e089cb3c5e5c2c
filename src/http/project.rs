//! The key's project: who approves its calls, and where it is told of them.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::body::{JsonBody, JsonOf};
use super::error::ErrorBody;
use super::extract::Admin;
use super::respond::{Answer, Json};
use crate::gateway::approvals::project::{ProjectPatch, ProjectSettings};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(get, change))
}

/// A project's settings.
#[derive(Serialize, ToSchema)]
struct ProjectBody {
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    name: String,
    /// Whether people may approve the calls that were asked for on their own behalf.
    approve_own_calls: bool,
    /// Where the project is told of its approvals; none if it isn't.
    approval_webhook: Option<WebhookBody>,
    #[schema(format = DateTime)]
    created_at: String,
}

/// Where a project is told of its approvals.
#[derive(Serialize, ToSchema)]
struct WebhookBody {
    url: String,
    /// What deliveries are signed with (Standard Webhooks, `whsec_…`). Shown when it is made, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<ProjectSettings> for ProjectBody {
    fn from(settings: ProjectSettings) -> Self {
        let ProjectSettings { project, webhook, secret } = settings;
        Self {
            id: project.id.0,
            name: project.name,
            approve_own_calls: project.approve_own_calls,
            approval_webhook: webhook.map(|webhook| WebhookBody {
                url: webhook.url,
                secret: secret.map(|secret| secret.to_string()),
                created_at: webhook.created_at.to_string(),
            }),
            created_at: project.created_at.to_string(),
        }
    }
}

/// What to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"approve_own_calls": false, "approval_webhook": {"url": "https://hooks.example.com/portcullis"}}))]
struct ProjectPatchBody {
    /// Whether people may approve the calls that were asked for on their own behalf.
    #[schema(nullable = false)]
    approve_own_calls: Option<bool>,
    /// Gets a new secret each time. `null` takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<NewWebhookBody>)]
    approval_webhook: Option<Option<NewWebhookBody>>,
}

impl JsonBody for ProjectPatchBody {}

/// Tells `null` from absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<NewWebhookBody>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A new webhook.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewWebhookBody {
    /// https, or plain http and a private address.
    #[schema(min_length = 1, max_length = 2000, pattern = r"^[^\x00]*$")]
    url: String,
}

/// The project's settings
///
/// For admins, as all of this resource.
#[utoipa::path(get, path = "/api/project", tag = "Project", operation_id = "get_project",
    responses((status = 200, description = "The settings.", body = ProjectBody)))]
async fn get(Admin(identity): Admin, State(app): State<Arc<App>>) -> Answer<Json<ProjectBody>> {
    let settings = app.gateway.project_settings(&identity).await?;
    Ok(Json(settings.into()))
}

/// Change the project's settings
#[utoipa::path(patch, path = "/api/project", tag = "Project", operation_id = "change_project",
    request_body = ProjectPatchBody,
    responses(
        (status = 200, description = "They are changed. A webhook's secret is shown this once.", body = ProjectBody),
        (status = 422, description = "The webhook's URL can't be used.", body = ErrorBody),
    ))]
async fn change(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    JsonOf(body): JsonOf<ProjectPatchBody>,
) -> Answer<Json<ProjectBody>> {
    let patch = ProjectPatch {
        approve_own_calls: body.approve_own_calls,
        webhook: body.approval_webhook.map(|webhook| webhook.map(|webhook| webhook.url)),
    };
    let settings = app.gateway.change_project(&identity, patch).await?;
    Ok(Json(settings.into()))
}
