//! The manifest of a connector, config.json: read in two stages, as written and then as meant, with every error placed.

mod check;
mod cron;
mod describe;
mod diagnostics;
pub mod host;
pub mod name;
mod position;
mod query;
mod raw;
mod resolve;
mod schema;
mod words;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::diagnostics::{Diagnostic, Diagnostics, MAX_DIAGNOSTICS, Severity};
use self::diagnostics::{Finding, Sink};
use self::host::HostPattern;
use self::name::OperationName;
pub use self::position::MAX_DEPTH;
pub use self::raw::{SCHEMA_ID, manifest_schema};
pub use self::schema::{
    InvalidArguments, InvalidSchema, MAX_ARGUMENT_DEPTH, MAX_VIOLATIONS, ParametersSchema, SchemaProblem,
    Violation,
};
pub(crate) use self::words::nearest;
use crate::sql::placeholder::Query;

/// A connector's manifest, valid: each rule of config.json holds for it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// The connector's name, as lists show it; 1 to 200 characters.
    pub title: String,
    /// What the connector is for; up to 2000 characters.
    pub description: Option<String>,
    /// Counts up whenever operations or their parameters change; 1 if the file names none.
    pub version: u64,
    /// What the connector talks to.
    pub kind: Kind,
    /// How a connection authenticates unless its user picks another way.
    pub auth_method: AuthMethod,
    /// The ways to authenticate that a user can pick from; `auth_method` is among them.
    pub supported_auth_methods: Vec<AuthMethod>,
    /// The credential keys that the code reads, each once.
    pub secret_bindings: Vec<String>,
    /// The hosts that the code can reach.
    pub allowed_hosts: Vec<HostPattern>,
    /// What the connector can do. Names are unique; those of a SQL connector all have a query.
    pub operations: Vec<Operation>,
    /// Where OAuth2 happens; there if one of the supported ways is OAuth2.
    pub oauth2: Option<OAuth2Config>,
    /// Defaults of every connection's config, as written.
    pub connection_config: Map<String, Value>,
    /// The deadline of a call, up to the operator's maximum: `connectionConfig.timeout`.
    pub timeout: Option<Duration>,
    /// The most requests a minute: `connectionConfig.rateLimit`.
    pub rate_limit: Option<u32>,
    /// What else the connector offers.
    pub capabilities: Capabilities,
    /// How the connector shows up as a capability of its own.
    pub expose_as_capability: Option<ExposeAsCapability>,
    /// Markdown for the people who connect; never for a model. Up to 5000 characters.
    pub setup_guide: Option<String>,
    /// The author's own data, never interpreted.
    pub metadata: Map<String, Value>,
}

/// What a connector talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An HTTP API, by code of its own.
    Rest,
    /// A SQL database, by queries in the manifest.
    Sql(SqlConfig),
}

/// A way to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A key, in a header or parameter of the service's choice.
    ApiKey,
    /// A token, sent as `Authorization: Bearer`.
    BearerToken,
    /// A user name and a password.
    BasicAuth,
    /// OAuth2 with an access token that is refreshed.
    #[serde(rename = "oauth2")]
    OAuth2,
    /// None: the connector is callable without a connection.
    None,
}

impl AuthMethod {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::ApiKey, Self::BearerToken, Self::BasicAuth, Self::OAuth2, Self::None];

    /// The method as config.json writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::BearerToken => "bearer_token",
            Self::BasicAuth => "basic_auth",
            Self::OAuth2 => "oauth2",
            Self::None => "none",
        }
    }
}

/// Something that a connector can do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Operation {
    /// The name that callers use.
    pub name: OperationName,
    /// The operation's name, as lists show it.
    pub title: Option<String>,
    /// What the operation does, for people and models alike.
    pub description: Option<String>,
    /// Whether the operation only reads.
    pub operation_type: OperationType,
    /// Whether a person must approve each call. If absent, writes need it and reads don't.
    pub requires_approval: Option<bool>,
    /// The OAuth2 scopes that the operation needs.
    pub required_scopes: Vec<String>,
    /// The parameters that the operation takes.
    pub parameters: ParametersSchema,
    /// The statements that a SQL operation runs; none for REST.
    pub query: Option<Query>,
}

