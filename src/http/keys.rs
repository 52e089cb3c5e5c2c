//! API keys: made, listed, revoked.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::body::{JsonBody, JsonOf};
use super::error::{ApiError, ErrorBody};
use super::extract::{Admin, PathId};
use super::respond::{Answer, Json};
use crate::identity::{Role, UserName};
use crate::store::keys::KeyRecord;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// A list of keys.
#[derive(Serialize, ToSchema)]
struct KeyList {
    /// How many there are in this answer.
    count: usize,
    keys: Vec<KeyBody>,
}

/// A key, without the key itself.
#[derive(Serialize, ToSchema)]
struct KeyBody {
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    role: RoleBody,
    /// The person that it acts for; none for a service's.
    user: Option<String>,
    /// What it is for.
    name: String,
    /// Its last characters.
    hint: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// To the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<String>,
}

impl From<KeyRecord> for KeyBody {
    fn from(record: KeyRecord) -> Self {
        Self {
            id: record.id,
            role: record.role.into(),
            user: record.user.map(|user| user.to_string()),
            name: record.name,
            hint: record.hint,
            created_at: record.created_at.to_string(),
            last_used_at: record.last_used_at.map(|at| at.to_string()),
            revoked_at: record.revoked_at.map(|at| at.to_string()),
        }
    }
}

/// What a key may do.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RoleBody {
    /// All of the project.
    Admin,
    /// A person: their own connections, and running tools.
    User,
    /// An agent backend: acts as the user whom the header `Portcullis-User` names.
    Service,
}

impl From<Role> for RoleBody {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::User => Self::User,
            Role::Service => Self::Service,
        }
    }
}

impl From<RoleBody> for Role {
    fn from(role: RoleBody) -> Self {
        match role {
            RoleBody::Admin => Self::Admin,
            RoleBody::User => Self::User,
            RoleBody::Service => Self::Service,
        }
    }
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"role": "user", "user": "ada@example.com", "name": "Ada's laptop"}))]
pub(super) struct NewKeyBody {
    role: RoleBody,
    /// The person that it acts for: needed for a user's key, `admin` if absent for an admin's, and none for a service's.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$",
        nullable = false
    )]
    user: Option<String>,
    /// What it is for.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
}

impl NewKeyBody {
    /// Which fields go together, in JSON Schema; the gateway says it in words.
    pub(super) fn described(mut schema: Value) -> Value {
        schema["oneOf"] = json!([
            {"title": "For an admin", "properties": {"role": {"enum": ["admin"]}}},
            {"title": "For a person", "properties": {"role": {"enum": ["user"]}}, "required": ["user"]},
            {"title": "For an agent backend", "properties": {"role": {"enum": ["service"]}, "user": false}},
        ]);
        schema
    }
}

impl JsonBody for NewKeyBody {}

/// A new key: the one time that it is shown.
#[derive(Serialize, ToSchema)]
struct NewKey {
    /// The key itself. It isn't kept, and can't be shown again.
    #[schema(pattern = "^pc_[A-Za-z0-9]{43}$")]
    key: String,
    #[serde(flatten)]
    record: KeyBody,
}

/// All keys
///
/// Revoked ones too. For admins, as all of this resource.
#[utoipa::path(get, path = "/api/keys", tag = "Keys", operation_id = "list_keys",
    responses((status = 200, description = "The keys, newest first.", body = KeyList)))]
async fn list(Admin(identity): Admin, State(app): State<Arc<App>>) -> Answer<Json<KeyList>> {
    let keys = app.gateway.keys(&identity).await?;
    let keys: Vec<KeyBody> = keys.into_iter().map(Into::into).collect();
    Ok(Json(KeyList { count: keys.len(), keys }))
}

/// Make a key
#[utoipa::path(post, path = "/api/keys", tag = "Keys", operation_id = "create_key", request_body = NewKeyBody,
    responses((status = 201, description = "The key; it is shown this once.", body = NewKey)))]
async fn create(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    JsonOf(body): JsonOf<NewKeyBody>,
) -> Answer<impl IntoResponse> {
    let NewKeyBody { role, user, name } = body;
    let user = user.map(UserName::new).transpose();
    let user = user.map_err(|error| ApiError::invalid(format!("the body isn't valid: /user: {error}")))?;
    let (key, record) = app.gateway.create_key(&identity, role.into(), user, &name).await?;
    let body = NewKey { key: key.reveal().to_owned(), record: record.into() };
    Ok((StatusCode::CREATED, Json(body)))
}

/// Revoke a key
///
/// At once, for requests that begin from now on.
#[utoipa::path(delete, path = "/api/keys/{id}", tag = "Keys", operation_id = "revoke_key", params(PathId),
    responses(
        (status = 204, description = "It is revoked."),
        (status = 409, description = "It can't be revoked as things are; the message says why.", body = ErrorBody),
    ))]
async fn revoke(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    PathId(id): PathId,
) -> Answer<StatusCode> {
    app.gateway.revoke_key(&identity, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
