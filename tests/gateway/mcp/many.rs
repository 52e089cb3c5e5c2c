//! Many tools: a search instead of all of them, with the same names and rules.

use serde_json::{Value, json};

use super::client::Mcp;
use crate::support::connectors::connector;
use crate::support::{Place, StoreKind, column};

#[test]
fn above_a_hundred_tools_there_is_a_search() {
    let place = Place::new(StoreKind::Sqlite);
    let operations: Vec<Value> = (0..130)
        .map(|n| json!({"name": format!("thing_{n:03}"), "description": format!("Does thing number {n}.")}))
        .collect();
    place.install("many", &connector(json!({"operations": operations}), "return ctx.operation;"));
    let server = place.start();
    let admin = server.admin();
    let mcp = Mcp::begin(&admin);
    assert_eq!(mcp.names(), ["call_tool", "find_tools", "read_more"]);
    let found = mcp.call("find_tools", json!({"query": "thing number 77", "limit": 3}));
    let tools = &found["structuredContent"]["tools"];
    assert_eq!(column(tools, "name")[0], "many__thing_077", "{found:#}");
    assert_eq!(tools.as_array().unwrap().len(), 3);
    assert!(tools[0]["inputSchema"].is_object() && tools[0]["annotations"]["readOnlyHint"] == true);
    let result = mcp.call("call_tool", json!({"name": "many__thing_077", "arguments": {}}));
    assert_eq!(result["content"][0]["text"], "\"thing_077\"");
    assert_eq!(result["_meta"]["portcullis/integration"], "many");
    let direct = mcp.call("many__thing_001", json!({}));
    assert_eq!(direct["content"][0]["text"], "\"thing_001\"");
    for arguments in [json!({}), json!({"name": "many__thing_001", "arguments": "{}"})] {
        let result = mcp.call("call_tool", arguments);
        assert_eq!(result["structuredContent"]["error"]["code"], "INVALID_ARGUMENTS", "{result:#}");
    }
    assert_eq!(
        mcp.error("tools/call", json!({"name": "call_tool", "arguments": {"name": "find_tools"}}))["code"],
        -32602
    );
    let all = Mcp::begin_at(&admin, "/mcp?tools=all", json!({}));
    let first = all.result("tools/list", json!({}));
    let rest = all.result("tools/list", json!({"cursor": first["nextCursor"]}));
    let (first, rest) = (column(&first["tools"], "name").len(), column(&rest["tools"], "name"));
    assert_eq!((first, rest.len(), rest[29]), (100, 30, "many__thing_129"));
}

#[test]
fn a_search_can_be_asked_for() {
    let place = Place::new(StoreKind::Sqlite);
    place.install("one", &connector(json!({}), "return 1;"));
    let server = place.start();
    let searching = Mcp::begin_at(&server.admin(), "/mcp?tools=search", json!({}));
    assert_eq!(searching.names(), ["call_tool", "find_tools", "read_more"]);
}
