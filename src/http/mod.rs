//! The HTTP API: router, limits, and one file per resource.

mod agents;
mod approvals;
mod body;
mod catalog;
mod connections;
mod docs;
mod error;
mod executions;
mod extract;
mod integrations;
mod keys;
mod limiter;
mod mcp;
mod middleware;
mod multipart;
mod oauth;
mod oauth_apps;
mod openapi;
mod operations;
mod prefer;
mod project;
mod query;
mod respond;
mod revocation;
mod run;
mod schema;
mod secrets;
mod server;
mod yaml;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use self::limiter::FailureLimiter;
use crate::gateway::Gateway;
use crate::mcp::McpSettings;
use crate::mcp::hosts::Hosts;
use crate::mcp::http::McpHttp;
use crate::telemetry::Metrics;

/// The operator's settings of the HTTP server.
#[derive(Clone, Debug)]
pub(crate) struct HttpConfig {
    /// A proxy in front terminates TLS: the client's address is the last one of X-Forwarded-For.
    pub(crate) behind_proxy: bool,
    /// How long requests in flight may take to end at shutdown.
    pub(crate) drain: Duration,
    /// The hosts that MCP's requests may name.
    pub(crate) hosts: Hosts,
    pub(crate) mcp: McpSettings,
}

/// What handlers share.
struct App {
    gateway: Gateway,
    metrics: Metrics,
    config: HttpConfig,
    limiter: FailureLimiter,
    mcp: McpHttp,
    /// Cancelled once the server is going down.
    shutdown: CancellationToken,
    /// The OpenAPI document, as JSON.
    document: Bytes,
    /// The page that shows it, as HTML.
    page: Bytes,
}

/// Serves until `shutdown`, then drains: takes no new connections, answers `/readyz` with 503, lets requests in flight end.
pub(crate) async fn serve(
    listener: TcpListener,
    gateway: Gateway,
    metrics: Metrics,
    config: HttpConfig,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let drain = config.drain;
    let router = router(gateway, metrics, config, shutdown.clone());
    server::run(listener, router, drain, &shutdown).await;
    Ok(())
}

/// The whole API.
fn router(gateway: Gateway, metrics: Metrics, config: HttpConfig, shutdown: CancellationToken) -> Router {
    let (routes, document) = routes().split_for_parts();
    let document = openapi::complete(document);
    let page = docs::page(&document).into();
    let mut methods = openapi::allowed_methods(&document);
    methods.extend(oauth::allowed_methods());
    methods.extend(mcp::METHODS.map(|(path, methods)| (path.to_owned(), methods.to_owned())));
    let methods = Arc::new(methods);
    let document = document.to_string().into();
    let limiter = FailureLimiter::new();
    let mcp = McpHttp::new(gateway.clone(), config.mcp.clone(), shutdown.clone());
    mcp.keep_up();
    let app = Arc::new(App { gateway, metrics, config, limiter, mcp, shutdown, document, page });
    routes
        .merge(docs::routes())
        .merge(oauth::routes())
        .merge(mcp::routes())
        .fallback(middleware::no_such_path)
        .layer(axum::middleware::from_fn_with_state(methods, middleware::around))
        .with_state(app)
}

/// Each resource's routes, with what the OpenAPI document says of them.
fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::opening())
        .merge(integrations::routes())
        .merge(revocation::routes())
        .merge(connections::routes())
        .merge(catalog::routes())
        .merge(run::routes())
        .merge(agents::routes())
        .merge(approvals::routes())
        .merge(executions::routes())
        .merge(oauth_apps::routes())
        .merge(secrets::routes())
        .merge(keys::routes())
        .merge(project::routes())
        .merge(operations::routes())
}

#[cfg(test)]
mod tests;
