//! Grants: replaced as a whole, by those who see the connections, and as they are at the call.

use serde_json::json;

use super::support::{call, declare, grant, not_accessible, offered};
use crate::support::connectors::{desk, desk_connection};
use crate::support::{Place, column, on_each_store};

on_each_store!(an_agent_calls_what_it_was_granted_and_nothing_else);

fn an_agent_calls_what_it_was_granted_and_nothing_else(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let (admin, ada) = (server.admin(), server.user("ada"));
    declare(&admin, "support");
    let first = ada.connect(desk_connection("First", "one"));
    let second = ada.connect(desk_connection("Second", "two"));
    assert!(offered(&ada, "support").is_empty());
    call(&ada, "support", "first__whoami", json!({})).error("TOOL_NOT_FOUND");

    let catalog = ada.get("/api/agents/support/connection-tools/catalog").is(200).json();
    assert_eq!(
        catalog["connections"][0],
        json!({"connectionId": first["id"], "name": "First", "slug": "first", "provider": "connector",
            "integration": "desk", "status": "ACTIVE", "enabledTools": [], "approval": "default",
            "tools": [{"name": "whoami", "description": "Says which key it has."}]})
    );
    let granted = grant(&ada, "support", &[(&first, &["whoami"])]);
    assert_eq!(granted["connections"][0]["enabledTools"], json!(["whoami"]));
    assert_eq!(granted, ada.get("/api/agents/support/connection-tools/catalog").is(200).json());
    assert_eq!(offered(&ada, "support"), ["first__whoami"]);
    assert_eq!(call(&ada, "support", "first__whoami", json!({})).result(), "eno");
    for name in ["tools.gateway.connector.desk.whoami.first", "tools.gateway.connector.desk.whoami"] {
        assert_eq!(call(&ada, "support", name, json!({})).result(), "eno", "{name}");
    }
    for name in ["second__whoami", "desk__whoami", "tools.gateway.connector.desk.whoami.second", "whoami", ""]
    {
        call(&ada, "support", name, json!({})).error("TOOL_NOT_FOUND");
    }

    grant(&ada, "support", &[(&second, &["whoami"])]);
    assert_eq!(offered(&ada, "support"), ["second__whoami"]);
    call(&ada, "support", "first__whoami", json!({})).error("TOOL_NOT_FOUND");
    let list = ada.get("/api/executions").is(200).json();
    assert!(column(&list["executions"], "agent").iter().all(|agent| *agent == "support"));

    admin.delete("/api/agents/support").is(204);
    ada.get("/api/agents/support/tools").refuses(404, "NOT_FOUND");
    declare(&admin, "support");
    assert!(offered(&ada, "support").is_empty(), "a new agent of an old name has no grants");
}

on_each_store!(what_happens_between_the_listing_and_the_call_counts);

fn what_happens_between_the_listing_and_the_call_counts(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let (admin, ada, bob) = (server.admin(), server.user("ada"), server.user("bob"));
    admin.put("/api/agents/support", json!({"connections": [{"type": "desk"}]})).is(201);
    let shared = |name: &str| {
        let mut body = desk_connection(name, "one");
        body["visibility"] = json!("project");
        ada.connect(body)
    };
    let (gone, off, hidden) = (shared("Gone"), shared("Off"), shared("Hidden"));
    grant(&ada, "support", &[(&gone, &["whoami"]), (&off, &["whoami"]), (&hidden, &["whoami"])]);
    let all = ["gone__whoami", "hidden__whoami", "off__whoami"];
    for person in [&ada, &bob] {
        assert_eq!(offered(person, "support"), all);
        for tool in all {
            assert_eq!(call(person, "support", tool, json!({})).result(), "eno");
        }
    }
    let path = |connection: &serde_json::Value| {
        format!("/api/tools/connections/{}", connection["id"].as_str().unwrap())
    };
    ada.delete(&path(&gone)).is(204);
    ada.patch(&path(&off), json!({"status": "DISABLED"})).is(200);
    ada.patch(&path(&hidden), json!({"visibility": "user"})).is(200);
    assert_eq!(offered(&ada, "support"), ["hidden__whoami"]);
    assert!(offered(&bob, "support").is_empty());
    for tool in all {
        not_accessible(&bob, "support", tool);
    }
    not_accessible(&ada, "support", "gone__whoami");
    not_accessible(&ada, "support", "off__whoami");
    assert_eq!(call(&ada, "support", "hidden__whoami", json!({})).result(), "eno");
    // A connection that takes the name of one that is gone takes over nothing of it.
    let successor = ada.connect(desk_connection("Gone", "other"));
    assert_eq!(successor["connection_slug"], "gone");
    not_accessible(&ada, "support", "gone__whoami");
    ada.patch(&path(&off), json!({"status": "ACTIVE"})).is(200);
    assert_eq!(call(&ada, "support", "off__whoami", json!({})).result(), "eno");
}

on_each_store!(grants_are_refused_as_a_whole_and_touch_what_is_seen_alone);

