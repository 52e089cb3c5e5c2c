//! From config.json as written to the manifest as meant, with the checks that no schema can make.
//!
//! What a schema can check was checked, and taken out where it was wrong: here a missing part is no error of its own.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Map, Value, json};
use url::Url;

use super::diagnostics::{Finding, Sink};
use super::host::HostPattern;
use super::name::OperationName;
use super::query::query;
use super::raw::{
    ConnectionConfig, RawCapabilities, RawExposeAsCapability, RawKind, RawManifest, RawOAuth2Config,
    RawOperation, RawSqlConnectionConfig,
};
use super::schema::PatternBudget;
use super::words::{join, quote};
use super::{
    AuthMethod, Capabilities, Engine, ExposeAsCapability, Kind, Manifest, OAuth2Config, Operation,
    ParametersSchema, SqlConfig, cron,
};

/// The most rows of a result where the manifest names no number.
const MAX_RESULT_ROWS: u64 = 10_000;

/// How long a query may run where the manifest names no time.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Resolves a manifest, reporting all that is wrong with it. None only if something was reported, here or before.
pub(crate) fn resolve(raw: RawManifest, sink: &mut Sink<'_>) -> Option<Manifest> {
    let is_sql = raw.kind == Some(RawKind::Sql);
    warn_misplaced(&raw, is_sql, sink);
    let secret_bindings = unique(raw.secret_bindings, "/secretBindings", sink);
    let allowed_hosts = hosts(raw.allowed_hosts, sink);
    let engine = raw.sql_connection_config.as_ref().and_then(|config| config.engine);
    let operations = operations(raw.operations, raw.sql_operations, is_sql.then_some(engine), sink);
    let oauth2 = raw.oauth2_config.and_then(|oauth2| oauth2_config(oauth2, sink));
    let capabilities = capabilities(raw.capabilities.unwrap_or_default(), sink);
    let connection_config = raw.connection_config.unwrap_or_default();
    let ConnectionConfig { timeout, rate_limit, .. } = known_config(&connection_config, sink)?;
    let kind = if is_sql { Kind::Sql(sql_config(raw.sql_connection_config?)?) } else { Kind::Rest };
    let auth_method = raw.auth_method?;
    Some(Manifest {
        title: raw.title?,
        description: raw.description,
        version: raw.version.unwrap_or(1),
        kind,
        auth_method,
        supported_auth_methods: supported(auth_method, raw.supported_auth_methods, sink),
        secret_bindings,
        allowed_hosts,
        operations,
        oauth2,
        connection_config,
        timeout: timeout.map(milliseconds),
        rate_limit,
        capabilities,
        expose_as_capability: raw.expose_as_capability.and_then(expose_as_capability),
        setup_guide: raw.setup_guide,
        metadata: raw.metadata.unwrap_or_default(),
    })
}

/// Parts that the connector's type makes no use of.
fn warn_misplaced(raw: &RawManifest, is_sql: bool, sink: &mut Sink<'_>) {
    if is_sql {
        return;
    }
    let to_use = "a SQL connector says \"type\": \"sql\"";
    if raw.sql_connection_config.is_some() {
        let message = "is ignored: the connector's type is rest_api";
        sink.push_at_key(Finding::warning("/sqlConnectionConfig", message).help(to_use));
    }
    if raw.sql_operations.is_some() {
        let message = "is ignored: the connector's type is rest_api";
        sink.push_at_key(Finding::warning("/sqlOperations", message).help(to_use));
    }
    if raw.operations.as_ref().is_none_or(Vec::is_empty) && !sink.has_error_at("/operations") {
        let pointer = if raw.operations.is_some() { "/operations" } else { "" };
        sink.push(Finding::warning(pointer, "the connector has no operations, so nothing can be called"));
    }
}

/// The strings of a list, each once.
fn unique(raw: Option<Vec<Option<String>>>, pointer: &str, sink: &mut Sink<'_>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut strings = Vec::new();
    for (index, string) in present(raw) {
        if seen.insert(string.clone()) {
            strings.push(string);
        } else {
            let message = format!("{} is listed twice", quote(&string));
            sink.push(Finding::warning(join(pointer, &index.to_string()), message));
        }
    }
    strings
}

