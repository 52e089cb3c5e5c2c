//! Disconnecting: tokens are revoked at the provider, again until it is done, and all at once on the day of a breach.

use std::time::Duration;

use portcullis_test_servers::oauth::Fault;
use serde_json::{Value, json};

use super::stage::{Stage, path, shown, tool};
use super::store;
use crate::support::{Place, on_each_store, within};

on_each_store!(
    a_connection_that_is_deleted_is_revoked_at_the_provider,
    a_revocation_that_failed_is_tried_again_after_a_restart,
    all_connections_of_an_integration_are_revoked_with_a_result_for_each,
);

/// What the provider gave out last: the refresh token and the access token, in the order in which they are revoked.
fn tokens(stage: &Stage<'_>) -> Vec<String> {
    let given = stage.provider.given_out();
    let last = |kind: &str| given.iter().rev().find(|token| token.starts_with(kind)).unwrap().clone();
    vec![last("rt "), last("at.")]
}

fn a_connection_that_is_deleted_is_revoked_at_the_provider(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    let tokens = tokens(&stage);
    ada.delete(&path(&connection)).is(204);
    assert_eq!(stage.provider.revoked(), tokens, "the refresh token first");
    let hints: Vec<_> = stage
        .provider
        .requests_for("/revoke")
        .iter()
        .map(|asked| asked.param("token_type_hint").map(str::to_owned))
        .collect();
    assert_eq!(hints, [Some("refresh_token".to_owned()), Some("access_token".to_owned())]);
    assert!(!stage.provider.takes(&tokens[1]));
    ada.get(&path(&connection)).is(404);
}

#[test]
fn without_an_endpoint_the_tokens_are_forgotten() {
    let place = Place::sqlite();
    let stage = Stage::with(&place, json!({"revocationUrl": null}));
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    ada.delete(&path(&connection)).is(204);
    assert!(stage.provider.requests_for("/revoke").is_empty());
}

fn a_revocation_that_failed_is_tried_again_after_a_restart(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    let tokens = tokens(&stage);
    stage.provider.next_revocation(Fault::Status(503));
    stage.provider.next_revocation(Fault::Status(503));
    let answer = ada.delete(&path(&connection)).is(202).json();
    assert_eq!(answer["revocation"]["status"], "retrying", "{answer:#}");
    assert!(answer["revocation"]["message"].as_str().is_some_and(|text| text.contains("503")), "{answer:#}");
    ada.get(&path(&connection)).is(404);
    ada.error("CONNECTION_NOT_FOUND", &tool(&connection, "me"), json!({}));
    server.kill();
    store::execute(place, "UPDATE oauth_revocations SET next_at = 1");
    let server = stage.start();
    within(Duration::from_secs(20), "the tokens are revoked", || {
        tokens.iter().all(|token| stage.provider.revoked().contains(token))
    });
    assert!(!stage.provider.takes(&tokens[1]));
    drop(server);
}

fn all_connections_of_an_integration_are_revoked_with_a_result_for_each(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let (ada, bob) = (server.user("ada"), server.user("bob"));
    let first = stage.connect(&server, &ada);
    let second = stage.connect_with(&server, &bob, json!({"name": "Bob's"}));
    let (pending, _) = stage.begin(&ada, json!({"name": "Pending"}));
    stage.provider.next_revocation(Fault::Status(503));
    for caller in [&ada, &bob, &server.service().acting_for("ada")] {
        caller.post("/api/integrations/mail/revoke-all", json!({})).refuses(403, "FORBIDDEN");
    }
    assert!(stage.provider.requests_for("/revoke").is_empty());
    let answer = server.admin().post("/api/integrations/mail/revoke-all", json!({})).is(200).json();
    let results = answer["connections"].as_array().unwrap();
    let result_of = |connection: &Value| {
        let found = results.iter().find(|result| result["connection_id"] == connection["id"]);
        found.map(|result| result["revocation"]["status"].as_str().unwrap_or_default().to_owned())
    };
    let mut both = [result_of(&first).unwrap(), result_of(&second).unwrap()];
    both.sort();
    assert_eq!(both, ["retrying", "revoked"], "{answer:#}");
    assert_eq!(answer["count"], results.len(), "{answer:#}");
    for (client, connection) in [(&ada, &first), (&bob, &second)] {
        let expired = shown(client, connection);
        assert_eq!(expired["status"], "EXPIRED");
        assert!(expired["last_error"].as_str().unwrap().contains("revoked"), "{expired:#}");
        client.error("CONNECTION_EXPIRED", &tool(connection, "me"), json!({}));
    }
    assert_ne!(shown(&ada, &pending)["status"], "ACTIVE");
    store::execute(place, "UPDATE oauth_revocations SET next_at = 1");
    within(Duration::from_secs(20), "what failed is done", || stage.provider.revoked().len() == 4);
    // They can be connected anew.
    let answer = ada.post(&format!("{}/refresh", path(&first)), json!({})).is(200).json();
    let redirect_url = answer["redirect_url"].as_str().unwrap_or_else(|| panic!("{answer:#}"));
    super::stage::Person::at(&server).consents(&stage.provider, redirect_url).is(200);
    ada.result(&tool(&first, "me"), json!({}));
    server.admin().post("/api/integrations/none/revoke-all", json!({})).refuses(404, "NOT_FOUND");
}

#[test]
fn a_connection_that_goes_while_it_is_refreshed_leaves_no_token_behind() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect_with(&server, &ada, json!({"scopes": ["mail.read", "mail.send"]}));
    stage.provider.next(Fault::Hold);
    std::thread::scope(|scope| {
        let refreshing = scope
            .spawn(|| ada.post(&format!("{}/refresh", path(&connection)), json!({"force": true})).status);
        crate::support::eventually("the provider holds the answer back", || stage.provider.n_held() == 1);
        let deleted = ada.delete(&path(&connection)).status;
        assert!([202, 204].contains(&deleted), "{deleted}");
        stage.provider.release();
        assert!(refreshing.join().unwrap() >= 400);
    });
    let new = stage.provider.last_access_token();
    within(Duration::from_secs(20), "the new tokens are revoked as well", || !stage.provider.takes(&new));
}
