//! config.json as it is written: the serde mirror of the file, and the JSON Schema that is made of it.
//!
//! Doc comments here are the published schema's descriptions. Whatever a schema can say about the file is said here,
//! once; the loader checks files against that schema before it reads them. Each field is optional in Rust, and each
//! element nullable, so that what is left of a file after its wrong parts were taken out can still be read.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::{AuthMethod, Engine, GrantType, OperationType};

/// Where the schema says it lives.
pub const SCHEMA_ID: &str = "https://github.com/portcullis/portcullis/config.schema.json";

/// The largest integer that every JSON reader holds exactly, 2^53 − 1.
const MAX_SAFE_INTEGER: u64 = 9_007_199_254_740_991;

/// The manifest of a connector: what it is called, how it authenticates, which hosts it may reach, and what it can do.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Manifest", title = "Portcullis connector manifest (config.json)")]
pub(crate) struct RawManifest {
    /// The JSON Schema that an editor checks this file with.
    #[serde(rename = "$schema")]
    _schema: Option<String>,
    /// The connector's name, as lists show it.
    #[schemars(required, length(max = 200), regex(pattern = r"\S"))]
    pub(crate) title: Option<String>,
    /// What the connector is for, in a sentence or two.
    #[schemars(length(max = 2000))]
    pub(crate) description: Option<String>,
    /// Counts up whenever operations or their parameters change; 1 if absent.
    #[schemars(range(max = MAX_SAFE_INTEGER))]
    #[serde(default, deserialize_with = "integer")]
    pub(crate) version: Option<u64>,
    /// What the connector talks to: an HTTP API by code of its own (the default), or a SQL database.
    #[serde(rename = "type")]
    pub(crate) kind: Option<RawKind>,
    /// How a connection authenticates unless its user picks another of `supportedAuthMethods`.
    #[schemars(required)]
    pub(crate) auth_method: Option<AuthMethod>,
    /// The ways to authenticate that a user can pick from when connecting; `authMethod` alone if absent.
    pub(crate) supported_auth_methods: Option<Vec<Option<AuthMethod>>>,
    /// The credential keys that the code reads. A form prompts for exactly these.
    #[schemars(inner(regex(pattern = r"\S")))]
    pub(crate) secret_bindings: Option<Vec<Option<String>>>,
    /// The hosts that the code can reach, each with its subdomains: `api.example.com`, `localhost:8080`,
    /// `http://intranet.example`, `{{domain}}`. Absent or empty: none.
    #[schemars(inner(regex(pattern = r"\S")))]
    pub(crate) allowed_hosts: Option<Vec<Option<String>>>,
    /// What the connector can do.
    pub(crate) operations: Option<Vec<Option<RawOperation>>>,
    /// Where OAuth2 happens.
    pub(crate) oauth2_config: Option<RawOAuth2Config>,
    /// Which database engine, and how to talk to it.
    pub(crate) sql_connection_config: Option<RawSqlConnectionConfig>,
    /// What a SQL connector can do; the same as `operations`, each with its `query`.
    pub(crate) sql_operations: Option<Vec<Option<RawOperation>>>,
    /// Defaults of every connection's config. Strings here are readable by the code through `secrets.get`.
    #[schemars(with = "Option<ConnectionConfig>")]
    pub(crate) connection_config: Option<Map<String, Value>>,
    /// What else the connector offers.
    pub(crate) capabilities: Option<RawCapabilities>,
    /// How the connector shows up as a capability of its own.
    pub(crate) expose_as_capability: Option<RawExposeAsCapability>,
    /// Markdown for the people who connect; never sent to a model.
    #[schemars(length(max = 5000))]
    pub(crate) setup_guide: Option<String>,
    /// Anything; never interpreted.
    pub(crate) metadata: Option<Map<String, Value>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Type")]
pub(crate) enum RawKind {
    /// Code that talks to an HTTP API.
    RestApi,
    /// Queries that run on a SQL database.
    Sql,
}

/// Something that the connector can do.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Operation")]
pub(crate) struct RawOperation {
    /// The name that callers use: a letter, then up to 63 letters, digits, `_` or `-`; unique in the manifest.
    #[schemars(required, regex(pattern = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"))]
    pub(crate) name: Option<String>,
    /// The operation's name, as lists show it.
    pub(crate) title: Option<String>,
    /// What the operation does, for people and models alike.
    pub(crate) description: Option<String>,
    /// Whether the operation only reads (the default), or changes something.
    pub(crate) operation_type: Option<OperationType>,
    /// Whether a person must approve each call. If absent, writes need it and reads don't.
    pub(crate) requires_approval: Option<bool>,
    /// The OAuth2 scopes that the operation needs.
    #[schemars(inner(regex(pattern = r"\S")))]
    pub(crate) required_scopes: Option<Vec<Option<String>>>,
    /// The JSON Schema (2020-12) of the parameters, an object; if absent, any object. `"required": true` on a property
    /// is accepted too.
    #[schemars(extend("type" = ["object", "boolean"]))]
    pub(crate) parameters_schema: Option<Value>,
    /// The statements that a SQL operation runs, with `@name` for the parameter `name`.
    #[schemars(regex(pattern = r"\S"))]
    pub(crate) query: Option<String>,
}

/// Where OAuth2 happens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OAuth2Config")]
pub(crate) struct RawOAuth2Config {
    /// How tokens are had: by a person's consent in a browser (the default), by the client's own credentials, or by a code
    /// that a person enters on another device.
    pub(crate) grant_type: Option<GrantType>,
    /// The page where the user grants access; https. Needed unless `grantType` is another than `authorization_code`.
    #[schemars(regex(pattern = r"^[Hh][Tt][Tt][Pp][Ss]://\S+$"))]
    pub(crate) authorization_url: Option<String>,
    /// Where codes are exchanged for tokens; https.
    #[schemars(required, regex(pattern = r"^[Hh][Tt][Tt][Pp][Ss]://\S+$"))]
    pub(crate) token_url: Option<String>,
    /// Where tokens are revoked when a connection is deleted (RFC 7009); https.
    #[schemars(regex(pattern = r"^[Hh][Tt][Tt][Pp][Ss]://\S+$"))]
    pub(crate) revocation_url: Option<String>,
    /// Where codes for other devices are had (RFC 8628); https. Needed where `grantType` is `device_code`.
    #[schemars(regex(pattern = r"^[Hh][Tt][Tt][Pp][Ss]://\S+$"))]
    pub(crate) device_authorization_url: Option<String>,
    /// The authorization server's own name for itself, which its answers and id tokens must bear (RFC 9207); https.
    #[schemars(regex(pattern = r"^[Hh][Tt][Tt][Pp][Ss]://\S+$"))]
    pub(crate) issuer: Option<String>,
    /// The scopes to ask for.
    #[schemars(inner(regex(pattern = r"\S")))]
    pub(crate) scopes: Option<Vec<Option<String>>>,
}

/// Which database engine, and how to talk to it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SqlConnectionConfig")]
pub(crate) struct RawSqlConnectionConfig {
    /// The database engine.
    #[schemars(required)]
    pub(crate) engine: Option<Engine>,
    /// Whether every operation is held to reading.
    pub(crate) read_only: Option<bool>,
    /// How to connect.
    pub(crate) options: Option<RawSqlOptions>,
    /// The limits of a query.
    pub(crate) security: Option<RawSqlSecurity>,
}

/// How to connect to a database.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SqlOptions")]
pub(crate) struct RawSqlOptions {
    /// Whether the connection must be encrypted.
    pub(crate) encrypt: Option<bool>,
    /// Whether a server certificate that no authority signed is accepted.
    pub(crate) trust_server_certificate: Option<bool>,
    /// How long connecting may take, in milliseconds.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub(crate) connection_timeout: Option<f64>,
    /// How long one request may take, in milliseconds.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub(crate) request_timeout: Option<f64>,
}

/// The limits of a query.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SqlSecurity")]
pub(crate) struct RawSqlSecurity {
    /// The most rows that a result has; 10000 if absent.
    #[schemars(range(min = 1, max = MAX_SAFE_INTEGER))]
    #[serde(default, deserialize_with = "integer")]
    pub(crate) max_result_rows: Option<u64>,
    /// How long a query may run, in milliseconds; 30000 if absent.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub(crate) query_timeout_ms: Option<f64>,
    /// The most connections kept to one database.
    #[schemars(range(min = 1, max = u32::MAX))]
    #[serde(default, deserialize_with = "integer")]
    pub(crate) max_connection_pool_size: Option<u32>,
}

/// Defaults of every connection's config; keys beyond these are free.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "most keys are read from the map; the schema is made of them here")]
pub(crate) struct ConnectionConfig {
    /// The host of the service, for `{{domain}}` in `allowedHosts`.
    domain: Option<String>,
    /// The version of the service's API.
    api_version: Option<String>,
    /// The URL that the code's requests begin with.
    api_endpoint: Option<String>,
    /// The deadline of a call, in milliseconds, up to the operator's maximum.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub(crate) timeout: Option<f64>,
    /// The most requests a minute.
    #[schemars(range(min = 1, max = u32::MAX))]
    #[serde(default, deserialize_with = "integer")]
    pub(crate) rate_limit: Option<u32>,
    #[serde(flatten)]
    free: Map<String, Value>,
}

/// What else the connector offers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Capabilities")]
pub(crate) struct RawCapabilities {
    /// Whether it can bring data in on a schedule.
    pub(crate) can_sync: Option<bool>,
    /// Whether it can send data out.
    pub(crate) can_push: Option<bool>,
    /// Whether it can be called by the service.
    pub(crate) can_webhook: Option<bool>,
    /// How often to sync: a cron schedule of five fields, such as `*/15 * * * *`.
    #[schemars(regex(pattern = r"^\s*(\S+\s+){4}\S+\s*$"))]
    pub(crate) sync_frequency: Option<String>,
}

/// How the connector shows up as a capability of its own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ExposeAsCapability")]
pub(crate) struct RawExposeAsCapability {
    /// What the capability is called.
    #[schemars(required, regex(pattern = r"\S"))]
    pub(crate) label: Option<String>,
    /// The name of an icon.
    pub(crate) icon: Option<String>,
    /// What the capability does, in a few words.
    pub(crate) tooltip: Option<String>,
    /// Where the capability stands among others, lowest first.
    #[schemars(range(min = -9_007_199_254_740_991_i64, max = 9_007_199_254_740_991_i64))]
    #[serde(default, deserialize_with = "integer")]
    pub(crate) order: Option<i64>,
}

/// Reads an integer as JSON Schema means it: `1.0` is one too.
fn integer<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let digits = match number.as_f64() {
        Some(float) if number.is_f64() => format!("{float:.0}"),
        _ => number.to_string(),
    };
    digits.parse().map(Some).map_err(serde::de::Error::custom)
}

