//! What nobody gets through an agent: another's account by any argument, header or name, and what only a person may approve.

use serde_json::{Value, json};

use super::support::{call, declare, grant, not_accessible, offered};
use crate::support::client::{Body, Called, run_body};
use crate::support::connectors::with_test;
use crate::support::{Client, Place, column, on_each_store};

/// Tells whose key it has, backwards, since the key itself is redacted; and what it was given.
fn teller() -> (Value, String) {
    let operations = json!([
        {"name": "tell"}, {"name": "set", "operationType": "write"},
        {"name": "wipe", "operationType": "write", "requiresApproval": true},
        {"name": "free", "operationType": "write", "requiresApproval": false},
    ]);
    let manifest = json!({"authMethod": "api_key", "secretBindings": ["KEY"], "operations": operations});
    let code = "return { key: ctx.secrets.get('KEY').split('').reverse().join(''), params: ctx.params };";
    with_test(manifest, "return { success: true, message: 'fine' };", code)
}

#[track_caller]
fn connect(client: &Client, name: &str, key: &str, visibility: &str) -> Value {
    client.connect(
        json!({"integration": "teller", "mode": "api_key", "name": name, "credentials": {"KEY": key},
        "visibility": visibility}),
    )
}

on_each_store!(nothing_but_key_header_and_path_says_who_calls);

