//! A consent's answer: taken once, from the browser that it began in, exchanged for tokens, and tried out before it counts.

use std::sync::Arc;

use portcullis_runtime::manifest::AuthMethod;
use url::Url;
use zeroize::Zeroizing;

use super::super::connections::test::clean;
use super::super::credentials::{ACCESS_TOKEN, Opened};
use super::super::{Gateway, GatewayError};
use super::confirm::Question;
use super::consent::{FlowSecrets, Pending, asks_for_identity};
use crate::integrations::Served;
use crate::oauth::endpoint::{Grant as TokenGrant, OAuthClient, TokenError, Tokens, request_tokens};
use crate::oauth::identity::{Account, Expected, account};
use crate::oauth::state;
use crate::store::connections::{
    Connection, ConnectionChange, ConnectionFilter, ConnectionStatus, FieldKind, REFRESH_TOKEN_FIELD, Viewer,
};
use crate::store::oauth_flows::Flow;
use crate::store::oauth_grants::Grant;
use crate::time::Timestamp;

/// The longest text of a server's that is repeated, in characters.
const MAX_WORDS: usize = 300;
/// Scopes that ask for what isn't named among the granted ones by every server.
const UNNAMED: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// What an authorization server sends a browser back with.
#[derive(Default)]
pub(crate) struct ConsentAnswer {
    pub(crate) state: String,
    pub(crate) code: Option<Zeroizing<String>>,
    pub(crate) error: Option<String>,
    pub(crate) error_description: Option<String>,
    pub(crate) iss: Option<String>,
}

/// Where a consent goes on.
pub(crate) enum Start {
    /// At the authorization server.
    At(Url),
    /// Nowhere: there is none, or it has ended.
    Gone,
    /// It began in another browser.
    OtherBrowser,
}

/// What came of a consent.
pub(crate) enum ConsentEnd {
    /// There is none, or it has ended.
    Gone,
    /// It began in another browser.
    OtherBrowser,
    /// The connection works, or why it doesn't.
    Ended(Box<Ended>),
    /// It is another account's: somebody has to say whether that is meant.
    Asks(Box<Question>),
}

/// A consent that has ended.
pub(crate) struct Ended {
    /// As it is now.
    pub(crate) connection: Connection,
    /// Where the person is sent.
    pub(crate) callback_url: Option<String>,
    /// Scopes that were asked for and not granted.
    pub(crate) missing_scopes: Vec<String>,
    /// Why the consent brought nothing; none where it did.
    pub(crate) refusal: Option<Refusal>,
}

/// Why a consent brought nothing, and what can be done.
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) advice: &'static str,
}

pub(super) const TRY_AGAIN: &str = "Start again from where you came, and give your consent.";
pub(super) const ASK_ADMIN: &str =
    "Ask whoever runs this server to look at the integration's OAuth2 app, then start again.";

impl Refusal {
    pub(super) fn new(reason: impl AsRef<str>, advice: &'static str) -> Self {
        Self { reason: clean(reason.as_ref(), 2 * MAX_WORDS), advice }
    }
}

/// Why an exchange brought nothing: the consent's own fault, or this server's.
pub(super) enum Failure {
    Refused(Refusal),
    Gateway(GatewayError),
}

impl<E: Into<GatewayError>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into() {
            error @ (GatewayError::Store(_) | GatewayError::Vault(_) | GatewayError::Unavailable(_)) => {
                Self::Gateway(error)
            }
            // The code is spent: what can't be done now has to begin anew.
            error => Self::Refused(Refusal::new(error.to_string(), TRY_AGAIN)),
        }
    }
}

impl Gateway {
    /// Where the browser with this cookie goes on with the consent of this state, which is its own from then on.
    pub(crate) async fn start_consent(&self, state: &str, browser: &str) -> Result<Start, GatewayError> {
        let now = Timestamp::now();
        let Some(flow) = self.open_consent(state, now).await? else { return Ok(Start::Gone) };
        if !self.inner.store.bind_flow(&flow.state_hash, &state::hash(browser), now).await? {
            return Ok(Start::OtherBrowser);
        }
        let Some(secrets) = self.open_flow(&flow)? else { return Ok(Start::Gone) };
        Ok(Start::At(secrets.authorization_request(state)?))
    }

