//! Refreshing: before tokens expire and when they are refused, on request, and with providers that answer oddly or not at all.

use std::time::{Duration, Instant};

use portcullis_test_servers::oauth::{Behaviour, Encoding, Fault, Life, Refresh};
use serde_json::{Value, json};

use super::connect::timestamp;
use super::stage::{Person, Stage, path, shown, tool};
use crate::support::{Client, Place, on_each_store, within};

on_each_store!(
    an_expired_token_is_replaced_before_the_call,
    a_refused_token_is_replaced_once_and_the_call_tried_again,
    a_refresh_on_request_replaces_tokens_only_by_better_ones,
    a_consent_that_was_withdrawn_expires_the_connection,
);

/// `POST …/refresh`.
#[track_caller]
fn refresh(client: &Client, connection: &Value, force: bool) -> Value {
    client.post(&format!("{}/refresh", path(connection)), json!({"force": force})).is(200).json()
}

/// Tokens that are said to live for two seconds. They live longer: what they are tried with may take long on a busy machine.
fn short_lived(behaviour: &mut Behaviour) {
    behaviour.life = Life::Seconds(2);
    behaviour.true_life = Some(Duration::from_secs(600));
}

/// Waits until the token has expired, as far as the gateway knows.
fn await_end(connection: &Value) {
    let end = timestamp(&connection["expires_at"]);
    within(Duration::from_secs(10), "the token has expired", || jiff::Timestamp::now().as_second() > end);
}

fn an_expired_token_is_replaced_before_the_call(place: &Place) {
    let stage = Stage::on(place);
    stage.provider.behave(short_lived);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    await_end(&connection);
    stage.provider.behave(|behaviour| behaviour.life = Life::Seconds(3600));
    assert_eq!(ada.result(&tool(&connection, "me"), json!({}))["account"], "ada");
    assert_eq!((stage.provider.n_refreshes(), stage.provider.n_reuses()), (1, 0));
    let asked: Vec<_> = stage.provider.requests_for("/api/me");
    assert_eq!(asked.len(), 1, "the expired token wasn't tried");
    assert_eq!(asked[0].bearer(), Some(stage.provider.last_access_token().as_str()));
    // The new one is good for an hour: nothing is refreshed again.
    for _ in 0..5 {
        ada.result(&tool(&connection, "me"), json!({}));
    }
    assert_eq!(stage.provider.n_refreshes(), 1);
}

fn a_refused_token_is_replaced_once_and_the_call_tried_again(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    // A 401 was not carried out, so that a write is tried again as well.
    for (operation, n_refreshes) in [("me", 1), ("write", 2)] {
        stage.provider.void_access_tokens();
        assert_eq!(ada.result(&tool(&connection, operation), json!({}))["account"], "ada");
        assert_eq!(stage.provider.n_refreshes(), n_refreshes);
        assert_eq!(stage.provider.requests_for(&format!("/api/{operation}")).len(), 2, "{operation}");
    }
    assert_eq!(stage.provider.n_reuses(), 0);
}

#[test]
fn a_401_that_new_tokens_dont_help_is_an_expired_connection_to_the_caller() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    // Tokens that are dead as soon as they are given out.
    stage.provider.behave(|behaviour| behaviour.true_life = Some(Duration::ZERO));
    stage.provider.void_access_tokens();
    let error = ada.error("CONNECTION_EXPIRED", &tool(&connection, "me"), json!({}));
    assert_eq!(error["retryable"], false, "{error:#}");
    assert_eq!(stage.provider.n_refreshes(), 1, "one refresh, and one more try");
    assert_eq!(stage.provider.requests_for("/api/me").len(), 2);
}

fn a_refresh_on_request_replaces_tokens_only_by_better_ones(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.user("ada");
    // No scopes are missing, so that nothing is to be widened.
    let connection = stage.connect_with(&server, &ada, json!({"scopes": ["mail.read", "mail.send"]}));
    let works = || assert_eq!(ada.result(&tool(&connection, "me"), json!({}))["account"], "ada");
    let answer = refresh(&ada, &connection, false);
    assert_eq!(
        (&answer["redirect_url"], stage.provider.n_refreshes()),
        (&Value::Null, 0),
        "what is good is left alone"
    );
    let answer = refresh(&ada, &connection, true);
    assert_eq!((&answer["redirect_url"], stage.provider.n_refreshes()), (&Value::Null, 1));
    works();
    let good = stage.provider.last_access_token();
    for fault in [
        Fault::Status(503),
        Fault::Garbage,
        Fault::CloseBefore,
        Fault::Refusal(400, "invalid_grant".to_owned()),
    ] {
        stage.provider.next(fault.clone());
        let answer = ada.post(&format!("{}/refresh", path(&connection)), json!({"force": true}));
        let is_told = answer.status >= 400 || answer.json()["redirect_url"].is_string();
        assert!(is_told, "{fault:?}: {} {}", answer.status, answer.text());
        assert_eq!(shown(&ada, &connection)["status"], "ACTIVE", "{fault:?}");
        works();
        assert_eq!(
            stage.provider.requests_for("/api/me").last().unwrap().bearer(),
            Some(good.as_str()),
            "{fault:?}"
        );
    }
    assert_eq!(stage.provider.n_reuses(), 0);
}

