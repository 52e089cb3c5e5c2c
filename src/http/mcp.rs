//! MCP's routes: who may ask, what the endpoint says of itself, and the requests themselves.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use http_body_util::Full;
use serde_json::{Value, json};

use super::App;
use super::body::read;
use super::error::ApiError;
use super::extract::RequestId;
use crate::identity::Identity;
use crate::mcp::GatewayCaller;
use crate::mcp::http::Refusal;

/// The endpoint; an agent's has the agent's name below it.
const ENDPOINT: &str = "/mcp";
/// Where the endpoint's metadata is, by RFC 9728.
const METADATA: &str = "/.well-known/oauth-protected-resource";
/// The largest message, in bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The routes' methods, as the header `Allow` lists them.
pub(super) const METHODS: [(&str, &str); 2] =
    [(ENDPOINT, "GET, POST, DELETE, OPTIONS"), ("/mcp/{agent}", "GET, POST, DELETE, OPTIONS")];

/// They speak a protocol of their own and are no part of the OpenAPI document.
pub(super) fn routes() -> Router<Arc<App>> {
    let methods = || MethodRouter::new().get(serve).post(serve).delete(serve);
    Router::new()
        .route(ENDPOINT, methods())
        .route("/mcp/{agent}", methods())
        .route(METADATA, get(metadata))
        .route(&format!("{METADATA}{ENDPOINT}"), get(metadata))
        .route(&format!("{METADATA}{ENDPOINT}/{{agent}}"), get(metadata))
}

async fn serve(
    State(app): State<Arc<App>>,
    identity: Result<Identity, ApiError>,
    agent: Option<Path<String>>,
    RequestId(request_id): RequestId,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let hosts = &app.config.hosts;
    hosts.check(request.headers()).map_err(ApiError::forbidden)?;
    let agent = agent.map(|Path(agent)| agent);
    let identity = identity.map_err(|error| {
        let resource = resource_path(agent.as_deref());
        challenged(error, &format!("{}{METADATA}{resource}", hosts.base(request.headers())))
    })?;
    let caller = GatewayCaller { identity, agent, request_id };
    let (mut parts, body) = request.into_parts();
    let body = read(Request::from_parts(parts.clone(), body), MAX_BYTES).await?;
    // What routing left there is nobody's business further on.
    parts.extensions.clear();
    let request = Request::from_parts(parts, Full::from(body.to_vec()));
    app.mcp.handle(caller, request).await.map_err(refused)
}

fn resource_path(agent: Option<&str>) -> String {
    agent.map_or_else(|| ENDPOINT.to_owned(), |agent| format!("{ENDPOINT}/{agent}"))
}

/// A 401 that leads to the metadata.
fn challenged(error: ApiError, metadata: &str) -> ApiError {
    let challenge = format!("Bearer realm=\"portcullis\", resource_metadata=\"{metadata}\"");
    match HeaderValue::try_from(challenge) {
        Ok(challenge) if error.status == StatusCode::UNAUTHORIZED => error.challenge(challenge),
        _ => error,
    }
}

fn refused(refusal: Refusal) -> ApiError {
    let Refusal { status, message } = refusal;
    let code = match status {
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::NOT_ACCEPTABLE => "NOT_ACCEPTABLE",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "UNSUPPORTED_MEDIA_TYPE",
        StatusCode::PAYLOAD_TOO_LARGE => "PAYLOAD_TOO_LARGE",
        status if status.is_client_error() => "INVALID_REQUEST",
        _ => return ApiError::internal(message),
    };
    ApiError::new(status, code, message)
}

/// The protected resource's metadata. Keys are made by the project's admins: there is no authorization server to ask for one.
async fn metadata(
    State(app): State<Arc<App>>,
    agent: Option<Path<String>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    let hosts = &app.config.hosts;
    hosts.check(&headers).map_err(ApiError::forbidden)?;
    let agent = agent.map(|Path(agent)| agent);
    let base = hosts.base(&headers);
    let metadata: Value = json!({
        "resource": format!("{base}{}", resource_path(agent.as_deref())),
        "resource_name": "Portcullis",
        "bearer_methods_supported": ["header"],
        "resource_documentation": format!("{base}/docs"),
    });
    Ok(([(CONTENT_TYPE, "application/json")], metadata.to_string()))
}