    /// Takes a consent's answer from the browser with this cookie. It goes on to its end even if the browser goes away: a
    /// code is exchanged once.
    pub(crate) async fn end_consent(
        &self,
        answer: ConsentAnswer,
        browser: &str,
    ) -> Result<ConsentEnd, GatewayError> {
        let now = Timestamp::now();
        let Some(flow) = self.open_consent(&answer.state, now).await? else { return Ok(ConsentEnd::Gone) };
        let store = &self.inner.store;
        if !store.bind_flow(&flow.state_hash, &state::hash(browser), now).await? {
            return Ok(ConsentEnd::OtherBrowser);
        }
        if !store.use_flow(&flow.state_hash, now).await? {
            return Ok(ConsentEnd::Gone);
        }
        let gateway = self.clone();
        let settled = tokio::spawn(async move { gateway.settle(flow, answer).await });
        settled
            .await
            .unwrap_or_else(|_| Err(GatewayError::Unavailable("the server is going down".to_owned())))
    }

    async fn open_consent(&self, state: &str, now: Timestamp) -> Result<Option<Flow>, GatewayError> {
        if !state::is_well_formed(state) {
            return Ok(None);
        }
        let flow = self.inner.store.flow(&state::hash(state)).await?;
        Ok(flow.filter(|flow| flow.is_open(now)))
    }

    async fn settle(&self, flow: Flow, answer: ConsentAnswer) -> Result<ConsentEnd, GatewayError> {
        let Some(connection) = self.connection_of(&flow).await? else { return Ok(ConsentEnd::Gone) };
        let Some(secrets) = self.open_flow(&flow)? else { return Ok(ConsentEnd::Gone) };
        let grant = self.inner.store.oauth_grant(flow.project, flow.connection).await?;
        let brought = match self.exchange(&flow, &connection, &secrets, answer).await {
            Ok(brought) => brought,
            Err(Failure::Gateway(error)) => return Err(error),
            Err(Failure::Refused(refusal)) => return self.refuse(&flow, &connection, refusal).await,
        };
        if is_same_account(&connection, grant.as_ref(), &brought) {
            return self.keep(&flow, &connection, &brought, true).await;
        }
        let question = self.ask(&flow, connection, secrets, brought).await?;
        Ok(ConsentEnd::Asks(Box::new(question)))
    }

    pub(super) async fn connection_of(&self, flow: &Flow) -> Result<Option<Connection>, GatewayError> {
        let filter = ConnectionFilter { id: Some(flow.connection), ..ConnectionFilter::default() };
        let found = self.inner.store.connections(flow.project, &Viewer::All, &filter).await?;
        Ok(found.into_iter().find(|connection| connection.mode == AuthMethod::OAuth2))
    }

    /// From a code to tokens that work.
    async fn exchange(
        &self,
        flow: &Flow,
        connection: &Connection,
        secrets: &FlowSecrets,
        answer: ConsentAnswer,
    ) -> Result<Pending, Failure> {
        let refused = |reason: &str, advice| Failure::Refused(Refusal::new(reason, advice));
        check_issuer(answer.iss.as_deref(), secrets).map_err(Failure::Refused)?;
        if let Some(error) = answer.error {
            return Err(Failure::Refused(denied(&error, answer.error_description.as_deref())));
        }
        let no_code = || refused("the service sent neither a code nor an error", TRY_AGAIN);
        let code = answer.code.filter(|code| !code.is_empty()).ok_or_else(no_code)?;
        let served = self.served(flow.project, connection.integration.as_str()).await?;
        let opened = self.open_credentials(connection).await?;
        let integration = connection.integration.as_str();
        let client = self.oauth_client(flow.project, integration, flow.app.as_deref(), &opened).await?;
        if client.client_id != secrets.client_id {
            return Err(refused("the OAuth2 app was changed in the meantime", TRY_AGAIN));
        }
        let tokens = self.tokens_for(flow, secrets, &client, code).await.map_err(Failure::Refused)?;
        let obtained_at = Timestamp::now();
        let account = identified(flow, secrets, &client, &tokens, obtained_at).map_err(Failure::Refused)?;
        self.try_tokens(flow, served, opened, tokens, account, obtained_at).await
    }

