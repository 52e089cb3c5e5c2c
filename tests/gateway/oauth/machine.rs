//! Grants without a person in this browser: a client's own credentials, and codes that are entered on another device.

use std::time::Duration;

use portcullis_test_servers::oauth::{Fault, Life, Provider};
use serde_json::{Value, json};

use super::connect::timestamp;
use super::stage::{APPS, Stage, new_connection, path, shown, tool};
use crate::support::{Client, Place, eventually, on_each_store, within};

on_each_store!(a_client_connects_itself_at_once, a_code_is_entered_on_another_device);

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn client_credentials(place: &Place) -> Stage<'_> {
    Stage::with(place, json!({"grantType": "client_credentials", "scopes": ["mail.read"]}))
}

fn a_client_connects_itself_at_once(place: &Place) {
    let stage = client_credentials(place);
    let server = stage.start();
    let ada = server.user("ada");
    let answer = ada.post("/api/tools/connections", new_connection(json!({}))).is(201).json();
    let connection = answer["connection"].clone();
    assert_eq!(connection["status"], "ACTIVE", "{answer:#}");
    assert_eq!(answer.get("redirect_url").cloned().unwrap_or_default(), Value::Null);
    assert_eq!(connection["scopes"], json!(["mail.read"]));
    let left = timestamp(&connection["expires_at"]) - jiff::Timestamp::now().as_second();
    assert!((3500..=3600).contains(&left), "{connection:#}");
    ada.result(&tool(&connection, "me"), json!({}));
    let grants = stage.provider.grants("client_credentials");
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0].param("scope"), Some("mail.read"));
    // A refresh is a new grant.
    stage.provider.void_access_tokens();
    ada.result(&tool(&connection, "me"), json!({}));
    assert_eq!(stage.provider.grants("client_credentials").len(), 2);
    ada.post(&format!("{}/refresh", path(&connection)), json!({"force": true})).is(200);
    assert_eq!(stage.provider.grants("client_credentials").len(), 3);
    ada.result(&tool(&connection, "me"), json!({}));
    assert_eq!(stage.provider.n_refreshes(), 0);
}

#[test]
fn credentials_that_the_provider_refuses_make_no_connection() {
    let place = Place::sqlite();
    let stage = client_credentials(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let wrong = json!({"client_id": Provider::CLIENT_ID, "client_secret": "a wrong secret"});
    server.admin().put(&format!("{APPS}/default"), wrong).is(200);
    let answer = ada.post("/api/tools/connections", new_connection(json!({}))).is(422);
    assert!(answer.text().contains("invalid_client"), "{}", answer.text());
    assert_eq!(ada.get("/api/tools/connections").is(200).json()["count"], 0);
}

#[test]
fn a_connection_can_bring_credentials_of_its_own() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let (mut manifest, code) =
        stage.mail(json!({"grantType": "client_credentials", "scopes": ["mail.read"]}));
    manifest["secretBindings"] = json!(["client_id", "client_secret"]);
    place.install("mail", &(manifest, code));
    let server = stage.start();
    let admin = server.admin();
    admin.delete(&format!("{APPS}/default")).is(204);
    let ada = server.user("ada");
    let credentials = json!({"client_id": Provider::CLIENT_ID, "client_secret": Provider::CLIENT_SECRET});
    let answer = ada
        .post("/api/tools/connections", new_connection(json!({"credentials": credentials})))
        .is(201)
        .json();
    let connection = answer["connection"].clone();
    assert_eq!(connection["status"], "ACTIVE", "{answer:#}");
    stage.provider.void_access_tokens();
    ada.result(&tool(&connection, "me"), json!({}));
    assert_eq!(stage.provider.grants("client_credentials").len(), 2);
}

fn device_code(place: &Place) -> Stage<'_> {
    let stage = Stage::on(place);
    let config = json!({
        "grantType": "device_code", "deviceAuthorizationUrl": stage.provider.url("/device_authorization"),
    });
    place.install("mail", &stage.mail(config));
    stage
}

/// A connection that waits for its code to be entered.
#[track_caller]
fn begin(ada: &Client) -> (Value, Value) {
    let answer = ada.post("/api/tools/connections", new_connection(json!({}))).is(201).json();
    assert_eq!(answer["connection"]["status"], "PENDING", "{answer:#}");
    (answer["connection"].clone(), answer)
}

