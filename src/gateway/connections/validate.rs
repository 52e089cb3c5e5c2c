//! What a connection must be like: everything that is wrong with one is found, and reported together.

use std::collections::BTreeMap;

use portcullis_runtime::manifest::host::HostFillError;
use portcullis_runtime::manifest::{AuthMethod, Engine, Kind, Manifest};
use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::super::credentials::{ACCESS_TOKEN, BASIC_AUTH, Opened, is_token, missing_of};
use super::super::names::PROVIDER;
use super::super::{GatewayConfig, GatewayError};
use super::{GivenCredential, NewConnection, mode_name};

/// The largest config, in bytes of its JSON.
const MAX_CONFIG: usize = 64 * 1024;
/// The largest credential, in bytes.
const MAX_CREDENTIAL: usize = 64 * 1024;
/// The longest name, in characters.
const MAX_NAME: usize = 200;
/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 2000;

/// The most scopes of a connection, and the longest, in bytes.
const MAX_SCOPES: usize = 100;
const MAX_SCOPE: usize = 500;

/// Something wrong with a connection. No message repeats a credential's value.
#[derive(Debug, PartialEq, Serialize)]
struct Problem {
    /// A JSON pointer into the request's body.
    path: String,
    message: String,
}

/// Everything that is wrong with a connection.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one, at the place that these keys lead to.
    pub(super) fn push(&mut self, path: &[&str], message: impl Into<String>) {
        let escaped = |key: &&str| format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        self.0.push(Problem { path: path.iter().map(escaped).collect(), message: message.into() });
    }

    /// An error with all of them, if there are any.
    pub(super) fn into_result(self) -> Result<(), GatewayError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let messages: Vec<&str> = self.0.iter().map(|problem| problem.message.as_str()).collect();
        Err(GatewayError::Unprocessable {
            code: "VALIDATION_FAILED",
            message: format!("the connection isn't valid: {}", messages.join("; ")),
            details: Some(json!({"problems": self.0})),
        })
    }

    /// The provider, where one is given: there is one alone.
    pub(super) fn provider(&mut self, provider: Option<&str>) {
        if provider.is_some_and(|provider| provider != PROVIDER) {
            self.push(
                &["provider"],
                format!("the provider of connections is {PROVIDER:?}: give that, or none"),
            );
        }
    }

    /// Whether the connector can be connected in this way.
    pub(super) fn mode(&mut self, manifest: &Manifest, mode: AuthMethod) {
        if !manifest.supported_auth_methods.contains(&mode) {
            let supported: Vec<&str> =
                manifest.supported_auth_methods.iter().copied().map(mode_name).collect();
            let (mode, supported) = (mode_name(mode), supported.join(", "));
            self.push(
                &["mode"],
                format!("the integration doesn't support the mode {mode}, only: {supported}"),
            );
        }
    }

    /// 1 to 200 characters on one line.
    pub(super) fn name(&mut self, name: &str) {
        if name.trim().is_empty() {
            self.push(&["name"], "the name is empty");
        }
        if name.chars().count() > MAX_NAME {
            self.push(&["name"], format!("the name is longer than {MAX_NAME} characters"));
        }
        if name.chars().any(char::is_control) {
            self.push(&["name"], "the name holds a control character");
        }
    }

    /// Up to 2000 characters.
    pub(super) fn description(&mut self, description: &str) {
        if description.chars().count() > MAX_DESCRIPTION {
            let message = format!("the description is longer than {MAX_DESCRIPTION} characters");
            self.push(&["description"], message);
        }
        if description.contains('\0') {
            self.push(&["description"], "the description holds a NUL character");
        }
    }

    /// Where a browser can be sent after a consent: to the origins that the operator allows.
    pub(super) fn callback(&mut self, config: &GatewayConfig, text: &str) {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(url) = url else {
            return self.push(&["callback_url"], "callback_url is no absolute http or https URL");
        };
        if !url.username().is_empty() || url.password().is_some() {
            return self.push(&["callback_url"], "callback_url can't hold a user name or password");
        }
        let origin = url.origin().ascii_serialization();
        if !config.callback_origins.contains(&origin) {
            let message = format!(
                "callback_url is at {origin}, where this server sends nobody: its operator allows it with \
                 --callback-origin {origin}"
            );
            self.push(&["callback_url"], message);
        }
    }

    /// What belongs to a consent.
    pub(super) fn oauth(&mut self, new: &NewConnection) {
        if new.mode != AuthMethod::OAuth2 {
            for (key, is_given) in [("oauth_app", new.oauth_app.is_some()), ("scopes", new.scopes.is_some())]
            {
                if is_given {
                    self.push(&[key], format!("{key} goes with the mode oauth alone"));
                }
            }
        }
        let scopes = new.scopes.as_deref().unwrap_or_default();
        if scopes.len() > MAX_SCOPES {
            self.push(&["scopes"], format!("there are more than {MAX_SCOPES} scopes"));
        }
        let is_scope = |scope: &String| {
            let is_plain = |c: char| !c.is_whitespace() && !c.is_control();
            (1..=MAX_SCOPE).contains(&scope.len()) && scope.chars().all(is_plain)
        };
        if let Some(index) = scopes.iter().position(|scope| !is_scope(scope)) {
            let message = format!("a scope is a word of 1 to {MAX_SCOPE} bytes, without white space");
            self.push(&["scopes", &index.to_string()], message);
        }
    }

    /// Credentials as they are given: known to the connector, not empty, not too large.
    pub(super) fn credentials(
        &mut self,
        manifest: &Manifest,
        credentials: &BTreeMap<String, GivenCredential>,
    ) {
        let known = known_credentials(manifest);
        for (key, given) in credentials {
            if !known.contains(&key.as_str()) {
                self.push(&["credentials", key], unknown_credential(key, &known));
            }
            let GivenCredential::Value(value) = given else { continue };
            if value.trim().is_empty() {
                self.push(&["credentials", key], format!("the credential {} is empty", quoted(key)));
            }
            if value.len() > MAX_CREDENTIAL {
                let message =
                    format!("the credential {} is larger than {} KiB", quoted(key), MAX_CREDENTIAL / 1024);
                self.push(&["credentials", key], message);
            }
        }
    }

    /// A config as it is given.
    pub(super) fn config(&mut self, config: &Map<String, Value>) {
        let size =
            serde_json::to_string(config).map_or(usize::MAX, |json| zeroize::Zeroizing::new(json).len());
        if size > MAX_CONFIG {
            self.push(&["config"], format!("the config is larger than {} KiB as JSON", MAX_CONFIG / 1024));
        }
        for (key, unit) in [("timeout", "milliseconds"), ("rateLimit", "requests a minute")] {
            if config.get(key).is_some_and(|value| !is_positive(value)) {
                let message = format!("the config's {key:?} must be a positive whole number of {unit}");
                self.push(&["config", key], message);
            }
        }
    }

    /// Credentials that a connection of this mode needs and hasn't. What was given, and found wrong, isn't missing as well.
    pub(super) fn missing(
        &mut self,
        manifest: &Manifest,
        mode: AuthMethod,
        opened: &Opened,
        given: Option<&BTreeMap<String, GivenCredential>>,
    ) {
        for key in missing_of(manifest, mode, opened) {
            if !given.is_some_and(|given| given.contains_key(&key)) {
                self.push(&["credentials", &key], format!("the credential {key:?} is missing"));
            }
        }
    }

    /// What a connector of this kind and with these hosts needs to find in its config.
    pub(super) fn settings(&mut self, manifest: &Manifest, opened: &Opened) {
        self.database(manifest, opened);
        self.hosts(manifest, opened);
    }

    /// The settings without which no database is found.
    fn database(&mut self, manifest: &Manifest, opened: &Opened) {
        let Kind::Sql(sql) = &manifest.kind else { return };
        let needed: &[&str] =
            if sql.engine == Engine::Sqlite { &["database"] } else { &["server", "database"] };
        for key in needed {
            if config_string(manifest, opened, key).is_none_or(|value| value.trim().is_empty()) {
                self.push(&["config", key], format!("the config's {key:?} is missing: a string"));
            }
        }
    }

    /// The values that entries of `allowedHosts` are filled with.
    fn hosts(&mut self, manifest: &Manifest, opened: &Opened) {
        let value = |key: &str| config_string(manifest, opened, key).map(str::to_owned);
        let mut absent = Vec::new();
        for pattern in &manifest.allowed_hosts {
            let before = absent.len();
            for key in pattern.keys() {
                if value(key).is_none_or(|value| value.is_empty()) && !absent.contains(&key) {
                    absent.push(key);
                    let message = format!(
                        "the config's {key:?} is missing: a string, which fills the allowedHosts entry {:?}",
                        pattern.as_str()
                    );
                    self.push(&["config", key], message);
                }
            }
            if let (true, Err(HostFillError::Invalid { source, .. }), Some(key)) =
                (absent.len() == before, pattern.fill(value), pattern.keys().next())
            {
                let (pattern, reason) = (pattern.as_str(), source.reason());
                let message =
                    format!("the config's {key:?} doesn't fit the allowedHosts entry {pattern:?}: {reason}");
                self.push(&["config", key], message);
            }
        }
    }
}

