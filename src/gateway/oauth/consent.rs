//! Consents: how one begins, for a new connection or for one that there is, and what its browser is sent to ask for.

use std::time::Duration;

use portcullis_runtime::manifest::Manifest;
use serde::{Deserialize, Serialize};
use url::{Url, form_urlencoded};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::super::credentials::Opened;
use super::super::{Gateway, GatewayError};
use super::apps::OWN_PARAMS;
use super::client::{endpoint, oauth2_config, unconfigured};
use super::reconnect::while_waiting;
use crate::identity::{Identity, UserName};
use crate::integrations::Served;
use crate::oauth::identity::Issuer;
use crate::oauth::{pkce, state};
use crate::store::connections::Connection;
use crate::store::oauth_apps::OAuthApp;
use crate::store::oauth_flows::{Flow, FlowKind};
use crate::time::Timestamp;
use crate::vault::{Binding, Sealed, VaultError};

/// How long a consent may take.
pub(in crate::gateway) const PATIENCE: Duration = Duration::from_secs(600);
/// What is said of a connection whose consent took longer.
pub(in crate::gateway) const LAPSED: &str = "consent was not given within 10 minutes: reconnect to try again";

/// A scope that asks for an id token.
const OPENID: &str = "openid";

/// What is secret about a consent, and what it began with: later changes of the manifest or the app aren't mixed in.
#[derive(Serialize, Deserialize)]
pub(super) struct FlowSecrets {
    pub(super) verifier: Zeroizing<String>,
    /// Of an id token, where one is asked for.
    pub(super) nonce: Option<String>,
    /// The page where access is granted, without a query of ours.
    authorization_url: String,
    /// The authorization request, without its state.
    parameters: Vec<(String, String)>,
    pub(super) client_id: String,
    pub(super) token_url: String,
    pub(super) issuer: Option<String>,
    /// What the consent brought, until somebody confirms that it may replace what is there.
    pub(super) pending: Option<Pending>,
}

/// Tokens and whose they are.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) access_token: Zeroizing<String>,
    pub(super) refresh_token: Option<Zeroizing<String>>,
    pub(super) expires_at: Option<i64>,
    pub(super) scopes: Vec<String>,
    pub(super) identity: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) obtained_at: i64,
}

impl FlowSecrets {
    /// Where the browser asks for access.
    pub(super) fn authorization_request(&self, state: &str) -> Result<Url, GatewayError> {
        let mut url = Url::parse(&self.authorization_url).map_err(|error| unconfigured(error.to_string()))?;
        url.query_pairs_mut().extend_pairs(&self.parameters).append_pair("state", state);
        Ok(url)
    }

    /// Who issues the id token.
    pub(super) fn id_token_issuer(&self) -> Issuer<'_> {
        match &self.issuer {
            Some(issuer) => Issuer::Named(issuer),
            None => Issuer::At([&self.authorization_url, &self.token_url]),
        }
    }

    /// Whether an issuer's name is at the host where access is granted.
    pub(super) fn is_at(&self, issuer: &str) -> bool {
        let host = |text: &str| Url::parse(text).ok()?.host_str().map(str::to_owned);
        host(issuer).is_some_and(|issuer| host(&self.authorization_url) == Some(issuer))
    }
}

/// A consent that is about to begin, as everything about it but its seal.
pub(in crate::gateway) struct Beginning {
    pub(in crate::gateway) flow: Flow,
    secrets: FlowSecrets,
    /// Where its browser begins.
    pub(in crate::gateway) redirect_url: String,
}

impl Beginning {
    /// The consent, ready to be stored.
    pub(in crate::gateway) fn sealed(&self, gateway: &Gateway) -> Result<Flow, VaultError> {
        let sealed = gateway.seal_flow(&self.flow, &self.secrets)?;
        Ok(Flow { sealed: Some(sealed), ..self.flow.clone() })
    }
}

/// Who asks for what.
pub(in crate::gateway) struct Asked {
    pub(in crate::gateway) user: UserName,
    pub(in crate::gateway) kind: FlowKind,
    pub(in crate::gateway) scopes: Vec<String>,
    pub(in crate::gateway) callback_url: Option<String>,
}

