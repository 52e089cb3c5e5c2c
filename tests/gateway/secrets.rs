//! Workspace secrets: set, masked, read by bindings alone.

use serde_json::{Value, json};

use crate::support::connectors::desk;
use crate::support::{Place, on_each_store};

on_each_store!(a_secret_is_masked_and_read_by_bindings_alone);

fn a_secret_is_masked_and_read_by_bindings_alone(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let (admin, ada) = (server.admin(), server.user("ada"));
    let value = "clay-secret-value-x7Qf";
    let made = admin.put("/api/secrets/clay", json!({"value": value})).is(201).json();
    assert!(!made.to_string().contains("secret-value"), "{made:#}");
    let list = admin.get("/api/secrets").is(200).json();
    let mask = list["secrets"][0]["mask"].as_str().unwrap();
    assert_eq!((&list["count"], &list["secrets"][0]["name"]), (&json!(1), &json!("clay")));
    assert!(mask.ends_with("x7Qf") && !mask.contains("value"), "{mask}");
    ada.get("/api/secrets").refuses(403, "FORBIDDEN");
    let body = json!({"integration": "desk", "mode": "api_key", "name": "By secret", "credentials": {"KEY": {"secret": "clay"}}});
    // Whoever could name a secret could read it, through a connector of their own.
    ada.post("/api/tools/connections", body.clone()).refuses(403, "FORBIDDEN");
    admin.acting_for("ada").connect(body);
    let reversed = |text: &str| Value::String(text.chars().rev().collect());
    assert_eq!(ada.result("desk__whoami", json!({})), reversed(value));
    // A new value is read by the next call.
    admin.put("/api/secrets/clay", json!({"value": "another-value"})).is(200);
    assert_eq!(ada.result("desk__whoami", json!({})), reversed("another-value"));
    let in_use = admin.delete("/api/secrets/clay").refuses(409, "SECRET_IN_USE");
    assert!(in_use["message"].as_str().unwrap().contains("by-secret"), "it names the connection: {in_use:#}");
    let connections = ada.get("/api/tools/connections").is(200).json();
    ada.delete(&format!("/api/tools/connections/{}", connections["connections"][0]["id"].as_str().unwrap()))
        .is(204);
    admin.delete("/api/secrets/clay").is(204);
    admin.delete("/api/secrets/clay").refuses(404, "NOT_FOUND");
}

#[test]
fn names_and_values_are_checked() {
    let place = Place::sqlite();
    let server = place.start();
    let admin = server.admin();
    for (name, body, status) in [
        ("9lives", json!({"value": "x"}), [400, 422]),
        ("a%20b", json!({"value": "x"}), [400, 422]),
        ("fine", json!({"value": ""}), [400, 422]),
        ("fine", json!({"value": 7}), [400, 400]),
        ("fine", json!({}), [400, 400]),
        ("fine", json!({"value": "x", "vlaue": "y"}), [400, 400]),
    ] {
        let answer = admin.put(&format!("/api/secrets/{name}"), body.clone());
        assert!(status.contains(&answer.status), "{name} {body}: {} {}", answer.status, answer.text());
    }
    let short = admin.put("/api/secrets/short", json!({"value": "abc"})).is(201).json();
    assert!(!short["mask"].as_str().unwrap().contains("abc"), "a short value's end is all of it: {short:#}");
}
