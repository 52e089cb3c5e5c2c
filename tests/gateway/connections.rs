//! Connections: tested before they are stored, told apart by slug, changed and switched off, and what each call finds.

use serde_json::{Value, json};

use crate::support::connectors::{connector, desk, desk_connection, with_test};
use crate::support::{Client, Place, column, eventually, on_each_store};

const ALL: &str = "/api/tools/connections";

#[track_caller]
fn slugs(client: &Client, query: &str) -> Vec<String> {
    let list = client.get(&format!("{ALL}{query}")).is(200).json();
    let slugs =
        column(&list["connections"], "connection_slug").into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(list["count"], json!(slugs.len()));
    slugs
}

fn path(connection: &Value) -> String {
    format!("{ALL}/{}", connection["id"].as_str().unwrap())
}

on_each_store!(
    a_connection_has_the_contracts_fields,
    a_failing_test_stores_nothing,
    slugs_are_derived_and_unique,
    filters_restrict_lists,
    each_person_sees_their_own_and_what_is_shared,
    what_a_patch_changes,
    a_test_keeps_what_it_found,
);

fn a_connection_has_the_contracts_fields(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let ada = server.user("ada");
    let answer = ada.post(ALL, desk_connection("Support Desk", "secret-key-1")).is(201).json();
    let connection = &answer["connection"];
    let fields: Vec<&str> = connection.as_object().unwrap().keys().map(String::as_str).collect();
    for field in fields {
        let known = "id provider integration connection_slug status name description last_error identity scopes \
                     expires_at owner visibility created_at updated_at";
        assert!(known.split_whitespace().any(|known| known == field), "{field} isn't in the contract");
    }
    for (field, value) in [
        ("provider", "connector"),
        ("integration", "desk"),
        ("connection_slug", "support-desk"),
        ("status", "ACTIVE"),
        ("name", "Support Desk"),
        ("owner", "ada"),
        ("visibility", "user"),
    ] {
        assert_eq!(connection[field], value, "{field}");
    }
    assert_eq!((&connection["last_error"], &connection["description"]), (&Value::Null, &Value::Null));
    let id = connection["id"].as_str().unwrap();
    assert_eq!(id.as_bytes()[14], b'7', "{id} is no UUIDv7");
    assert!(connection["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(&ada.get(&path(connection)).is(200).json(), connection);
    assert_eq!(ada.result("desk__whoami", json!({})), "1-yek-terces");
}

fn a_failing_test_stores_nothing(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let ada = server.user("ada");
    let error = ada.post(ALL, desk_connection("Support", "bad-key")).refuses(422, "CONNECTION_TEST_FAILED");
    assert!(error["message"].as_str().unwrap().contains("the desk refuses this key"), "{error:#}");
    assert_eq!(slugs(&ada, ""), [""; 0]);
    ada.connect(desk_connection("Support", "good-key"));
    assert_eq!(slugs(&ada, ""), ["support"]);
}

fn slugs_are_derived_and_unique(place: &Place) {
    place.install("desk", &desk());
    place.install("other", &desk());
    let server = place.start();
    let (ada, bob) = (server.user("ada"), server.user("bob"));
    for (client, name, expected) in [
        (&ada, "Ada's  Désk!", "ada-s-d-sk"),
        (&ada, "Support", "support"),
        (&bob, "Support", "support-2"),
        (&ada, "support", "support-3"),
        (&ada, "Other", "other-2"),
        (&ada, "日本", "desk"),
    ] {
        let made = client.connect(desk_connection(name, "k"));
        if name == "日本" {
            // Nothing of the name is left: any slug will do.
            assert!(!made["connection_slug"].as_str().unwrap().is_empty());
        } else {
            assert_eq!(made["connection_slug"], expected, "{name}");
        }
    }
    let mut body = desk_connection("Anything", "k");
    for (slug, status) in [("support", 409), ("other", 409), ("Not a slug", 400), ("fresh_one", 201)] {
        body["connection_slug"] = json!(slug);
        let answer = ada.post(ALL, body.clone());
        assert!(
            answer.status == status || (status == 400 && answer.status == 422),
            "{slug}: {}",
            answer.text()
        );
    }
    let long = ada.connect(desk_connection(&"long ".repeat(30), "k"))["connection_slug"].clone();
    assert!(long.as_str().unwrap().len() <= 40, "{long}");
}

fn filters_restrict_lists(place: &Place) {
    place.install("desk", &desk());
    place.install("shop", &desk());
    let server = place.start();
    let ada = server.user("ada");
    let first = ada.connect(desk_connection("First", "k"));
    ada.connect(desk_connection("Second", "k"));
    let mut shop = desk_connection("Third", "k");
    shop["integration"] = json!("shop");
    ada.connect(shop);
    ada.patch(&path(&first), json!({"status": "DISABLED"})).is(200);
    let id = format!("?connection_id={}", first["id"].as_str().unwrap());
    for (query, expected) in [
        ("", vec!["first", "second", "third"]),
        ("?provider=connector", vec!["first", "second", "third"]),
        ("?provider=elsewhere", vec![]),
        ("?integration=desk", vec!["first", "second"]),
        ("?integration=desk&status=ACTIVE", vec!["second"]),
        ("?status=DISABLED", vec!["first"]),
        ("?connection_slug=third", vec!["third"]),
        (&id, vec!["first"]),
        ("?anything=else", vec!["first", "second", "third"]),
    ] {
        assert_eq!(slugs(&ada, query), expected, "{query}");
    }
    ada.get(&format!("{ALL}?status=NONSENSE")).is(400);
    ada.get(&format!("{ALL}?connection_id=nonsense")).is(400);
}

fn each_person_sees_their_own_and_what_is_shared(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let (ada, bob, agents) = (server.user("ada"), server.user("bob"), server.service());
    ada.connect(desk_connection("Ada's", "k"));
    let mut shared = desk_connection("Everyone's", "key");
    shared["visibility"] = json!("project");
    let shared = ada.connect(shared);
    bob.connect(desk_connection("Bob's", "k"));
    for (client, expected) in [
        (&ada, vec!["ada-s", "everyone-s"]),
        (&bob, vec!["bob-s", "everyone-s"]),
        (&agents, vec!["everyone-s"]),
        (&agents.acting_for("ada"), vec!["ada-s", "everyone-s"]),
        (&server.admin(), vec!["ada-s", "bob-s", "everyone-s"]),
    ] {
        assert_eq!(slugs(client, ""), expected);
    }
    bob.patch(&path(&shared), json!({"name": "Bob's now"})).refuses(403, "FORBIDDEN");
    assert_eq!(bob.result("everyone-s__whoami", json!({})), "yek");
    ada.patch(&path(&shared), json!({"visibility": "user"})).is(200);
    assert_eq!(slugs(&bob, ""), ["bob-s"]);
    bob.error("CONNECTION_NOT_FOUND", "tools.gateway.connector.desk.whoami.everyone-s", json!({}));
}

fn what_a_patch_changes(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let ada = server.user("ada");
    let made = ada.connect(desk_connection("First", "one"));
    let path = path(&made);
    let patched = ada.patch(&path, json!({"name": "Renamed", "description": "mine"})).is(200).json();
    assert_eq!((&patched["name"], &patched["connection_slug"]), (&json!("Renamed"), &json!("first")));
    assert_eq!(ada.patch(&path, json!({"description": null})).is(200).json()["description"], Value::Null);
    ada.patch(&path, json!({"connection_slug": "second"})).is(200);
    assert_eq!(ada.result("second__whoami", json!({})), "eno");
    // Credentials that fail their test aren't taken.
    let refused =
        ada.patch(&path, json!({"credentials": {"KEY": "bad"}})).refuses(422, "CONNECTION_TEST_FAILED");
    assert!(refused["message"].as_str().unwrap().contains("the desk refuses this key"), "{refused}");
    assert_eq!(ada.result("second__whoami", json!({})), "eno");
    ada.patch(&path, json!({"credentials": {"KEY": "two"}})).is(200);
    assert_eq!(ada.result("second__whoami", json!({})), "owt");
    ada.patch(&path, json!({"status": "DISABLED"})).is(200);
    ada.error("CONNECTION_INACTIVE", "second__whoami", json!({}));
    ada.error("CONNECTION_INACTIVE", "desk__whoami", json!({}));
    ada.patch(&path, json!({"status": "ACTIVE"})).is(200);
    assert_eq!(ada.result("desk__whoami", json!({})), "owt");
    let unknown = ada.patch(&path, json!({"nmae": "x"})).refuses(400, "INVALID_REQUEST");
    assert!(unknown["message"].as_str().unwrap().contains("nmae"), "{unknown}");
    ada.delete(&path).is(204);
    ada.get(&path).refuses(404, "NOT_FOUND");
    ada.error("CONNECTION_NOT_FOUND", "desk__whoami", json!({}));
}

fn a_test_keeps_what_it_found(place: &Place) {
    let refuses_when_told = with_test(
        json!({"authMethod": "api_key", "secretBindings": ["KEY"], "version": 2}),
        "return { success: false, message: 'closed today' };",
        "return 1;",
    );
    place.install("desk", &desk());
    let server = place.start();
    let ada = server.user("ada");
    let made = ada.connect(desk_connection("First", "k"));
    let test = format!("{}/test", path(&made));
    let good = ada.post(&test, json!({})).is(200).json();
    assert_eq!((&good["success"], &good["message"]), (&json!(true), &json!("welcome")));
    assert!(good["duration_ms"].is_u64(), "{good:#}");
    place.install("desk", &refuses_when_told);
    eventually("the test fails", || ada.post(&test, json!({})).is(200).json()["success"] == false);
    let shown = ada.get(&path(&made)).is(200).json();
    assert_eq!(shown["status"], "FAILED");
    assert!(shown["last_error"].as_str().unwrap().contains("closed today"), "{shown:#}");
    ada.error("CONNECTION_INACTIVE", "desk__go", json!({}));
    place.install("desk", &desk());
    eventually("it works again", || ada.post(&test, json!({})).is(200).json()["success"] == true);
    assert_eq!(ada.get(&path(&made)).is(200).json()["status"], "ACTIVE");
}

/// A connector of this mode gives back the credentials that it reads, reversed so that they aren't redacted.
#[track_caller]
fn connects(mode: &str, bindings: Value, credentials: Value, reads: &[&str]) {
    let place = Place::sqlite();
    let code =
        format!("return {reads:?}.map((key) => (ctx.secrets.get(key) ?? '-').split('').reverse().join(''));");
    let manifest = json!({"authMethod": mode, "secretBindings": bindings});
    place.install("keyed", &connector(manifest, &code));
    let server = place.start();
    let admin = server.admin();
    let expected: Vec<String> = (1..=reads.len()).map(|number| format!("{number}-eulav")).collect();
    admin.connect(json!({"integration": "keyed", "mode": mode, "name": "Mine", "credentials": credentials}));
    assert_eq!(admin.result("keyed__go", json!({})), json!(expected), "{mode}");
}

#[test]
fn every_mode_gives_the_code_its_credentials() {
    connects("api_key", json!(["A", "B"]), json!({"A": "value-1", "B": "value-2"}), &["A", "B"]);
    connects("api_key", json!([]), json!({"accessToken": "value-1"}), &["accessToken"]);
    connects("bearer_token", json!(["TOKEN"]), json!({"accessToken": "value-1"}), &["accessToken"]);
    connects(
        "basic_auth",
        json!([]),
        json!({"username": "value-1", "password": "value-2"}),
        &["username", "password"],
    );
}

#[test]
fn credentials_are_checked_before_anything_is_stored() {
    let place = Place::sqlite();
    let both = json!({"authMethod": "api_key", "supportedAuthMethods": ["api_key", "basic_auth"], "secretBindings": ["DESK_KEY"]});
    place.install("desk", &connector(both, "return 1;"));
    let server = place.start();
    let ada = server.user("ada");
    let with = |mode: &str, credentials: Value| json!({"integration": "desk", "mode": mode, "name": "Mine", "credentials": credentials});
    for (body, status, says) in [
        (with("api_key", json!({})), 422, "DESK_KEY"),
        (with("api_key", json!({"DESK_KEY": ""})), 422, "DESK_KEY"),
        (with("api_key", json!({"DESK_KEY": "k", "DESK_KAY": "k"})), 422, "DESK_KAY"),
        (with("basic_auth", json!({"username": "ada"})), 422, "password"),
        (with("bearer_token", json!({"DESK_KEY": "k"})), 422, "bearer_token"),
        (with("nonsense", json!({})), 400, "nonsense"),
        (with("api_key", json!({"DESK_KEY": 7})), 400, ""),
        (with("api_key", json!({"DESK_KEY": {"secret": "nowhere"}})), 403, "admin"),
        (json!({"integration": "desk", "mode": "api_key"}), 400, "name"),
        (json!({"integration": "nowhere", "mode": "api_key", "name": "x"}), 404, "nowhere"),
        (json!({"integration": "desk", "mode": "api_key", "name": "x", "nmae": "x"}), 400, "nmae"),
    ] {
        let answer = ada.post(ALL, body.clone()).is(status).json();
        let message = answer["error"].to_string();
        assert!(message.contains(says), "{body}: {message}");
    }
    let no_user = server.service().post(ALL, with("api_key", json!({"DESK_KEY": "k"}))).is(400).json();
    assert!(no_user.to_string().contains("Portcullis-User"), "{no_user:#}");
    assert_eq!(slugs(&server.admin(), ""), [""; 0]);
}

#[test]
fn the_config_fills_allowed_hosts_and_is_read_as_secrets_are() {
    let upstream = crate::support::TestServer::start(|_| crate::support::Reply::ok("here"));
    let place = Place::sqlite();
    let manifest = json!({
        "authMethod": "api_key", "secretBindings": ["KEY"], "allowedHosts": ["http://{{domain}}"],
        "connectionConfig": {"domain": "127.0.0.1:1", "greeting": "hello"},
    });
    let code =
        "return [ctx.http.get(`http://${ctx.secrets.get('domain')}/`).text(), ctx.secrets.get('greeting')];";
    place.install("hosted", &connector(manifest, code));
    let server = place.start();
    let admin = server.admin();
    let made = admin.connect(json!({
        "integration": "hosted", "mode": "api_key", "name": "Mine", "credentials": {"KEY": "k"},
        "config": {"domain": upstream.address().to_string()},
    }));
    assert_eq!(admin.result("hosted__go", json!({})), json!(["here", "hello"]));
    admin.patch(&path(&made), json!({"config": {"domain": "127.0.0.1:1", "greeting": "bye"}})).is(200);
    admin.error("PROVIDER_UNAVAILABLE", "hosted__go", json!({}));
}

#[test]
fn a_connection_of_changed_bindings_says_what_is_missing() {
    let place = Place::sqlite();
    place.install("desk", &desk());
    let server = place.start();
    let ada = server.user("ada");
    let made = ada.connect(desk_connection("Mine", "key"));
    let mut next = desk();
    next.0["secretBindings"] = json!(["KEY", "REGION"]);
    place.install("desk", &next);
    eventually("it misses the region", || ada.get(&path(&made)).is(200).json()["status"] == "FAILED");
    let shown = ada.get(&path(&made)).is(200).json();
    assert!(shown["last_error"].as_str().unwrap().contains("REGION"), "{shown:#}");
    let error = ada.error("CONNECTION_INACTIVE", "desk__whoami", json!({}));
    assert_eq!(error["details"]["missing"], json!(["REGION"]), "{error:#}");
    ada.patch(&path(&made), json!({"credentials": {"KEY": "key", "REGION": "eu"}})).is(200);
    assert_eq!(ada.result("desk__whoami", json!({})), "yek");
}

#[test]
fn what_belongs_to_oauth_is_refused_in_words() {
    let place = Place::sqlite();
    let manifest = json!({
        "authMethod": "oauth2", "oauth2Config": {"authorizationUrl": "https://a.com/a", "tokenUrl": "https://a.com/t"},
        "supportedAuthMethods": ["oauth2", "api_key"], "secretBindings": ["KEY"],
    });
    place.install("consent", &connector(manifest, "return 1;"));
    let server = place.start();
    let ada = server.user("ada");
    let body = json!({"integration": "consent", "mode": "oauth", "name": "Mine"});
    ada.post(ALL, body).refuses(422, "OAUTH_NOT_CONFIGURED");
    let made = ada.connect(
        json!({"integration": "consent", "mode": "api_key", "name": "Mine", "credentials": {"KEY": "k"}}),
    );
    ada.post(&format!("{}/refresh", path(&made)), json!({"force": true})).is(409);
}
