//! Connections: accounts at integrations, with their credentials.

pub(super) mod bodies;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) use self::bodies::StatusBody;
use self::bodies::{
    Connected, ConnectionBody, ConnectionList, ConnectionPatchBody, NewConnectionBody, RefreshBody, TestBody,
};
use super::App;
use super::body::{JsonOf, MaybeJsonOf};
use super::error::ErrorBody;
use super::extract::PathId;
use super::query::Query;
use super::respond::{Answer, Json};
use super::revocation::Deleted;
use crate::gateway::names::PROVIDER;
use crate::identity::Identity;
use crate::store::connections::ConnectionFilter;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, change, delete))
        .routes(routes!(test))
        .routes(routes!(refresh))
}

/// Which connections.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ConnectionQuery {
    /// Those of this provider.
    #[param(max_length = 100, pattern = r"^[^\x00]*$")]
    provider: Option<String>,
    /// Those of the integration with this slug.
    #[param(max_length = 100, pattern = r"^[^\x00]*$")]
    integration: Option<String>,
    /// The one with this id.
    #[param(value_type = Option<String>, format = "uuid")]
    connection_id: Option<Uuid>,
    /// The one with this slug.
    #[param(max_length = 100, pattern = r"^[^\x00]*$")]
    connection_slug: Option<String>,
    /// Those with this status.
    #[param(inline)]
    status: Option<StatusBody>,
}

/// The connections that you see
///
/// Your own and those that the project shares; with an admin's key all of the project.
#[utoipa::path(get, path = "/api/tools/connections", tag = "Connections", operation_id = "list_connections",
    params(ConnectionQuery),
    responses((status = 200, description = "The connections, by slug.", body = ConnectionList)))]
async fn list(
    identity: Identity,
    State(app): State<Arc<App>>,
    Query(query): Query<ConnectionQuery>,
) -> Answer<Json<ConnectionList>> {
    let is_ours = query.provider.as_deref().is_none_or(|provider| provider == PROVIDER);
    let filter = ConnectionFilter {
        integration: query.integration,
        id: query.connection_id,
        slug: query.connection_slug,
        status: query.status.map(Into::into),
    };
    let connections = if is_ours { app.gateway.connections(&identity, &filter).await? } else { Vec::new() };
    let connections: Vec<ConnectionBody> = connections.into_iter().map(Into::into).collect();
    Ok(Json(ConnectionList { count: connections.len(), connections }))
}

/// Connect an account
///
/// The credentials are tested first. Where the test fails nothing is stored, and the answer has the connector's own words.
///
/// With the mode `oauth` the connection is `PENDING` until its user has given consent: send their browser to `redirect_url`
/// within 10 minutes. It ends at `callback_url`, or at a page that sends its opener the message
/// `{type: "portcullis:connection", connection_id, status}` and closes.
#[utoipa::path(post, path = "/api/tools/connections", tag = "Connections", operation_id = "create_connection",
    request_body = NewConnectionBody,
    responses(
        (status = 201, description = "It is connected, or waits for a consent.", body = Connected),
        (status = 404, description = "There is no such integration.", body = ErrorBody),
        (status = 409, description = "The slug is taken.", body = ErrorBody),
        (status = 422, description = "Credentials are missing or unknown, the mode isn't supported, or the test failed (`CONNECTION_TEST_FAILED`).", body = ErrorBody),
    ))]
async fn create(
    identity: Identity,
    State(app): State<Arc<App>>,
    JsonOf(body): JsonOf<NewConnectionBody>,
) -> Answer<impl IntoResponse> {
    let connected = app.gateway.create_connection(&identity, body.into()).await?;
    Ok((StatusCode::CREATED, Json(Connected::from(connected))))
}

/// One connection
#[utoipa::path(get, path = "/api/tools/connections/{id}", tag = "Connections", operation_id = "get_connection",
    params(PathId), responses((status = 200, description = "The connection.", body = ConnectionBody)))]
async fn get(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathId(id): PathId,
) -> Answer<Json<ConnectionBody>> {
    let connection = app.gateway.connection(&identity, id).await?;
    Ok(Json(connection.into()))
}

/// Change a connection
///
/// For its owner and admins. New credentials or config are tested first; where the test fails nothing changes.
#[utoipa::path(patch, path = "/api/tools/connections/{id}", tag = "Connections", operation_id = "change_connection",
    params(PathId), request_body = ConnectionPatchBody,
    responses(
        (status = 200, description = "The connection as it is now.", body = ConnectionBody),
        (status = 409, description = "The slug is taken.", body = ErrorBody),
        (status = 422, description = "Credentials are missing or unknown, or the test failed (`CONNECTION_TEST_FAILED`).", body = ErrorBody),
    ))]
async fn change(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    JsonOf(body): JsonOf<ConnectionPatchBody>,
) -> Answer<Json<ConnectionBody>> {
    let connection = app.gateway.change_connection(&identity, id, body.into()).await?;
    Ok(Json(connection.into()))
}

/// Delete a connection
///
/// For its owner and admins. OAuth2 tokens are revoked at the service where the integration says how.
#[utoipa::path(delete, path = "/api/tools/connections/{id}", tag = "Connections", operation_id = "delete_connection",
    params(PathId),
    responses(
        (status = 202, description = "It is deleted; its tokens aren't revoked at the service yet, or can't be.", body = Deleted),
        (status = 204, description = "It is deleted."),
    ))]
async fn delete(identity: Identity, State(app): State<Arc<App>>, PathId(id): PathId) -> Answer<Response> {
    let revoked = app.gateway.delete_connection(&identity, id).await?;
    Ok(match Deleted::of(revoked) {
        Some(deleted) => (StatusCode::ACCEPTED, Json(deleted)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Test a connection
///
/// What comes of it is kept: `ACTIVE`, or `FAILED` with `last_error`.
#[utoipa::path(post, path = "/api/tools/connections/{id}/test", tag = "Connections", operation_id = "test_connection",
    params(PathId), responses(
        (status = 200, description = "What the test found; it may have failed.", body = TestBody),
        (status = 409, description = "The connection can't be tested as it is.", body = ErrorBody),
        (status = 422, description = "The connection can't be tested as it is.", body = ErrorBody),
    ))]
async fn test(identity: Identity, State(app): State<Arc<App>>, PathId(id): PathId) -> Answer<Json<TestBody>> {
    let report = app.gateway.test_connection(&identity, id).await?;
    Ok(Json(report.into()))
}

/// Refresh a connection's tokens
///
/// Only OAuth2 connections have any. Without `force`, a token that is still good is left alone. Where the tokens that the
/// connection holds bring no new ones, or an operation needs scopes that weren't granted, `redirect_url` leads to a consent;
/// until it is given, what works goes on working.
#[utoipa::path(post, path = "/api/tools/connections/{id}/refresh", tag = "Connections", operation_id = "refresh_connection",
    params(PathId), request_body = Option<RefreshBody>,
    responses(
        (status = 200, description = "The connection, and where consent is to be given where that is needed.", body = Connected),
        (status = 409, description = "The connection has no tokens.", body = ErrorBody),
        (status = 422, description = "The service gave no new token.", body = ErrorBody),
    ))]
async fn refresh(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    MaybeJsonOf(body): MaybeJsonOf<RefreshBody>,
) -> Answer<Json<Connected>> {
    let refresh = body.unwrap_or_default().into();
    let connected = app.gateway.refresh_connection(&identity, id, refresh).await?;
    Ok(Json(connected.into()))
}
