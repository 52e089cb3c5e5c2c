//! Integrations: listed, uploaded, checked, removed; their icons and packages.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use portcullis_runtime::Diagnostic;
use portcullis_runtime::manifest::{AuthMethod, Kind, Manifest, Operation, OperationType};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::error::{ApiError, ErrorBody};
use super::extract::{Admin, PathSlug};
use super::multipart::UploadForm;
use super::respond::{Answer, Json, created_or_replaced};
use crate::gateway::approvals::waits_for_a_person;
use crate::identity::Identity;
use crate::integrations::registry::CheckReport;
use crate::integrations::{Integration, Problem, Source};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list, upload))
        .routes(routes!(check))
        .routes(routes!(get, delete))
        .routes(routes!(icon))
        .routes(routes!(package))
}

/// A list of integrations.
#[derive(Serialize, ToSchema)]
struct IntegrationList {
    /// How many there are in this answer.
    count: usize,
    integrations: Vec<IntegrationBody>,
}

/// An integration: a connector that this project can use.
#[derive(Serialize, ToSchema)]
struct IntegrationBody {
    /// Its name in paths and tools.
    #[schema(example = "gmail")]
    slug: String,
    /// Its name in lists; none of an integration that never was valid, as with all that the manifest says.
    title: Option<String>,
    description: Option<String>,
    /// The manifest's version.
    version: Option<u64>,
    /// SHA-256 of the package that is served.
    digest: Option<String>,
    source: SourceBody,
    #[serde(rename = "type")]
    kind: Option<KindBody>,
    auth_method: Option<AuthMethodBody>,
    supported_auth_methods: Vec<AuthMethodBody>,
    /// The credential keys to ask for.
    secret_bindings: Vec<String>,
    allowed_hosts: Vec<String>,
    operations: Vec<OperationBody>,
    status: IntegrationStatus,
    /// Why the newest version isn't served, where it isn't.
    error: Option<ProblemBody>,
    warnings: Vec<DiagnosticBody>,
    has_icon: bool,
    /// Markdown for the people who connect.
    setup_guide: Option<String>,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// Where an integration comes from.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SourceBody {
    /// A folder on the server, the same for every project.
    Folder,
    /// An upload of this project.
    Upload,
}

/// What a connector talks to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum KindBody {
    RestApi,
    Sql,
}

/// A way to authenticate.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AuthMethodBody {
    ApiKey,
    BearerToken,
    BasicAuth,
    Oauth2,
    None,
}

impl From<AuthMethod> for AuthMethodBody {
    fn from(method: AuthMethod) -> Self {
        match method {
            AuthMethod::ApiKey => Self::ApiKey,
            AuthMethod::BearerToken => Self::BearerToken,
            AuthMethod::BasicAuth => Self::BasicAuth,
            AuthMethod::OAuth2 => Self::Oauth2,
            AuthMethod::None => Self::None,
        }
    }
}

/// Whether an integration is served.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum IntegrationStatus {
    /// It is; the last good version, where `error` is set.
    Active,
    /// It isn't: there never was a valid version.
    Broken,
}

/// Something that an integration can do.
#[derive(Serialize, ToSchema)]
struct OperationBody {
    name: String,
    title: Option<String>,
    description: Option<String>,
    operation_type: OperationTypeBody,
    /// Whether a person must approve each call.
    requires_approval: bool,
    required_scopes: Vec<String>,
}

/// Whether an operation changes something.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OperationTypeBody {
    Read,
    Write,
}

impl From<&Operation> for OperationBody {
    fn from(operation: &Operation) -> Self {
        let is_write = operation.operation_type == OperationType::Write;
        Self {
            name: operation.name.to_string(),
            title: operation.title.clone(),
            description: operation.description.clone(),
            operation_type: if is_write { OperationTypeBody::Write } else { OperationTypeBody::Read },
            requires_approval: waits_for_a_person(operation),
            required_scopes: operation.required_scopes.clone(),
        }
    }
}

/// What is wrong with an integration's newest version.
#[derive(Serialize, ToSchema)]
struct ProblemBody {
    message: String,
    diagnostics: Vec<DiagnosticBody>,
}

impl From<&Problem> for ProblemBody {
    fn from(problem: &Problem) -> Self {
        Self { message: problem.message.clone(), diagnostics: diagnostics(&problem.diagnostics) }
    }
}