    /// Tokens that the connector's own test has passed with, and whose they are: the id token's word comes first.
    pub(super) async fn try_tokens(
        &self,
        flow: &Flow,
        served: Arc<Served>,
        mut opened: Opened,
        tokens: Tokens,
        account: Option<Account>,
        obtained_at: Timestamp,
    ) -> Result<Pending, Failure> {
        opened.secrets.insert(ACCESS_TOKEN.to_owned(), tokens.access_token.to_string());
        let passed = self.try_out(flow.project, served, opened).await?.into_passed()?;
        let (name, subject) = match account {
            Some(Account { name, subject }) => (Some(name), Some(subject)),
            None => (passed.identity, None),
        };
        Ok(Pending {
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            expires_at: tokens.expires_in.map(|life| obtained_at.plus(life).0),
            scopes: tokens.scopes.unwrap_or_else(|| flow.scopes.clone()),
            identity: name,
            subject,
            obtained_at: obtained_at.0,
        })
    }

    async fn tokens_for(
        &self,
        flow: &Flow,
        secrets: &FlowSecrets,
        client: &OAuthClient,
        code: Zeroizing<String>,
    ) -> Result<Tokens, Refusal> {
        let token_url =
            Url::parse(&secrets.token_url).map_err(|error| Refusal::new(error.to_string(), ASK_ADMIN))?;
        let grant = TokenGrant::AuthorizationCode {
            code,
            redirect_uri: flow.redirect_uri.clone().unwrap_or_default(),
            verifier: secrets.verifier.clone(),
        };
        let asked = request_tokens(self.inner.engine.egress(), &token_url, client, grant).await;
        asked.map_err(|error| {
            let advice = match &error {
                TokenError::Unavailable { .. } | TokenError::Malformed { .. } => TRY_AGAIN,
                TokenError::Refused { error, .. } if error == "invalid_grant" => TRY_AGAIN,
                TokenError::Refused { .. } | TokenError::Blocked { .. } => ASK_ADMIN,
            };
            Refusal::new(format!("the code could not be exchanged for tokens: {error}"), advice)
        })
    }

    /// Stores what a consent brought. Where the server gave no refresh token to an account that had one, that one stays.
    pub(super) async fn keep(
        &self,
        flow: &Flow,
        connection: &Connection,
        brought: &Pending,
        is_same_account: bool,
    ) -> Result<ConsentEnd, GatewayError> {
        let store = &self.inner.store;
        let old = store.oauth_grant(flow.project, flow.connection).await?;
        let is_same_client = old.as_ref().is_some_and(|old| old.app == flow.app);
        let old_token = match (&brought.refresh_token, is_same_account && is_same_client) {
            (None, true) => {
                let fields = store.connection_fields_now(flow.project, flow.connection).await?;
                self.open_token(connection, &fields, REFRESH_TOKEN_FIELD)?
            }
            _ => None,
        };
        let refresh_token = brought.refresh_token.as_ref().or(old_token.as_ref()).map(|token| token.as_str());
        let is_off = connection.status == ConnectionStatus::Disabled;
        let change = ConnectionChange {
            status: (!is_off).then_some(ConnectionStatus::Active),
            last_error: Some(None),
            identity: Some(brought.identity.clone()),
            scopes: Some(Some(brought.scopes.clone())),
            expires_at: Some(brought.expires_at.map(Timestamp)),
            ..ConnectionChange::default()
        };
        let grant = Grant {
            subject: brought.subject.clone(),
            obtained_at: Some(Timestamp(brought.obtained_at)),
            ..Grant::new(flow.project, flow.connection, flow.app.clone(), flow.scopes.clone())
        };
        let seal = || {
            self.seal_tokens(flow.project, flow.connection, &brought.access_token, refresh_token).map(
                |fields| ConnectionChange {
                    fields: Some((vec![FieldKind::Token], fields)),
                    ..change.clone()
                },
            )
        };
        let write = async |change: ConnectionChange| store.end_flow(flow, &change, Some(&grant)).await;
        let kept: Option<Connection> =
            self.inner.vault.sealed_write::<_, _, GatewayError, _>(store, seal, write).await?;
        let Some(connection) = kept else { return Ok(ConsentEnd::Gone) };
        tracing::info!(connection = %connection.id, "a consent was given");
        Ok(ConsentEnd::Ended(Box::new(Ended {
            connection,
            callback_url: flow.callback_url.clone(),
            missing_scopes: missing_scopes(&flow.scopes, &brought.scopes),
            refusal: None,
        })))
    }