fn nothing_but_key_header_and_path_says_who_calls(place: &Place) {
    place.install("teller", &teller());
    let server = place.start();
    let (admin, ada, bob, service) =
        (server.admin(), server.user("ada"), server.user("bob"), server.service());
    for agent in ["support", "payroll"] {
        declare(&admin, agent);
    }
    let (adas, bobs) = (connect(&ada, "Adas", "ada-key", "user"), connect(&bob, "Bobs", "bob-key", "user"));
    let payroll = connect(&bob, "Payroll", "pay-key", "user");
    grant(&ada, "support", &[(&adas, &["tell"])]);
    grant(&bob, "support", &[(&bobs, &["tell"])]);
    grant(&bob, "payroll", &[(&payroll, &["tell"])]);
    assert_eq!(offered(&ada, "support"), ["adas__tell"], "bob's grants took nothing of ada's");
    assert_eq!(offered(&bob, "support"), ["bobs__tell"]);

    let values = [
        ("user", json!("ada")),
        ("user_name", json!("ada")),
        ("portcullis-user", json!("ada")),
        ("Portcullis-User", json!("ada")),
        ("acting_user", json!("ada")),
        ("project", json!("default")),
        ("project_id", json!("00000000-0000-0000-0000-000000000000")),
        ("connection", adas["id"].clone()),
        ("connection_id", adas["id"].clone()),
        ("connectionId", adas["id"].clone()),
        ("connection_slug", json!("adas")),
        ("agent", json!("payroll")),
        ("__proto__", json!({"KEY": "x", "user": "ada"})),
    ];
    let all: Value = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut arguments: Vec<Value> =
        values.iter().map(|(name, value)| json!({*name: value, "deep": [{*name: value}]})).collect();
    arguments.push(all.clone());
    arguments.push(json!({"arguments": all, "_meta": all, "context": {"identity": all}}));
    let as_bob = [bob.clone(), service.acting_for("bob")];
    for (client, arguments) in as_bob.iter().flat_map(|client| arguments.iter().map(move |one| (client, one)))
    {
        let told = call(client, "support", "bobs__tell", arguments.clone()).result();
        assert_eq!(told["key"], "yek-bob", "{arguments}");
        let mut given = arguments.clone();
        given.as_object_mut().unwrap().remove("__proto__");
        let mut params = told["params"].clone();
        params.as_object_mut().unwrap().remove("__proto__");
        assert_eq!(params, given, "arguments are the connector's");
        not_accessible(client, "support", "adas__tell");
    }
    // Beside the arguments: in the call, in the body, and in the path's query.
    for (name, value) in &values {
        let mut body = run_body(&[("c1", "bobs__tell", "{}")]);
        body[*name] = value.clone();
        body["tool_calls"][0][*name] = value.clone();
        body["tool_calls"][0]["function"][*name] = value.clone();
        let query = format!("?{name}={}", value.as_str().unwrap_or("x"));
        let answer =
            bob.send("POST", &format!("/api/agents/support/run{query}"), Body::Json(body)).is(200).json();
        assert_eq!(Called { answer }.result()["key"], "yek-bob", "{name}");
    }
    for header in [
        "X-User",
        "X-Portcullis-User",
        "Portcullis-Agent",
        "Portcullis-Project",
        "Portcullis-Connection",
        "From",
    ] {
        for value in ["ada", "payroll", adas["id"].as_str().unwrap()] {
            let told = call(&bob.with_header(header, value), "support", "bobs__tell", json!({})).result();
            assert_eq!(told["key"], "yek-bob", "{header}: {value}");
        }
    }
    bob.acting_for("ada")
        .post("/api/agents/support/run", run_body(&[("c1", "adas__tell", "{}")]))
        .refuses(403, "FORBIDDEN");
    // In the tool's name.
    let id = adas["id"].as_str().unwrap();
    for name in [
        "adas__tell".to_owned(),
        "tools.gateway.connector.teller.tell.adas".to_owned(),
        "payroll__tell".to_owned(),
        "tools.gateway.connector.teller.tell.payroll".to_owned(),
        format!("tools.gateway.connector.teller.tell.{id}"),
        format!("{id}__tell"),
        "ada/adas__tell".to_owned(),
        "payroll/payroll__tell".to_owned(),
        "bobs__tell?user=ada".to_owned(),
        "bobs__tell.adas".to_owned(),
        "bobs__tell__adas".to_owned(),
        "ADAS__tell".to_owned(),
        "adas__tell ".to_owned(),
        "../payroll/tools/payroll__tell".to_owned(),
    ] {
        let answer = bob.post("/api/agents/support/run", run_body(&[("c1", &name, "{}")])).is(200).json();
        let code = answer["errors"][0]["code"].as_str().unwrap_or_else(|| panic!("{name}: {answer:#}"));
        assert!(matches!(code, "TOOL_NOT_FOUND" | "CONNECTION_NOT_FOUND"), "{name}: {code}");
        assert!(!answer.to_string().contains("yek"), "{answer}");
    }
    for path in [
        "/api/agents/support/../payroll/run",
        "/api/agents/support%2F..%2Fpayroll/run",
        "/api/agents/payroll%00/run",
    ] {
        let answer = bob.post(path, run_body(&[("c1", "payroll__tell", "{}")]));
        assert!(answer.status >= 400, "{path}: {}", answer.text());
    }
    // A service key that names nobody has what the project shares, which is nothing.
    assert!(offered(&service, "support").is_empty());
    not_accessible(&service, "support", "bobs__tell");

    let list = admin.get("/api/executions?limit=200").is(200).json();
    let of_bobs = list["executions"].as_array().unwrap().iter().filter(|one| one["outcome"] == "ok");
    for execution in of_bobs {
        assert_eq!(
            (&execution["user"], &execution["agent"]),
            (&json!("bob"), &json!("support")),
            "{execution:#}"
        );
        assert_eq!(execution["connection_slug"], "bobs");
    }
    assert!(!column(&list["executions"], "outcome").is_empty());
}

on_each_store!(a_grant_says_whether_a_person_must_approve);

fn a_grant_says_whether_a_person_must_approve(place: &Place) {
    place.install("teller", &teller());
    let server = place.start();
    let (admin, ada) = (server.admin(), server.user("ada"));
    declare(&admin, "support");
    let work = connect(&ada, "Work", "k", "project");
    let target = "/api/agents/support/connection-tools";
    let put = |client: &Client, approval: &str| {
        let tools = ["tell", "set", "wipe", "free"];
        let grant = json!({"connectionId": work["id"], "enabledTools": tools, "approval": approval});
        let answer = client.put(target, json!({"connections": [grant]})).is(200).json();
        assert_eq!(answer["connections"][0]["approval"], approval);
    };
    let waiting = || -> Vec<&str> {
        let waits = |tool: &&str| {
            let content = call(&ada, "support", &format!("work__{tool}"), json!({})).content();
            content["status"] == "approval_required"
        };
        ["tell", "set", "wipe", "free"].into_iter().filter(waits).collect()
    };
    put(&ada, "default");
    assert_eq!(waiting(), ["set", "wipe"]);
    put(&ada, "always");
    assert_eq!(waiting(), ["tell", "set", "wipe", "free"]);
    put(&ada, "never");
    assert_eq!(waiting(), ["wipe"], "only an admin lifts what the manifest demands");
    put(&admin, "never");
    assert!(waiting().is_empty());
    // Outside the agent nothing is lifted.
    assert_eq!(ada.call("work__set", json!({})).content()["status"], "approval_required");
}