fn a_consent_that_was_withdrawn_expires_the_connection(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    stage.provider.void_everything();
    let error = ada.error("CONNECTION_EXPIRED", &tool(&connection, "me"), json!({}));
    assert_eq!(error["retryable"], false, "{error:#}");
    assert!(error["message"].as_str().unwrap().contains("reconnect"), "{error:#}");
    let expired = shown(&ada, &connection);
    assert_eq!(expired["status"], "EXPIRED");
    let reason = expired["last_error"].as_str().unwrap();
    assert!(reason.contains("invalid_grant") && reason.contains("reconnect"), "{reason}");
    // The provider isn't asked again and again.
    let n_requests = stage.provider.requests().len();
    ada.error("CONNECTION_EXPIRED", &tool(&connection, "me"), json!({}));
    assert_eq!(stage.provider.requests().len(), n_requests);
    let answer = refresh(&ada, &connection, false);
    let redirect_url = answer["redirect_url"].as_str().unwrap_or_else(|| panic!("{answer:#}"));
    Person::at(&server).consents(&stage.provider, redirect_url).is(200);
    let active = shown(&ada, &connection);
    assert_eq!((&active["status"], &active["last_error"]), (&json!("ACTIVE"), &Value::Null));
    ada.result(&tool(&connection, "me"), json!({}));
}

#[test]
fn odd_answers_are_understood() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    for (life, refresh_token, encoding, left) in [
        (Life::Seconds(1800), Refresh::Lasting, Encoding::Json, Some(1800)),
        (Life::Text(1800), Refresh::Rotating, Encoding::Json, Some(1800)),
        (Life::Fraction(1800.5), Refresh::Rotating, Encoding::Json, Some(1800)),
        (Life::Unsaid, Refresh::Rotating, Encoding::Json, None),
        (Life::Unsaid, Refresh::Lasting, Encoding::Form, None),
        (Life::Seconds(1800), Refresh::Rotating, Encoding::Form, Some(1800)),
        (Life::Seconds(1800), Refresh::Rotating, Encoding::UnmarkedForm, Some(1800)),
    ] {
        let what = format!("{life:?} {refresh_token:?} {encoding:?}");
        stage.provider.behave(|behaviour| {
            (behaviour.life, behaviour.refresh, behaviour.encoding) = (life, refresh_token, encoding);
            // A clock that is years behind.
            behaviour.date = Some("Mon, 01 Jan 2018 00:00:00 GMT".to_owned());
        });
        let connection = stage.connect(&server, &ada);
        let before = stage.provider.n_refreshes();
        for n_refreshes in 1..=2 {
            stage.provider.void_access_tokens();
            ada.result(&tool(&connection, "me"), json!({}));
            assert_eq!(stage.provider.n_refreshes(), before + n_refreshes, "{what}");
        }
        let connection = shown(&ada, &connection);
        match left {
            None => assert_eq!(connection["expires_at"], Value::Null, "{what}"),
            Some(left) => {
                let from_now = timestamp(&connection["expires_at"]) - jiff::Timestamp::now().as_second();
                assert!((left - 60..=left).contains(&from_now), "{what}: {from_now} s");
            }
        }
        assert_eq!(stage.provider.n_reuses(), 0, "{what}");
    }
}

#[test]
fn without_a_refresh_token_the_end_is_the_connections_end() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    stage.provider.behave(|behaviour| behaviour.refresh = Refresh::Never);
    stage.provider.behave(short_lived);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    await_end(&connection);
    ada.error("CONNECTION_EXPIRED", &tool(&connection, "me"), json!({}));
    assert_eq!(shown(&ada, &connection)["status"], "EXPIRED");
    assert_eq!(stage.provider.n_refreshes(), 0);
    assert!(refresh(&ada, &connection, false)["redirect_url"].is_string());
}