    /// Notes why a consent brought nothing. A connection that works isn't touched by that.
    pub(super) async fn refuse(
        &self,
        flow: &Flow,
        connection: &Connection,
        refusal: Refusal,
    ) -> Result<ConsentEnd, GatewayError> {
        use ConnectionStatus::{Active, Disabled, Failed, Pending};
        let works = matches!(connection.status, Active | Disabled);
        let change = ConnectionChange {
            status: (connection.status == Pending).then_some(Failed),
            last_error: (!works).then(|| Some(refusal.reason.clone())),
            ..ConnectionChange::default()
        };
        let noted = self.inner.store.end_flow(flow, &change, None).await?;
        let Some(connection) = noted else { return Ok(ConsentEnd::Gone) };
        tracing::info!(connection = %connection.id, reason = refusal.reason, "a consent brought nothing");
        Ok(ConsentEnd::Ended(Box::new(Ended {
            connection,
            callback_url: flow.callback_url.clone(),
            missing_scopes: Vec::new(),
            refusal: Some(refusal),
        })))
    }
}

/// The answer's issuer, where it names one, must be the server that was asked (RFC 9207).
fn check_issuer(iss: Option<&str>, secrets: &FlowSecrets) -> Result<(), Refusal> {
    let Some(iss) = iss else { return Ok(()) };
    let is_asked = match &secrets.issuer {
        Some(issuer) => iss == issuer,
        None => secrets.is_at(iss),
    };
    if is_asked {
        return Ok(());
    }
    Err(Refusal::new("the answer came from another server than the one that was asked", TRY_AGAIN))
}

/// What an error of the authorization endpoint means (RFC 6749, 4.1.2.1).
fn denied(error: &str, description: Option<&str>) -> Refusal {
    let words = match description.map(str::trim).filter(|text| !text.is_empty()) {
        Some(description) => format!("{}: {}", clean(error, MAX_WORDS), clean(description, MAX_WORDS)),
        None => clean(error, MAX_WORDS),
    };
    match error {
        "access_denied" => Refusal::new(format!("consent was denied ({words})"), TRY_AGAIN),
        "server_error" | "temporarily_unavailable" => {
            Refusal::new(format!("the service could not answer ({words})"), TRY_AGAIN)
        }
        "login_required" | "consent_required" | "interaction_required" | "account_selection_required" => {
            Refusal::new(format!("the service needs you to take part ({words})"), TRY_AGAIN)
        }
        _ => Refusal::new(format!("the service refused the request ({words})"), ASK_ADMIN),
    }
}

/// Whose tokens they are, where an id token was asked for and came.
fn identified(
    flow: &Flow,
    secrets: &FlowSecrets,
    client: &OAuthClient,
    tokens: &Tokens,
    now: Timestamp,
) -> Result<Option<Account>, Refusal> {
    let Some(token) = tokens.id_token.as_ref().filter(|_| asks_for_identity(&flow.scopes)) else {
        return Ok(None);
    };
    let expected = Expected {
        issuer: secrets.id_token_issuer(),
        client_id: &client.client_id,
        nonce: secrets.nonce.as_deref(),
        now,
    };
    account(token, &expected).map(Some).map_err(|problem| {
        Refusal::new(format!("the service's id token can't be trusted: {problem}"), ASK_ADMIN)
    })
}

/// Whether the tokens are the same account's as those that the connection had. Where nothing was known of that one, any is.
pub(super) fn is_same_account(connection: &Connection, grant: Option<&Grant>, brought: &Pending) -> bool {
    let Some(grant) = grant.filter(|grant| grant.obtained_at.is_some()) else { return true };
    match (&grant.subject, &brought.subject) {
        (Some(old), Some(new)) => old == new,
        _ => connection.identity.is_none() || connection.identity == brought.identity,
    }
}

fn missing_scopes(asked: &[String], granted: &[String]) -> Vec<String> {
    let is_missing = |scope: &&String| !granted.contains(scope) && !UNNAMED.contains(&scope.as_str());
    asked.iter().filter(is_missing).cloned().collect()
}