/// Whether an operation changes something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationType {
    /// It only reads.
    #[default]
    Read,
    /// It changes something.
    Write,
}

/// Where OAuth2 happens. The URLs are https, without user name, password or fragment; each may hold `{{key}}`, which is
/// filled from the connection's config.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OAuth2Config {
    /// How tokens are had.
    pub grant_type: GrantType,
    /// The page where the user grants access; there if tokens are had by an authorization code.
    pub authorization_url: Option<String>,
    /// Where codes are exchanged for tokens.
    pub token_url: String,
    /// Where tokens are revoked (RFC 7009).
    pub revocation_url: Option<String>,
    /// Where codes for other devices are had (RFC 8628); there if tokens are had by a device code.
    pub device_authorization_url: Option<String>,
    /// The authorization server's own name for itself (RFC 8414), compared as it is written.
    pub issuer: Option<String>,
    /// The scopes to ask for.
    pub scopes: Vec<String>,
}

/// How OAuth2 tokens are had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// By a person's consent in a browser (RFC 6749, 4.1).
    #[default]
    AuthorizationCode,
    /// By the client's own credentials; there is no person (RFC 6749, 4.4).
    ClientCredentials,
    /// By a code that a person enters on another device (RFC 8628).
    DeviceCode,
}

/// Which database a SQL connector talks to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqlConfig {
    /// The database engine.
    pub engine: Engine,
    /// Whether every operation is held to reading.
    pub read_only: bool,
    /// Whether the connection must be encrypted; the engine's default if absent.
    pub encrypt: Option<bool>,
    /// Whether a server certificate that no authority signed is accepted.
    pub trust_server_certificate: bool,
    /// How long connecting may take.
    pub connection_timeout: Option<Duration>,
    /// How long one request may take.
    pub request_timeout: Option<Duration>,
    /// The most rows that a result has.
    pub max_result_rows: u64,
    /// How long a query may run.
    pub query_timeout: Duration,
    /// The most connections kept to one database.
    pub max_connection_pool_size: Option<u32>,
}

/// A database engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
    /// Microsoft SQL Server.
    Mssql,
    /// SQLite, a file.
    Sqlite,
}

/// What else a connector offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether it can bring data in on a schedule.
    pub can_sync: bool,
    /// Whether it can send data out.
    pub can_push: bool,
    /// Whether it can be called by the service.
    pub can_webhook: bool,
    /// How often to sync: a cron schedule of five fields.
    pub sync_frequency: Option<String>,
}

/// How a connector shows up as a capability of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExposeAsCapability {
    /// What the capability is called.
    pub label: String,
    /// The name of an icon.
    pub icon: Option<String>,
    /// What the capability does, in a few words.
    pub tooltip: Option<String>,
    /// Where the capability stands among others, lowest first.
    pub order: Option<i64>,
}

impl Manifest {
    /// Reads a config.json. Gives the manifest and the warnings, or everything that is wrong: errors and warnings in the
    /// order in which they stand in the file.
    pub fn parse(text: &str) -> Result<(Self, Vec<Diagnostic>), Diagnostics> {
        let (source, value) = position::read(text)?;
        let mut sink = Sink::new(&source);
        source.report_duplicates(&mut sink);
        if !value.is_object() {
            let found = words::describe_value(&value);
            sink.push(Finding::error("", format!("must be an object, found {found}")));
            return Err(sink.finish());
        }
        let rest = check::check(value, &mut sink);
        let manifest = match serde_json::from_value(rest) {
            Ok(raw) => resolve::resolve(raw, &mut sink),
            Err(error) => {
                sink.push(Finding::error("", format!("can't be read: {error}")));
                None
            }
        };
        let valid = !sink.has_errors();
        let diagnostics = sink.finish();
        match manifest {
            Some(manifest) if valid => Ok((manifest, diagnostics.0)),
            _ => Err(diagnostics),
        }
    }

    /// The operation of that name.
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.name.as_str() == name)
    }
}
