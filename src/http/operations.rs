//! What the operator asks: whether the process lives, whether it is ready, its metrics, and the API's own description.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::respond::Json;

/// How long the store may take to answer before the server counts as not ready.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(document))
}

/// That the process lives.
#[derive(Serialize, ToSchema)]
struct Health {
    /// Always `ok`.
    #[schema(pattern = "^ok$")]
    status: &'static str,
}

/// Whether requests can be served, and what is in the way.
#[derive(Serialize, ToSchema)]
struct Readiness {
    ready: bool,
    /// `ok`, or `draining` once the server is going down.
    #[schema(pattern = "^(ok|draining)$")]
    server: &'static str,
    /// `ok`, or `unavailable` where the database doesn't answer or can't write.
    #[schema(pattern = "^(ok|unavailable)$")]
    store: &'static str,
}

/// Whether the process lives
///
/// Answers as long as the process can answer anything.
#[utoipa::path(get, path = "/healthz", tag = "Operations", responses((status = 200, description = "It lives.", body = Health)))]
async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether requests can be served
///
/// Not while the server is going down, nor while its store doesn't answer.
#[utoipa::path(get, path = "/readyz", tag = "Operations", responses(
    (status = 200, description = "It is ready.", body = Readiness),
    (status = 503, description = "It isn't ready; the body says what is in the way.", body = Readiness),
))]
async fn readyz(State(app): State<Arc<App>>) -> impl IntoResponse {
    let is_draining = app.shutdown.is_cancelled();
    let ping = tokio::time::timeout(PING_TIMEOUT, app.gateway.store().ping()).await;
    if let Ok(Err(error)) = &ping {
        tracing::warn!("not ready: {}", crate::error::chain(error));
    }
    let has_store = matches!(ping, Ok(Ok(())));
    let ready = has_store && !is_draining;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let server = if is_draining { "draining" } else { "ok" };
    let store = if has_store { "ok" } else { "unavailable" };
    (status, Json(Readiness { ready, server, store }))
}

/// The metrics
///
/// In Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "Operations", responses(
    (status = 200, description = "All metrics.", body = String, content_type = "text/plain"),
))]
async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render())
}

/// This API, described
///
/// An OpenAPI 3.1 document; `/docs` is a page made from it.
#[utoipa::path(get, path = "/openapi.json", tag = "Operations", responses(
    (status = 200, description = "The document.", body = serde_json::Value, content_type = "application/json"),
))]
async fn document(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], app.document.clone())
}