static SCHEMA: LazyLock<Value> = LazyLock::new(generate);

/// The JSON Schema (2020-12) of config.json, as `portcullis schema` prints it.
///
/// What it accepts is what the loader accepts, but for what no schema can say: that names are unique, how hosts and
/// schedules are written, that a `parametersSchema` is one. Unknown keys are allowed.
pub fn manifest_schema() -> Value {
    SCHEMA.clone()
}

pub(crate) fn schema() -> &'static Value {
    &SCHEMA
}

fn generate() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.transforms.push(Box::new(RecursiveTransform(simplify)));
    let mut schema = settings.into_generator().into_root_schema_for::<RawManifest>();
    let order = ["$schema", "$id", "title", "description"];
    schema.insert("$id".to_owned(), SCHEMA_ID.into());
    schema.insert("allOf".to_owned(), rules());
    if let Some(items) = schema.pointer_mut("/properties/sqlOperations/items").and_then(Value::as_object_mut)
    {
        items.insert("required".to_owned(), json!(["query"]));
    }
    let Value::Object(mut members) = schema.to_value() else { return Value::Null };
    let mut ordered = Map::new();
    for key in order {
        ordered.extend(members.shift_remove_entry(key));
    }
    ordered.extend(members);
    Value::Object(ordered)
}

