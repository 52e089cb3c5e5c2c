//! What every exchange with an authorization server needs: the client, the endpoint, and the tokens as they are stored.

use portcullis_runtime::manifest::{Manifest, OAuth2Config};
use serde_json::{Map, Value};
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::super::credentials::{Opened, text};
use super::super::{Gateway, GatewayError};
use crate::identity::ProjectId;
use crate::oauth::endpoint::{ClientAuth, OAuthClient, TokenError};
use crate::store::connections::{
    ACCESS_TOKEN_FIELD, Connection, FieldContent, FieldKind, REFRESH_TOKEN_FIELD, StoredField,
};
use crate::store::oauth_apps::{AppText, OAuthApp, TokenAuth};
use crate::vault::{Binding, VaultError};

/// The credentials of a connection that is a client of its own, in both spellings.
const CLIENT_ID: [&str; 2] = ["client_id", "clientId"];
const CLIENT_SECRET: [&str; 2] = ["client_secret", "clientSecret"];

impl Gateway {
    /// The client that tokens are asked for as: the integration's app of this name, or where none is named, the connection's
    /// own credentials.
    pub(in crate::gateway) async fn oauth_client(
        &self,
        project: ProjectId,
        integration: &str,
        app: Option<&str>,
        opened: &Opened,
    ) -> Result<OAuthClient, GatewayError> {
        let Some(name) = app else { return own_client(opened) };
        let app = self.inner.store.oauth_app(project, integration, name).await?;
        let app = app.ok_or_else(|| {
            unconfigured(format!("the OAuth2 app {name:?} of {integration} is gone: set it up again"))
        })?;
        self.open_app(&app).await
    }

    /// The client that an app stands for; without one, the connection's own credentials.
    pub(super) async fn client_for(
        &self,
        app: Option<&OAuthApp>,
        opened: &Opened,
    ) -> Result<OAuthClient, GatewayError> {
        match app {
            Some(app) => self.open_app(app).await,
            None => own_client(opened),
        }
    }

    /// An app as the client that it stands for.
    pub(in crate::gateway) async fn open_app(&self, app: &OAuthApp) -> Result<OAuthClient, GatewayError> {
        let secret = async |name: &str| match self.open_secret(app.project, name).await? {
            Some(value) => Ok(Zeroizing::new(text(&value, "secret")?)),
            None => Err(unconfigured(format!(
                "the OAuth2 app {:?} of {} reads the workspace secret {name:?}, which is gone",
                app.name, app.integration
            ))),
        };
        let client_id = match &app.client_id {
            AppText::Plain(id) => id.clone(),
            AppText::Secret(name) => secret(name).await?.to_string(),
        };
        let client_secret = match &app.client_secret {
            None => None,
            Some(FieldContent::Secret(name)) => Some(secret(name).await?),
            Some(FieldContent::Sealed(sealed)) => {
                let binding = Binding::oauth_app(app.project, app.integration.as_str(), &app.name);
                Some(Zeroizing::new(text(&self.inner.vault.open(&binding, sealed)?, binding.kind)?))
            }
        };
        let auth = match app.token_auth {
            TokenAuth::Basic => ClientAuth::Basic,
            TokenAuth::Post => ClientAuth::Post,
            TokenAuth::None => ClientAuth::None,
        };
        Ok(OAuthClient { client_id, client_secret, auth })
    }

    /// Tokens as a connection's fields: all of those of the kind [`FieldKind::Token`].
    pub(in crate::gateway) fn seal_tokens(
        &self,
        project: ProjectId,
        connection: Uuid,
        access_token: &str,
        refresh_token: Option<&str>,
    ) -> Result<Vec<StoredField>, VaultError> {
        let owner = connection.to_string();
        let seal = |(field, token): (&str, &str)| {
            let sealed = self.inner.vault.seal(&token_binding(project, &owner, field), token.as_bytes())?;
            let content = FieldContent::Sealed(sealed);
            Ok(StoredField { kind: FieldKind::Token, field: field.to_owned(), content })
        };
        let refresh_token = refresh_token.map(|token| (REFRESH_TOKEN_FIELD, token));
        [(ACCESS_TOKEN_FIELD, access_token)].into_iter().chain(refresh_token).map(seal).collect()
    }

    /// One of a connection's tokens; none if it has none.
    pub(in crate::gateway) fn open_token(
        &self,
        connection: &Connection,
        fields: &[StoredField],
        name: &str,
    ) -> Result<Option<Zeroizing<String>>, VaultError> {
        let field = fields.iter().find(|field| field.kind == FieldKind::Token && field.field == name);
        let Some(StoredField { content: FieldContent::Sealed(sealed), .. }) = field else { return Ok(None) };
        let owner = connection.id.to_string();
        let value = self.inner.vault.open(&token_binding(connection.project, &owner, name), sealed)?;
        Ok(Some(Zeroizing::new(text(&value, FieldKind::Token.as_str())?)))
    }
}