/// The elements that weren't taken out, with the places that they have in the file.
fn present<T>(raw: Option<Vec<Option<T>>>) -> impl Iterator<Item = (usize, T)> {
    raw.unwrap_or_default().into_iter().enumerate().filter_map(|(index, element)| Some((index, element?)))
}

fn hosts(raw: Option<Vec<Option<String>>>, sink: &mut Sink<'_>) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    for (index, entry) in present(raw) {
        match HostPattern::parse(&entry) {
            Ok(host) => hosts.push(host),
            Err(error) => {
                let message = format!("{} is no host: {}", quote(&entry), error.reason());
                sink.push(Finding::error(format!("/allowedHosts/{index}"), message));
            }
        }
    }
    hosts
}

fn supported(
    auth_method: AuthMethod,
    raw: Option<Vec<Option<AuthMethod>>>,
    sink: &mut Sink<'_>,
) -> Vec<AuthMethod> {
    let Some(raw) = raw else { return vec![auth_method] };
    let mut methods = Vec::new();
    for (index, method) in present(Some(raw)) {
        if methods.contains(&method) {
            let message = format!("{} is listed twice", quote(method.as_str()));
            sink.push(Finding::warning(format!("/supportedAuthMethods/{index}"), message));
        } else {
            methods.push(method);
        }
    }
    methods
}

/// `sql` is there for a SQL connector, with its engine if that is known.
fn operations(
    raw: Option<Vec<Option<RawOperation>>>,
    raw_sql: Option<Vec<Option<RawOperation>>>,
    sql: Option<Option<Engine>>,
    sink: &mut Sink<'_>,
) -> Vec<Operation> {
    let is_sql = sql.is_some();
    let raw_sql = if is_sql { raw_sql } else { None };
    let listed = present(raw).map(|(index, operation)| (format!("/operations/{index}"), operation));
    let listed_sql =
        present(raw_sql).map(|(index, operation)| (format!("/sqlOperations/{index}"), operation));
    let mut budget = PatternBudget::default();
    let mut first_places = HashMap::new();
    let mut operations = Vec::new();
    for (pointer, raw) in listed_sql.chain(listed) {
        report_duplicate(&raw, &pointer, &mut first_places, sink);
        if raw.query.is_some() && !is_sql {
            let message = "is ignored: the connector's type is rest_api";
            sink.push_at_key(
                Finding::warning(join(&pointer, "query"), message)
                    .help("a SQL connector says \"type\": \"sql\""),
            );
        }
        operations.extend(operation(raw, &pointer, sql.flatten(), &mut budget, sink));
    }
    operations
}

fn report_duplicate(
    raw: &RawOperation,
    pointer: &str,
    first_places: &mut HashMap<String, String>,
    sink: &mut Sink<'_>,
) {
    let Some(name) = &raw.name else { return };
    if let Some(first) = first_places.get(name) {
        let message = format!("the name {} is already that of {first}", quote(name));
        sink.push(
            Finding::error(join(pointer, "name"), message).help("each operation needs a name of its own"),
        );
    } else {
        first_places.insert(name.clone(), pointer.to_owned());
    }
}

fn operation(
    raw: RawOperation,
    pointer: &str,
    engine: Option<Engine>,
    budget: &mut PatternBudget,
    sink: &mut Sink<'_>,
) -> Option<Operation> {
    let schema = raw.parameters_schema.unwrap_or_else(|| json!({}));
    let query = engine.zip(raw.query).and_then(|(engine, text)| query(engine, &text, &schema, pointer, sink));
    let (parameters, findings) = ParametersSchema::check(schema, budget);
    let at_schema = join(pointer, "parametersSchema");
    findings.into_iter().for_each(|finding| sink.push(finding.below(&at_schema)));
    let name = raw.name.and_then(|name| {
        OperationName::parse(&name)
            .map_err(|error| sink.push(Finding::error(join(pointer, "name"), error.to_string())))
            .ok()
    });
    Some(Operation {
        name: name?,
        title: raw.title,
        description: raw.description,
        operation_type: raw.operation_type.unwrap_or_default(),
        requires_approval: raw.requires_approval,
        required_scopes: unique(raw.required_scopes, &join(pointer, "requiredScopes"), sink),
        parameters: parameters?,
        query,
    })
}

