//! The catalog: the tools that the acting user can call.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::query::Query;
use super::respond::{Answer, Json};
use crate::gateway::catalog::{CatalogEntry, CatalogFilter};
use crate::identity::Identity;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The tools that the acting user can call.
#[derive(Serialize, ToSchema)]
struct CatalogBody {
    /// How many there are in this answer.
    count: usize,
    tools: Vec<ToolBody>,
}

/// A tool.
#[derive(Serialize, ToSchema)]
struct ToolBody {
    /// `tools.gateway.{provider}.{integration}.{name}`; where there are several connections, one entry for each, with
    /// `.{connection_slug}` at its end.
    slug: String,
    /// Always `tool`.
    kind: &'static str,
    /// Always `connector`.
    provider: &'static str,
    /// The integration's slug.
    integration: String,
    /// The operation's name.
    name: String,
    /// The operation's name in lists.
    display_name: String,
    description: Option<String>,
    /// `read` or `write`.
    #[schema(pattern = "^(read|write)$")]
    operation_type: &'static str,
    /// Whether a person must approve each call.
    requires_approval: bool,
    /// The name to give to a model.
    #[schema(pattern = "^[a-zA-Z0-9_-]{1,64}$")]
    function_name: String,
    /// Of a bound tool, its connection's slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    connection_slug: Option<String>,
    /// The arguments' JSON Schema, where tools were asked for by slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<Value>,
    /// The result's JSON Schema, where tools were asked for by slug and there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<Value>,
}

impl From<CatalogEntry> for ToolBody {
    fn from(entry: CatalogEntry) -> Self {
        Self {
            slug: entry.slug,
            kind: entry.kind,
            provider: entry.provider,
            integration: entry.integration,
            name: entry.name,
            display_name: entry.display_name,
            description: entry.description,
            operation_type: entry.operation_type,
            requires_approval: entry.requires_approval,
            function_name: entry.function_name,
            connection_slug: entry.connection_slug,
            input_schema: entry.input_schema,
            output_schema: entry.output_schema,
        }
    }
}

/// Which tools.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CatalogQuery {
    /// Those of this provider.
    #[param(max_length = 100, pattern = r"^[^\x00]*$")]
    provider: Option<String>,
    /// Those of the integration with this slug.
    #[param(max_length = 100, pattern = r"^[^\x00]*$")]
    integration: Option<String>,
    /// Those of this kind; there is only `tool`.
    #[param(max_length = 100, pattern = r"^[^\x00]*$")]
    kind: Option<String>,
    /// Those with this text in their names or descriptions.
    #[param(max_length = 200, pattern = r"^[^\x00]*$")]
    search: Option<String>,
    /// The one with this slug, with its schemas.
    #[param(max_length = 300, pattern = r"^[^\x00]*$")]
    slug: Option<String>,
    /// Those with these slugs, separated by commas, with their schemas.
    #[param(max_length = 20_000, pattern = r"^[^\x00]*$")]
    slugs: Option<String>,
}

impl From<CatalogQuery> for CatalogFilter {
    fn from(query: CatalogQuery) -> Self {
        let listed = query.slugs.iter().flat_map(|slugs| slugs.split(','));
        let slugs =
            query.slug.as_deref().into_iter().chain(listed).map(str::trim).filter(|slug| !slug.is_empty());
        Self {
            slugs: slugs.map(str::to_owned).collect(),
            provider: query.provider,
            integration: query.integration,
            kind: query.kind,
            search: query.search,
        }
    }
}

/// The tools that you can call
///
/// One entry for each operation of an integration; where more than one connection to it can be used, one for each.
#[utoipa::path(get, path = "/api/tools/catalog", tag = "Tools", operation_id = "list_tools", params(CatalogQuery),
    responses((status = 200, description = "The tools, by slug.", body = CatalogBody)))]
async fn list(
    identity: Identity,
    State(app): State<Arc<App>>,
    Query(query): Query<CatalogQuery>,
) -> Answer<Json<CatalogBody>> {
    let entries = app.gateway.catalog(&identity, &query.into()).await?;
    let tools: Vec<ToolBody> = entries.into_iter().map(Into::into).collect();
    Ok(Json(CatalogBody { count: tools.len(), tools }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_come_one_by_one_and_in_a_list() {
        let query = |slug: Option<&str>, slugs: Option<&str>| CatalogQuery {
            provider: None,
            integration: None,
            kind: None,
            search: None,
            slug: slug.map(str::to_owned),
            slugs: slugs.map(str::to_owned),
        };
        assert_eq!(CatalogFilter::from(query(Some("a"), Some("b, c,,"))).slugs, ["a", "b", "c"]);
        assert!(CatalogFilter::from(query(None, Some(""))).slugs.is_empty());
    }
}
