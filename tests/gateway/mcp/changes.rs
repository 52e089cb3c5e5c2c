//! What clients are told by themselves: that the list has changed, when it has.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::client::Mcp;
use crate::support::connectors::{desk, desk_connection, echo};
use crate::support::{Place, eventually, on_each_store};

const CHANGED: &str = "notifications/tools/list_changed";

on_each_store!(a_list_that_changes_is_told_and_one_that_does_not_is_not);

fn a_list_that_changes_is_told_and_one_that_does_not_is_not(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let (admin, ada) = (server.admin(), server.user("ada"));
    let mcp = Mcp::begin(&ada);
    assert!(mcp.names().is_empty());
    let stream = mcp.listen();
    // Another's own connection changes nothing here.
    server.user("eve").connect(desk_connection("Hers", "k9"));
    admin.put("/api/secrets/unrelated", json!({"value": "v"}));
    thread::sleep(Duration::from_millis(800));
    assert_eq!(stream.count(CHANGED), 0, "nothing that it sees changed");
    let connection = ada.connect(desk_connection("Mine", "k1"));
    eventually("a connection is told", || stream.count(CHANGED) == 1);
    assert_eq!(mcp.names(), ["desk__whoami"]);
    place.install("echo", &echo());
    eventually("a reload is told", || stream.count(CHANGED) == 2);
    assert_eq!(mcp.names(), ["desk__whoami", "echo__go"]);
    let id = connection["id"].as_str().unwrap();
    ada.patch(&format!("/api/tools/connections/{id}"), json!({"status": "DISABLED"})).is(200);
    eventually("a connection that is switched off is told", || stream.count(CHANGED) == 3);
    assert_eq!(mcp.names(), ["echo__go"]);
    let result = mcp.call("desk__whoami", json!({}));
    assert_eq!(result["structuredContent"]["error"]["code"], "CONNECTION_INACTIVE", "{result:#}");
}