fn grants_are_refused_as_a_whole_and_touch_what_is_seen_alone(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let (admin, ada, bob) = (server.admin(), server.user("ada"), server.user("bob"));
    declare(&admin, "support");
    let (adas, bobs) = (ada.connect(desk_connection("Adas", "a")), bob.connect(desk_connection("Bobs", "b")));
    grant(&ada, "support", &[(&adas, &["whoami"])]);
    grant(&bob, "support", &[(&bobs, &["whoami"])]);
    let before = admin.get("/api/agents/support/connection-tools/catalog").is(200).json();
    assert_eq!(column(&before["connections"], "slug"), ["adas", "bobs"]);

    let target = "/api/agents/support/connection-tools";
    let nothing = "01936f6e-0000-7000-8000-000000000000";
    let body = json!({"connections": [
        {"connectionId": adas["id"], "enabledTools": ["whoami", "whoamI", "erase"]},
        {"connectionId": bobs["id"], "enabledTools": []},
        {"connectionId": nothing, "enabledTools": ["whoami"]},
        {"connectionId": adas["id"], "enabledTools": ["whoami"]},
    ]});
    let refused = ada.put(target, body).refuses(422, "VALIDATION_FAILED");
    assert_eq!(
        column(&refused["details"]["problems"], "path"),
        [
            "/connections/0/enabledTools/1",
            "/connections/0/enabledTools/2",
            "/connections/1/connectionId",
            "/connections/2/connectionId",
            "/connections/3/connectionId"
        ]
    );
    let words = |index: usize| refused["details"]["problems"][index]["message"].as_str().unwrap().to_owned();
    assert_eq!(
        words(2).replace(bobs["id"].as_str().unwrap(), "IT"),
        words(3).replace(nothing, "IT"),
        "another's connection is refused as none at all"
    );
    for body in [
        json!({"connections": [{"connectionId": "adas", "enabledTools": []}]}),
        json!({"connections": [{"connectionId": adas["id"]}]}),
        json!({"connections": [{"connectionId": adas["id"], "enabledTools": [], "approval": "sometimes"}]}),
        json!({"connections": [], "user": "bob"}),
        json!({}),
    ] {
        ada.put(target, body).refuses(400, "INVALID_REQUEST");
    }
    assert_eq!(admin.get("/api/agents/support/connection-tools/catalog").is(200).json(), before);

    // What is read can be written back, and an admin who acts for a person is held to what that person sees.
    let for_ada = admin.acting_for("ada");
    let read = for_ada.get("/api/agents/support/connection-tools/catalog").is(200).json();
    assert_eq!(column(&read["connections"], "slug"), ["adas"]);
    let back: Vec<serde_json::Value> = read["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            json!({"connectionId": one["connectionId"], "enabledTools": one["enabledTools"], "approval": one["approval"]})
        })
        .collect();
    for_ada.put(target, json!({"connections": back})).is(200);
    assert_eq!(admin.get("/api/agents/support/connection-tools/catalog").is(200).json(), before);
    for_ada.put(target, json!({"connections": []})).is(200);
    assert!(offered(&ada, "support").is_empty());
    assert_eq!(offered(&bob, "support"), ["bobs__whoami"]);
    admin.put(target, json!({"connections": []})).is(200);
    assert!(offered(&bob, "support").is_empty());
}

#[test]
fn what_a_new_version_lacks_is_not_offered_and_comes_back_with_it() {
    use crate::support::connectors::connector;
    use crate::support::eventually;
    let place = Place::sqlite();
    let version = |number: u64, names: &[&str]| {
        let operations: Vec<serde_json::Value> = names.iter().map(|name| json!({"name": name})).collect();
        let manifest = json!({"authMethod": "api_key", "secretBindings": ["KEY"], "version": number, "operations": operations});
        connector(manifest, "return ctx.operation;")
    };
    place.install("shop", &version(1, &["buy", "sell"]));
    let server = place.start();
    let (admin, ada) = (server.admin(), server.user("ada"));
    declare(&admin, "support");
    let shop = ada.connect(
        json!({"integration": "shop", "mode": "api_key", "name": "Shop", "credentials": {"KEY": "k"}}),
    );
    grant(&ada, "support", &[(&shop, &["sell", "buy", "sell"])]);
    assert_eq!(offered(&ada, "support"), ["shop__buy", "shop__sell"]);
    place.install("shop", &version(2, &["sell"]));
    eventually("the tool is no longer offered", || offered(&ada, "support") == ["shop__sell"]);
    call(&ada, "support", "shop__buy", json!({})).error("TOOL_NOT_FOUND");
    let kept = grant(&ada, "support", &[(&shop, &["sell", "buy"])]);
    assert_eq!(
        kept["connections"][0]["enabledTools"],
        json!(["sell", "buy"]),
        "what was read can be written back"
    );
    place.install("shop", &version(3, &["buy", "sell"]));
    eventually("it is offered again", || offered(&ada, "support") == ["shop__buy", "shop__sell"]);
    assert_eq!(call(&ada, "support", "shop__buy", json!({})).result(), "buy");
    // A connection's new slug is its tools' new name; the old one is nobody's.
    let path = format!("/api/tools/connections/{}", shop["id"].as_str().unwrap());
    ada.patch(&path, json!({"connection_slug": "store"})).is(200);
    assert_eq!(offered(&ada, "support"), ["store__buy", "store__sell"]);
    call(&ada, "support", "shop__buy", json!({})).error("TOOL_NOT_FOUND");
    ada.delete(&path).is(204);
    not_accessible(&ada, "support", "store__buy");
}
