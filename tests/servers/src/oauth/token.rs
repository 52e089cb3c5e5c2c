//! The token endpoint: all grants, and the answers' odd shapes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::http1::Message;
use crate::oauth::Provider;
use crate::oauth::answer::{encoded, refusal};
use crate::oauth::behaviour::{Life, ScopeList, TokenAuth};
use crate::oauth::device;
use crate::oauth::request::Asked;
use crate::oauth::state::State;

/// An OAuth2 error, and what is meant.
type Refusal = (&'static str, String);

pub(crate) fn token(state: &mut State, asked: &Asked, issuer: &str) -> Message {
    if let Err(complaint) = authenticate(state.behaviour.token_auth, asked) {
        return refusal(401, "invalid_client", &complaint);
    }
    match grant(state, asked) {
        Ok((consent, nonce)) => answer(state, consent, nonce.as_deref(), issuer),
        Err((error, description)) => {
            let fields = json!({"error": error, "error_description": description});
            encoded(&state.behaviour, 400, fields.as_object().unwrap_or(&Map::new()))
        }
    }
}

/// RFC 6749, 2.3: in exactly the way that the client was registered with.
pub(crate) fn authenticate(way: TokenAuth, asked: &Asked) -> Result<(), String> {
    let (basic, id, secret) = (asked.basic(), asked.param("client_id"), asked.param("client_secret"));
    let own = (Provider::CLIENT_ID, Provider::CLIENT_SECRET);
    let is_right = match way {
        TokenAuth::Basic => {
            basic.as_ref().is_some_and(|(id, secret)| (id.as_str(), secret.as_str()) == own)
                && secret.is_none()
        }
        TokenAuth::Post => basic.is_none() && id.zip(secret) == Some(own),
        TokenAuth::None => asked.header("authorization").is_none() && secret.is_none() && id == Some(own.0),
    };
    if is_right { Ok(()) } else { Err(format!("not authenticated by {way:?}")) }
}

/// The consent that tokens are asked of, and the nonce for the id token.
fn grant(state: &mut State, asked: &Asked) -> Result<(usize, Option<String>), Refusal> {
    let need = |name: &str| asked.param(name).ok_or_else(|| ("invalid_request", format!("no {name}")));
    match need("grant_type")? {
        "authorization_code" => exchange(state, need("code")?, need("redirect_uri")?, need("code_verifier")?),
        "refresh_token" => {
            let place = state.take_refresh_token(need("refresh_token")?);
            let place = place.ok_or_else(|| ("invalid_grant", "no such refresh token".to_owned()))?;
            Ok((place, None))
        }
        "client_credentials" => {
            let scopes = asked.param("scope").unwrap_or_default().split(' ');
            let scopes = scopes.filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
            Ok((state.consent(None, scopes), None))
        }
        "urn:ietf:params:oauth:grant-type:device_code" => {
            let place = device::redeem(state, need("device_code")?);
            Ok((place.map_err(|error| (error, "the device grant".to_owned()))?, None))
        }
        other => Err(("unsupported_grant_type", other.to_owned())),
    }
}

fn exchange(
    state: &mut State,
    code: &str,
    redirect_uri: &str,
    verifier: &str,
) -> Result<(usize, Option<String>), Refusal> {
    let wrong = |what: &str| Err(("invalid_grant", what.to_owned()));
    let Some(place) = state.codes.iter().position(|own| own.code == code) else {
        return wrong("no such code");
    };
    if let Some(consent) = state.codes[place].consent {
        state.consents[consent].void();
        return wrong("the code was exchanged before");
    }
    if state.codes[place].redirect_uri != redirect_uri {
        return wrong("another redirect_uri");
    }
    let is_long_enough = (43..=128).contains(&verifier.len());
    if !is_long_enough || URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) != state.codes[place].challenge {
        return wrong("not the verifier of this challenge");
    }
    let (account, scopes) = (state.codes[place].account.clone(), state.codes[place].scopes.clone());
    let consent = state.consent(Some(account), scopes);
    state.codes[place].consent = Some(consent);
    Ok((consent, state.codes[place].nonce.clone()))
}

fn answer(state: &mut State, consent: usize, nonce: Option<&str>, issuer: &str) -> Message {
    let behaviour = state.behaviour.clone();
    let (said, life) = match behaviour.life {
        Life::Unsaid => (None, Duration::from_secs(3600)),
        Life::Seconds(seconds) => (Some(json!(seconds)), Duration::from_secs(seconds)),
        Life::Text(seconds) => (Some(json!(seconds.to_string())), Duration::from_secs(seconds)),
        Life::Fraction(seconds) => (Some(json!(seconds)), Duration::from_secs_f64(seconds)),
    };
    let issued = state.issue(consent, behaviour.true_life.unwrap_or(life));
    let consent = &state.consents[consent];
    let mut fields = Map::new();
    fields.insert("access_token".to_owned(), json!(issued.access_token));
    fields.insert("token_type".to_owned(), json!("bearer"));
    let scopes = &consent.scopes;
    let scope = match behaviour.scope_list {
        ScopeList::Spaces => Some(json!(scopes.join(" "))),
        ScopeList::Commas => Some(json!(scopes.join(","))),
        ScopeList::Array => Some(json!(scopes)),
        ScopeList::Unsaid => None,
    };
    let is_openid = consent.account.is_some() && scopes.iter().any(|scope| scope == "openid");
    let id_token = is_openid.then(|| {
        json!(id_token(consent.account.as_deref().unwrap_or_default(), nonce, issuer, &behaviour.claims))
    });
    let more = [
        ("expires_in", said),
        ("scope", scope),
        ("refresh_token", issued.refresh_token.map(Value::from)),
        ("id_token", id_token),
    ];
    fields.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    encoded(&behaviour, 200, &fields)
}

/// Its signature is none: who reads it has it from the token endpoint itself (OpenID Connect Core, 3.1.3.7).
fn id_token(account: &str, nonce: Option<&str>, issuer: &str, changes: &Map<String, Value>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut claims = Map::new();
    let right = json!({
        "iss": issuer, "sub": format!("id-of-{account}"), "aud": Provider::CLIENT_ID, "iat": now, "exp": now + 600,
        "email": format!("{account}@example.com"), "email_verified": true,
    });
    claims.extend(right.as_object().cloned().unwrap_or_default());
    claims.extend(nonce.map(|nonce| ("nonce".to_owned(), json!(nonce))));
    claims.extend(changes.clone());
    claims.retain(|_, value| !value.is_null());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(&json!({"alg": "RS256", "typ": "JWT", "kid": "1"}));
    format!("{header}.{}.{}", part(&Value::Object(claims)), URL_SAFE_NO_PAD.encode("signature"))
}