fn token_binding<'a>(project: ProjectId, owner: &'a str, field: &'a str) -> Binding<'a> {
    Binding { project, kind: FieldKind::Token.as_str(), owner, field }
}

/// Whether a connection's own credentials are a client's.
pub(super) fn has_own_client(opened: &Opened) -> bool {
    credential(opened, CLIENT_ID).is_some()
}

fn credential<'o>(opened: &'o Opened, keys: [&str; 2]) -> Option<&'o String> {
    keys.iter().find_map(|key| opened.secrets.get(*key)).filter(|value| !value.is_empty())
}

fn own_client(opened: &Opened) -> Result<OAuthClient, GatewayError> {
    let client_id = credential(opened, CLIENT_ID).cloned().ok_or_else(|| {
        unconfigured("there is no OAuth2 app for the integration: an admin must set one up first".to_owned())
    })?;
    let client_secret = credential(opened, CLIENT_SECRET).map(|secret| Zeroizing::new(secret.clone()));
    let auth = if client_secret.is_some() { ClientAuth::Basic } else { ClientAuth::None };
    Ok(OAuthClient { client_id, client_secret, auth })
}

/// Where the manifest says that OAuth2 happens.
pub(in crate::gateway) fn oauth2_config(manifest: &Manifest) -> Result<&OAuth2Config, GatewayError> {
    manifest.oauth2.as_ref().ok_or_else(|| unconfigured("the integration no longer knows OAuth2".to_owned()))
}

/// An endpoint of the manifest's, its `{{key}}`s filled from the connection's config and the manifest's under it. A value may
/// be (part of) a host's name or a segment of a path; it can't turn the URL into another one.
pub(in crate::gateway) fn endpoint(
    pattern: &str,
    manifest: &Manifest,
    config: &Map<String, Value>,
) -> Result<Url, GatewayError> {
    let refused =
        |why: String| unconfigured(format!("the OAuth2 endpoint {pattern} can't be reached: {why}"));
    let (mut filled, mut rest) = (String::new(), pattern);
    while let Some((before, after)) = rest.split_once("{{") {
        let (key, after) = after.split_once("}}").ok_or_else(|| refused("a {{ has no end".to_owned()))?;
        let key = key.trim();
        let own = config.get(key).and_then(Value::as_str);
        let value = own.or_else(|| manifest.connection_config.get(key)?.as_str()).unwrap_or_default();
        // People paste URLs into forms.
        let value = value.trim().trim_start_matches("https://").trim_end_matches('/');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~' | ':');
        if value.is_empty() || !value.chars().all(is_plain) || matches!(value, "." | "..") {
            return Err(refused(format!(
                "the config's {key:?} must be a name made of letters, digits, . - and _"
            )));
        }
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    let url = Url::parse(&filled).map_err(|error| refused(error.to_string()))?;
    match url.scheme() {
        "https" if url.username().is_empty() && url.password().is_none() => Ok(url),
        _ => Err(refused("it isn't https".to_owned())),
    }
}

/// An authorization server that gave nothing.
pub(super) fn refused(what: &str, error: &TokenError) -> GatewayError {
    let message = format!("{what}: {error}");
    GatewayError::Unprocessable { code: "OAUTH_REFUSED", message, details: None }
}

/// An OAuth2 connection that can't be had with what the project has set up.
pub(in crate::gateway) fn unconfigured(message: String) -> GatewayError {
    GatewayError::Unprocessable { code: "OAUTH_NOT_CONFIGURED", message, details: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(pattern: &str, value: &str) -> Result<String, String> {
        let manifest = json!({
            "title": "T", "authMethod": "none", "operations": [{"name": "a"}], "connectionConfig": {"region": "eu"},
        });
        let (manifest, _) = Manifest::parse(&manifest.to_string()).expect("a manifest");
        let config = json!({"shop": value});
        let url = endpoint(pattern, &manifest, config.as_object().expect("an object"));
        url.map(String::from).map_err(|error| error.to_string())
    }

    #[test]
    fn an_endpoint_is_filled_from_both_configs() {
        let url = filled("https://{{shop}}.{{region}}.example/{{shop}}/token", "acme");
        assert_eq!(url.as_deref(), Ok("https://acme.eu.example/acme/token"));
        assert_eq!(
            filled("https://{{ shop }}/t", "https://git.acme.com:8443/").as_deref(),
            Ok("https://git.acme.com:8443/t")
        );
    }

    #[test]
    fn a_value_makes_no_other_url_of_an_endpoint() {
        for value in [
            "",
            "evil.com/",
            "evil.com/x",
            "a@evil.com",
            "evil.com#",
            "evil.com?",
            "a b",
            "..",
            "a\\b",
            "http://a",
        ] {
            let filled = filled("https://{{shop}}.example/token", value);
            // What is left of a URL that was pasted is a name.
            assert!(filled.is_err() || value == "evil.com/", "{value}: {filled:?}");
        }
        assert!(filled("https://{{shop}}.example/token", "a:b").is_err());
    }
}
