//! The endpoints of authorization servers that the gateway itself talks to: token, device authorization and revocation.
//!
//! The crate `oauth2` makes the requests. Answers are read in [`super::answer`]: the crate takes none that strays from the
//! standard, and keeps copies of tokens that nothing wipes. Requests leave through egress like any other, for the
//! endpoint's own host alone.

use std::borrow::Cow;
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::time::{Duration, Instant};

use oauth2::basic::BasicClient;
use oauth2::{
    AccessToken, AuthType, AuthorizationCode, ClientId, ClientSecret, DeviceAuthorizationUrl, HttpRequest,
    HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken, RevocationUrl, Scope,
    StandardDeviceAuthorizationResponse, StandardRevocableToken, TokenUrl,
};
use portcullis_runtime::Redactor;
use portcullis_runtime::egress::{Body, Budget, Client, EgressError, EgressErrorKind, Method, Request};
use portcullis_runtime::manifest::host::{AllowedHosts, HostPattern};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;
use zeroize::{Zeroize, Zeroizing};

use super::answer::{Members, RawAnswer};
use crate::time::{Timestamp, parse_retry_after};

/// The longest that an exchange with an endpoint takes; a lease on a connection's tokens must last longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// The largest answer, in bytes.
const MAX_ANSWER: u64 = 256 * 1024;

/// How a client says at the token endpoint who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientAuth {
    /// In the header of basic authentication.
    Basic,
    /// Id and secret in the form.
    Post,
    /// The id alone, in the form: a public client.
    None,
}

/// A client as it is registered at an authorization server.
#[derive(Clone)]
pub(crate) struct OAuthClient {
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<Zeroizing<String>>,
    pub(crate) auth: ClientAuth,
}

/// What tokens are asked for with.
pub(crate) enum Grant {
    AuthorizationCode { code: Zeroizing<String>, redirect_uri: String, verifier: Zeroizing<String> },
    RefreshToken { token: Zeroizing<String> },
    ClientCredentials { scopes: Vec<String> },
    DeviceCode { device_code: Zeroizing<String> },
}

/// What a token endpoint gave.
pub(crate) struct Tokens {
    pub(crate) access_token: Zeroizing<String>,
    pub(crate) refresh_token: Option<Zeroizing<String>>,
    pub(crate) id_token: Option<Zeroizing<String>>,
    /// From the moment of receipt; none where the server doesn't say.
    pub(crate) expires_in: Option<Duration>,
    /// None where the server doesn't say: then what was asked for was granted.
    pub(crate) scopes: Option<Vec<String>>,
}

/// What a device authorization endpoint gave (RFC 8628).
pub(crate) struct DeviceAuthorization {
    pub(crate) device_code: Zeroizing<String>,
    /// What the person types in.
    pub(crate) user_code: String,
    pub(crate) verification_uri: String,
    pub(crate) verification_uri_complete: Option<String>,
    pub(crate) expires_in: Duration,
    /// The pause between two polls.
    pub(crate) interval: Duration,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

impl fmt::Debug for DeviceAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceAuthorization").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// Why an endpoint gave nothing. No message holds anything that was sent in secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The server says no, in its own words.
    #[error("{error}{}", .description.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused { error: String, description: Option<String> },
    /// It may go well later.
    #[error("{message}")]
    Unavailable {
        message: String,
        retry_after: Option<Duration>,
        /// The request may have been carried out all the same: no answer came.
        lost: bool,
    },
    /// The answer can't be used.
    #[error("{message}")]
    Malformed { message: String },
    /// Nothing was sent: this server's rules are against it.
    #[error("{message}")]
    Blocked { message: String },
}

impl TokenError {
    /// Whether the server has said for good that it no longer takes the grant: `invalid_grant` and what else it is called.
    pub(crate) fn is_grant_gone(&self) -> bool {
        const CODES: [&str; 6] = [
            "invalid_grant",
            "bad_refresh_token",
            "invalid_refresh_token",
            "token_revoked",
            "token_expired",
            "interaction_required",
        ];
        matches!(self, Self::Refused { error, .. } if CODES.contains(&error.as_str()))
    }

    /// Whether nobody can know what the server did with the request.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Unavailable { lost: true, .. })
    }

    /// An error that the server itself calls passing is one; with the pause that it asks for.
    pub(super) fn with_pause(self, retry_after: Option<Duration>) -> Self {
        match &self {
            Self::Refused { error, .. }
                if matches!(error.as_str(), "temporarily_unavailable" | "server_error") =>
            {
                Self::Unavailable { message: self.to_string(), retry_after, lost: false }
            }
            _ => self,
        }
    }
}

