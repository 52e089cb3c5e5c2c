//! Consent in a real browser, at a real OpenID provider: a person logs in at oidc-provider in Chromium, and agrees or doesn't.

use std::time::Duration;

use portcullis_test_servers::oauth::Provider;
use portcullis_test_servers::{Browser, Oidc};
use serde_json::{Value, json};

use super::connect::timestamp;
use super::stage::{new_connection, path, shown, tool};
use crate::support::connectors::with_test;
use crate::support::{Client, Place, Server, StoreKind, within};

/// A gateway with one integration, `drive`, whose provider is oidc-provider.
struct Drive<'p> {
    oidc: Oidc,
    server: Server<'p>,
    ada: Client,
}

impl<'p> Drive<'p> {
    #[track_caller]
    fn on(place: &'p Place, access_token_seconds: u64, flags: &[&str]) -> Self {
        let oidc = Oidc::start();
        place.install("drive", &drive(&oidc, json!({"authorizationUrl": oidc.url("/auth")})));
        let ca = oidc.ca_pem().to_str().unwrap();
        let server = place.start_with(&[&["--ca-file", ca], flags].concat());
        let redirect_uri = format!("http://{}/oauth/callback", server.address);
        let client = oidc.register(&redirect_uri, "client_secret_basic", access_token_seconds);
        // OpenID Connect gives refresh tokens to those who ask for consent.
        let app = json!({
            "client_id": client.id, "client_secret": client.secret, "authorize_params": {"prompt": "consent"},
        });
        server.admin().put("/api/integrations/drive/oauth-apps/default", app).is(201);
        let ada = server.user("ada");
        Self { oidc, server, ada }
    }

    #[track_caller]
    fn begin(&self, more: Value) -> (Value, String) {
        let mut body = new_connection(json!({"integration": "drive", "name": "Drive"}));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.ada.post("/api/tools/connections", body).is(201).json();
        assert_eq!(answer["connection"]["status"], "PENDING", "{answer:#}");
        (answer["connection"].clone(), answer["redirect_url"].as_str().unwrap().to_owned())
    }

    /// A connection that a person of this name has agreed to.
    #[track_caller]
    fn connect(&self, browser: &Browser, name: &str) -> Value {
        let (connection, redirect_url) = self.begin(json!({}));
        browser.open(&redirect_url);
        log_in(browser, name);
        browser.click("#allow");
        self.await_callback(browser);
        let connection = shown(&self.ada, &connection);
        assert_eq!(connection["status"], "ACTIVE", "{connection:#}\n{}", self.oidc.log());
        connection
    }

    #[track_caller]
    fn await_callback(&self, browser: &Browser) {
        let ours = format!("http://{}/", self.server.address);
        browser.await_url("the gateway's", |url| url.starts_with(&ours));
    }
}

