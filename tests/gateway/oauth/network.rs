//! The endpoints of a provider pass the policy on dialled addresses, as a connector's requests do.

use serde_json::json;

use super::stage::{APPS, Person, Stage, app, new_connection, path, shown, tool};
use crate::support::{Place, Server};

/// A server to which loopback is as closed as it is by default.
fn closed<'p>(stage: &Stage<'p>) -> Server<'p> {
    let ca = stage.provider.ca_pem().to_str().unwrap();
    let mut command = stage.place.command(&["serve", "--listen", "127.0.0.1:0", "--ca-file", ca]);
    command.stderr(std::fs::File::create(stage.place.log()).unwrap());
    Server::start(stage.place, command)
}

#[test]
fn a_code_is_exchanged_at_no_closed_address() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = closed(&stage);
    server.admin().put(&format!("{APPS}/default"), app()).is(201);
    let ada = server.user("ada");
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    Person::at(&server).consents(&stage.provider, &redirect_url);
    let failed = shown(&ada, &pending);
    assert_eq!(failed["status"], "FAILED");
    assert!(failed["last_error"].as_str().unwrap().contains("127.0.0.1"), "{failed:#}");
    assert!(stage.provider.requests_for("/token").is_empty());
}

#[test]
fn nor_are_tokens_refreshed_and_revoked() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let connection = stage.connect(&server, &server.admin().acting_for("ada"));
    drop(server);
    let server = closed(&stage);
    let ada = server.admin().acting_for("ada");
    let before = stage.provider.requests().len();
    ada.post(&format!("{}/refresh", path(&connection)), json!({"force": true}));
    ada.error("HOST_BLOCKED", &tool(&connection, "me"), json!({}));
    assert_eq!(ada.delete(&path(&connection)).status, 202);
    assert_eq!(stage.provider.requests().len(), before, "something came through");
}

#[test]
fn nor_are_codes_for_devices_and_clients_own_tokens_asked_for() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let device = json!({
        "grantType": "device_code", "deviceAuthorizationUrl": stage.provider.url("/device_authorization"),
    });
    place.install("phone", &stage.mail(device));
    place.install("robot", &stage.mail(json!({"grantType": "client_credentials"})));
    let server = closed(&stage);
    for integration in ["phone", "robot"] {
        server.admin().put(&format!("/api/integrations/{integration}/oauth-apps/default"), app()).is(201);
        let body = new_connection(json!({"integration": integration}));
        let answer = server.user(integration).post("/api/tools/connections", body);
        assert!(
            answer.status >= 400 && answer.text().contains("127.0.0.1"),
            "{}: {}",
            answer.status,
            answer.text()
        );
    }
    assert!(stage.provider.requests().is_empty(), "something came through");
}
