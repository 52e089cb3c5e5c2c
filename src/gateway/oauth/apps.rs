//! OAuth2 apps, for admins: set, listed with masks, deleted; their secrets are never read back.

use std::collections::BTreeMap;

use portcullis_runtime::manifest::name::Slug;
use serde_json::json;

use super::super::connections::GivenCredential;
use super::super::keys::require_admin;
use super::super::secrets::mask;
use super::super::{Gateway, GatewayError};
use super::client::{oauth2_config, unconfigured};
use crate::identity::{Identity, ProjectId};
use crate::store::connections::FieldContent;
use crate::store::oauth_apps::{AppText, OAuthApp, TokenAuth};
use crate::time::Timestamp;
use crate::vault::{Binding, VaultError};

/// The app that is taken where several could be and none is named.
const DEFAULT: &str = "default";
/// The most bytes of a client's id or secret.
const MAX_TEXT: usize = 8192;
/// The most parameters that an app adds to authorization requests, and how long each may be, in bytes.
const MAX_PARAMS: usize = 20;
const MAX_PARAM: usize = 2000;
/// The parameters of an authorization request that are the gateway's own.
pub(super) const OWN_PARAMS: [&str; 12] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// An app as it is given.
pub(crate) struct NewApp {
    pub(crate) client_id: GivenCredential,
    pub(crate) client_secret: Option<GivenCredential>,
    /// If absent: basic where there is a secret, otherwise none.
    pub(crate) token_auth: Option<TokenAuth>,
    pub(crate) authorize_params: BTreeMap<String, String>,
}

impl Gateway {
    /// An integration's apps, by name.
    pub(crate) async fn oauth_apps(
        &self,
        identity: &Identity,
        integration: &str,
    ) -> Result<Vec<OAuthApp>, GatewayError> {
        require_admin(identity)?;
        let slug = self.app_owner(identity.project, integration).await?;
        Ok(self.inner.store.oauth_apps(identity.project, slug.as_str()).await?)
    }

    /// One of them.
    pub(crate) async fn oauth_app(
        &self,
        identity: &Identity,
        integration: &str,
        name: &str,
    ) -> Result<OAuthApp, GatewayError> {
        require_admin(identity)?;
        let app = self.inner.store.oauth_app(identity.project, integration, name).await?;
        app.ok_or_else(|| no_app(integration, name))
    }

    /// Sets an app; whether it is new. Connections that were made with it use it as it is now, from their next refresh on.
    pub(crate) async fn put_oauth_app(
        &self,
        identity: &Identity,
        integration: &str,
        name: &str,
        new: NewApp,
    ) -> Result<(OAuthApp, bool), GatewayError> {
        require_admin(identity)?;
        let served = self.served(identity.project, integration).await?;
        oauth2_config(served.connector.manifest())?;
        let integration = Slug::parse(integration)
            .map_err(|_| GatewayError::NotFound(format!("integration {integration}")))?;
        check_name(name)?;
        let token_auth = check(&new)?;
        for (place, given) in
            [("client_id", Some(&new.client_id)), ("client_secret", new.client_secret.as_ref())]
        {
            let Some(given) = given else { continue };
            if self.given_value(identity.project, given).await?.is_none() {
                return Err(invalid(format!("{place} names a workspace secret that there isn't")));
            }
        }
        let now = Timestamp::now();
        let (store, vault) = (&self.inner.store, &self.inner.vault);
        let seal = || {
            Ok::<_, VaultError>(OAuthApp {
                project: identity.project,
                integration: integration.clone(),
                name: name.to_owned(),
                client_id: match &new.client_id {
                    GivenCredential::Value(text) => AppText::Plain(text.trim().to_owned()),
                    GivenCredential::Secret { secret } => AppText::Secret(secret.clone()),
                },
                client_secret: match &new.client_secret {
                    None => None,
                    Some(GivenCredential::Secret { secret }) => Some(FieldContent::Secret(secret.clone())),
                    Some(GivenCredential::Value(value)) => {
                        let binding = Binding::oauth_app(identity.project, integration.as_str(), name);
                        Some(FieldContent::Sealed(vault.seal(&binding, value.as_bytes())?))
                    }
                },
                mask: match &new.client_secret {
                    Some(GivenCredential::Value(value)) => Some(mask(value)),
                    _ => None,
                },
                token_auth,
                authorize_params: new.authorize_params.clone(),
                created_at: now,
                updated_at: now,
            })
        };
        vault.sealed_write(store, seal, async |app| store.put_oauth_app(&app).await).await
    }

    /// Deletes an app that no connection's tokens came of; a conflict that names the connections otherwise.
    pub(crate) async fn delete_oauth_app(
        &self,
        identity: &Identity,
        integration: &str,
        name: &str,
    ) -> Result<(), GatewayError> {
        require_admin(identity)?;
        let store = &self.inner.store;
        let connections = store.connections_of_app(identity.project, integration, name).await?;
        if !connections.is_empty() {
            return Err(GatewayError::Conflict {
                code: "OAUTH_APP_IN_USE",
                message: format!(
                    "connections were made with the OAuth2 app {name:?} of {integration}: {}. Delete those first",
                    connections.join(", ")
                ),
                details: Some(json!({"connections": connections})),
            });
        }
        match store.delete_oauth_app(identity.project, integration, name).await? {
            true => Ok(()),
            false => Err(no_app(integration, name)),
        }
    }

