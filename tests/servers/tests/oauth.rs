//! The OAuth2 servers of tests: a person logs in at oidc-provider in a browser, whose cookies are nobody else's.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use portcullis_test_servers::oauth::Provider;
use portcullis_test_servers::{Browser, Oidc};

/// The challenge of RFC 7636's example, appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

#[test]
fn a_person_logs_in_at_oidc_provider_and_consents() {
    // The redirect goes to a server that remembers it.
    let (oidc, app) = (Oidc::start(), Provider::start());
    let redirect_uri = app.url("/oauth/callback");
    let client = oidc.register(&redirect_uri, "client_secret_basic", 600);
    assert!(client.secret.is_some());
    let browser = Browser::start();
    browser.open(&oidc.url(&format!(
        "/auth?client_id={}&response_type=code&redirect_uri={redirect_uri}&scope=openid%20email%20files:read\
         &state=s1&code_challenge={CHALLENGE}&code_challenge_method=S256",
        client.id
    )));
    browser.type_into("[name=login]", "ada");
    browser.type_into("[name=password]", "wrong");
    browser.click("#log-in");
    browser.wait_until("the password is refused", || {
        browser.has("#complaint") && browser.text_of("#complaint") == "Wrong name or password."
    });
    browser.type_into("[name=login]", "ada");
    browser.type_into("[name=password]", "ada-password");
    browser.click("#log-in");
    assert_eq!(browser.text_of("h1"), "Consent", "{}", oidc.log());
    browser.click("#allow");
    browser.await_url("the app's", |url| url.starts_with(&redirect_uri));
    let answers = app.requests_for("/oauth/callback");
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].param("state"), Some("s1"));
    assert_eq!(answers[0].param("iss"), Some(oidc.issuer().as_str()));
    assert!(answers[0].param("code").is_some_and(|code| code.len() > 20), "{answers:?}");
}

#[test]
fn two_browsers_share_nothing() {
    let oidc = Oidc::start();
    let (one, other) = (Browser::start(), Browser::start());
    for browser in [&one, &other] {
        browser.open(&oidc.url("/jwks"));
    }
    one.evaluate("document.cookie = 'mine=1'");
    assert_eq!(one.evaluate("return document.cookie"), "mine=1");
    assert_eq!(other.evaluate("return document.cookie"), "");
}
