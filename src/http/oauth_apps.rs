//! OAuth2 apps: the clients that connections of an integration are made with.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::{JsonBody, JsonOf};
use super::connections::bodies::CredentialBody;
use super::error::ErrorBody;
use super::extract::{Admin, PathApp, PathSlug};
use super::respond::{Answer, Json, created_or_replaced};
use crate::gateway::oauth::apps::NewApp;
use crate::store::connections::FieldContent;
use crate::store::oauth_apps::{AppText, OAuthApp, TokenAuth};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put, delete))
}

/// A list of apps.
#[derive(Serialize, ToSchema)]
struct OAuthAppList {
    /// How many there are in this answer.
    count: usize,
    oauth_apps: Vec<OAuthAppBody>,
}

/// A client of the integration's authorization server. Its secret is never shown.
#[derive(Serialize, ToSchema)]
struct OAuthAppBody {
    name: String,
    integration: String,
    /// The client's id; absent where a workspace secret holds it.
    client_id: Option<String>,
    /// The workspace secret that holds the client's id.
    client_id_secret: Option<String>,
    /// What may be shown of the client's secret: its last characters.
    client_secret_mask: Option<String>,
    /// The workspace secret that holds the client's secret.
    client_secret_secret: Option<String>,
    token_endpoint_auth: TokenAuthBody,
    authorize_params: BTreeMap<String, String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl From<OAuthApp> for OAuthAppBody {
    fn from(app: OAuthApp) -> Self {
        let (client_id, client_id_secret) = match app.client_id {
            AppText::Plain(id) => (Some(id), None),
            AppText::Secret(name) => (None, Some(name)),
        };
        let client_secret_secret = match app.client_secret {
            Some(FieldContent::Secret(name)) => Some(name),
            Some(FieldContent::Sealed(_)) | None => None,
        };
        Self {
            name: app.name,
            integration: app.integration.to_string(),
            client_id,
            client_id_secret,
            client_secret_mask: app.mask,
            client_secret_secret,
            token_endpoint_auth: app.token_auth.into(),
            authorize_params: app.authorize_params,
            created_at: app.created_at.to_string(),
            updated_at: app.updated_at.to_string(),
        }
    }
}

/// How the client proves to the token endpoint which one it is.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TokenAuthBody {
    /// By HTTP's basic authentication.
    Basic,
    /// By fields of the request's body.
    Post,
    /// Not at all: a public client, without a secret.
    None,
}

impl From<TokenAuth> for TokenAuthBody {
    fn from(auth: TokenAuth) -> Self {
        match auth {
            TokenAuth::Basic => Self::Basic,
            TokenAuth::Post => Self::Post,
            TokenAuth::None => Self::None,
        }
    }
}

impl From<TokenAuthBody> for TokenAuth {
    fn from(auth: TokenAuthBody) -> Self {
        match auth {
            TokenAuthBody::Basic => Self::Basic,
            TokenAuthBody::Post => Self::Post,
            TokenAuthBody::None => Self::None,
        }
    }
}

/// An app to be set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "client_id": "my-client", "client_secret": "s3cr3t…", "authorize_params": {"access_type": "offline"}
}))]
struct NewOAuthAppBody {
    /// The id that the service gave the client.
    client_id: CredentialBody,
    /// Its secret; a public client has none.
    #[schema(nullable = false)]
    client_secret: Option<CredentialBody>,
    /// If absent: `basic` where there is a secret, otherwise `none`.
    #[schema(nullable = false)]
    token_endpoint_auth: Option<TokenAuthBody>,
    /// What each authorization request holds besides, such as `access_type`, `prompt` or `audience`.
    #[serde(default)]
    authorize_params: BTreeMap<String, String>,
}

impl JsonBody for NewOAuthAppBody {
    fn hidden(pointer: &str) -> Option<&'static str> {
        match pointer {
            "" => Some("must be an object"),
            pointer if pointer.starts_with("/client_") => {
                Some("must be a string, or {\"secret\": \"the name of a workspace secret\"}")
            }
            _ => None,
        }
    }
}

/// The OAuth2 apps of an integration
///
/// For admins, as all of this resource.
#[utoipa::path(get, path = "/api/integrations/{slug}/oauth-apps", tag = "OAuth2 apps", operation_id = "list_oauth_apps",
    params(PathSlug),
    responses((status = 200, description = "The apps, by name.", body = OAuthAppList)))]
async fn list(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    PathSlug(slug): PathSlug,
) -> Answer<Json<OAuthAppList>> {
    let apps = app.gateway.oauth_apps(&identity, &slug).await?;
    let oauth_apps: Vec<OAuthAppBody> = apps.into_iter().map(Into::into).collect();
    Ok(Json(OAuthAppList { count: oauth_apps.len(), oauth_apps }))
}

/// One OAuth2 app
#[utoipa::path(get, path = "/api/integrations/{slug}/oauth-apps/{name}", tag = "OAuth2 apps",
    operation_id = "get_oauth_app", params(PathApp),
    responses((status = 200, description = "The app.", body = OAuthAppBody)))]
async fn get(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    PathApp { slug, name }: PathApp,
) -> Answer<Json<OAuthAppBody>> {
    Ok(Json(app.gateway.oauth_app(&identity, &slug, &name).await?.into()))
}

/// Set an OAuth2 app
///
/// Register `{public-url}/oauth/callback` as the client's redirect URI at the service. Connections that were made with the
/// app use it as it is now from their next refresh on.
#[utoipa::path(put, path = "/api/integrations/{slug}/oauth-apps/{name}", tag = "OAuth2 apps",
    operation_id = "put_oauth_app", params(PathApp), request_body = NewOAuthAppBody,
    responses(
        (status = 200, description = "It is replaced.", body = OAuthAppBody),
        (status = 201, description = "It is new.", body = OAuthAppBody),
        (status = 409, description = "The integration doesn't work.", body = ErrorBody),
        (status = 422, description = "The app isn't valid, or the integration knows no OAuth2.", body = ErrorBody),
    ))]
async fn put(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    PathApp { slug, name }: PathApp,
    JsonOf(body): JsonOf<NewOAuthAppBody>,
) -> Answer<impl IntoResponse> {
    let new = NewApp {
        client_id: body.client_id.into(),
        client_secret: body.client_secret.map(Into::into),
        token_auth: body.token_endpoint_auth.map(Into::into),
        authorize_params: body.authorize_params,
    };
    let (stored, is_new) = app.gateway.put_oauth_app(&identity, &slug, &name, new).await?;
    Ok((created_or_replaced(is_new), Json(OAuthAppBody::from(stored))))
}

/// Delete an OAuth2 app
#[utoipa::path(delete, path = "/api/integrations/{slug}/oauth-apps/{name}", tag = "OAuth2 apps",
    operation_id = "delete_oauth_app", params(PathApp),
    responses(
        (status = 204, description = "It is deleted."),
        (status = 409, description = "Connections were made with it; the message names them.", body = ErrorBody),
    ))]
async fn delete(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    PathApp { slug, name }: PathApp,
) -> Answer<StatusCode> {
    app.gateway.delete_oauth_app(&identity, &slug, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