/// One thing that is wrong with a file, or odd about it.
#[derive(Serialize, ToSchema)]
struct DiagnosticBody {
    #[schema(pattern = "^(error|warning)$")]
    severity: String,
    /// `config.json`, or the code's file.
    file: String,
    /// A JSON pointer to the value in config.json; empty for the whole file.
    pointer: String,
    /// From 1.
    line: u32,
    /// In characters, from 1.
    column: u32,
    message: String,
    /// What to do about it.
    help: Option<String>,
}

fn diagnostics(found: &[Diagnostic]) -> Vec<DiagnosticBody> {
    let body = |found: &Diagnostic| DiagnosticBody {
        severity: found.severity.to_string(),
        file: found.file.clone(),
        pointer: found.pointer.clone(),
        line: found.line,
        column: found.column,
        message: found.message.clone(),
        help: found.help.clone(),
    };
    found.iter().map(body).collect()
}

impl From<&Integration> for IntegrationBody {
    fn from(integration: &Integration) -> Self {
        let served = integration.served.as_deref();
        let manifest: Option<&Manifest> = served.map(|served| served.connector.manifest());
        let operations = served.map(|served| served.connector.manifest().operations.as_slice());
        let methods = manifest.map(|manifest| manifest.supported_auth_methods.as_slice()).unwrap_or_default();
        Self {
            slug: integration.slug.to_string(),
            title: manifest.map(|manifest| manifest.title.clone()),
            description: manifest.and_then(|manifest| manifest.description.clone()),
            version: manifest.map(|manifest| manifest.version),
            digest: served.map(|served| served.connector.digest().to_owned()),
            source: match integration.source {
                Source::Folder(_) => SourceBody::Folder,
                Source::Upload => SourceBody::Upload,
            },
            kind: manifest.map(|manifest| match manifest.kind {
                Kind::Rest => KindBody::RestApi,
                Kind::Sql(_) => KindBody::Sql,
            }),
            auth_method: manifest.map(|manifest| manifest.auth_method.into()),
            supported_auth_methods: methods.iter().map(|method| (*method).into()).collect(),
            secret_bindings: manifest.map(|manifest| manifest.secret_bindings.clone()).unwrap_or_default(),
            allowed_hosts: manifest
                .map(|manifest| manifest.allowed_hosts.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            operations: operations.unwrap_or_default().iter().map(OperationBody::from).collect(),
            status: if served.is_some() { IntegrationStatus::Active } else { IntegrationStatus::Broken },
            error: integration.problem.as_ref().map(ProblemBody::from),
            warnings: diagnostics(&integration.warnings),
            has_icon: served.is_some_and(|served| served.package.icon().is_some()),
            setup_guide: manifest.and_then(|manifest| manifest.setup_guide.clone()),
            updated_at: integration.updated_at.to_string(),
        }
    }
}

/// What checking an upload found.
#[derive(Serialize, ToSchema)]
struct CheckBody {
    /// Whether it could be uploaded.
    valid: bool,
    /// The slug that it would have, where that is known.
    slug: Option<String>,
    /// What is wrong, where something is.
    problem: Option<ProblemBody>,
    warnings: Vec<DiagnosticBody>,
}

impl From<CheckReport> for CheckBody {
    fn from(report: CheckReport) -> Self {
        let CheckReport { valid, slug, problem, warnings } = report;
        let problem = problem.as_ref().map(ProblemBody::from);
        Self { valid, slug, problem, warnings: diagnostics(&warnings) }
    }
}

/// All integrations
///
/// Those of folders on the server, and the project's uploads; broken ones too, with what is wrong.
#[utoipa::path(get, path = "/api/integrations", tag = "Integrations", operation_id = "list_integrations",
    responses((status = 200, description = "The integrations, by slug.", body = IntegrationList)))]
async fn list(identity: Identity, State(app): State<Arc<App>>) -> Answer<Json<IntegrationList>> {
    let integrations = app.gateway.integrations(&identity).await?;
    let integrations: Vec<_> = integrations.iter().map(|integration| (&**integration).into()).collect();
    Ok(Json(IntegrationList { count: integrations.len(), integrations }))
}

/// Upload an integration
///
/// Replaces the project's upload of the same slug; its connections stay. For admins.
#[utoipa::path(post, path = "/api/integrations", tag = "Integrations", operation_id = "upload_integration",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "An earlier upload was replaced.", body = IntegrationBody),
        (status = 201, description = "It is new.", body = IntegrationBody),
        (status = 409, description = "Operations or parameters changed and the version did not (`VERSION_DRIFT`; `force` takes it all the same), or a folder on the server has the slug (`SLUG_CLASH`).", body = ErrorBody),
        (status = 422, description = "The package isn't valid (`INVALID_PACKAGE`); the details list everything that is wrong.", body = ErrorBody),
    ))]