fn oauth2_config(raw: RawOAuth2Config, sink: &mut Sink<'_>) -> Option<OAuth2Config> {
    let mut checked = |url: Option<String>, key: &str| {
        let url = url?;
        if let Err(message) = check_oauth2_url(&url) {
            sink.push(Finding::error(join("/oauth2Config", key), format!("{} {message}", quote(&url))));
        }
        Some(url)
    };
    let authorization_url = checked(raw.authorization_url, "authorizationUrl");
    let token_url = checked(raw.token_url, "tokenUrl");
    let revocation_url = checked(raw.revocation_url, "revocationUrl");
    let device_authorization_url = checked(raw.device_authorization_url, "deviceAuthorizationUrl");
    let issuer = checked(raw.issuer, "issuer");
    Some(OAuth2Config {
        grant_type: raw.grant_type.unwrap_or_default(),
        authorization_url,
        token_url: token_url?,
        revocation_url,
        device_authorization_url,
        issuer,
        scopes: unique(raw.scopes, "/oauth2Config/scopes", sink),
    })
}

/// A `{{key}}` is only known once there is a connection; a letter stands in for it.
fn check_oauth2_url(text: &str) -> Result<(), String> {
    let filled = with_stand_ins(text);
    let url = Url::parse(&filled).map_err(|error| format!("is not a URL: {error}"))?;
    // The URL standard forgives white space and missing slashes; a manifest should hold the URL as it is used.
    let as_written = filled.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
    if url.scheme() != "https" || !as_written || text.contains(char::is_whitespace) {
        return Err("must be an https URL, such as https://auth.example.com/authorize".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (the part from \"#\" on)".to_owned());
    }
    Ok(())
}

fn with_stand_ins(text: &str) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{")
        && let Some((_, after)) = after.split_once("}}")
    {
        filled.push_str(before);
        filled.push('x');
        rest = after;
    }
    filled + rest
}

fn sql_config(raw: RawSqlConnectionConfig) -> Option<SqlConfig> {
    let options = raw.options.unwrap_or_default();
    let security = raw.security.unwrap_or_default();
    Some(SqlConfig {
        engine: raw.engine?,
        read_only: raw.read_only.unwrap_or(false),
        encrypt: options.encrypt,
        trust_server_certificate: options.trust_server_certificate.unwrap_or(false),
        connection_timeout: options.connection_timeout.map(milliseconds),
        request_timeout: options.request_timeout.map(milliseconds),
        max_result_rows: security.max_result_rows.unwrap_or(MAX_RESULT_ROWS),
        query_timeout: security.query_timeout_ms.map_or(QUERY_TIMEOUT, milliseconds),
        max_connection_pool_size: security.max_connection_pool_size,
    })
}

/// A time too long to be held is held as the longest: the operator's maximum bounds it anyway.
fn milliseconds(amount: f64) -> Duration {
    Duration::try_from_secs_f64(amount / 1000.0).unwrap_or(Duration::MAX)
}

/// The keys of the config that mean something here. The free ones were only checked to be in an object.
fn known_config(config: &Map<String, Value>, sink: &mut Sink<'_>) -> Option<ConnectionConfig> {
    serde_json::from_value(Value::Object(config.clone()))
        .map_err(|error| sink.push(Finding::error("/connectionConfig", format!("can't be read: {error}"))))
        .ok()
}

fn capabilities(raw: RawCapabilities, sink: &mut Sink<'_>) -> Capabilities {
    if let Some(schedule) = &raw.sync_frequency
        && let Err(message) = cron::check(schedule)
    {
        sink.push(Finding::error("/capabilities/syncFrequency", message));
    }
    Capabilities {
        can_sync: raw.can_sync.unwrap_or(false),
        can_push: raw.can_push.unwrap_or(false),
        can_webhook: raw.can_webhook.unwrap_or(false),
        sync_frequency: raw.sync_frequency,
    }
}

fn expose_as_capability(raw: RawExposeAsCapability) -> Option<ExposeAsCapability> {
    Some(ExposeAsCapability { label: raw.label?, icon: raw.icon, tooltip: raw.tooltip, order: raw.order })
}