    /// The app that a connection is made with: the one that is named, the only one, or of several the one called `default`.
    pub(in crate::gateway) async fn chosen_app(
        &self,
        project: ProjectId,
        integration: &str,
        name: Option<&str>,
    ) -> Result<OAuthApp, GatewayError> {
        let mut apps = self.inner.store.oauth_apps(project, integration).await?;
        let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
        let index = match (name, names.as_slice()) {
            (Some(name), _) => names.iter().position(|own| *own == name),
            (None, [_]) => Some(0),
            (None, _) => names.iter().position(|own| *own == DEFAULT),
        };
        let listed = names.join(", ");
        match (index, name) {
            (Some(index), _) => Ok(apps.swap_remove(index)),
            (None, _) if apps.is_empty() => Err(unconfigured(format!(
                "there is no OAuth2 app for {integration}: an admin must set one up first, with PUT \
                 /api/integrations/{integration}/oauth-apps/default"
            ))),
            (None, Some(name)) => {
                Err(invalid(format!("{integration} has no OAuth2 app {name:?}, only: {listed}")))
            }
            (None, None) => Err(invalid(format!(
                "{integration} has several OAuth2 apps; name one as oauth_app: {listed}"
            ))),
        }
    }

    async fn app_owner(&self, project: ProjectId, integration: &str) -> Result<Slug, GatewayError> {
        let found = self.inner.registry.integration(project, integration).await?;
        let found = found.ok_or_else(|| GatewayError::NotFound(format!("integration {integration}")))?;
        Ok(found.slug.clone())
    }
}

fn no_app(integration: &str, name: &str) -> GatewayError {
    GatewayError::NotFound(format!("OAuth2 app {name:?} of {integration}"))
}

fn invalid(message: String) -> GatewayError {
    GatewayError::Unprocessable { code: "VALIDATION_FAILED", message, details: None }
}

fn check_name(name: &str) -> Result<(), GatewayError> {
    match Slug::parse(name) {
        Ok(_) => Ok(()),
        Err(error) => Err(GatewayError::Invalid {
            code: "INVALID_REQUEST",
            message: format!("an app's name {error}"),
            details: None,
        }),
    }
}

/// How the client proves which one it is.
fn check(new: &NewApp) -> Result<TokenAuth, GatewayError> {
    for (place, given) in [("client_id", Some(&new.client_id)), ("client_secret", new.client_secret.as_ref())]
    {
        let Some(GivenCredential::Value(text)) = given else { continue };
        if text.trim().is_empty() {
            return Err(invalid(format!("the {place} is empty")));
        }
        if text.len() > MAX_TEXT {
            return Err(invalid(format!("the {place} is longer than {MAX_TEXT} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(invalid(format!("the {place} holds a control character")));
        }
    }
    check_params(&new.authorize_params)?;
    let usual = if new.client_secret.is_some() { TokenAuth::Basic } else { TokenAuth::None };
    match (new.token_auth.unwrap_or(usual), new.client_secret.is_some()) {
        (TokenAuth::None, true) => {
            Err(invalid("a client with token_endpoint_auth none has no client_secret".to_owned()))
        }
        (TokenAuth::Basic | TokenAuth::Post, false) => Err(invalid(
            "the client_secret is missing; a public client has token_endpoint_auth none".to_owned(),
        )),
        (token_auth, _) => Ok(token_auth),
    }
}

fn check_params(params: &BTreeMap<String, String>) -> Result<(), GatewayError> {
    if params.len() > MAX_PARAMS {
        return Err(invalid(format!("authorize_params has more than {MAX_PARAMS} parameters")));
    }
    for (name, value) in params {
        let shown: String = name.chars().take(100).collect();
        if OWN_PARAMS.iter().any(|own| own.eq_ignore_ascii_case(name.trim())) {
            return Err(invalid(format!(
                "authorize_params can't hold {shown:?}: the gateway sets that parameter itself"
            )));
        }
        if name.trim().is_empty() || name.len() + value.len() > MAX_PARAM {
            return Err(invalid(format!(
                "authorize_params: {shown:?} must have a name, and at most {MAX_PARAM} bytes with its value"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn value(text: &str) -> GivenCredential {
        GivenCredential::Value(Zeroizing::new(text.to_owned()))
    }

    fn app(secret: Option<&str>, token_auth: Option<TokenAuth>, params: &[(&str, &str)]) -> NewApp {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        NewApp {
            client_id: value("id"),
            client_secret: secret.map(value),
            token_auth,
            authorize_params: params.collect(),
        }
    }

    #[test]
    fn a_client_proves_itself_by_its_secret_if_it_has_one() {
        use TokenAuth::{Basic, None as Public, Post};
        for (secret, given, expected) in [
            (Some("s"), None, Some(Basic)),
            (Some("s"), Some(Post), Some(Post)),
            (Some("s"), Some(Public), None),
            (None, None, Some(Public)),
            (None, Some(Public), Some(Public)),
            (None, Some(Basic), None),
            (Some(" "), None, None),
            (Some("a\nb"), None, None),
        ] {
            assert_eq!(check(&app(secret, given, &[])).ok(), expected, "{secret:?} {given:?}");
        }
    }

    #[test]
    fn parameters_of_ours_cant_be_replaced() {
        for name in OWN_PARAMS.iter().copied().chain(["State", " scope", "", " "]) {
            assert!(check(&app(None, None, &[(name, "x")])).is_err(), "{name}");
        }
        assert!(check(&app(None, None, &[("access_type", "offline"), ("prompt", "consent")])).is_ok());
    }
}