/// Takes out what serves Rust alone: nullability that stands for an absent field, integer widths, line ends in doc
/// comments, and the `oneOf` of documented constants where editors expect an `enum`.
fn simplify(schema: &mut Schema) {
    transform_subschemas(&mut simplify, schema);
    let Some(members) = schema.as_object_mut() else { return };
    if members
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format.contains("int") || format == "double")
    {
        members.shift_remove("format");
    }
    if members.get("default").is_some_and(Value::is_null) {
        members.shift_remove("default");
    }
    if let Some(Value::String(description)) = members.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if members.get("type").is_some_and(|kind| kind == &json!([kind[0], "null"])) {
        let kind = members["type"][0].take();
        members.insert("type".to_owned(), kind);
    }
    if let Some(Value::Array(alternatives)) = members.get_mut("anyOf")
        && alternatives.len() == 2
        && alternatives[1] == json!({"type": "null"})
        && let Value::Object(only) = alternatives.swap_remove(0)
    {
        members.shift_remove("anyOf");
        members.extend(only);
    }
    constants_to_enum(members);
}

fn constants_to_enum(members: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = members.get("oneOf") else { return };
    let constants: Vec<_> = alternatives.iter().filter_map(|one| one.get("const").cloned()).collect();
    if constants.len() != alternatives.len() {
        return;
    }
    let descriptions: Vec<_> = alternatives.iter().map(|one| one["description"].clone()).collect();
    members.shift_remove("oneOf");
    members.insert("enum".to_owned(), constants.into());
    members.insert("enumDescriptions".to_owned(), descriptions.into());
}