/// Its operation says who the provider says it is; `upload` needs a scope that isn't asked for.
fn drive(oidc: &Oidc, more: Value) -> (Value, String) {
    let mut config = json!({
        "tokenUrl": oidc.url("/token"), "revocationUrl": oidc.url("/token/revocation"), "issuer": oidc.issuer(),
        "scopes": ["openid", "offline_access", "email", "files:read"],
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let manifest = json!({
        "title": "Drive", "authMethod": "oauth2", "oauth2Config": config,
        "allowedHosts": [format!("localhost:{}", oidc.port())],
        "operations": [{"name": "me"}, {"name": "upload", "requiredScopes": ["files:write"]}],
    });
    let me = format!(
        "const r = ctx.http.get('{}', {{ headers: {{ Authorization: 'Bearer ' + ctx.secrets.get('accessToken') }} }});
if (r.status >= 400) throw new Error(`the drive said ${{r.status}}`);",
        oidc.url("/me")
    );
    with_test(
        manifest,
        &format!("{me}\nreturn {{ success: true, message: 'welcome' }};"),
        &format!("{me}\nreturn r.json();"),
    )
}

#[track_caller]
fn log_in(browser: &Browser, name: &str) {
    browser.type_into("[name=login]", name);
    browser.type_into("[name=password]", &format!("{name}-password"));
    browser.click("#log-in");
    assert_eq!(browser.text_of("#allow"), "Allow");
}

#[test]
fn a_window_that_was_opened_for_it_tells_its_opener_and_closes() {
    let place = Place::new(StoreKind::Postgres);
    let drive = Drive::on(&place, 600, &[]);
    let browser = Browser::start();
    browser.open(&format!("http://{}/docs", drive.server.address));
    browser.evaluate(
        "window.told = []; addEventListener('message', (event) => told.push([event.origin, event.data]));",
    );
    let (connection, redirect_url) = drive.begin(json!({}));
    browser.evaluate(&format!("window.open({})", json!(redirect_url)));
    browser.turn_to_last_of(2);
    log_in(&browser, "ada");
    browser.click("#allow");
    browser.turn_to_last_of(1);
    let told = browser.evaluate("return window.told");
    let expected =
        json!({"type": "portcullis:connection", "connection_id": connection["id"], "status": "ACTIVE"});
    assert_eq!(told, json!([[format!("http://{}", drive.server.address), expected]]));
    let connection = shown(&drive.ada, &connection);
    assert_eq!(connection["identity"], "ada@example.com");
    assert_eq!(connection["scopes"], json!(["openid", "offline_access", "email", "files:read"]));
    assert_eq!(drive.ada.result(&tool(&connection, "me"), json!({}))["sub"], "ada");
}

#[test]
fn a_person_who_denies_reads_what_to_do() {
    let place = Place::sqlite();
    let drive = Drive::on(&place, 600, &[]);
    let browser = Browser::start();
    let (connection, redirect_url) = drive.begin(json!({}));
    browser.open(&redirect_url);
    log_in(&browser, "ada");
    browser.click("#deny");
    drive.await_callback(&browser);
    assert_eq!(browser.text_of("h1"), "Not connected");
    assert!(browser.text_of("#reason").contains("access_denied"), "{}", browser.text());
    assert!(browser.text_of("#advice").contains("Start again"), "{}", browser.text());
    assert_eq!(shown(&drive.ada, &connection)["status"], "FAILED");
    // The page is styled and its script has run: its policy lets both.
    assert_eq!(browser.evaluate("return document.styleSheets[0].cssRules.length > 0"), true);
    // Another window of somebody else's can't go on with it.
    let other = Browser::start();
    let (_, redirect_url) = drive.begin(json!({"name": "Again"}));
    browser.open(&redirect_url);
    browser.text_of("#allow");
    other.open(&redirect_url);
    assert_eq!(other.text_of("h1"), "Begun in another browser");
}

#[test]
fn a_person_who_unchecks_a_scope_is_told_and_an_operation_says_which() {
    let place = Place::sqlite();
    let drive = Drive::on(&place, 600, &[]);
    let browser = Browser::start();
    let (connection, redirect_url) = drive.begin(json!({}));
    browser.open(&redirect_url);
    log_in(&browser, "ada");
    browser.click("[value=\"files:read\"]");
    browser.click("#allow");
    drive.await_callback(&browser);
    assert_eq!(browser.text_of("#missing"), "files:read");
    let connection = shown(&drive.ada, &connection);
    assert_eq!(connection["scopes"], json!(["openid", "offline_access", "email"]));
    let error = drive.ada.error("INSUFFICIENT_SCOPE", &tool(&connection, "upload"), json!({}));
    assert_eq!(error["details"]["missing"], json!(["files:write"]));
    // The reconnect asks for it all.
    let answer = drive.ada.post(&format!("{}/refresh", path(&connection)), json!({})).is(200).json();
    browser.open(answer["redirect_url"].as_str().unwrap());
    browser.text_of("#allow");
    for scope in ["files:read", "files:write"] {
        assert!(browser.has(&format!("[value=\"{scope}\"]")), "{scope}: {}", browser.source());
    }
    browser.click("#allow");
    drive.await_callback(&browser);
    drive.ada.result(&tool(&connection, "upload"), json!({}));
}

#[test]
fn another_account_replaces_the_first_when_a_person_says_so() {
    let place = Place::sqlite();
    // The form's answer leads to the callback, at another origin.
    let app = Provider::start();
    let drive = Drive::on(&place, 600, &["--callback-origin", &app.url("")]);
    let connection = drive.connect(&Browser::start(), "ada");
    let other = Browser::start();
    let more = json!({"callback_url": app.url("/done")});
    // A scope is missing, so that it takes a consent.
    let answer = drive.ada.post(&format!("{}/refresh", path(&connection)), more).is(200).json();
    other.open(answer["redirect_url"].as_str().unwrap());
    log_in(&other, "mallory");
    other.click("#allow");
    drive.await_callback(&other);
    assert_eq!(other.text_of("#old"), "ada@example.com");
    assert_eq!(other.text_of("#new"), "mallory@example.com");
    assert_eq!(shown(&drive.ada, &connection)["identity"], "ada@example.com");
    assert_eq!(drive.ada.result(&tool(&connection, "me"), json!({}))["sub"], "ada");
    other.click("#replace");
    other.await_url("the caller's", |url| url.starts_with(&app.url("/done")));
    assert_eq!(app.requests_for("/done")[0].param("status"), Some("ACTIVE"));
    assert_eq!(shown(&drive.ada, &connection)["identity"], "mallory@example.com");
    assert_eq!(drive.ada.result(&tool(&connection, "me"), json!({}))["sub"], "mallory");
}

#[test]
fn the_person_ends_where_the_caller_wants_with_the_outcome() {
    let place = Place::sqlite();
    let app = Provider::start();
    let drive = Drive::on(&place, 600, &["--callback-origin", &app.url("")]);
    let browser = Browser::start();
    let (connection, redirect_url) = drive.begin(json!({"callback_url": app.url("/done?tab=1")}));
    browser.open(&redirect_url);
    log_in(&browser, "ada");
    browser.click("#allow");
    browser.await_url("the caller's", |url| url.starts_with(&app.url("/done")));
    let arrived = app.requests_for("/done");
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].param("connection_id"), connection["id"].as_str());
    assert_eq!((arrived[0].param("status"), arrived[0].param("tab")), (Some("ACTIVE"), Some("1")));
    assert!(arrived[0].param("code").is_none() && arrived[0].param("state").is_none());
    assert_eq!(arrived[0].header("referer"), None, "the address that has the code is told nobody");
}