async fn upload(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    form: UploadForm,
) -> Answer<impl IntoResponse> {
    let before = app.gateway.integrations(&identity).await?;
    let integration = app.gateway.install(&identity, form.upload, form.force).await?;
    let is_new = !before.iter().any(|earlier| earlier.slug == integration.slug);
    Ok((created_or_replaced(is_new), Json(IntegrationBody::from(&*integration))))
}

/// Check an upload
///
/// Says what uploading it would say, and changes nothing.
#[utoipa::path(post, path = "/api/integrations/check", tag = "Integrations", operation_id = "check_integration",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "What was found; the connector may be valid or not.", body = CheckBody)))]
async fn check(identity: Identity, State(app): State<Arc<App>>, form: UploadForm) -> Answer<Json<CheckBody>> {
    let report = app.gateway.check_upload(&identity, form.upload).await?;
    Ok(Json(report.into()))
}

/// One integration
#[utoipa::path(get, path = "/api/integrations/{slug}", tag = "Integrations", operation_id = "get_integration",
    params(PathSlug),
    responses((status = 200, description = "The integration.", body = IntegrationBody)))]
async fn get(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathSlug(slug): PathSlug,
) -> Answer<Json<IntegrationBody>> {
    let integration = app.gateway.integration(&identity, &slug).await?;
    Ok(Json(IntegrationBody::from(&*integration)))
}

/// Remove an upload
///
/// Its connections stay, and find their tools again when it is uploaded again. For admins.
#[utoipa::path(delete, path = "/api/integrations/{slug}", tag = "Integrations", operation_id = "delete_integration",
    params(PathSlug),
    responses(
        (status = 204, description = "It is removed."),
        (status = 409, description = "It is a folder on the server, to be removed there.", body = ErrorBody),
    ))]
async fn delete(
    Admin(identity): Admin,
    State(app): State<Arc<App>>,
    PathSlug(slug): PathSlug,
) -> Answer<StatusCode> {
    app.gateway.uninstall(&identity, &slug).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An integration's icon
#[utoipa::path(get, path = "/api/integrations/{slug}/icon", tag = "Integrations", operation_id = "get_icon",
    params(PathSlug),
    responses((status = 200, description = "The image.", content(
        (Vec<u8> = "image/svg+xml"), (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp"),
    ))))]
async fn icon(identity: Identity, State(app): State<Arc<App>>, PathSlug(slug): PathSlug) -> Answer<Response> {
    // An SVG is a document that may hold scripts: opened by itself it must do nothing.
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
    let integration = app.gateway.integration(&identity, &slug).await?;
    let icon = integration.served.as_deref().and_then(|served| served.package.icon());
    let icon = icon.ok_or_else(|| ApiError::not_found(format!("integration {slug:?} has no icon")))?;
    let headers = [(CONTENT_TYPE, icon.media_type()), (CONTENT_SECURITY_POLICY, POLICY)];
    Ok((headers, icon.bytes().to_vec()).into_response())
}

/// An integration's package
///
/// The zip that is served, as it could be uploaded again.
#[utoipa::path(get, path = "/api/integrations/{slug}/package", tag = "Integrations", operation_id = "get_package",
    params(PathSlug),
    responses((status = 200, description = "The zip.", body = Vec<u8>, content_type = "application/zip")))]
async fn package(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathSlug(slug): PathSlug,
) -> Answer<Response> {
    let integration = app.gateway.integration(&identity, &slug).await?;
    let served = integration.served.clone();
    let served = served.ok_or_else(|| {
        ApiError::not_found(format!("integration {slug:?} has no package: no version of it was ever valid"))
    })?;
    let zipping = tokio::task::spawn_blocking(move || served.package.to_zip());
    let zip = zipping.await.map_err(|_| ApiError::internal(format!("zipping {slug:?} panicked")))?;
    let disposition = format!("attachment; filename=\"{}.zip\"", integration.slug);
    let headers = [(CONTENT_TYPE, "application/zip".to_owned()), (CONTENT_DISPOSITION, disposition)];
    Ok((headers, zip).into_response())
}