fn becomes(ada: &Client, connection: &Value, status: &str) {
    within(Duration::from_secs(30), &format!("the connection is {status}"), || {
        shown(ada, connection)["status"] == status
    });
}

fn a_code_is_entered_on_another_device(place: &Place) {
    let stage = device_code(place);
    let server = stage.start();
    let ada = server.admin().acting_for("ada");
    let (connection, answer) = begin(&ada);
    assert_eq!(answer["user_code"], "WDJB-0001", "{answer:#}");
    assert_eq!(answer["verification_uri"], stage.provider.url("/device").as_str(), "{answer:#}");
    assert_eq!(answer["redirect_url"], stage.provider.url("/device?user_code=WDJB-0001").as_str());
    let left = timestamp(&answer["expires_at"]) - jiff::Timestamp::now().as_second();
    assert!((500..=600).contains(&left), "{answer:#}");
    eventually("the gateway asks", || !stage.provider.grants(DEVICE).is_empty());
    assert_eq!(shown(&ada, &connection)["status"], "PENDING");
    // A restart loses nothing.
    server.kill();
    let server = stage.start();
    let ada = server.admin().acting_for("ada");
    stage.provider.decide_devices(Some("ada"));
    becomes(&ada, &connection, "ACTIVE");
    let connection = shown(&ada, &connection);
    assert_eq!(connection["identity"], "ada@example.com", "{connection:#}");
    assert_eq!(connection["scopes"], json!(["openid", "mail.read"]));
    ada.result(&tool(&connection, "me"), json!({}));
    stage.provider.void_access_tokens();
    ada.result(&tool(&connection, "me"), json!({}));
    assert_eq!(stage.provider.n_refreshes(), 1);
}

#[test]
fn the_provider_is_asked_as_slowly_as_it_wants() {
    let place = Place::sqlite();
    let stage = device_code(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let (connection, _) = begin(&ada);
    let asked = || stage.provider.grants(DEVICE);
    within(Duration::from_secs(20), "it was asked three times", || asked().len() >= 3);
    let asked_at: Vec<_> = asked().iter().map(|asked| asked.at).collect();
    for pair in asked_at.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(950), "{:?} apart", pair[1] - pair[0]);
    }
    // Five seconds more from now on (RFC 8628, 3.5).
    stage.provider.next(Fault::Refusal(400, "slow_down".to_owned()));
    let before = asked().len();
    within(Duration::from_secs(30), "it was asked twice more", || asked().len() >= before + 2);
    let last: Vec<_> = asked()[before..before + 2].iter().map(|asked| asked.at).collect();
    assert!(last[1] - last[0] >= Duration::from_millis(5900), "{:?} apart", last[1] - last[0]);
    assert_eq!(shown(&ada, &connection)["status"], "PENDING");
}

#[test]
fn a_code_that_is_denied_or_late_fails_the_connection() {
    let place = Place::sqlite();
    let stage = device_code(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let (denied, _) = begin(&ada);
    stage.provider.decide_devices(None);
    becomes(&ada, &denied, "FAILED");
    assert!(!shown(&ada, &denied)["last_error"].as_str().unwrap().is_empty());
    stage.provider.behave(|behaviour| behaviour.device_life = 2);
    let answer = ada.post("/api/tools/connections", new_connection(json!({"name": "Late"}))).is(201).json();
    let late = answer["connection"].clone();
    becomes(&ada, &late, "FAILED");
    assert!(!shown(&ada, &late)["last_error"].as_str().unwrap().is_empty());
    // Nobody asks on.
    let n_asked = stage.provider.grants(DEVICE).len();
    stage.provider.behave(|behaviour| (behaviour.device_life, behaviour.life) = (600, Life::Seconds(3600)));
    let (third, _) = begin(&ada);
    stage.provider.decide_devices(Some("ada"));
    becomes(&ada, &third, "ACTIVE");
    let codes: Vec<_> = stage.provider.grants(DEVICE)[n_asked..]
        .iter()
        .map(|asked| asked.param("device_code").map(str::to_owned))
        .collect();
    assert!(codes.windows(2).all(|pair| pair[0] == pair[1]), "an ended code was asked for: {codes:?}");
}
