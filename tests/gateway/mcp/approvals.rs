//! Approvals over MCP: a pending result, or a person asked in their own client.

use std::thread;

use serde_json::{Value, json};

use super::client::{Mcp, REVISION, request, speaking};
use crate::support::connectors::relay;
use crate::support::{Client, Place, Reply, StoreKind, TestServer};

fn upstream() -> TestServer {
    TestServer::start(|_| Reply::ok("{\"sent\": true}"))
}

fn careful(id: u64) -> Value {
    request(id, "tools/call", json!({"name": "relay__careful", "arguments": {"path": "/pay"}}))
}

/// Calls, answers the question that comes as told, and gives the question and the call's answer.
fn asked(mcp: &Mcp, answer: &Value) -> (Value, Value) {
    let calling = mcp.stream(careful(9));
    let question = calling.awaits("elicitation/create");
    let message = json!({"jsonrpc": "2.0", "id": question["id"], "result": answer});
    mcp.post(message).is(202);
    (question, calling.answer(9))
}

#[test]
fn a_client_that_cannot_ask_gets_the_pending_call() {
    let place = Place::new(StoreKind::Sqlite);
    let upstream = upstream();
    place.install("relay", &relay(&upstream.url("")));
    let server = place.start();
    let mcp = Mcp::begin(&server.admin());
    let result = mcp.call("relay__careful", json!({"path": "/pay"}));
    let pending = &result["structuredContent"];
    assert_eq!(
        (&pending["status"], &result["isError"]),
        (&json!("approval_required"), &json!(false)),
        "{result:#}"
    );
    assert!(upstream.requests().is_empty());
    let again = mcp.call("relay__careful", json!({"path": "/pay"}));
    assert_eq!(again["structuredContent"]["approval_id"], pending["approval_id"], "the same call waits once");
    let id = pending["approval_id"].as_str().unwrap();
    server.admin().post(&format!("/api/approvals/{id}/approve"), json!({})).is(200);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_person_confirms_in_their_own_client() {
    let place = Place::new(StoreKind::Sqlite);
    let upstream = upstream();
    place.install("relay", &relay(&upstream.url("")));
    let server = place.start();
    let capabilities = json!({"elicitation": {}});
    let mcp = Mcp::begin_at(&server.user("ada"), "/mcp", capabilities.clone());
    let (question, answer) = asked(&mcp, &json!({"action": "accept", "content": {}}));
    let message = question["params"]["message"].as_str().unwrap();
    assert!(
        message.contains("relay") && message.contains("careful") && message.contains("/pay"),
        "{message}"
    );
    assert_eq!(answer["result"]["structuredContent"]["status"], 200, "{answer:#}");
    assert_eq!(upstream.requests().len(), 1);
    let approvals = server.admin().get("/api/approvals").is(200).json();
    assert_eq!(approvals["approvals"][0]["status"], "DONE", "{approvals:#}");
    let (_, answer) = asked(&mcp, &json!({"action": "decline"}));
    assert_eq!(answer["result"]["structuredContent"]["error"]["code"], "APPROVAL_REJECTED", "{answer:#}");
    let (_, answer) = asked(&mcp, &json!({"action": "cancel"}));
    assert_eq!(answer["result"]["structuredContent"]["status"], "approval_required", "{answer:#}");
    assert_eq!(upstream.requests().len(), 1, "nothing more was sent");
    // An agent's backend has no person at it.
    let service = Mcp::begin_at(&server.service().acting_for("ada"), "/mcp", capabilities.clone());
    let result = service.call("relay__careful", json!({"path": "/pay"}));
    assert_eq!(result["structuredContent"]["status"], "approval_required", "{result:#}");
    server.admin().patch("/api/project", json!({"approve_own_calls": false})).is(200);
    let result = mcp.call("relay__careful", json!({"path": "/pay"}));
    assert_eq!(result["structuredContent"]["status"], "approval_required", "the project doesn't let them");
    assert_eq!(upstream.requests().len(), 1);
}

/// A request without a session, as the protocol is from 2026-07-28 on.
fn alone(client: &Client, id: u64, method: &str, mut params: Value) -> Value {
    let version = "2026-07-28";
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    });
    let client =
        speaking(client).with_header("MCP-Protocol-Version", version).with_header("Mcp-Method", method);
    let client = match params["name"].as_str() {
        Some(name) => client.with_header("Mcp-Name", name),
        None => client,
    };
    let answer = client.post("/mcp", request(id, method, params)).is(200);
    let messages = match answer.header("content-type") {
        Some(kind) if kind.starts_with("application/json") => vec![answer.json()],
        _ => super::client::messages(&answer.text()),
    };
    messages.last().unwrap().clone()
}

#[test]
fn without_sessions_a_client_asks_and_calls_again() {
    assert!(REVISION < "2026-07-28");
    let place = Place::new(StoreKind::Sqlite);
    let upstream = upstream();
    place.install("relay", &relay(&upstream.url("")));
    let server = place.start();
    let ada = server.user("ada");
    let listed = alone(&ada, 1, "tools/list", json!({}));
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 3, "{listed:#}");
    let params = json!({"name": "relay__careful", "arguments": {"path": "/pay"}});
    let first = alone(&ada, 2, "tools/call", params.clone());
    let input = &first["result"];
    assert_eq!(input["resultType"], "input_required", "{first:#}");
    assert_eq!(input["inputRequests"]["approval"]["method"], "elicitation/create");
    let mut retry = params.clone();
    retry["requestState"] = input["requestState"].clone();
    retry["inputResponses"] = json!({"approval": {"action": "accept", "content": {}}});
    // What was said of one call is said of no other.
    let mut other = retry.clone();
    other["arguments"] = json!({"path": "/pay/more"});
    assert_eq!(alone(&ada, 3, "tools/call", other)["result"]["resultType"], "input_required");
    assert!(upstream.requests().is_empty());
    let answer = alone(&ada, 4, "tools/call", retry);
    assert_eq!(answer["result"]["structuredContent"]["status"], 200, "{answer:#}");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn however_many_confirm_it_runs_once() {
    let place = Place::new(StoreKind::Sqlite);
    let upstream = upstream();
    place.install("relay", &relay(&upstream.url("")));
    let server = place.start();
    let ada = server.user("ada");
    let callers: Vec<_> = (0..8)
        .map(|_| Mcp::begin_at(&ada, "/mcp", json!({"elicitation": {}})))
        .map(|mcp| thread::spawn(move || asked(&mcp, &json!({"action": "accept", "content": {}}))))
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    // Calls that came while one waited share it; each that was asked anew ran once.
    let approvals = server.admin().get("/api/approvals?limit=100").is(200).json();
    let done =
        approvals["approvals"].as_array().unwrap().iter().filter(|one| one["status"] == "DONE").count();
    assert_eq!(upstream.requests().len(), done, "{approvals:#}");
}
