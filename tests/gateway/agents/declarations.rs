//! Declarations in JSON and YAML, and what is still to be connected before an agent runs.

use serde_json::{Value, json};

use super::support::{call, grant};
use crate::support::client::{Body, run_body};
use crate::support::connectors::{desk, desk_connection};
use crate::support::{Client, Place, Response, column, on_each_store};

#[track_caller]
fn put_yaml(client: &Client, agent: &str, text: &str) -> Response {
    let body = Body::Bytes { content_type: "application/yaml".to_owned(), bytes: text.as_bytes().to_vec() };
    client.send("PUT", &format!("/api/agents/{agent}"), body)
}

on_each_store!(a_declaration_is_taken_as_json_and_as_yaml);

fn a_declaration_is_taken_as_json_and_as_yaml(place: &Place) {
    let server = place.start();
    let (admin, service, ada) = (server.admin(), server.service(), server.user("ada"));
    let text = "name: Support desk\nconnections:\n  # where the tickets are\n  - type: desk\n    tools: [whoami]\n  - type: clay_key\n    source: secret\n";
    let made = put_yaml(&service, "support", text).is(201).json();
    let connections = json!([
        {"type": "desk", "source": "connector", "tools": ["whoami"]}, {"type": "clay_key", "source": "secret"},
    ]);
    assert_eq!(made["connections"], connections);
    assert_eq!((&made["agent"], &made["name"]), (&json!("support"), &json!("Support desk")));
    assert_eq!(ada.get("/api/agents/support").is(200).json(), made);
    let body = json!({"connections": [{"type": "x", "source": "native-mcp"}, {"type": "y", "source": "composio", "name": "z"}]});
    let again = admin.put("/api/agents/support", body.clone()).is(200).json();
    assert_eq!(again["connections"], body["connections"]);
    assert_eq!(again["created_at"], made["created_at"]);
    admin.put("/api/agents/another", json!({})).is(201);
    let list = ada.get("/api/agents").is(200).json();
    assert_eq!((&list["count"], column(&list["agents"], "name")), (&json!(2), vec!["another", "support"]));
    ada.put("/api/agents/mine", json!({})).refuses(403, "FORBIDDEN");
    ada.delete("/api/agents/support").refuses(403, "FORBIDDEN");
    service.delete("/api/agents/support").is(204);
    ada.get("/api/agents/support").refuses(404, "NOT_FOUND");
    service.delete("/api/agents/support").refuses(404, "NOT_FOUND");
}

#[test]
fn all_that_is_wrong_with_a_declaration_is_told_at_once() {
    let place = Place::sqlite();
    let server = place.start();
    let admin = server.admin();
    let problems = |error: &Value, list: &str| -> Vec<String> {
        let listed = error["details"][list].as_array().unwrap_or_else(|| panic!("{error:#}"));
        listed
            .iter()
            .map(|one| format!("{} {}", one["path"].as_str().unwrap(), one["message"].as_str().unwrap()))
            .collect()
    };
    let body = json!({"conections": [], "connections": [
        {"type": "desk", "tool": ["x"]}, {"source": "secret"}, {"type": 7}, {"type": "desk", "source": "magic"},
    ]});
    let as_json = admin.put("/api/agents/support", body.clone()).refuses(400, "INVALID_REQUEST");
    let found = problems(&as_json, "violations");
    for expected in [
        "/conections unknown field",
        "/connections/0/tool unknown field",
        "/connections/1/type ",
        "/connections/2/type ",
        "/connections/3/source ",
    ] {
        assert!(found.iter().any(|one| one.starts_with(expected)), "{expected}: {found:#?}");
    }
    assert!(found.iter().any(|one| one.contains("did you mean \"connections\"")), "{found:#?}");
    assert!(found.iter().any(|one| one.contains("did you mean \"tools\"")), "{found:#?}");
    // JSON is YAML, and is told the same.
    assert_eq!(put_yaml(&admin, "support", &body.to_string()).refuses(400, "INVALID_REQUEST"), as_json);

    let body = json!({"connections": [
        {"type": "Not A Slug"}, {"type": "desk", "tools": ["a b", "ok"]}, {"type": "1x", "source": "secret"},
        {"type": "k", "source": "secret", "tools": ["x"]}, {"type": "mail"}, {"type": "mail"},
        {"type": "mail", "name": "second"},
    ]});
    let refused = admin.put("/api/agents/support", body).refuses(422, "VALIDATION_FAILED");
    let found = problems(&refused, "problems");
    let paths: Vec<&str> = found.iter().filter_map(|one| one.split(' ').next()).collect();
    let expected = [
        "/connections/0/type",
        "/connections/1/tools/0",
        "/connections/2/type",
        "/connections/3/tools",
        "/connections/5",
    ];
    assert_eq!(paths, expected);
    admin.put("/api/agents/support", json!({"name": ""})).refuses(400, "INVALID_REQUEST");
    for name in ["Support", "a__b", "-", "a%20b", &"x".repeat(41)] {
        admin.put(&format!("/api/agents/{name}"), json!({})).refuses(400, "INVALID_REQUEST");
    }
    for (text, part) in [
        ("connections: [", "line 2"),
        ("connections: &a []\nname: *a", "anchors"),
        ("connections: []\nconnections: []", "twice at line 2"),
        ("- desk", "object"),
    ] {
        let refused = put_yaml(&admin, "support", text).refuses(400, "INVALID_REQUEST");
        assert!(refused["message"].as_str().unwrap().contains(part), "{refused:#}");
    }
    let body = Body::Bytes { content_type: "text/plain".to_owned(), bytes: b"{}".to_vec() };
    admin.send("PUT", "/api/agents/support", body).refuses(415, "UNSUPPORTED_MEDIA_TYPE");
    admin.get("/api/agents/support").refuses(404, "NOT_FOUND");
}

