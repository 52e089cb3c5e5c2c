//! Tools over MCP: listed as the catalog has them, called through the same door.

use serde_json::{Value, json};

use super::client::{Mcp, REVISION, initialize, messages, request, speaking};
use crate::support::connectors::{connector, desk, desk_connection, echo, relay};
use crate::support::{Place, Reply, StoreKind, TestServer, column, eventually};

#[test]
fn a_client_begins_lists_and_calls() {
    let place = Place::new(StoreKind::Sqlite);
    place.install("echo", &echo());
    place.install("desk", &desk());
    let server = place.start();
    let admin = server.admin();
    let begun = speaking(&admin).post("/mcp", initialize(json!({}))).is(200);
    let begun = messages(&begun.text()).pop().unwrap();
    assert_eq!(begun["result"]["protocolVersion"], REVISION, "{begun:#}");
    assert_eq!(begun["result"]["serverInfo"]["name"], "portcullis");
    assert_eq!(begun["result"]["capabilities"], json!({"tools": {"listChanged": true}}));
    let mcp = Mcp::begin(&admin);
    assert_eq!(mcp.names(), ["echo__go"], "a tool without its connection can't be called");
    admin.connect(desk_connection("Front", "k1"));
    let tools = mcp.tools();
    assert_eq!(column(&Value::from(tools.clone()), "name"), ["desk__whoami", "echo__go"]);
    let expected = json!({
        "name": "desk__whoami", "title": "Who am I", "description": "Says which key it has.",
        "inputSchema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {},
        },
        "annotations": {
            "title": "Who am I", "readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": true,
        },
    });
    assert_eq!(tools[0], expected);
    let result = mcp.call("echo__go", json!({"a": [1, "ä"]}));
    assert_eq!(result["structuredContent"], json!({"a": [1, "ä"]}), "{result:#}");
    assert_eq!(result["content"], json!([{"type": "text", "text": r#"{"a":[1,"ä"]}"#}]));
    assert_eq!((&result["isError"], &result["_meta"]["portcullis/untrusted"]), (&json!(false), &json!(true)));
    let result = mcp.call("desk__whoami", json!({}));
    assert_eq!(result["content"][0]["text"], "\"1k\"");
    let meta = json!({
        "portcullis/untrusted": true, "portcullis/integration": "desk", "portcullis/connection": "front",
    });
    assert_eq!((&result["_meta"], &result["structuredContent"]), (&meta, &Value::Null));
    let recorded = admin.get("/api/executions").is(200).json();
    assert_eq!(column(&recorded["executions"], "outcome"), ["ok", "ok"], "{recorded:#}");
}

#[test]
fn failures_are_results_that_a_model_can_correct_itself_from() {
    let place = Place::new(StoreKind::Sqlite);
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let operations = json!([{"name": "go", "parametersSchema": schema}]);
    place.install(
        "strict",
        &connector(json!({"operations": operations}), "throw new Error('no such thing');"),
    );
    place.install("desk", &desk());
    let server = place.start();
    let mcp = Mcp::begin(&server.admin());
    let result = mcp.call("strict__go", json!({"n": "one"}));
    assert_eq!(result["isError"], true, "{result:#}");
    let error = &result["structuredContent"]["error"];
    assert_eq!(error["code"], "INVALID_ARGUMENTS");
    assert_eq!(error["details"]["violations"][0]["path"], "/n", "{error:#}");
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, result["structuredContent"]);
    let result = mcp.call("strict__go", json!({"n": 1}));
    assert_eq!(result["structuredContent"]["error"]["code"], "PROVIDER_ERROR");
    let result = mcp.call("desk__whoami", json!({}));
    assert_eq!(result["structuredContent"]["error"]["code"], "CONNECTION_NOT_FOUND");
    let error = mcp.error("tools/call", json!({"name": "nope__go", "arguments": {}}));
    assert_eq!(error["code"], -32602, "{error:#}");
    assert_eq!(error["data"]["error"]["code"], "TOOL_NOT_FOUND");
    for params in [json!({}), json!({"name": 1}), json!({"name": "strict__go", "arguments": []})] {
        let answer = mcp.post(request(3, "tools/call", params.clone()));
        let text = answer.text();
        assert!(text.contains("\"error\"") && text.contains("-3260"), "{params}: {} {text}", answer.status);
    }
    assert_eq!(mcp.error("tools/nonsense", json!({}))["code"], -32601);
}

#[test]
fn a_long_result_is_cut_and_can_be_read_on_by_its_session_alone() {
    let place = Place::new(StoreKind::Sqlite);
    place.install("long", &connector(json!({}), "return { text: 'xyz'.repeat(80000) };"));
    let server = place.start();
    let admin = server.admin();
    let (mcp, other) = (Mcp::begin(&admin), Mcp::begin(&admin));
    assert_eq!(mcp.names(), ["long__go"]);
    let result = mcp.call("long__go", json!({}));
    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(text.chars().count(), 100_000);
    assert_eq!(result["structuredContent"]["truncated"], true);
    assert_eq!(result["_meta"]["portcullis/truncated"], true);
    assert_eq!(mcp.names(), ["read_more", "long__go"]);
    let (mut whole, mut cursor) = (text.to_owned(), result["structuredContent"]["cursor"].clone());
    let error = other.error("tools/call", json!({"name": "read_more", "arguments": {"cursor": cursor}}));
    assert_eq!(error["code"], -32602);
    while cursor.is_string() {
        let result = mcp.call("read_more", json!({"cursor": cursor}));
        assert_eq!(result["_meta"]["portcullis/integration"], "long", "{}", result["_meta"]);
        whole += result["content"][0]["text"].as_str().unwrap();
        cursor = result["structuredContent"]["cursor"].clone();
    }
    assert_eq!(whole, json!({"text": "xyz".repeat(80_000)}).to_string());
}

#[test]
fn a_call_ends_when_it_is_cancelled_or_its_client_goes_away() {
    let place = Place::new(StoreKind::Sqlite);
    let spin =
        connector(json!({}), "const until = Date.now() + 25000; while (Date.now() < until) {} return 1;");
    place.install("spin", &spin);
    let server = place.start_with(&["--cpu-ms", "25000"]);
    let admin = server.admin();
    let n_cancelled = || {
        let recorded = admin.get("/api/executions").is(200).json();
        column(&recorded["executions"], "code").iter().filter(|code| **code == "CANCELLED").count()
    };
    let mcp = Mcp::begin(&admin);
    let calling = mcp.stream(request(5, "tools/call", json!({"name": "spin__go", "arguments": {}})));
    in_flight(&admin, 1);
    mcp.notify("notifications/cancelled", json!({"requestId": 5, "reason": "changed my mind"}));
    eventually("the cancelled call is recorded", || n_cancelled() == 1);
    drop(calling);
    let calling = mcp.stream(request(6, "tools/call", json!({"name": "spin__go", "arguments": {}})));
    in_flight(&admin, 1);
    drop(calling);
    eventually("the call of a client that left is recorded", || n_cancelled() == 2);
    let calling = mcp.stream(request(7, "tools/call", json!({"name": "spin__go", "arguments": {}})));
    in_flight(&admin, 1);
    mcp.end();
    eventually("the call of a session that ended is recorded", || n_cancelled() == 3);
    drop(calling);
}

fn in_flight(admin: &crate::support::Client, n: u64) {
    eventually("the call runs", || {
        let metrics = admin.get("/metrics").is(200).text();
        metrics.contains(&format!("portcullis_calls_in_flight {n}"))
    });
}

#[test]
fn a_long_call_tells_of_its_progress() {
    let place = Place::new(StoreKind::Sqlite);
    let upstream = TestServer::start(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5000));
        Reply::ok("{}")
    });
    place.install("slow", &relay(&upstream.url("")));
    let server = place.start();
    let mcp = Mcp::begin(&server.admin());
    let params = json!({"name": "slow__read", "arguments": {}, "_meta": {"progressToken": "p1"}});
    let messages = mcp.ask(4, "tools/call", params);
    let progress: Vec<&Value> =
        messages.iter().filter(|message| message["method"] == "notifications/progress").collect();
    assert_eq!(progress.len(), 2, "{messages:#?}");
    assert!(progress.iter().all(|message| message["params"]["progressToken"] == "p1"));
    let told = |index: usize| progress[index]["params"]["progress"].as_f64().unwrap();
    assert!(told(0) >= 2.0 && told(1) > told(0));
    assert_eq!(messages.last().unwrap()["result"]["isError"], false);
    // Nobody who didn't ask is told.
    let messages = mcp.ask(4, "tools/call", json!({"name": "slow__read", "arguments": {}}));
    assert_eq!(messages.len(), 1, "{messages:#?}");
}