#[test]
fn errors_in_a_200_and_others_are_told_apart() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    // The app is broken, not the consent: nobody has to give that again.
    stage.provider.void_access_tokens();
    stage.provider.next(Fault::Refusal(401, "invalid_client".to_owned()));
    let body = crate::support::client::run_body(&[("c1", &tool(&connection, "me"), "{}")]);
    let answer = ada.post("/api/tools/run", body).is(200).json();
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1, "{answer:#}");
    assert_eq!(shown(&ada, &connection)["status"], "ACTIVE");
    // GitHub's way of saying invalid_grant.
    let connection = stage.connect_with(&server, &ada, json!({"name": "Other"}));
    stage.provider.void_access_tokens();
    stage.provider.next(Fault::Refusal(200, "bad_refresh_token".to_owned()));
    ada.error("CONNECTION_EXPIRED", &tool(&connection, "me"), json!({}));
    assert_eq!(shown(&ada, &connection)["status"], "EXPIRED");
}

#[test]
fn a_provider_that_is_down_is_left_alone_and_the_old_token_used() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    stage.provider.behave(short_lived);
    let connection = stage.connect(&server, &ada);
    let begun = Instant::now();
    stage.provider.behave(|behaviour| behaviour.always = Some(Fault::Status(503)));
    within(Duration::from_secs(10), "a refresh was tried", || {
        let body = crate::support::client::run_body(&[("c1", &tool(&connection, "me"), "{}")]);
        ada.post("/api/tools/run", body).is(200);
        stage.provider.n_refreshes() > 0
    });
    // Many calls, few tries: pauses grow from half a second, and double.
    for _ in 0..30 {
        let body = crate::support::client::run_body(&[("c1", &tool(&connection, "me"), "{}")]);
        ada.post("/api/tools/run", body).is(200);
    }
    let n_tries = i32::try_from(stage.provider.n_refreshes()).unwrap();
    let most = 1.0 + (2.0 * begun.elapsed().as_secs_f64() + 1.0).log2();
    assert!(f64::from(n_tries) <= most, "{n_tries} tries, {most} would be right");
    assert_eq!(shown(&ada, &connection)["status"], "ACTIVE", "a provider that is down expires nothing");
    stage.provider.behave(|behaviour| (behaviour.always, behaviour.life) = (None, Life::Seconds(3600)));
    within(Duration::from_secs(20), "it works again by itself", || {
        let body = crate::support::client::run_body(&[("c1", &tool(&connection, "me"), "{}")]);
        ada.post("/api/tools/run", body).is(200).json()["errors"] == json!([])
    });
    assert_eq!(stage.provider.n_reuses(), 0);
}

#[test]
fn the_old_token_is_used_while_it_lives_and_the_provider_is_down() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    stage.provider.behave(|behaviour| behaviour.always = Some(Fault::Status(503)));
    // Due, with half a minute left.
    super::store::execute(&place, "UPDATE connections SET expires_at = created_at + 40000");
    super::store::execute(&place, "UPDATE oauth_grants SET obtained_at = obtained_at - 3600000");
    drop(server);
    let server = stage.start();
    let ada = server.admin().acting_for("ada");
    assert_eq!(ada.result(&tool(&connection, "me"), json!({}))["account"], "ada");
    assert!(stage.provider.n_refreshes() >= 1, "it wasn't due");
}

#[test]
fn tokens_in_use_are_replaced_before_a_call_has_to_wait() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    stage.provider.behave(|behaviour| behaviour.life = Life::Seconds(20));
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    ada.result(&tool(&connection, "me"), json!({}));
    // Nobody calls any more.
    within(Duration::from_secs(25), "it was refreshed ahead", || stage.provider.n_refreshes() > 0);
    let first = stage.provider.given_out().into_iter().find(|token| token.starts_with("at.")).unwrap();
    assert!(stage.provider.takes(&first), "it was refreshed after its end");
    assert_eq!(stage.provider.requests_for("/api/me").len(), 1);
}

#[test]
fn refreshes_are_counted_by_what_came_of_them() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect_with(&server, &ada, json!({"scopes": ["mail.read", "mail.send"]}));
    refresh(&ada, &connection, true);
    stage.provider.void_everything();
    ada.error("CONNECTION_EXPIRED", &tool(&connection, "me"), json!({}));
    let metrics = server.anyone().get("/metrics").is(200).text();
    for line in [
        "portcullis_token_refreshes_total{outcome=\"refreshed\"} 1",
        "portcullis_token_refreshes_total{outcome=\"expired\"} 1",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
}