/// Sends the request that an item of the requirements names, its blanks filled.
#[track_caller]
fn follow(client: &Client, connect: &Value) -> Response {
    let body: Value = serde_json::from_str(&connect["body"].to_string().replace('…', "filled")).unwrap();
    client.send(connect["method"].as_str().unwrap(), connect["path"].as_str().unwrap(), Body::Json(body))
}

on_each_store!(who_does_what_the_requirements_say_can_run);

fn who_does_what_the_requirements_say_can_run(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let (admin, service) = (server.admin(), server.service());
    let (for_ada, for_bob) = (service.acting_for("ada"), service.acting_for("bob"));
    let declared =
        json!({"connections": [{"type": "desk", "tools": ["whoami"]}, {"type": "clay", "source": "secret"}]});
    admin.put("/api/agents/support", declared).is(201);
    let target = "/api/agents/support/requirements";
    let lacking = for_ada.get(target).is(200).json();
    assert_eq!(
        (&lacking["agent"], &lacking["ready"], &lacking["count"]),
        (&json!("support"), &json!(false), &json!(2))
    );
    assert_eq!(column(&lacking["requirements"], "status"), ["missing", "missing"]);
    assert_eq!(lacking["requirements"][0]["integration"], "desk");
    let run = run_body(&[("c1", "desk__whoami", "{}")]);
    let refused = for_ada.post("/api/agents/support/run", run.clone()).refuses(422, "REQUIREMENTS_MISSING");
    assert_eq!(refused["details"]["requirements"], lacking["requirements"]);
    assert_eq!(for_ada.get("/api/executions").is(200).json()["count"], 0);

    follow(&for_ada, &lacking["requirements"][0]["connect"]).is(201);
    follow(&for_ada, &lacking["requirements"][1]["connect"]).refuses(403, "FORBIDDEN");
    follow(&admin, &lacking["requirements"][1]["connect"]).is(201);
    let ready = for_ada.get(target).is(200).json();
    assert_eq!(ready, json!({"count": 0, "agent": "support", "ready": true, "requirements": []}));
    let mine = for_ada.get("/api/tools/connections").is(200).json()["connections"][0].clone();
    grant(&for_ada, "support", &[(&mine, &["whoami"])]);
    assert_eq!(call(&for_ada, "support", "desk__whoami", json!({})).result(), "dellif");
    // Each person has their own needs.
    assert_eq!(for_bob.get(target).is(200).json()["count"], 1);
    for_bob
        .post("/api/agents/support/run", run_body(&[("c1", "other__whoami", "{}")]))
        .refuses(422, "REQUIREMENTS_MISSING");

    let path = format!("/api/tools/connections/{}", mine["id"].as_str().unwrap());
    for_ada.patch(&path, json!({"status": "DISABLED"})).is(200);
    let lacking = for_ada.get(target).is(200).json();
    assert_eq!(column(&lacking["requirements"], "status"), ["inactive"]);
    follow(&for_ada, &lacking["requirements"][0]["connect"]).is(200);
    assert_eq!(for_ada.get(target).is(200).json()["ready"], true);
    for_ada.post("/api/agents/support/run", run).is(200);
}

#[test]
fn a_named_connection_is_the_one_of_that_slug_or_name() {
    let place = Place::sqlite();
    place.install("desk", &desk());
    let server = place.start();
    let (admin, ada) = (server.admin(), server.user("ada"));
    admin.put("/api/agents/support", json!({"connections": [{"type": "desk", "name": "Work"}]})).is(201);
    let lacking = || ada.get("/api/agents/support/requirements").is(200).json();
    ada.connect(desk_connection("Home", "one"));
    let connect = lacking()["requirements"][0]["connect"].clone();
    assert_eq!(connect["body"]["name"], "Work");
    follow(&ada, &connect).is(201);
    assert_eq!(lacking()["ready"], true);
    admin.put("/api/agents/support", json!({"connections": [{"type": "desk", "name": "home"}]})).is(200);
    assert_eq!(lacking()["ready"], true);
}
