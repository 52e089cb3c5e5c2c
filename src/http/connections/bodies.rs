//! What bodies of connections hold, in requests and in answers.

use std::collections::BTreeMap;

use portcullis_runtime::manifest::AuthMethod;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::gateway::connections::{
    self as gateway, ConnectionPatch, GivenCredential, NewConnection, TestReport,
};
use crate::gateway::names::PROVIDER;
use crate::http::body::JsonBody;
use crate::store::connections::{Connection, ConnectionStatus, Visibility};

/// A list of connections.
#[derive(Serialize, ToSchema)]
pub(super) struct ConnectionList {
    /// How many there are in this answer.
    pub(super) count: usize,
    pub(super) connections: Vec<ConnectionBody>,
}

/// An account at an integration. Its credentials are never shown.
#[derive(Serialize, ToSchema)]
pub(super) struct ConnectionBody {
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    /// Always `connector`: what makes the integration's tools.
    provider: &'static str,
    /// The integration's slug.
    integration: String,
    /// The connection's name in tools; unique in the project.
    connection_slug: String,
    status: StatusBody,
    /// Its name in lists.
    name: String,
    description: Option<String>,
    /// Why it doesn't work, where it doesn't.
    last_error: Option<String>,
    /// Whose account it is, as the service says.
    identity: Option<String>,
    /// The OAuth2 scopes that were granted.
    scopes: Option<Vec<String>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<String>,
    /// The user whom it belongs to.
    owner: String,
    visibility: VisibilityBody,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl From<Connection> for ConnectionBody {
    fn from(connection: Connection) -> Self {
        Self {
            id: connection.id,
            provider: PROVIDER,
            integration: connection.integration.to_string(),
            connection_slug: connection.slug.to_string(),
            status: connection.status.into(),
            name: connection.name,
            description: connection.description,
            last_error: connection.last_error,
            identity: connection.identity,
            scopes: connection.scopes,
            expires_at: connection.expires_at.map(|at| at.to_string()),
            owner: connection.owner.to_string(),
            visibility: connection.visibility.into(),
            created_at: connection.created_at.to_string(),
            updated_at: connection.updated_at.to_string(),
        }
    }
}

/// Whether a connection can be used, and if not, why.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(in crate::http) enum StatusBody {
    /// Consent is still to be given.
    Pending,
    /// It can be used.
    Active,
    /// Its token is no longer accepted.
    Expired,
    /// Its test or its consent failed.
    Failed,
    /// Switched off.
    Disabled,
}

impl From<ConnectionStatus> for StatusBody {
    fn from(status: ConnectionStatus) -> Self {
        match status {
            ConnectionStatus::Pending => Self::Pending,
            ConnectionStatus::Active => Self::Active,
            ConnectionStatus::Expired => Self::Expired,
            ConnectionStatus::Failed => Self::Failed,
            ConnectionStatus::Disabled => Self::Disabled,
        }
    }
}

impl From<StatusBody> for ConnectionStatus {
    fn from(status: StatusBody) -> Self {
        match status {
            StatusBody::Pending => Self::Pending,
            StatusBody::Active => Self::Active,
            StatusBody::Expired => Self::Expired,
            StatusBody::Failed => Self::Failed,
            StatusBody::Disabled => Self::Disabled,
        }
    }
}

/// What a connection can be set to.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum SettableStatus {
    /// Switch it on; it is tested first.
    Active,
    /// Switch it off.
    Disabled,
}

/// Who may use a connection.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum VisibilityBody {
    /// Its owner alone.
    #[default]
    User,
    /// Everyone in the project.
    Project,
}

impl From<Visibility> for VisibilityBody {
    fn from(visibility: Visibility) -> Self {
        match visibility {
            Visibility::User => Self::User,
            Visibility::Project => Self::Project,
        }
    }
}

impl From<VisibilityBody> for Visibility {
    fn from(visibility: VisibilityBody) -> Self {
        match visibility {
            VisibilityBody::User => Self::User,
            VisibilityBody::Project => Self::Project,
        }
    }
}

/// How a connection authenticates.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ModeBody {
    Oauth,
    ApiKey,
    BearerToken,
    BasicAuth,
    /// Not at all: for connectors that need no credentials, only config.
    None,
}

