//! Whose account it is: the claims of an id token.
//!
//! The token came from the token endpoint over TLS, so that its signature needs no check (OpenID Connect Core, 3.1.3.7,
//! point 6); what it claims about itself does.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use url::Url;

use crate::time::Timestamp;

/// How far the server's clock may be off, in seconds.
const SKEW: i64 = 300;
/// The longest name that is kept, in characters.
const MAX_NAME: usize = 200;
/// The longest id token that is read, in bytes.
const MAX_TOKEN: usize = 64 * 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an id token is held against.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: Issuer<'a>,
    pub(crate) client_id: &'a str,
    /// The nonce of the authorization request.
    pub(crate) nonce: Option<&'a str>,
    pub(crate) now: Timestamp,
}

/// Who may have issued it.
#[derive(Clone, Copy)]
pub(crate) enum Issuer<'a> {
    /// The one of this name.
    Named(&'a str),
    /// One at the host of one of these URLs: those that the tokens came of.
    At([&'a str; 2]),
}

impl Issuer<'_> {
    fn is(self, name: &str) -> bool {
        let host = |text: &str| {
            let url = Url::parse(text).ok().filter(|url| url.scheme() == "https")?;
            url.host_str().map(str::to_owned)
        };
        match self {
            Self::Named(own) => own == name,
            Self::At(urls) => {
                host(name).is_some_and(|name| urls.iter().any(|url| host(url).as_ref() == Some(&name)))
            }
        }
    }
}

/// Whose account it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// The name that people know it by: an address, or what comes nearest.
    pub(crate) name: String,
    /// The issuer's own name for it, which never changes.
    pub(crate) subject: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    azp: Option<String>,
    nonce: Option<String>,
    email: Option<String>,
    preferred_username: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn contains(&self, client_id: &str) -> bool {
        match self {
            Self::One(audience) => audience == client_id,
            Self::Many(audiences) => audiences.iter().any(|audience| audience == client_id),
        }
    }

    fn is_alone(&self) -> bool {
        !matches!(self, Self::Many(audiences) if audiences.len() > 1)
    }
}

/// The account that an id token names. The error says what is wrong with the token, and repeats nothing of it.
pub(crate) fn account(token: &str, expected: &Expected<'_>) -> Result<Account, &'static str> {
    let claims = claims(token).ok_or("it can't be read")?;
    check(&claims, expected)?;
    let names = [&claims.email, &claims.preferred_username, &claims.name];
    let name = names.into_iter().flatten().find_map(|name| shown(name)).or_else(|| shown(&claims.sub));
    let name = name.ok_or("it names nobody")?;
    Ok(Account { name, subject: format!("{} {}", claims.iss, claims.sub) })
}

fn claims(token: &str) -> Option<Claims> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let json = BASE64.decode(payload).ok()?;
    serde_json::from_slice(&json).ok()
}

fn check(claims: &Claims, expected: &Expected<'_>) -> Result<(), &'static str> {
    if !expected.issuer.is(&claims.iss) {
        return Err(
            "it was issued by another server than the one that was asked (the manifest's \"issuer\" says which)",
        );
    }
    if !claims.aud.contains(expected.client_id) {
        return Err("it was issued to another client");
    }
    let is_ours = claims.azp.as_deref().map_or(claims.aud.is_alone(), |azp| azp == expected.client_id);
    if !is_ours {
        return Err("it was issued to several clients, and not to this one first");
    }
    let seconds = expected.now.0 / 1000 - SKEW;
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
    let earliest = seconds as f64;
    if claims.exp.is_nan() || claims.exp <= earliest {
        return Err("it has expired");
    }
    if expected.nonce.is_some() && claims.nonce.as_deref() != expected.nonce {
        return Err("it was issued for another request");
    }
    Ok(())
}

/// A name as it can be shown on one line; none if nothing is left of it.
fn shown(name: &str) -> Option<String> {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = name.trim().chars().take(MAX_NAME).map(plain).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn token(claims: &Value) -> String {
        format!("e30.{}.sig", BASE64.encode(claims.to_string()))
    }

    fn claims(more: Value) -> Value {
        let mut claims = json!({
            "iss": "https://id.example", "sub": "u7", "aud": "c1", "exp": 1_700_000_060, "nonce": "n1",
        });
        claims.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        claims
    }

    const URLS: [&str; 2] = ["https://id.example/authorize?a=b", "https://token.example:8443/token"];

    fn read(token: &str, issuer: Option<&str>) -> Result<Account, &'static str> {
        let issuer = issuer.map_or(Issuer::At(URLS), Issuer::Named);
        account(token, &Expected { issuer, client_id: "c1", nonce: Some("n1"), now: NOW })
    }

    #[test]
    fn the_name_is_what_people_know_best() {
        for (more, name) in [
            (
                json!({"email": "ada@example.com", "preferred_username": "ada", "name": "Ada"}),
                "ada@example.com",
            ),
            (json!({"email": " ", "preferred_username": "ada", "name": "Ada"}), "ada"),
            (json!({"name": "Ada\u{0}Lovelace"}), "Ada Lovelace"),
            (json!({}), "u7"),
        ] {
            let account = read(&token(&claims(more)), Some("https://id.example")).expect("an account");
            assert_eq!(account.name, name);
            assert_eq!(account.subject, "https://id.example u7");
        }
    }

    #[test]
    fn a_token_that_was_not_meant_for_this_is_refused() {
        let issuer = Some("https://id.example");
        for (more, problem) in [
            (json!({"iss": "https://id.example/"}), "another server"),
            (json!({"aud": "c2"}), "another client"),
            (json!({"aud": ["c2", "c3"]}), "another client"),
            (json!({"aud": ["c1", "c2"]}), "several clients"),
            (json!({"aud": ["c1", "c2"], "azp": "c2"}), "several clients"),
            (json!({"azp": "c2"}), "several clients"),
            (json!({"exp": 1_699_999_699}), "expired"),
            (json!({"nonce": "n2"}), "another request"),
            (json!({"nonce": null}), "another request"),
        ] {
            let error = read(&token(&claims(more.clone())), issuer).expect_err("a refusal");
            assert!(error.contains(problem), "{more}: {error}");
        }
        assert!(read(&token(&claims(json!({"aud": ["c1"]}))), None).is_ok());
        assert!(read(&token(&claims(json!({"aud": ["c1", "c2"], "azp": "c1"}))), None).is_ok());
        for (iss, is_taken) in [
            ("https://id.example", true),
            ("https://id.example/tenant/v2", true),
            ("https://token.example", true),
            ("http://id.example", false),
            ("https://evil.example", false),
            ("https://id.example.evil.example", false),
            ("id.example", false),
        ] {
            assert_eq!(read(&token(&claims(json!({"iss": iss}))), None).is_ok(), is_taken, "{iss}");
        }
        assert!(
            read(&token(&claims(json!({"exp": 1_699_999_800.5}))), None).is_ok(),
            "within the clocks' skew"
        );
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let unreadable = Err("it can't be read");
        for text in ["", "a.b", "a.b.c", "e30.e30.e30", &"a".repeat(MAX_TOKEN + 1)] {
            assert_eq!(read(text, None), unreadable);
        }
    }
}
