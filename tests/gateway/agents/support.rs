//! What the tests of agents share: agents made, granted, and run.

use serde_json::{Value, json};

use crate::support::Client;
use crate::support::client::{Called, run_body};

/// Declares an agent that needs nothing.
#[track_caller]
pub(super) fn declare(client: &Client, agent: &str) {
    client.put(&format!("/api/agents/{agent}"), json!({"connections": []})).is(201);
}

/// Grants an agent tools of connections, as the caller: the whole set.
#[track_caller]
pub(super) fn grant(client: &Client, agent: &str, grants: &[(&Value, &[&str])]) -> Value {
    let connections: Vec<Value> = grants
        .iter()
        .map(|(connection, tools)| json!({"connectionId": connection["id"], "enabledTools": tools}))
        .collect();
    let target = format!("/api/agents/{agent}/connection-tools");
    client.put(&target, json!({"connections": connections})).is(200).json()
}

/// The names of the tools that an agent is offered.
#[track_caller]
pub(super) fn offered(client: &Client, agent: &str) -> Vec<String> {
    let list = client.get(&format!("/api/agents/{agent}/tools")).is(200).json();
    let tools = list["tools"].as_array().unwrap();
    assert_eq!(list["count"], tools.len());
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Calls a tool as an agent.
#[track_caller]
pub(super) fn call(client: &Client, agent: &str, tool: &str, arguments: Value) -> Called {
    let body = run_body(&[("c1", tool, &arguments.to_string())]);
    Called { answer: client.post(&format!("/api/agents/{agent}/run"), body).is(200).json() }
}

/// Fails unless a call is answered in the words of the contract, and nothing more.
#[track_caller]
pub(super) fn not_accessible(client: &Client, agent: &str, tool: &str) {
    let called = call(client, agent, tool, json!({}));
    let content = called.answer["tool_messages"][0]["content"].as_str().unwrap();
    assert_eq!(content, r#"{"success":false,"error":"Connection not accessible"}"#);
    let error = &called.answer["errors"][0];
    assert_eq!(
        error,
        &json!({"code": "CONNECTION_NOT_FOUND", "message": "Connection not accessible", "tool_call_id": "c1",
            "retryable": false, "details": {}})
    );
}