impl Gateway {
    /// A consent for a connection with this app. Nothing is stored of it yet.
    pub(in crate::gateway) async fn beginning(
        &self,
        connection: &Connection,
        served: &Served,
        app: &OAuthApp,
        opened: &Opened,
        asked: Asked,
    ) -> Result<Beginning, GatewayError> {
        let manifest = served.connector.manifest();
        let config = oauth2_config(manifest)?;
        let page = config.authorization_url.as_deref();
        let page = page.ok_or_else(|| unconfigured("the integration has no page for consent".to_owned()))?;
        let mut page = endpoint(page, manifest, &opened.config)?;
        let token_url = endpoint(&config.token_url, manifest, &opened.config)?;
        let issuer =
            config.issuer.as_deref().map(|issuer| issuer_name(issuer, manifest, opened)).transpose()?;
        let client = self.open_app(app).await?;
        let verifier = pkce::verifier();
        let nonce = asks_for_identity(&asked.scopes).then(|| state::random_text().to_string());
        let redirect_uri = format!("{}/oauth/callback", self.inner.config.public_url);
        let mut parameters = own_query(&page);
        page.set_query(None);
        let ours = [
            ("response_type", "code"),
            ("client_id", &client.client_id),
            ("redirect_uri", &redirect_uri),
            ("code_challenge", &pkce::challenge(&verifier)),
            ("code_challenge_method", "S256"),
        ];
        parameters.extend(ours.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if !asked.scopes.is_empty() {
            parameters.push(("scope".to_owned(), asked.scopes.join(" ")));
        }
        parameters.extend(nonce.iter().map(|nonce| ("nonce".to_owned(), nonce.clone())));
        parameters.extend(app.authorize_params.iter().map(|(name, value)| (name.clone(), value.clone())));
        let state = state::random_text();
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&parameters)
            .append_pair("state", &state)
            .finish();
        let now = Timestamp::now();
        Ok(Beginning {
            flow: Flow {
                state_hash: state::hash(&state),
                project: connection.project,
                connection: connection.id,
                user: asked.user,
                kind: asked.kind,
                app: Some(app.name.clone()),
                scopes: asked.scopes,
                redirect_uri: Some(redirect_uri),
                callback_url: asked.callback_url,
                sealed: None,
                browser_hash: None,
                poll_at: None,
                poll_interval: None,
                created_at: now,
                expires_at: now.plus(PATIENCE),
                used_at: None,
            },
            secrets: FlowSecrets {
                verifier,
                nonce,
                authorization_url: page.into(),
                parameters,
                client_id: client.client_id.clone(),
                token_url: token_url.into(),
                issuer,
                pending: None,
            },
            redirect_url: format!("{}/oauth/start?{query}", self.inner.config.public_url),
        })
    }

    /// Begins another consent for a connection: where its browser begins. What the connection holds stays in force until
    /// the consent has brought something better.
    pub(in crate::gateway) async fn reconnect(
        &self,
        identity: &Identity,
        connection: &Connection,
        callback_url: Option<String>,
    ) -> Result<(Connection, String), GatewayError> {
        let served = self.served(connection.project, connection.integration.as_str()).await?;
        let grant = self.inner.store.oauth_grant(connection.project, connection.id).await?;
        let app = grant.as_ref().and_then(|grant| grant.app.as_deref());
        let app = self.chosen_app(connection.project, connection.integration.as_str(), app).await?;
        let opened = self.open_credentials(connection).await?;
        refuse_foreign_endpoint(identity, served.connector.manifest(), &app, &opened)?;
        let scopes = self.scopes_to_ask(connection, served.connector.manifest()).await?;
        let user = identity.user.clone().unwrap_or_else(|| connection.owner.clone());
        let asked = Asked { user, kind: FlowKind::Reconnect, scopes, callback_url };
        let beginning = self.beginning(connection, &served, &app, &opened, asked).await?;
        let change = while_waiting(connection);
        let store = &self.inner.store;
        let seal = || beginning.sealed(self);
        let changed: Option<Connection> = self
            .inner
            .vault
            .sealed_write::<_, _, GatewayError, _>(store, seal, async |flow: Flow| {
                store.insert_flow(&flow, &change).await
            })
            .await?;
        let changed = changed.ok_or_else(|| no_connection(connection.id))?;
        Ok((changed, beginning.redirect_url))
    }

    /// What is secret about a consent, sealed for it.
    pub(super) fn seal_flow(&self, flow: &Flow, secrets: &FlowSecrets) -> Result<Sealed, VaultError> {
        let connection = flow.connection.to_string();
        let binding = Binding::oauth_flow(flow.project, &connection, &flow.state_hash);
        // Texts can always be written as JSON.
        let json = Zeroizing::new(serde_json::to_vec(secrets).unwrap_or_default());
        self.inner.vault.seal(&binding, &json)
    }

    /// What is secret about a consent; none once it has ended.
    pub(super) fn open_flow(&self, flow: &Flow) -> Result<Option<FlowSecrets>, GatewayError> {
        let Some(sealed) = &flow.sealed else { return Ok(None) };
        let connection = flow.connection.to_string();
        let binding = Binding::oauth_flow(flow.project, &connection, &flow.state_hash);
        let json = self.inner.vault.open(&binding, sealed)?;
        let secrets = serde_json::from_slice(&json)
            .map_err(|_| VaultError::Refused { kind: binding.kind.to_owned() })?;
        Ok(Some(secrets))
    }
}

