//! A connection's credentials: sealed for the store, opened for a call, and checked against what the connector reads.

use std::collections::BTreeMap;
use std::ops::Deref;

use portcullis_runtime::manifest::{AuthMethod, Engine, Kind, Manifest};
use portcullis_runtime::{Call, Cancellation, Connector};
use serde_json::{Map, Value};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use super::connections::GivenCredential;
use super::{Gateway, GatewayError};
use crate::identity::ProjectId;
use crate::store::StoreError;
use crate::store::connections::{ACCESS_TOKEN_FIELD, Connection, FieldContent, FieldKind, StoredField};
use crate::vault::{Binding, VaultError};

/// The key under which connectors find a token whatever their bindings are called.
pub(super) const ACCESS_TOKEN: &str = "accessToken";
/// The keys of basic authentication.
pub(super) const BASIC_AUTH: [&str; 2] = ["username", "password"];

/// A connection's opened credentials and config; wiped when dropped.
#[derive(Default)]
pub(crate) struct Opened {
    /// Values by key; references to workspace secrets are resolved.
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) config: Map<String, Value>,
}

impl Opened {
    /// The call of an operation (none: the test) with these values.
    pub(crate) fn into_call(
        mut self,
        operation: Option<String>,
        arguments: Value,
        cancellation: Cancellation,
    ) -> OpenedCall {
        let secrets = std::mem::take(&mut self.secrets);
        let config = std::mem::take(&mut self.config);
        OpenedCall(Call { operation, arguments, secrets, config, cancellation })
    }

    fn has_credential(&self, key: &str) -> bool {
        self.secrets.get(key).is_some_and(|value| !value.is_empty())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        wipe(&mut self.secrets, &mut self.config);
    }
}

/// A call that holds opened values; wiped when dropped, however the call ends.
pub(crate) struct OpenedCall(Call);

impl Deref for OpenedCall {
    type Target = Call;

    fn deref(&self) -> &Call {
        &self.0
    }
}

impl Drop for OpenedCall {
    fn drop(&mut self) {
        wipe(&mut self.0.secrets, &mut self.0.config);
    }
}

fn wipe(secrets: &mut BTreeMap<String, String>, config: &mut Map<String, Value>) {
    secrets.values_mut().for_each(Zeroize::zeroize);
    config.values_mut().for_each(wipe_value);
}