impl From<ModeBody> for AuthMethod {
    fn from(mode: ModeBody) -> Self {
        match mode {
            ModeBody::Oauth => Self::OAuth2,
            ModeBody::ApiKey => Self::ApiKey,
            ModeBody::BearerToken => Self::BearerToken,
            ModeBody::BasicAuth => Self::BasicAuth,
            ModeBody::None => Self::None,
        }
    }
}

/// A credential: its value, or the workspace secret that holds it.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum CredentialBody {
    /// The value.
    #[schema(value_type = String)]
    Value(Zeroizing<String>),
    /// The workspace secret that holds it.
    Secret(SecretReference),
}

/// A workspace secret by its name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SecretReference {
    /// The secret's name.
    #[schema(pattern = "^[A-Za-z][A-Za-z0-9_.-]{0,99}$")]
    secret: String,
}

impl From<CredentialBody> for GivenCredential {
    fn from(body: CredentialBody) -> Self {
        match body {
            CredentialBody::Value(value) => Self::Value(value),
            CredentialBody::Secret(SecretReference { secret }) => Self::Secret { secret },
        }
    }
}

fn given(credentials: BTreeMap<String, CredentialBody>) -> BTreeMap<String, GivenCredential> {
    credentials.into_iter().map(|(key, credential)| (key, credential.into())).collect()
}

/// A connection to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "integration": "clay", "mode": "api_key", "name": "Clay of the sales team",
    "credentials": {"apiKey": "sk_live_…"}, "visibility": "project"
}))]
pub(super) struct NewConnectionBody {
    /// The integration's slug.
    #[schema(min_length = 1, max_length = 40, pattern = "^[a-z0-9]+([_-][a-z0-9]+)*$")]
    integration: String,
    /// What makes the integration's tools; `connector` if absent.
    #[schema(max_length = 100, pattern = r"^[^\x00]*$", nullable = false)]
    provider: Option<String>,
    mode: ModeBody,
    /// The connection's name in tools. If absent it is derived from `name`.
    #[schema(min_length = 1, max_length = 40, pattern = "^[a-z0-9]+([_-][a-z0-9]+)*$", nullable = false)]
    connection_slug: Option<String>,
    /// Its name in lists.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    #[schema(max_length = 2000, pattern = r"^[^\x00]*$")]
    description: Option<String>,
    /// Values by the keys that the connector reads, see the integration's `secret_bindings`.
    #[serde(default)]
    credentials: BTreeMap<String, CredentialBody>,
    /// Settings of this connection; they stand over the manifest's `connectionConfig`.
    #[serde(default)]
    #[schema(value_type = Object, additional_properties)]
    config: Map<String, Value>,
    /// With the mode `oauth`: where the browser goes after the consent, with `connection_id` and `status` in the query. Only
    /// origins that the server's operator allows.
    #[schema(max_length = 2000, pattern = r"^[^\x00]*$", nullable = false)]
    callback_url: Option<String>,
    #[serde(default)]
    visibility: VisibilityBody,
    /// With the mode `oauth`: the name of the OAuth2 app to connect with. Needed where the integration has several, and none
    /// of them is called `default`.
    #[schema(min_length = 1, max_length = 40, pattern = "^[a-z0-9]+([_-][a-z0-9]+)*$", nullable = false)]
    oauth_app: Option<String>,
    /// With the mode `oauth`: the scopes to ask for. If absent, those of the integration.
    #[schema(max_items = 100, nullable = false)]
    scopes: Option<Vec<String>>,
}

impl JsonBody for NewConnectionBody {
    fn hidden(pointer: &str) -> Option<&'static str> {
        hidden(pointer)
    }
}

/// Credentials and config are never repeated, whatever was sent in their place.
fn hidden(pointer: &str) -> Option<&'static str> {
    match pointer {
        "" => Some("must be an object"),
        "/credentials" => Some("must be an object of credentials by their keys"),
        "/config" => Some("must be an object"),
        pointer if pointer.starts_with("/credentials/") => {
            Some("must be a string, or {\"secret\": \"the name of a workspace secret\"}")
        }
        pointer if pointer.starts_with("/config/") => Some("isn't valid"),
        _ => None,
    }
}

