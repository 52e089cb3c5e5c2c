//! Agents over MCP: what they were granted under the names of their connections, evaluated at each call.

use serde_json::{Value, json};

use super::client::Mcp;
use crate::support::connectors::{desk, desk_connection, echo};
use crate::support::{Place, StoreKind, column, eventually};

#[test]
fn an_agent_has_what_it_was_granted_at_that_moment() {
    let place = Place::new(StoreKind::Sqlite);
    place.install("desk", &desk());
    place.install("echo", &echo());
    let server = place.start();
    let (ada, service) = (server.user("ada"), server.service());
    let connection = ada.connect(desk_connection("Front", "k1"));
    let other = ada.connect(desk_connection("Back", "k2"));
    service.put("/api/agents/helper", json!({"connections": []}));
    let client = service.acting_for("ada");
    let mcp = Mcp::begin_at(&client, "/mcp/helper", json!({}));
    assert!(mcp.names().is_empty());
    let stream = mcp.listen();
    let grant = json!({"connections": [{"connectionId": connection["id"], "enabledTools": ["whoami"]}]});
    client.put("/api/agents/helper/connection-tools", grant).is(200);
    eventually("a grant is told", || stream.count("notifications/tools/list_changed") == 1);
    assert_eq!(mcp.names(), ["front__whoami"]);
    assert_eq!(mcp.call("front__whoami", json!({}))["content"][0]["text"], "\"1k\"");
    for name in ["back__whoami", "echo__go", "desk__whoami"] {
        let error = mcp.error("tools/call", json!({"name": name, "arguments": {}}));
        assert_eq!(
            (&error["code"], &error["data"]["error"]["code"]),
            (&json!(-32602), &json!("TOOL_NOT_FOUND")),
            "{name}"
        );
    }
    let recorded = server.admin().get("/api/executions").is(200).json();
    assert!(column(&recorded["executions"], "agent").iter().all(|agent| *agent == "helper"), "{recorded:#}");
    // The session is the agent's: not that of another path.
    let elsewhere = Mcp::begin_at(&client, "/mcp", json!({}));
    let stolen = Mcp { session: mcp.session.clone(), ..elsewhere };
    stolen.post(super::client::request(1, "tools/list", json!({}))).refuses(404, "NOT_FOUND");
    let id = connection["id"].as_str().unwrap();
    ada.delete(&format!("/api/tools/connections/{id}"));
    let result = mcp.call("front__whoami", json!({}));
    let message = json!({"success": false, "error": "Connection not accessible"});
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!((&text, &result["structuredContent"], &result["isError"]), (&message, &message, &json!(true)));
    eventually("a lost connection is told", || stream.count("notifications/tools/list_changed") == 2);
    assert!(mcp.names().is_empty());
    assert!(other["id"].is_string());
}