/// Refuses to anyone but an admin to have an app's secret sent to a host that the connection's own config names.
pub(in crate::gateway) fn refuse_foreign_endpoint(
    identity: &Identity,
    manifest: &Manifest,
    app: &OAuthApp,
    opened: &Opened,
) -> Result<(), GatewayError> {
    if identity.is_admin() || app.client_secret.is_none() {
        return Ok(());
    }
    let is_own = |key: &str| opened.config.contains_key(key);
    let config = oauth2_config(manifest)?;
    let endpoints =
        [Some(&config.token_url), config.revocation_url.as_ref(), config.device_authorization_url.as_ref()];
    if !endpoints.into_iter().flatten().any(|pattern| is_host_open(pattern, is_own)) {
        return Ok(());
    }
    Err(GatewayError::Forbidden(format!(
        "only an admin's key may connect here: the OAuth2 app {:?} has a secret, and the connection's config says to which \
         host it would be sent",
        app.name
    )))
}

/// Whether a key of a connection's own config decides which host a URL is at. A name below a domain that is written in the
/// manifest doesn't.
fn is_host_open(pattern: &str, is_own: impl Fn(&str) -> bool) -> bool {
    let authority = pattern.split_once("://").map_or(pattern, |(_, rest)| rest);
    let mut tail = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let mut has_own = false;
    while let Some((_, after)) = tail.split_once("{{") {
        let Some((key, after)) = after.split_once("}}") else { return true };
        has_own |= is_own(key.trim());
        tail = after;
    }
    let domain = tail.strip_prefix('.').unwrap_or_default();
    let is_closed = domain.split('.').filter(|label| !label.is_empty()).count() >= 2;
    has_own && !is_closed
}

/// Whether a connection's id token can tell whose it is.
pub(super) fn asks_for_identity(scopes: &[String]) -> bool {
    scopes.iter().any(|scope| scope == OPENID)
}

/// The scopes that the connector's operations need.
pub(in crate::gateway) fn required_scopes(manifest: &Manifest) -> impl Iterator<Item = &String> {
    manifest.operations.iter().flat_map(|operation| &operation.required_scopes)
}

/// Each scope once, in the order in which they come first.
pub(super) fn union<'a>(scopes: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut union: Vec<String> = Vec::new();
    for scope in scopes {
        if !union.contains(scope) {
            union.push(scope.clone());
        }
    }
    union
}

/// The parameters that the manifest's own URL brings, but for those that are ours.
fn own_query(page: &Url) -> Vec<(String, String)> {
    page.query_pairs().into_owned().filter(|(name, _)| !OWN_PARAMS.contains(&name.as_str())).collect()
}

/// The issuer's name as its answers bear it: it is compared letter by letter, so that no slash may be added to it.
pub(super) fn issuer_name(
    pattern: &str,
    manifest: &Manifest,
    opened: &Opened,
) -> Result<String, GatewayError> {
    let url = endpoint(pattern, manifest, &opened.config)?;
    let text = String::from(url);
    Ok(if pattern.ends_with('/') { text } else { text.trim_end_matches('/').to_owned() })
}

fn no_connection(id: Uuid) -> GatewayError {
    GatewayError::NotFound(format!("connection {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_connections_own_decides_on_hosts_only_where_no_domain_is_written() {
        let is_own = |key: &str| key == "own";
        for (pattern, expected) in [
            ("https://auth.example.com/token", false),
            ("https://auth.example.com/{{own}}/token", false),
            ("https://{{own}}/token", true),
            ("https://{{own}}", true),
            ("https://{{own}}/{{own}}/token", true),
            ("https://{{ own }}:8443/token", true),
            ("https://{{own}}.com/token", true),
            ("https://{{own}}example.com/token", true),
            ("https://{{own}}.example.com/token", false),
            ("https://a.{{own}}.example.com/{{own}}", false),
            ("https://{{other}}/token", false),
            ("https://{{other}}.{{own}}/token", true),
            ("https://{{own", true),
        ] {
            assert_eq!(is_host_open(pattern, is_own), expected, "{pattern}");
        }
    }

    #[test]
    fn scopes_are_asked_for_once() {
        let scopes = ["a", "b", "a", "c", "b"].map(str::to_owned);
        assert_eq!(union(scopes.iter()), ["a", "b", "c"]);
    }

    #[test]
    fn the_pages_own_query_stays_but_for_what_is_ours() {
        let page = Url::parse("https://id.example/a?tenant=x&state=evil&scope=all&b=%26").expect("a URL");
        let pairs = own_query(&page);
        assert_eq!(
            pairs,
            [("tenant", "x"), ("b", "&")].map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
