//! Connecting by consent: what is asked for, what comes of it, and what a person sees who said no or came too late.

use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_test_servers::oauth::{Fault, Provider};
use serde_json::{Value, json};

use super::stage::{Person, Stage, new_connection, path, query, shown, tool};
use super::store;
use crate::support::{Place, Response, on_each_store};

on_each_store!(a_consent_makes_a_connection_work, a_consent_that_never_came_fails_the_connection);

fn a_consent_makes_a_connection_work(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.user("ada");
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    assert_eq!(shown(&ada, &pending)["status"], "PENDING");
    ada.error("CONNECTION_INACTIVE", &tool(&pending, "me"), json!({}));
    let asked = query(&redirect_url);
    let redirect_uri = format!("http://{}/oauth/callback", server.address);
    for (name, expected) in [
        ("response_type", "code"),
        ("client_id", Provider::CLIENT_ID),
        ("redirect_uri", &redirect_uri),
        ("scope", "openid mail.read"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(asked.get(name).map(String::as_str), Some(expected), "{name} of {redirect_url}");
    }
    // 256 bits in base64url.
    for name in ["state", "code_challenge", "nonce"] {
        assert_eq!(asked[name].len(), 43, "{name} of {redirect_url}");
    }
    let person = Person::at(&server);
    let start = person.opens(&redirect_url).is(302);
    let cookie = start.header("set-cookie").unwrap();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains("__Host-"), "{cookie}");
    let location = start.header("location").unwrap().to_owned();
    assert!(location.starts_with(&stage.provider.url("/authorize?")), "{location}");
    assert_eq!(query(&location), asked, "the provider is asked for what the caller saw");
    let page = person.opens(&stage.provider.consent(&location)).is(200);
    is_a_guarded_page(&page);

    let connection = shown(&ada, &pending);
    for (field, expected) in [
        ("status", json!("ACTIVE")),
        ("last_error", Value::Null),
        ("identity", json!("ada@example.com")),
        ("scopes", json!(["openid", "mail.read"])),
    ] {
        assert_eq!(connection[field], expected, "{field} of {connection:#}");
    }
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let left = timestamp(&connection["expires_at"]) - now;
    assert!((3500..=3600).contains(&left), "{left} s are left of {connection:#}");
    assert_eq!(ada.result(&tool(&connection, "me"), json!({}))["account"], "ada");
    let exchanges = stage.provider.grants("authorization_code");
    assert_eq!(exchanges.len(), 1, "a code is exchanged once");
    assert_eq!(exchanges[0].param("redirect_uri"), Some(redirect_uri.as_str()));
}

/// A page that runs no script but the gateway's own, is shown in no frame, is kept nowhere, and whose address (which has the
/// code) is told nobody.
#[track_caller]
pub(crate) fn is_a_guarded_page(page: &Response) {
    let policy = page.header("content-security-policy").unwrap_or_else(|| panic!("{:?}", page.headers));
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe-inline"), "{policy}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert!(page.header("content-type").is_some_and(|value| value.starts_with("text/html")));
    let text = page.text();
    assert!(!text.contains("onclick") && !text.contains("javascript:"), "{text}");
    assert!(text.match_indices("<script").all(|(at, _)| text[at..].starts_with("<script src=")), "{text}");
}

/// Seconds since 1970 of an RFC 3339 text.
#[track_caller]
pub(crate) fn timestamp(value: &Value) -> i64 {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{text}: {error}")).as_second()
}

fn a_consent_that_never_came_fails_the_connection(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.user("ada");
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    let person = Person::at(&server);
    let back = stage.provider.consent(&person.starts(&redirect_url));
    store::execute(place, "UPDATE oauth_flows SET expires_at = 1");
    let failed = shown(&ada, &pending);
    assert_eq!(failed["status"], "FAILED");
    assert!(failed["last_error"].as_str().unwrap().contains("10 minutes"), "{failed:#}");
    let listed = ada.get("/api/tools/connections?status=FAILED").is(200).json();
    assert_eq!(listed["count"], 1, "{listed:#}");
    person.opens(&back).is(404);
    assert_eq!(stage.provider.grants("authorization_code").len(), 0, "a late code is left alone");
    // What failed can be tried again.
    let again = ada.post(&format!("{}/refresh", path(&pending)), json!({})).is(200).json();
    assert_eq!(again["connection"]["status"], "PENDING", "{again:#}");
    Person::at(&server).consents(&stage.provider, again["redirect_url"].as_str().unwrap()).is(200);
    assert_eq!(shown(&ada, &pending)["status"], "ACTIVE");
}

#[test]
fn a_person_who_says_no_is_told_what_to_do() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    stage.provider.behave(|behaviour| behaviour.denial = Some("access_denied".to_owned()));
    let page = Person::at(&server).consents(&stage.provider, &redirect_url);
    is_a_guarded_page(&page);
    assert!(page.text().contains("Start again"), "{}", page.text());
    let failed = shown(&ada, &pending);
    assert_eq!(failed["status"], "FAILED");
    let reason = failed["last_error"].as_str().unwrap().to_lowercase();
    assert!(page.text().to_lowercase().contains(&reason), "{reason} isn't on the page: {}", page.text());
    assert_eq!(stage.provider.requests_for("/token").len(), 0);
}