#[test]
fn it_is_kept_for_many_lives_of_a_token_and_revoked_in_the_end() {
    let place = Place::new(StoreKind::Postgres);
    let drive = Drive::on(&place, 4, &[]);
    let connection = drive.connect(&Browser::start(), "ada");
    let refreshed = || drive.oidc.log().matches("refresh_token.consumed").count();
    within(Duration::from_secs(30), "it was refreshed three times", || {
        assert_eq!(drive.ada.result(&tool(&connection, "me"), json!({}))["sub"], "ada");
        refreshed() >= 3
    });
    let log = drive.oidc.log();
    assert!(!log.contains("grant.revoked"), "a refresh token was used twice: {log}");
    drive.ada.delete(&path(&connection)).is(204);
    assert!(drive.oidc.log().contains("grant.revoked"), "{}", drive.oidc.log());
}

#[test]
fn a_code_is_entered_in_the_browser_of_another_device() {
    let place = Place::sqlite();
    let drive = Drive::on(&place, 600, &[]);
    let config =
        json!({"grantType": "device_code", "deviceAuthorizationUrl": drive.oidc.url("/device/auth")});
    place.install("drive", &self::drive(&drive.oidc, config));
    crate::support::eventually("the new manifest is served", || {
        let body = new_connection(json!({"integration": "drive", "name": "Tv"}));
        drive.ada.post("/api/tools/connections", body).json()["user_code"].is_string()
    });
    let body = new_connection(json!({"integration": "drive", "name": "Phone"}));
    let answer = drive.ada.post("/api/tools/connections", body).is(201).json();
    let left = timestamp(&answer["expires_at"]) - jiff::Timestamp::now().as_second();
    assert!((500..=600).contains(&left), "{answer:#}");
    let phone = Browser::start();
    phone.open(answer["redirect_url"].as_str().unwrap());
    // The code is in the address, and is to be confirmed.
    if phone.has("#enter") {
        phone.click("#enter");
    }
    phone.click("#confirm");
    log_in(&phone, "ada");
    phone.click("#allow");
    phone.text_of("#done");
    phone.wait_until("the connection works", || {
        shown(&drive.ada, &answer["connection"])["status"] == "ACTIVE"
    });
    assert_eq!(drive.ada.result(&tool(&answer["connection"], "me"), json!({}))["sub"], "ada");
}