/// What a connector reads under a key of the config: the connection's string, or the manifest's.
fn config_string<'a>(manifest: &'a Manifest, opened: &'a Opened, key: &str) -> Option<&'a str> {
    let own = opened.config.get(key).and_then(Value::as_str);
    own.or_else(|| manifest.connection_config.get(key)?.as_str())
}

/// As the runtime reads `timeout`: forms send numbers as text.
fn is_positive(value: &Value) -> bool {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.is_some_and(|number| (1..=u64::from(u32::MAX)).contains(&number))
}

/// The credential keys that a connector takes, in the manifest's order.
fn known_credentials(manifest: &Manifest) -> Vec<&str> {
    let takes = |is_one: fn(AuthMethod) -> bool| manifest.supported_auth_methods.iter().copied().any(is_one);
    let is_sql = matches!(manifest.kind, Kind::Sql(_));
    let basic_auth: &[&str] =
        if is_sql || takes(|method| method == AuthMethod::BasicAuth) { &BASIC_AUTH } else { &[] };
    let token: &[&str] = if takes(is_token) { &[ACCESS_TOKEN] } else { &[] };
    let mut known: Vec<&str> = manifest.secret_bindings.iter().map(String::as_str).collect();
    for key in basic_auth.iter().chain(token) {
        if !known.contains(key) {
            known.push(key);
        }
    }
    known
}

fn unknown_credential(key: &str, known: &[&str]) -> String {
    let key_shown = quoted(key);
    let hint = nearest(key, known).map_or(String::new(), |nearest| format!(" (did you mean {nearest:?}?)"));
    match known {
        [] => format!("the integration takes no credential {key_shown}, nor any other"),
        known => format!("the integration takes no credential {key_shown}{hint}, only: {}", known.join(", ")),
    }
}

/// The key that was probably meant: the same but for case and separators, or a few typing errors away.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if key.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let meant = plain(key);
    let n_typos = (meant.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&meant, &plain(candidate)), *candidate))
        .filter(|(distance, candidate)| *distance <= n_typos && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A key in quotes, cut to a length that fits a message.
fn quoted(key: &str) -> String {
    const SHOWN: usize = 60;
    match key.char_indices().nth(SHOWN) {
        None => format!("{key:?}"),
        Some((end, _)) => format!("{:?}", format!("{}…", &key[..end])),
    }
}

#[cfg(test)]
mod tests;