/// Asks a token endpoint for tokens.
pub(crate) async fn request_tokens(
    egress: &Client,
    token_url: &Url,
    client: &OAuthClient,
    grant: Grant,
) -> Result<Tokens, TokenError> {
    let (client, url) = (client.clone(), token_url.clone());
    let redactor = client.redactor(grant.secret());
    blocking(egress, token_url, redactor.clone(), move |wire| {
        let oauth = client.oauth().set_token_uri(TokenUrl::from_url(url));
        // What the crate makes of the answer, which it never sees, is nothing to us.
        match &grant {
            Grant::AuthorizationCode { code, redirect_uri, verifier } => {
                let Ok(redirect_uri) = RedirectUrl::new(redirect_uri.clone()) else {
                    return Err(TokenError::Blocked { message: "the redirect URI is no URL".to_owned() });
                };
                let request = oauth.exchange_code(AuthorizationCode::new(code.to_string()));
                let request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier.to_string()));
                drop(request.set_redirect_uri(Cow::Owned(redirect_uri)).request(&wire.client()));
            }
            Grant::RefreshToken { token } => {
                let token = RefreshToken::new(token.to_string());
                drop(oauth.exchange_refresh_token(&token).request(&wire.client()));
            }
            Grant::ClientCredentials { scopes } => {
                let request = oauth.exchange_client_credentials().add_scopes(scopes.iter().cloned().map(Scope::new));
                drop(request.request(&wire.client()));
            }
            Grant::DeviceCode { device_code } => {
                let known = json!({
                    "device_code": device_code.as_str(), "user_code": "", "verification_uri": "https://device.invalid/",
                    "expires_in": DEADLINE.as_secs(),
                });
                let Ok(known) = serde_json::from_value::<StandardDeviceAuthorizationResponse>(known) else {
                    return Err(TokenError::Malformed { message: "the device code can't be sent".to_owned() });
                };
                // The crate would poll to the end; what it is told of each answer stops it after the first.
                drop(oauth.exchange_device_access_token(&known).request(&wire.client(), |_| (), None));
            }
        }
        wire.members(&redactor)?.tokens()
    })
    .await
}

/// Asks a device authorization endpoint for a code.
pub(crate) async fn request_device_code(
    egress: &Client,
    device_url: &Url,
    client: &OAuthClient,
    scopes: Vec<String>,
) -> Result<DeviceAuthorization, TokenError> {
    let (client, url) = (client.clone(), device_url.clone());
    let redactor = client.redactor(None);
    blocking(egress, device_url, redactor.clone(), move |wire| {
        let oauth = client.oauth().set_device_authorization_url(DeviceAuthorizationUrl::from_url(url));
        let request = oauth.exchange_device_code().add_scopes(scopes.into_iter().map(Scope::new));
        let answer: Result<StandardDeviceAuthorizationResponse, _> = request.request(&wire.client());
        drop(answer);
        wire.members(&redactor)?.device()
    })
    .await
}

/// Has a token revoked (RFC 7009). A token that the server doesn't know is revoked.
pub(crate) async fn revoke_token(
    egress: &Client,
    revocation_url: &Url,
    client: &OAuthClient,
    token: Zeroizing<String>,
    is_refresh_token: bool,
) -> Result<(), TokenError> {
    let (client, url) = (client.clone(), revocation_url.clone());
    let redactor = client.redactor(Some(&token));
    blocking(egress, revocation_url, redactor.clone(), move |wire| {
        let oauth = client.oauth().set_revocation_url(RevocationUrl::from_url(url));
        let token = token.to_string();
        let token: StandardRevocableToken =
            if is_refresh_token { RefreshToken::new(token).into() } else { AccessToken::new(token).into() };
        match oauth.revoke_token(token) {
            Ok(request) => drop(request.request(&wire.client())),
            Err(error) => return Err(TokenError::Blocked { message: error.to_string() }),
        }
        wire.answer()?.revoked(&redactor)
    })
    .await
}

impl OAuthClient {
    fn oauth(&self) -> BasicClient {
        let client = BasicClient::new(ClientId::new(self.client_id.clone()));
        let client = client.set_auth_type(match self.auth {
            ClientAuth::Basic => AuthType::BasicAuth,
            ClientAuth::Post | ClientAuth::None => AuthType::RequestBody,
        });
        match &self.client_secret {
            Some(secret) if self.auth != ClientAuth::None => {
                client.set_client_secret(ClientSecret::new(secret.to_string()))
            }
            _ => client,
        }
    }

