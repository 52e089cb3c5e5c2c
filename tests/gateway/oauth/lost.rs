//! Answers that are lost: the process killed, or the store away, between the provider's answer and the save.

use std::thread;

use portcullis_test_servers::oauth::{Fault, Refresh};
use portcullis_test_servers::postgres;
use serde_json::{Value, json};

use super::stage::{Stage, shown, tool};
use super::store;
use crate::support::client::{Body, run_body};
use crate::support::outage::Door;
use crate::support::{Client, Place, Server, eventually, on_each_store};

on_each_store!(
    a_killed_process_never_uses_a_token_that_it_lost,
    a_token_that_was_lost_with_its_process_is_had_again_where_that_can_be,
    what_was_never_answered_is_asked_again,
);

/// Begins a call whose refresh the provider has carried out and not answered yet.
fn refresh_in_flight(stage: &Stage<'_>, ada: &Client, connection: &Value) {
    stage.provider.void_access_tokens();
    stage.provider.next(Fault::Hold);
    let (ada, body) = (ada.clone(), run_body(&[("c1", &tool(connection, "me"), "{}")]));
    thread::spawn(move || {
        // It is killed before it can answer.
        let _ = ada.try_send("POST", "/api/tools/run", Body::Json(body));
    });
    eventually("the provider holds the answer back", || stage.provider.n_held() == 1);
}

/// Kills the server with the answer on its way; the access token in it.
fn killed_before_the_save(stage: &Stage<'_>, server: Server<'_>, connection: &Value) -> String {
    refresh_in_flight(stage, &server.admin().acting_for("ada"), connection);
    let lost = stage.provider.last_access_token();
    server.kill();
    stage.provider.release();
    // Nobody else waits for the dead process's lease to run out.
    store::execute(stage.place, "UPDATE oauth_grants SET refresh_until = 1");
    lost
}

#[track_caller]
fn never_used(stage: &Stage<'_>, lost: &str) {
    let used = stage.provider.requests().iter().any(|asked| asked.bearer() == Some(lost));
    assert!(!used, "the lost token was used");
}

fn a_killed_process_never_uses_a_token_that_it_lost(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let connection = stage.connect(&server, &server.admin().acting_for("ada"));
    let lost = killed_before_the_save(&stage, server, &connection);
    let server = stage.start();
    let ada = server.admin().acting_for("ada");
    // The old refresh token is tried once: this provider takes that for a theft.
    let error = ada.error("CONNECTION_EXPIRED", &tool(&connection, "me"), json!({}));
    assert!(error["message"].as_str().unwrap().contains("reconnect"), "{error:#}");
    let expired = shown(&ada, &connection);
    assert_eq!(expired["status"], "EXPIRED");
    assert!(expired["last_error"].as_str().unwrap().contains("lost"), "{expired:#}");
    assert_eq!((stage.provider.n_refreshes(), stage.provider.n_reuses()), (2, 1));
    ada.error("CONNECTION_EXPIRED", &tool(&connection, "me"), json!({}));
    assert_eq!(stage.provider.n_refreshes(), 2, "once is enough");
    never_used(&stage, &lost);
}

fn a_token_that_was_lost_with_its_process_is_had_again_where_that_can_be(place: &Place) {
    let stage = Stage::on(place);
    stage.provider.behave(|behaviour| behaviour.refresh = Refresh::Lasting);
    let server = stage.start();
    let connection = stage.connect(&server, &server.admin().acting_for("ada"));
    let lost = killed_before_the_save(&stage, server, &connection);
    let server = stage.start();
    let ada = server.admin().acting_for("ada");
    assert_eq!(ada.result(&tool(&connection, "me"), json!({}))["account"], "ada");
    assert_eq!(shown(&ada, &connection)["status"], "ACTIVE");
    assert_eq!(stage.provider.n_refreshes(), 2);
    never_used(&stage, &lost);
}

/// The connection was cut before the provider had done anything.
fn what_was_never_answered_is_asked_again(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.admin().acting_for("ada");
    let connection = stage.connect(&server, &ada);
    stage.provider.void_access_tokens();
    stage.provider.next(Fault::CloseBefore);
    eventually("the call works again", || {
        let body = run_body(&[("c1", &tool(&connection, "me"), "{}")]);
        ada.post("/api/tools/run", body).is(200).json()["errors"] == json!([])
    });
    assert_eq!((stage.provider.n_refreshes(), stage.provider.n_reuses()), (2, 0));
}

#[test]
fn a_token_is_used_only_once_it_is_stored() {
    let database = postgres().create_database();
    let door = Door::to(database.port());
    let place = Place::behind(database, door.port());
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.admin().acting_for("ada");
    let connection = stage.connect(&server, &ada);
    refresh_in_flight(&stage, &ada, &connection);
    door.shut();
    stage.provider.release();
    eventually("the store's absence is noticed", || server.anyone().get("/readyz").status == 503);
    never_used(&stage, &stage.provider.last_access_token());
    door.open();
    eventually("the call works again", || {
        let body = run_body(&[("c1", &tool(&connection, "me"), "{}")]);
        let answer = ada.post("/api/tools/run", body);
        answer.status == 200 && answer.json()["errors"] == json!([])
    });
    assert_eq!((stage.provider.n_refreshes(), stage.provider.n_reuses()), (1, 0), "what came is kept");
    assert_eq!(shown(&ada, &connection)["status"], "ACTIVE");
}

#[test]
fn a_server_that_is_asked_to_end_saves_what_is_on_its_way() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let connection = stage.connect(&server, &server.admin().acting_for("ada"));
    refresh_in_flight(&stage, &server.admin().acting_for("ada"), &connection);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    stage.provider.release();
    assert!(server.wait().success());
    let server = stage.start();
    let ada = server.admin().acting_for("ada");
    assert_eq!(ada.result(&tool(&connection, "me"), json!({}))["account"], "ada");
    assert_eq!((stage.provider.n_refreshes(), stage.provider.n_reuses()), (1, 0));
}
