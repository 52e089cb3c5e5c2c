//! The catalog: each tool once, by names that stay.

use serde_json::{Value, json};

use crate::support::connectors::{connector, desk, desk_connection, echo};
use crate::support::{Client, Place, column, on_each_store};

#[track_caller]
fn tools(client: &Client, query: &str) -> Value {
    let list = client.get(&format!("/api/tools/catalog{query}")).is(200).json();
    assert_eq!(list["count"], json!(list["tools"].as_array().unwrap().len()));
    list["tools"].clone()
}

on_each_store!(bound_and_unbound_entries);

fn bound_and_unbound_entries(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let ada = server.user("ada");
    let unbound = "tools.gateway.connector.desk.whoami";
    assert_eq!(column(&tools(&ada, ""), "slug"), [unbound]);
    let first = ada.connect(desk_connection("First", "one"));
    let entry = &tools(&ada, "")[0];
    assert_eq!(
        entry,
        &json!({
            "slug": unbound, "kind": "tool", "provider": "connector", "integration": "desk", "name": "whoami",
            "display_name": "Who am I", "description": "Says which key it has.", "operation_type": "read",
            "requires_approval": false, "function_name": "desk__whoami",
        })
    );
    ada.connect(desk_connection("Second", "two"));
    let both = tools(&ada, "");
    let (of_first, of_second) = (format!("{unbound}.first"), format!("{unbound}.second"));
    assert_eq!(column(&both, "slug"), [&of_first, &of_second]);
    assert_eq!(column(&both, "function_name"), ["first__whoami", "second__whoami"]);
    let ambiguous = ada.error("CONNECTION_AMBIGUOUS", unbound, json!({}));
    assert_eq!(ambiguous["details"]["connections"], json!([of_first, of_second]));
    ada.error("CONNECTION_AMBIGUOUS", "desk__whoami", json!({}));
    for (tool, key) in [(of_first.as_str(), "eno"), ("second__whoami", "owt"), ("first__whoami", "eno")] {
        assert_eq!(ada.result(tool, json!({})), key, "{tool}");
    }
    // One that can't be used doesn't count, and what is bound stays so.
    let id = first["id"].as_str().unwrap();
    ada.patch(&format!("/api/tools/connections/{id}"), json!({"status": "DISABLED"})).is(200);
    assert_eq!(column(&tools(&ada, ""), "slug"), [unbound]);
    assert_eq!(ada.result("desk__whoami", json!({})), "owt");
    assert_eq!(ada.result(&of_second, json!({})), "owt");
    ada.error("CONNECTION_INACTIVE", &of_first, json!({}));
}

#[test]
fn filters_and_schemas() {
    let place = Place::sqlite();
    let schema = json!({"type": "object", "properties": {"zip": {"type": "string"}}});
    let operations = json!([
        {"name": "find_hotel", "title": "Find a hotel", "parametersSchema": schema},
        {"name": "book", "description": "Takes a room", "operationType": "write"},
    ]);
    place.install("inn", &connector(json!({"operations": operations}), "return 1;"));
    place.install("echo", &echo());
    let server = place.start();
    let ada = server.user("ada");
    let of_inn = ["tools.gateway.connector.inn.book", "tools.gateway.connector.inn.find_hotel"];
    let of_echo = "tools.gateway.connector.echo.go";
    for (query, expected) in [
        ("", vec![of_echo, of_inn[0], of_inn[1]]),
        ("?integration=inn", of_inn.to_vec()),
        ("?provider=connector&kind=tool", vec![of_echo, of_inn[0], of_inn[1]]),
        ("?provider=other", vec![]),
        ("?kind=skill", vec![]),
        ("?search=HOTEL", vec![of_inn[1]]),
        ("?search=takes%20a%20room", vec![of_inn[0]]),
        ("?slug=tools.gateway.connector.inn.book", vec![of_inn[0]]),
        (
            "?slugs=tools.gateway.connector.inn.book,tools.gateway.connector.echo.go,nothing",
            vec![of_echo, of_inn[0]],
        ),
    ] {
        let found = tools(&ada, query);
        let mut slugs = column(&found, "slug");
        slugs.sort_unstable();
        assert_eq!(slugs, expected, "{query}");
        let with_schemas = query.contains("slug");
        for entry in found.as_array().unwrap() {
            assert_eq!(entry.get("input_schema").is_some(), with_schemas, "{query}: {entry:#}");
        }
    }
    let hotel = tools(&ada, "?slug=tools.gateway.connector.inn.find_hotel");
    assert_eq!(hotel[0]["input_schema"]["properties"], schema["properties"]);
    let book = tools(&ada, "?slug=tools.gateway.connector.inn.book");
    assert_eq!((&book[0]["operation_type"], &book[0]["requires_approval"]), (&json!("write"), &json!(true)));
}

#[test]
fn long_function_names_are_shortened_for_ever() {
    let place = Place::sqlite();
    let (first, second) = (format!("{}a", "x".repeat(63)), format!("{}b", "x".repeat(63)));
    let operations = json!([{"name": first}, {"name": second}]);
    place.install("long-names", &connector(json!({"operations": operations}), "return ctx.operation;"));
    let server = place.start();
    let ada = server.user("ada");
    let entries = tools(&ada, "");
    let names = column(&entries, "function_name");
    assert_ne!(names[0], names[1]);
    for (name, operation) in names.iter().zip([&first, &second]) {
        let is_for_models = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        assert!(is_for_models && name.len() <= 64, "{name}");
        assert_eq!(&ada.result(name, json!({})), operation);
    }
    // The same in another server, with more beside it.
    let other = Place::sqlite();
    other.install("aaa", &echo());
    other.install("long-names", &connector(json!({"operations": [{"name": second}]}), "return 1;"));
    let other_server = other.start();
    let found = tools(&other_server.user("bob"), "?integration=long-names");
    assert_eq!(column(&found, "function_name"), [names[1]]);
}

#[test]
fn one_persons_catalog_says_nothing_of_anothers() {
    let place = Place::sqlite();
    place.install("desk", &desk());
    let server = place.start();
    let (ada, bob) = (server.user("ada"), server.user("bob"));
    for name in ["One", "Two"] {
        ada.connect(desk_connection(name, "k"));
    }
    assert_eq!(column(&tools(&bob, ""), "slug"), ["tools.gateway.connector.desk.whoami"]);
    bob.error("CONNECTION_NOT_FOUND", "desk__whoami", json!({}));
    assert_eq!(column(&tools(&server.service().acting_for("ada"), ""), "slug").len(), 2);
}