#[test]
fn what_a_provider_says_is_text_on_the_page() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    stage.provider.behave(|behaviour| behaviour.denial = Some("<script>alert(1)</script>".to_owned()));
    let page = Person::at(&server).consents(&stage.provider, &redirect_url);
    is_a_guarded_page(&page);
    assert!(!page.text().contains("<script>"), "{}", page.text());
    assert_eq!(shown(&ada, &pending)["status"], "FAILED");
}

#[test]
fn an_exchange_that_is_refused_fails_the_connection_and_isnt_repeated() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    for fault in [
        Fault::Refusal(400, "invalid_grant".to_owned()),
        Fault::Refusal(200, "bad_verification_code".to_owned()),
        Fault::Refusal(401, "invalid_client".to_owned()),
        Fault::Status(503),
        Fault::Garbage,
        Fault::CloseBefore,
    ] {
        let (pending, redirect_url) = stage.begin(&ada, json!({}));
        let before = stage.provider.requests_for("/token").len();
        stage.provider.next(fault.clone());
        let page = Person::at(&server).consents(&stage.provider, &redirect_url);
        is_a_guarded_page(&page);
        assert_eq!(stage.provider.requests_for("/token").len(), before + 1, "{fault:?}");
        let failed = shown(&ada, &pending);
        assert_eq!(failed["status"], "FAILED", "{fault:?}");
        assert!(!failed["last_error"].as_str().unwrap().is_empty(), "{fault:?}");
        ada.error("CONNECTION_INACTIVE", &tool(&pending, "me"), json!({}));
        ada.delete(&path(&pending));
    }
}

#[test]
fn tokens_that_the_connectors_test_refuses_are_no_connection() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let (manifest, code) = stage.mail(json!({}));
    let code =
        code.replace("const me = ask(ctx);", "return { success: false, message: 'this mailbox is closed' };");
    place.install("mail", &(manifest, code));
    let server = stage.start();
    let ada = server.user("ada");
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    let page = Person::at(&server).consents(&stage.provider, &redirect_url);
    assert!(page.text().contains("his mailbox is closed"), "{}", page.text());
    let failed = shown(&ada, &pending);
    assert_eq!(failed["status"], "FAILED");
    assert!(failed["last_error"].as_str().unwrap().contains("this mailbox is closed"), "{failed:#}");
}

#[test]
fn a_consent_to_less_says_what_is_missing() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    stage.provider.behave(|behaviour| behaviour.granted = Some(vec!["openid".to_owned()]));
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    let page = Person::at(&server).consents(&stage.provider, &redirect_url).is(200);
    assert!(page.text().contains("mail.read"), "{}", page.text());
    let connection = shown(&ada, &pending);
    assert_eq!((&connection["status"], &connection["scopes"]), (&json!("ACTIVE"), &json!(["openid"])));
}

#[test]
fn a_callback_url_gets_the_person_if_the_operator_allows_its_origin() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start_with(&["--callback-origin", "https://app.example.com"]);
    let ada = server.user("ada");
    for refused in [
        "https://evil.example/done",
        "https://app.example.com.evil.example/done",
        "https://app.example.com@evil.example/done",
        "https://user:pw@app.example.com/done",
        "https://app.example.com:8443/done",
        "http://app.example.com/done",
        "javascript:alert(1)",
        "//app.example.com/done",
    ] {
        let body = new_connection(json!({"callback_url": refused}));
        let error = ada.post("/api/tools/connections", body).refuses(422, "VALIDATION_FAILED");
        assert!(error.to_string().contains("callback_url"), "{refused}: {error}");
    }
    let ours = "https://app.example.com/done?tab=mail&status=x#top";
    for (denial, status) in [(None, "ACTIVE"), (Some("access_denied".to_owned()), "FAILED")] {
        stage.provider.behave(|behaviour| behaviour.denial = denial);
        let (pending, redirect_url) = stage.begin(&ada, json!({"callback_url": ours}));
        let answer = Person::at(&server).consents(&stage.provider, &redirect_url);
        assert!([302, 303].contains(&answer.status), "{} {}", answer.status, answer.text());
        let location = answer.header("location").unwrap();
        assert!(location.starts_with("https://app.example.com/done?tab=mail&"), "{location}");
        assert!(location.ends_with("#top"), "{location}");
        assert!(
            location.contains(&format!("connection_id={}", pending["id"].as_str().unwrap())),
            "{location}"
        );
        assert!(location.contains(&format!("status={status}")), "{location}");
        assert_eq!(shown(&ada, &pending)["status"], status);
    }
}

#[test]
fn under_https_the_cookie_is_for_this_host_alone() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start_with(&["--public-url", "https://gate.example.com", "--behind-proxy"]);
    let ada = server.user("ada");
    let (_, redirect_url) = stage.begin(&ada, json!({}));
    assert!(redirect_url.starts_with("https://gate.example.com/oauth/start?"), "{redirect_url}");
    assert_eq!(query(&redirect_url)["redirect_uri"], "https://gate.example.com/oauth/callback");
    let start = Person::at(&server).opens(&redirect_url).is(302);
    let cookie = start.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("__Host-") && cookie.contains("Secure") && !cookie.contains("Domain"),
        "{cookie}"
    );
}
