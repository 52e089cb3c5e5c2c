//! Agents: declared, granted tools of connections, and told what they lack. Running one is beside running tools.

mod bodies;
mod tools;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::bodies::{AgentBody, AgentList, DeclarationBody, RequirementList};
use self::tools::{AgentToolList, ConnectionToolsList, GrantsBody};
use super::App;
use super::body::{JsonOf, JsonOrYamlOf};
use super::error::ErrorBody;
use super::extract::PathAgent;
use super::respond::{Answer, Json, created_or_replaced};
use crate::identity::Identity;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .routes(routes!(requirements))
        .routes(routes!(connection_tools))
        .routes(routes!(put_connection_tools))
        .routes(routes!(offered))
}

/// All agents
#[utoipa::path(get, path = "/api/agents", tag = "Agents", operation_id = "list_agents",
    responses((status = 200, description = "The agents, by name.", body = AgentList)))]
async fn list(identity: Identity, State(app): State<Arc<App>>) -> Answer<Json<AgentList>> {
    let agents = app.gateway.agents(&identity).await?;
    let agents: Vec<AgentBody> = agents.into_iter().map(Into::into).collect();
    Ok(Json(AgentList { count: agents.len(), agents }))
}

/// An agent
#[utoipa::path(get, path = "/api/agents/{agent}", tag = "Agents", operation_id = "get_agent", params(PathAgent),
    responses((status = 200, description = "The agent.", body = AgentBody)))]
async fn get(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathAgent(name): PathAgent,
) -> Answer<Json<AgentBody>> {
    Ok(Json(app.gateway.agent(&identity, &name).await?.into()))
}

/// Declare an agent
///
/// For keys with the role admin or service. A declaration that was there is replaced; what the agent was granted stays.
#[utoipa::path(put, path = "/api/agents/{agent}", tag = "Agents", operation_id = "put_agent", params(PathAgent),
    request_body(content((DeclarationBody = "application/json"), (DeclarationBody = "application/yaml"))),
    responses(
        (status = 200, description = "It has a new declaration.", body = AgentBody),
        (status = 201, description = "It is new.", body = AgentBody),
        (status = 422, description = "Nothing could fulfil the declaration; the message says why.", body = ErrorBody),
    ))]
async fn put(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathAgent(name): PathAgent,
    JsonOrYamlOf(body): JsonOrYamlOf<DeclarationBody>,
) -> Answer<impl IntoResponse> {
    let (title, connections) = body.into_parts();
    let (agent, is_new) = app.gateway.put_agent(&identity, &name, title, connections).await?;
    Ok((created_or_replaced(is_new), Json(AgentBody::from(agent))))
}

/// Delete an agent
///
/// With all that it was granted. For keys with the role admin or service.
#[utoipa::path(delete, path = "/api/agents/{agent}", tag = "Agents", operation_id = "delete_agent", params(PathAgent),
    responses((status = 204, description = "It is deleted.")))]
async fn delete(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathAgent(name): PathAgent,
) -> Answer<StatusCode> {
    app.gateway.delete_agent(&identity, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What an agent lacks
///
/// What the acting user must still connect, or an admin must set, each with the request that does it. While there is
/// anything, the agent's runs are refused.
#[utoipa::path(get, path = "/api/agents/{agent}/requirements", tag = "Agents", operation_id = "list_requirements",
    params(PathAgent),
    responses((status = 200, description = "What is lacking; nothing where the agent is ready.", body = RequirementList)))]
async fn requirements(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathAgent(name): PathAgent,
) -> Answer<Json<RequirementList>> {
    Ok(Json(app.gateway.requirements(&identity, &name).await?.into()))
}

/// What an agent may call of which connection
///
/// Each connection that the acting user sees; with an admin's key that acts for nobody, all of the project.
#[utoipa::path(get, path = "/api/agents/{agent}/connection-tools/catalog", tag = "Agents",
    operation_id = "list_connection_tools", params(PathAgent),
    responses((status = 200, description = "The connections, by slug.", body = ConnectionToolsList)))]
async fn connection_tools(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathAgent(name): PathAgent,
) -> Answer<Json<ConnectionToolsList>> {
    Ok(Json(app.gateway.connection_tools(&identity, &name).await?.into()))
}

/// Grant an agent tools
///
/// The whole set, among the connections that the catalog beside this lists: what is absent is revoked. Where anything is
/// unknown, nothing changes.
#[utoipa::path(put, path = "/api/agents/{agent}/connection-tools", tag = "Agents", operation_id = "put_connection_tools",
    params(PathAgent), request_body = GrantsBody,
    responses(
        (status = 200, description = "The connections as the catalog lists them now.", body = ConnectionToolsList),
        (status = 422, description = "A connection or a tool is unknown; the message names all.", body = ErrorBody),
    ))]
async fn put_connection_tools(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathAgent(name): PathAgent,
    JsonOf(body): JsonOf<GrantsBody>,
) -> Answer<Json<ConnectionToolsList>> {
    Ok(Json(app.gateway.put_connection_tools(&identity, &name, body.into_grants()).await?.into()))
}

/// The tools that an agent can call
///
/// As OpenAI's API takes them: those granted of connections that are active and that the acting user sees, now.
#[utoipa::path(get, path = "/api/agents/{agent}/tools", tag = "Agents", operation_id = "list_agent_tools",
    params(PathAgent),
    responses((status = 200, description = "The tools, by connection.", body = AgentToolList)))]
async fn offered(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathAgent(name): PathAgent,
) -> Answer<Json<AgentToolList>> {
    Ok(Json(app.gateway.agent_tools(&identity, &name).await?.into()))
}