#[test]
fn a_batch_of_an_agent_keeps_its_order_and_one_fails_alone() {
    let place = Place::sqlite();
    place.install("teller", &teller());
    let server = place.start();
    let (admin, ada) = (server.admin(), server.user("ada"));
    declare(&admin, "support");
    let (one, two) = (connect(&ada, "One", "1st", "user"), connect(&ada, "Two", "2nd", "user"));
    grant(&ada, "support", &[(&one, &["tell"]), (&two, &["tell"])]);
    ada.delete(&format!("/api/tools/connections/{}", two["id"].as_str().unwrap())).is(204);
    let body = run_body(&[
        ("a", "two__tell", "{}"),
        ("b", "nothing__tell", "{}"),
        ("c", "one__tell", "{}"),
        ("d", "one__tell", "["),
    ]);
    let answer = ada.post("/api/agents/support/run", body).is(200).json();
    assert_eq!(column(&answer["tool_messages"], "tool_call_id"), ["a", "b", "c", "d"]);
    assert_eq!(
        column(&answer["errors"], "code"),
        ["CONNECTION_NOT_FOUND", "TOOL_NOT_FOUND", "INVALID_ARGUMENTS"]
    );
    let told = answer["errors"][1]["message"].as_str().unwrap();
    assert!(told.ends_with("it has: one__tell"), "{told}");
    ada.post("/api/agents/nobody/run", run_body(&[("a", "x", "{}")])).refuses(404, "NOT_FOUND");
    ada.post("/api/agents/support/run", json!({"tool_calls": []})).refuses(400, "INVALID_REQUEST");
}

on_each_store!(what_is_approved_runs_only_while_the_agent_may_still_call_it);

fn what_is_approved_runs_only_while_the_agent_may_still_call_it(place: &Place) {
    place.install("teller", &teller());
    let server = place.start();
    let (admin, ada) = (server.admin(), server.user("ada"));
    declare(&admin, "support");
    let work = connect(&ada, "Work", "the-key", "user");
    let ask = |amount: u64| {
        grant(&ada, "support", &[(&work, &["set"])]);
        let called = call(&ada, "support", "work__set", json!({"amount": amount}));
        let pending = called.content();
        assert_eq!(pending["status"], "approval_required");
        assert_eq!(called.answer["approvals"][0]["approval_id"], pending["approval_id"]);
        format!("/api/approvals/{}/approve", pending["approval_id"].as_str().unwrap())
    };
    let approved = admin.post(&ask(1), json!({})).is(200).json();
    assert_eq!(approved["result"], json!({"key": "yek-eht", "params": {"amount": 1}}), "{approved:#}");
    let of_agent = admin.get("/api/approvals?agent=support").is(200).json();
    assert_eq!(of_agent["count"], 1);
    let revoked = ask(2);
    grant(&ada, "support", &[(&work, &["tell"])]);
    assert_eq!(admin.post(&revoked, json!({})).is(409).json()["error"]["details"]["status"], "STALE");
    let deleted = ask(3);
    admin.delete("/api/agents/support").is(204);
    assert_eq!(admin.post(&deleted, json!({})).is(409).json()["error"]["details"]["status"], "STALE");
    let list = ada.get("/api/executions").is(200).json();
    let ran = list["executions"].as_array().unwrap().iter().filter(|one| one["outcome"] == "ok").count();
    assert_eq!(ran, 1);
}
