//! What would run isn't what was asked for any more: nothing runs.

use serde_json::{Value, json};

use super::{approve, ask, get, mail_connection, mailer, with_mailer, yes};
use crate::support::{Place, Server, TestServer, eventually, on_each_store};

on_each_store!(what_changed_is_not_run, what_cannot_run_now_waits_on);

fn what_changed_is_not_run(place: &Place) {
    let upstream = yes();
    let server = with_mailer(place, &upstream);
    let (admin, ada) = (server.admin(), server.user("ada"));
    let made = ada.connect(mail_connection("Post"));
    let path = format!("/api/tools/connections/{}", made["id"].as_str().unwrap());

    // Its name may change: it is the same connection.
    let renamed = ask(&ada, "post__send", json!({"to": "renamed"}));
    ada.patch(&path, json!({"connection_slug": "letters"})).is(200);
    assert_eq!(approve(&ada, &renamed).is(200).json()["status"], "DONE");

    let mut shared = mail_connection("Shared");
    shared["visibility"] = json!("project");
    let shared = ada.connect(shared);
    let shared = format!("/api/tools/connections/{}", shared["id"].as_str().unwrap());
    let hidden = ask(&server.user("bob"), "shared__send", json!({"to": "hidden"}));
    let gone = ask(&ada, "shared__send", json!({"to": "gone"}));
    ada.patch(&shared, json!({"visibility": "user"})).is(200);
    stale(&server, &hidden, "gone, or can't be used");
    ada.delete(&shared).is(204);
    stale(&server, &gone, "gone, or can't be used");
    // Another connection that has its name now is another one.
    ada.connect(mail_connection("Shared"));
    approve(&admin, &gone).refuses(409, "APPROVAL_NOT_PENDING");

    let version = ask(&ada, "letters__send", json!({"to": "version"}));
    let digest = ask(&ada, "letters__send", json!({"to": "digest"}));
    let operation = ask(&ada, "letters__peek", json!({}));
    change(place, &server, &upstream, |manifest| manifest["description"] = json!("another"));
    stale(&server, &digest, "was changed");
    change(place, &server, &upstream, |manifest| manifest["version"] = json!(2));
    stale(&server, &version, "has version 2 now instead of 1");
    change(place, &server, &upstream, |manifest| drop(manifest["operations"].as_array_mut().unwrap().pop()));
    stale(&server, &operation, "no operation \"peek\"");
    let left = ask(&ada, "letters__send", json!({"to": "left"}));
    std::fs::remove_dir_all(place.integration("mailer")).unwrap();
    eventually("the folder is gone", || admin.get("/api/integrations/mailer").status == 404);
    stale(&server, &left, "no integration");
    assert_eq!(upstream.requests().len(), 1, "only the first ran");
}

/// Edits the connector, and waits until that is served.
fn change(place: &Place, server: &Server<'_>, upstream: &TestServer, edit: impl FnOnce(&mut Value)) {
    let admin = server.admin();
    let digest = || admin.get("/api/integrations/mailer").is(200).json()["digest"].clone();
    let old = digest();
    assert!(old.is_string(), "{old}");
    let read = std::fs::read_to_string(place.integration("mailer").join("config.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&read).unwrap();
    edit(&mut manifest);
    place.install("mailer", &(manifest, mailer(&upstream.url("")).1));
    eventually("the edit is served", || digest() != old);
}

#[track_caller]
fn stale(server: &Server<'_>, id: &str, says: &str) {
    let admin = server.admin();
    let refused = approve(&admin, id).refuses(409, "APPROVAL_STALE");
    assert!(refused["message"].as_str().unwrap().contains(says), "{refused:#}");
    assert_eq!(refused["details"]["status"], "STALE");
    let approval = get(&admin, id);
    assert_eq!((&approval["status"], &approval["code"]), (&json!("STALE"), &json!("APPROVAL_STALE")));
    approve(&admin, id).refuses(409, "APPROVAL_NOT_PENDING");
}

fn what_cannot_run_now_waits_on(place: &Place) {
    let upstream = yes();
    let server = with_mailer(place, &upstream);
    let ada = server.user("ada");
    let made = ada.connect(mail_connection("Post"));
    let path = format!("/api/tools/connections/{}", made["id"].as_str().unwrap());
    let id = ask(&ada, "post__send", json!({"to": "bob"}));
    ada.patch(&path, json!({"status": "DISABLED"})).is(200);
    let refused = approve(&ada, &id).refuses(409, "APPROVAL_NOT_READY");
    assert_eq!(refused["details"]["error"]["code"], "CONNECTION_INACTIVE", "{refused:#}");
    let approval = get(&ada, &id);
    assert_eq!((&approval["status"], &approval["decision"]), (&json!("PENDING"), &Value::Null));
    ada.patch(&path, json!({"status": "ACTIVE"})).is(200);
    assert_eq!(approve(&ada, &id).is(200).json()["status"], "DONE");
    assert_eq!(upstream.requests().len(), 1);
}