/// The rules that join fields. Each consequence's description is the help that its violation is shown with.
fn rules() -> Value {
    let is = |key: &str, value: &str| json!({ "properties": { key: { "const": value } }, "required": [key] });
    let holds = |key: &str, value: &str| json!({ "properties": { key: { "type": "array", "contains": { "const": value } } }, "required": [key] });
    let some = |key: &str| json!({ "properties": { key: { "minItems": 1 } }, "required": [key] });
    let grants = |types: &[&str]| {
        let config = json!({ "properties": { "grantType": { "enum": types } }, "required": ["grantType"] });
        json!({ "properties": { "oauth2Config": config }, "required": ["oauth2Config"] })
    };
    let mut rules = vec![
        json!({
            "if": { "anyOf": [is("authMethod", "oauth2"), holds("supportedAuthMethods", "oauth2")] },
            "then": {
                "description": "with OAuth2, \"oauth2Config\" says where: { \"authorizationUrl\": …, \"tokenUrl\": … }",
                "required": ["oauth2Config"]
            }
        }),
        json!({
            "if": grants(&["client_credentials", "device_code"]),
            "else": {
                "description": "the page where access is granted; only the grantTypes client_credentials and device_code have none",
                "properties": { "oauth2Config": { "required": ["authorizationUrl"] } }
            }
        }),
        json!({
            "if": grants(&["device_code"]),
            "then": {
                "description": "where codes are had: the grantType device_code begins there",
                "properties": { "oauth2Config": { "required": ["deviceAuthorizationUrl"] } }
            }
        }),
        json!({
            "if": is("type", "sql"),
            "then": {
                "description": "a SQL connector names its database: \"sqlConnectionConfig\": { \"engine\": … }",
                "required": ["sqlConnectionConfig"]
            }
        }),
        json!({
            "if": is("type", "sql"),
            "then": {
                "description": "a SQL connector needs at least one operation, under \"sqlOperations\" or \"operations\"",
                "anyOf": [some("sqlOperations"), some("operations")]
            }
        }),
        json!({
            "if": is("type", "sql"),
            "then": {
                "description": "an operation of a SQL connector has a \"query\"",
                "properties": {
                    "operations": { "items": { "required": ["query"] } }
                }
            }
        }),
    ];
    rules.extend(AuthMethod::ALL.iter().map(|method| {
        let method = method.as_str();
        json!({
            "if": is("authMethod", method),
            "then": {
                "description": format!("must contain the \"authMethod\", which is {method:?}"),
                "properties": { "supportedAuthMethods": { "contains": { "const": method } } }
            }
        })
    }));
    rules.into()
}
