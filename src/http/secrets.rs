//! Workspace secrets: set, listed with masks, deleted; never read back.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::App;
use super::body::{JsonBody, JsonOf};
use super::error::ErrorBody;
use super::extract::{Admin, PathSecret};
use super::respond::{Answer, Json, created_or_replaced};
use crate::store::secrets::SecretRecord;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put, delete))
}

/// A list of secrets.
#[derive(Serialize, ToSchema)]
struct SecretList {
    /// How many there are in this answer.
    count: usize,
    secrets: Vec<SecretBody>,
}

/// A secret, without its value.
#[derive(Serialize, ToSchema)]
struct SecretBody {
    name: String,
    /// What may be shown of the value: its last characters.
    mask: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl From<SecretRecord> for SecretBody {
    fn from(record: SecretRecord) -> Self {
        let SecretRecord { name, mask, created_at, updated_at } = record;
        Self { name, mask, created_at: created_at.to_string(), updated_at: updated_at.to_string() }
    }
}

/// A secret's value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"value": "sk_live_…"}))]
struct SecretValue {
    /// 1 to 65536 bytes.
    #[schema(value_type = String, min_length = 1, max_length = 65_536, pattern = r"^[^\x00]*$")]
    value: Zeroizing<String>,
}

impl JsonBody for SecretValue {
    fn hidden(pointer: &str) -> Option<&'static str> {
        match pointer {
            "" => Some("must be an object: {\"value\": \"…\"}"),
            pointer if pointer.starts_with("/value") => {
                Some("must be a string of 1 to 65536 characters, none of them NUL")
            }
            _ => None,
        }
    }
}

/// All secrets
///
/// Names and masks. For admins, as all of this resource.
#[utoipa::path(get, path = "/api/secrets", tag = "Secrets", operation_id = "list_secrets",
    responses((status = 200, description = "The secrets, by name.", body = SecretList)))]
async fn list(Admin(identity): Admin, State(app): State<Arc<App>>) -> Answer<Json<SecretList>> {
    let secrets = app.gateway.secrets(&identity).await?;
    let secrets: Vec<SecretBody> = secrets.into_iter().map(Into::into).collect();
    Ok(Json(SecretList { count: secrets.len(), secrets }))
}

/// Set a secret
///
/// Connections that refer to it have the new value from their next call on.
#[utoipa::path(put, path = "/api/secrets/{name}", tag = "Secrets", operation_id = "put_secret", params(PathSecret),
    request_body = SecretValue,
    responses(
        (status = 200, description = "It has a new value.", body = SecretBody),
        (status = 201, description = "It is new.", body = SecretBody),
    ))]
async fn put(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    PathSecret(name): PathSecret,
    JsonOf(body): JsonOf<SecretValue>,
) -> Answer<impl IntoResponse> {
    let (record, is_new) = app.gateway.put_secret(&identity, &name, &body.value).await?;
    Ok((created_or_replaced(is_new), Json(SecretBody::from(record))))
}

/// Delete a secret
#[utoipa::path(delete, path = "/api/secrets/{name}", tag = "Secrets", operation_id = "delete_secret", params(PathSecret),
    responses(
        (status = 204, description = "It is deleted."),
        (status = 409, description = "Connections refer to it; the message names them.", body = ErrorBody),
    ))]
async fn delete(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    PathSecret(name): PathSecret,
) -> Answer<StatusCode> {
    app.gateway.delete_secret(&identity, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