    fn redactor(&self, secret: Option<&str>) -> Redactor {
        Redactor::new(self.client_secret.iter().map(|secret| secret.as_str()).chain(secret))
    }
}

impl Grant {
    fn secret(&self) -> Option<&str> {
        match self {
            Self::AuthorizationCode { code: secret, .. }
            | Self::RefreshToken { token: secret }
            | Self::DeviceCode { device_code: secret } => Some(secret),
            Self::ClientCredentials { .. } => None,
        }
    }
}

/// One exchange with one endpoint.
struct Wire<'e> {
    egress: &'e Client,
    allowed: AllowedHosts,
    redactor: Redactor,
    answer: RefCell<Option<Result<RawAnswer, TokenError>>>,
}

/// Does `exchange` on a thread that may wait.
async fn blocking<T: Send + 'static>(
    egress: &Client,
    url: &Url,
    redactor: Redactor,
    exchange: impl FnOnce(&Wire<'_>) -> Result<T, TokenError> + Send + 'static,
) -> Result<T, TokenError> {
    let (egress, allowed) = (egress.clone(), only_host_of(url)?);
    let work = move || {
        let wire = Wire { egress: &egress, allowed, redactor, answer: RefCell::new(None) };
        exchange(&wire)
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        let message = "the exchange with the authorization server broke off inside this server".to_owned();
        Err(TokenError::Unavailable { message, retry_after: None, lost: true })
    })
}

/// The hosts that a request for this URL may go to: the URL's own.
fn only_host_of(url: &Url) -> Result<AllowedHosts, TokenError> {
    let blocked = || TokenError::Blocked { message: format!("{url} is no endpoint that can be reached") };
    let host = url.host_str().ok_or_else(blocked)?;
    let port = url.port_or_known_default().ok_or_else(blocked)?;
    let entry = HostPattern::parse(&format!("{host}:{port}")).map_err(|_| blocked())?;
    Ok(AllowedHosts::resolve(&[entry], |_| None))
}

impl Wire<'_> {
    /// The client that the crate `oauth2` sends one request with. It gets to see none of the answer.
    fn client(&self) -> impl Fn(HttpRequest) -> Result<HttpResponse, Infallible> {
        |request| {
            let answer = self.send(request);
            self.answer.replace(Some(answer));
            let mut unread = HttpResponse::new(br#"{"error":"unread"}"#.to_vec());
            *unread.status_mut() = oauth2::http::StatusCode::BAD_REQUEST;
            Ok(unread)
        }
    }

    fn send(&self, request: HttpRequest) -> Result<RawAnswer, TokenError> {
        let mut sent = Request::new(Method::Post, request.uri().to_string());
        for (name, value) in request.headers() {
            let value = value.to_str().map_err(|_| TokenError::Blocked {
                message: format!("the header {name} of the request can't be sent"),
            })?;
            sent = sent.header(name.as_str(), value);
        }
        sent.body = Body::Bytes(request.into_body());
        let budget = Budget { deadline: Instant::now() + DEADLINE, max_body_bytes: MAX_ANSWER };
        let answer = self.egress.send(&sent, &self.allowed, budget, &mut |_| ());
        if let Body::Bytes(bytes) = &mut sent.body {
            bytes.zeroize();
        }
        sent.headers.iter_mut().for_each(|(_, value)| value.zeroize());
        let mut response = answer.map_err(|error| self.unanswered(&error))?;
        let retry_after = response.header("retry-after");
        let answer = RawAnswer {
            status: response.status,
            retry_after: retry_after.and_then(|text| parse_retry_after(text, Timestamp::now())),
            body: Zeroizing::new(response.text()),
        };
        response.body.zeroize();
        Ok(answer)
    }

    fn unanswered(&self, error: &EgressError) -> TokenError {
        let message = self.redactor.text(&error.to_string()).into_owned();
        match error.kind() {
            EgressErrorKind::Blocked | EgressErrorKind::AddressRefused | EgressErrorKind::Invalid
                if error.never_left() =>
            {
                TokenError::Blocked { message }
            }
            _ => TokenError::Unavailable { message, retry_after: None, lost: !error.never_left() },
        }
    }

    fn answer(&self) -> Result<RawAnswer, TokenError> {
        self.answer.take().unwrap_or_else(|| {
            Err(TokenError::Blocked {
                message: "the request to the authorization server can't be made".to_owned(),
            })
        })
    }

    fn members(&self, redactor: &Redactor) -> Result<Members, TokenError> {
        self.answer()?.members(redactor)
    }
}