fn wipe_value(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe_value),
        Value::Object(members) => members.values_mut().for_each(wipe_value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Gateway {
    /// Opens a connection's credentials and config. A reference to a workspace secret that is gone is left out (and so
    /// missing, see [`missing`]).
    pub(crate) async fn open_credentials(&self, connection: &Connection) -> Result<Opened, GatewayError> {
        let fields = self.inner.store.connection_fields(connection.project, connection.id).await?;
        self.open_fields(connection, &fields).await
    }

    /// Opens these fields of a connection.
    pub(super) async fn open_fields(
        &self,
        connection: &Connection,
        fields: &[StoredField],
    ) -> Result<Opened, GatewayError> {
        let owner = connection.id.to_string();
        let mut opened = Opened::default();
        for StoredField { kind, field, content } in fields {
            // What gets new tokens is no connector's business.
            if *kind == FieldKind::Token && field != ACCESS_TOKEN_FIELD {
                continue;
            }
            let value = match content {
                FieldContent::Secret(name) => self.open_secret(connection.project, name).await?,
                FieldContent::Sealed(sealed) => {
                    let binding = field_binding(connection.project, *kind, &owner, field);
                    Some(self.inner.vault.open(&binding, sealed)?)
                }
            };
            let Some(value) = value else { continue };
            match kind {
                FieldKind::Credential => {
                    opened.secrets.insert(field.clone(), text(&value, kind.as_str())?);
                }
                FieldKind::Token => {
                    opened.secrets.insert(ACCESS_TOKEN.to_owned(), text(&value, kind.as_str())?);
                }
                FieldKind::Config => {
                    opened.config = serde_json::from_slice(&value)
                        .map_err(|_| StoreError::Damaged { what: format!("config of connection {owner}") })?;
                }
            }
        }
        Ok(opened)
    }

    /// A workspace secret's value; none if there is no such secret.
    pub(super) async fn open_secret(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, GatewayError> {
        let Some(sealed) = self.inner.store.secret(project, name).await? else { return Ok(None) };
        Ok(Some(self.inner.vault.open(&Binding::secret(project, name), &sealed)?))
    }

    /// The value of a credential as it was given; none if it names a workspace secret that there isn't.
    pub(super) async fn given_value(
        &self,
        project: ProjectId,
        given: &GivenCredential,
    ) -> Result<Option<String>, GatewayError> {
        match given {
            GivenCredential::Value(value) => Ok(Some(value.to_string())),
            // No secret's name holds such a character, and not every database takes it as a parameter.
            GivenCredential::Secret { secret } if secret.contains('\0') => Ok(None),
            GivenCredential::Secret { secret } => match self.open_secret(project, secret).await? {
                Some(value) => Ok(Some(text(&value, "secret")?)),
                None => Ok(None),
            },
        }
    }

    /// Given credentials, sealed for a connection; references stay references.
    pub(super) fn seal_credentials(
        &self,
        project: ProjectId,
        connection: Uuid,
        credentials: &BTreeMap<String, GivenCredential>,
    ) -> Result<Vec<StoredField>, VaultError> {
        let seal = |(key, given): (&String, &GivenCredential)| {
            let content = match given {
                GivenCredential::Secret { secret } => FieldContent::Secret(secret.clone()),
                GivenCredential::Value(value) => {
                    let owner = connection.to_string();
                    let binding = field_binding(project, FieldKind::Credential, &owner, key);
                    FieldContent::Sealed(self.inner.vault.seal(&binding, value.as_bytes())?)
                }
            };
            Ok(StoredField { kind: FieldKind::Credential, field: key.clone(), content })
        };
        credentials.iter().map(seal).collect()
    }

    /// A config, sealed for a connection; nothing is kept of an empty one.
    pub(super) fn seal_config(
        &self,
        project: ProjectId,
        connection: Uuid,
        config: &Map<String, Value>,
    ) -> Result<Option<StoredField>, VaultError> {
        if config.is_empty() {
            return Ok(None);
        }
        let json = Zeroizing::new(Value::Object(config.clone()).to_string());
        let owner = connection.to_string();
        let binding = field_binding(project, FieldKind::Config, &owner, "");
        let content = FieldContent::Sealed(self.inner.vault.seal(&binding, json.as_bytes())?);
        Ok(Some(StoredField { kind: FieldKind::Config, field: String::new(), content }))
    }
}

fn field_binding<'a>(project: ProjectId, kind: FieldKind, owner: &'a str, field: &'a str) -> Binding<'a> {
    Binding { project, kind: kind.as_str(), owner, field }
}

/// An opened value as text. Only text is ever sealed, so that anything else was changed.
pub(super) fn text(value: &[u8], kind: &str) -> Result<String, VaultError> {
    let text = std::str::from_utf8(value).map_err(|_| VaultError::Refused { kind: kind.to_owned() })?;
    Ok(text.to_owned())
}

/// The credential keys that a connection of this mode needs and that neither its credentials nor its config nor the
/// manifest's `connectionConfig` give, in the manifest's order.
pub(crate) fn missing(connector: &Connector, mode: AuthMethod, opened: &Opened) -> Vec<String> {
    missing_of(connector.manifest(), mode, opened)
}

/// As [`missing`], by the manifest.
pub(super) fn missing_of(manifest: &Manifest, mode: AuthMethod, opened: &Opened) -> Vec<String> {
    let is_held = |key: &str| {
        let is_in = |config: &Map<String, Value>| {
            config.get(key).and_then(Value::as_str).is_some_and(|value| !value.is_empty())
        };
        opened.has_credential(key) || is_in(&opened.config) || is_in(&manifest.connection_config)
    };
    // The first binding's credential and `accessToken` stand in for one another, as they do in a call.
    let first = manifest.secret_bindings.first().map(String::as_str);
    let has_token = is_token(mode_now(manifest, mode)) && opened.has_credential(ACCESS_TOKEN);
    required(manifest, mode)
        .into_iter()
        .filter(|key| !(is_held(key) || has_token && first == Some(*key)))
        .map(str::to_owned)
        .collect()
}

/// The credential keys that this mode needs, or where the connector doesn't support it any more, its usual mode. A
/// connector that takes basic authentication as well has `username` and `password` for that alone; a SQLite file has no
/// account.
fn required(manifest: &Manifest, mode: AuthMethod) -> Vec<&str> {
    let bindings = || manifest.secret_bindings.iter().map(String::as_str);
    let takes_basic_auth = manifest.supported_auth_methods.contains(&AuthMethod::BasicAuth);
    let first = bindings().next().unwrap_or(ACCESS_TOKEN);
    let mode = mode_now(manifest, mode);
    let mut required = match mode {
        AuthMethod::ApiKey | AuthMethod::BearerToken => {
            let others = bindings().skip(1).filter(|key| !(takes_basic_auth && BASIC_AUTH.contains(key)));
            std::iter::once(first).chain(others).collect()
        }
        AuthMethod::OAuth2 => vec![first],
        AuthMethod::BasicAuth => BASIC_AUTH.to_vec(),
        AuthMethod::None => Vec::new(),
    };
    if matches!(&manifest.kind, Kind::Sql(sql) if sql.engine == Engine::Sqlite) {
        required.retain(|key| !BASIC_AUTH.contains(key));
    }
    required
}

fn mode_now(manifest: &Manifest, mode: AuthMethod) -> AuthMethod {
    if manifest.supported_auth_methods.contains(&mode) { mode } else { manifest.auth_method }
}

/// Whether connections of this mode hold a key or a token.
pub(super) fn is_token(mode: AuthMethod) -> bool {
    matches!(mode, AuthMethod::ApiKey | AuthMethod::BearerToken | AuthMethod::OAuth2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(fields: Value) -> Manifest {
        let mut manifest = json!({"title": "T", "operations": [{"name": "a"}]});
        let given = fields.as_object().expect("an object").clone();
        manifest.as_object_mut().expect("an object").extend(given);
        Manifest::parse(&manifest.to_string()).unwrap_or_else(|errors| panic!("{:?}", errors.0)).0
    }

    fn opened(credentials: &[&str], config: Value) -> Opened {
        let secrets = credentials.iter().map(|key| ((*key).to_owned(), format!("value of {key}"))).collect();
        Opened { secrets, config: config.as_object().expect("an object").clone() }
    }

    #[track_caller]
    fn check(fields: Value, mode: AuthMethod, credentials: &[&str], config: Value, expected: &[&str]) {
        let missing = missing_of(&manifest(fields), mode, &opened(credentials, config));
        assert_eq!(missing, expected);
    }

    #[test]
    fn a_token_is_under_the_first_binding_or_access_token() {
        let two = || json!({"authMethod": "api_key", "secretBindings": ["key", "region"]});
        for (credentials, expected) in [
            (&[][..], &["key", "region"][..]),
            (&["key", "region"], &[]),
            (&["accessToken", "region"], &[]),
            (&["accessToken"], &["region"]),
            (&["region"], &["key"]),
        ] {
            check(two(), AuthMethod::ApiKey, credentials, json!({}), expected);
        }
        for mode in [AuthMethod::ApiKey, AuthMethod::BearerToken] {
            let none = || json!({"authMethod": mode});
            check(none(), mode, &[], json!({}), &["accessToken"]);
            check(none(), mode, &["accessToken"], json!({}), &[]);
        }
    }

    #[test]
    fn strings_of_either_config_count_but_not_empty_ones() {
        let fields = |config: Value| json!({"authMethod": "api_key", "secretBindings": ["key", "region"], "connectionConfig": config});
        check(fields(json!({"region": "eu"})), AuthMethod::ApiKey, &["key"], json!({}), &[]);
        check(fields(json!({"region": ""})), AuthMethod::ApiKey, &["key"], json!({}), &["region"]);
        check(fields(json!({})), AuthMethod::ApiKey, &["key"], json!({"region": "eu"}), &[]);
        check(fields(json!({})), AuthMethod::ApiKey, &["key"], json!({"region": 7}), &["region"]);
        // A call puts credentials in each other's place, not the config's strings.
        check(
            fields(json!({"region": "eu"})),
            AuthMethod::ApiKey,
            &[],
            json!({"accessToken": "x"}),
            &["key"],
        );
    }

    #[test]
    fn basic_authentication_has_two_keys_of_its_own() {
        let both = || {
            json!({
                "authMethod": "api_key", "supportedAuthMethods": ["api_key", "basic_auth"],
                "secretBindings": ["key", "username", "password", "region"],
            })
        };
        check(both(), AuthMethod::BasicAuth, &["username"], json!({}), &["password"]);
        check(both(), AuthMethod::BasicAuth, &["username", "password"], json!({}), &[]);
        check(both(), AuthMethod::ApiKey, &["key"], json!({}), &["region"]);
        let key_alone = json!({"authMethod": "api_key", "secretBindings": ["key", "password"]});
        check(key_alone, AuthMethod::ApiKey, &["key"], json!({}), &["password"]);
    }

    #[test]
    fn a_sqlite_file_has_no_account_and_no_authentication_needs_nothing() {
        let sql = |engine: &str| {
            json!({
                "type": "sql", "authMethod": "basic_auth", "sqlConnectionConfig": {"engine": engine},
                "operations": [{"name": "a", "query": "SELECT 1"}],
            })
        };
        check(sql("sqlite"), AuthMethod::BasicAuth, &[], json!({}), &[]);
        check(sql("postgres"), AuthMethod::BasicAuth, &[], json!({}), &["username", "password"]);
        check(json!({"authMethod": "none", "secretBindings": ["x"]}), AuthMethod::None, &[], json!({}), &[]);
    }

    #[test]
    fn a_mode_that_is_no_longer_supported_is_the_usual_one() {
        let fields = || json!({"authMethod": "api_key", "secretBindings": ["key"]});
        for mode in [AuthMethod::None, AuthMethod::BasicAuth] {
            check(fields(), mode, &["username", "password"], json!({}), &["key"]);
            check(fields(), mode, &["accessToken"], json!({}), &[]);
        }
    }

    #[test]
    fn what_is_wiped_holds_nothing() {
        let mut opened = opened(&["key"], json!({"a": "x", "b": [{"c": "y"}], "d": 1}));
        wipe(&mut opened.secrets, &mut opened.config);
        assert_eq!(opened.secrets["key"], "");
        assert_eq!(Value::Object(opened.config.clone()), json!({"a": "", "b": [{"c": ""}], "d": 1}));
    }
}