impl From<NewConnectionBody> for NewConnection {
    fn from(body: NewConnectionBody) -> Self {
        Self {
            integration: body.integration,
            provider: body.provider,
            mode: body.mode.into(),
            slug: body.connection_slug,
            name: body.name,
            description: body.description,
            credentials: given(body.credentials),
            config: body.config,
            callback_url: body.callback_url,
            visibility: body.visibility.into(),
            oauth_app: body.oauth_app,
            scopes: body.scopes,
        }
    }
}

/// What of a connection is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionPatchBody {
    #[schema(min_length = 1, max_length = 40, pattern = "^[a-z0-9]+([_-][a-z0-9]+)*$", nullable = false)]
    connection_slug: Option<String>,
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        nullable = false
    )]
    name: Option<String>,
    /// `null` takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 2000, pattern = r"^[^\x00]*$")]
    description: Option<Option<String>>,
    #[schema(nullable = false)]
    visibility: Option<VisibilityBody>,
    #[schema(nullable = false)]
    status: Option<SettableStatus>,
    /// Replaces all credentials; the connection is tested first.
    #[schema(nullable = false)]
    credentials: Option<BTreeMap<String, CredentialBody>>,
    /// Replaces the config; the connection is tested first.
    #[schema(value_type = Option<Object>, additional_properties, nullable = false)]
    config: Option<Map<String, Value>>,
}

impl JsonBody for ConnectionPatchBody {
    fn hidden(pointer: &str) -> Option<&'static str> {
        hidden(pointer)
    }
}

/// Tells `null` from absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl From<ConnectionPatchBody> for ConnectionPatch {
    fn from(body: ConnectionPatchBody) -> Self {
        Self {
            slug: body.connection_slug,
            name: body.name,
            description: body.description,
            visibility: body.visibility.map(Into::into),
            status: body.status.map(|status| match status {
                SettableStatus::Active => ConnectionStatus::Active,
                SettableStatus::Disabled => ConnectionStatus::Disabled,
            }),
            credentials: body.credentials.map(given),
            config: body.config,
        }
    }
}

/// A connection, and where its user gives consent.
#[derive(Serialize, ToSchema)]
pub(super) struct Connected {
    connection: ConnectionBody,
    /// The page to send the user to; none where no consent is needed.
    redirect_url: Option<String>,
    /// What the user enters at that page, where the integration's consent is given on another device.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_code: Option<String>,
    /// The page itself, without the code, for somebody to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    verification_uri: Option<String>,
    /// When the code expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    expires_at: Option<String>,
}

impl From<gateway::Connected> for Connected {
    fn from(connected: gateway::Connected) -> Self {
        let device = connected.device;
        Self {
            connection: connected.connection.into(),
            redirect_url: connected.redirect_url,
            user_code: device.as_ref().map(|device| device.user_code.clone()),
            verification_uri: device.as_ref().map(|device| device.verification_uri.clone()),
            expires_at: device.map(|device| device.expires_at.to_string()),
        }
    }
}

/// What a test of a connection found.
#[derive(Serialize, ToSchema)]
pub(super) struct TestBody {
    success: bool,
    /// The connector's own words.
    message: String,
    duration_ms: u64,
    connection: ConnectionBody,
}

impl From<TestReport> for TestBody {
    fn from(report: TestReport) -> Self {
        let TestReport { connection, success, message, duration_ms } = report;
        Self { success, message, duration_ms, connection: connection.into() }
    }
}

/// How to refresh.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshBody {
    /// Also where the token is still valid.
    #[serde(default)]
    force: bool,
    /// Where the browser goes after a consent, where one is needed; see `POST /api/tools/connections`.
    #[schema(max_length = 2000, pattern = r"^[^\x00]*$", nullable = false)]
    callback_url: Option<String>,
}

impl From<RefreshBody> for gateway::Refresh {
    fn from(body: RefreshBody) -> Self {
        Self { force: body.force, callback_url: body.callback_url }
    }
}

impl JsonBody for RefreshBody {}
