//! Who gets in: keys, hosts and origins, and sessions that belong to who began them.

use serde_json::{Value, json};

use super::client::{Mcp, initialize, request, speaking};
use crate::support::client::Body;
use crate::support::connectors::echo;
use crate::support::{Place, StoreKind, column};

#[test]
fn without_a_key_a_client_is_told_where_to_read_about_it() {
    let place = Place::new(StoreKind::Sqlite);
    let server = place.start();
    let anyone = speaking(&server.anyone());
    for client in [anyone.clone(), anyone.with_header("Authorization", "Bearer pc_wrong")] {
        for (method, body) in
            [("POST", Body::Json(initialize(json!({})))), ("GET", Body::None), ("DELETE", Body::None)]
        {
            let answer = client.send(method, "/mcp", body).is(401);
            let challenge = answer.header("www-authenticate").unwrap().to_owned();
            let metadata = format!("http://{}/.well-known/oauth-protected-resource/mcp", server.address);
            assert_eq!(challenge, format!("Bearer realm=\"portcullis\", resource_metadata=\"{metadata}\""));
        }
    }
    let metadata = anyone.get("/.well-known/oauth-protected-resource/mcp").is(200).json();
    assert_eq!(metadata["resource"], format!("http://{}/mcp", server.address));
    assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
    let of_agent = anyone.get("/.well-known/oauth-protected-resource/mcp/helper").is(200).json();
    assert_eq!(of_agent["resource"], format!("http://{}/mcp/helper", server.address));
    for method in ["PUT", "PATCH"] {
        let answer = anyone.send(method, "/mcp", Body::None).is(405);
        assert_eq!(answer.header("allow"), Some("GET, POST, DELETE, OPTIONS"));
    }
}

#[test]
fn other_hosts_and_pages_are_refused_even_with_a_key() {
    let place = Place::new(StoreKind::Sqlite);
    let server = place.start_with(&["--public-url", "https://p.example.com"]);
    let key = format!("Authorization: Bearer {}", place.admin_key.get().unwrap());
    let status = |headers: &str| {
        let body = initialize(json!({})).to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nConnection: close\r\n{key}\r\nAccept: application/json, text/event-stream\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        server.anyone().raw(request.as_bytes()).status
    };
    for good in [
        "Host: localhost\r\n",
        "Host: p.example.com\r\nOrigin: https://p.example.com\r\n",
        "Host: 127.0.0.1:1\r\nOrigin: http://localhost:6274\r\n",
    ] {
        assert_eq!(status(good), 200, "{good}");
    }
    for bad in [
        "Host: evil.com\r\n",
        "Host: localhost\r\nOrigin: https://evil.com\r\n",
        "Host: localhost\r\nOrigin: null\r\n",
        "Host: p.example.com.evil.com\r\n",
    ] {
        assert_eq!(status(bad), 403, "{bad}");
    }
}

#[test]
fn a_session_is_its_owners_alone() {
    let place = Place::new(StoreKind::Sqlite);
    place.install("echo", &echo());
    let server = place.start();
    let service = server.service();
    let (ada, eve) = (server.user("ada"), server.user("eve"));
    let mcp = Mcp::begin(&ada);
    let as_ada = Mcp::begin(&service.acting_for("ada"));
    let list = || request(1, "tools/list", json!({}));
    let thefts = [
        mcp.taken_by(&eve),
        mcp.taken_by(&server.admin()),
        mcp.taken_by(&service.acting_for("ada")),
        as_ada.taken_by(&ada),
        as_ada.taken_by(&service.acting_for("eve")),
        as_ada.taken_by(&service),
    ];
    for thief in &thefts {
        thief.post(list()).refuses(404, "NOT_FOUND");
        thief
            .post(request(1, "tools/call", json!({"name": "echo__go", "arguments": {}})))
            .refuses(404, "NOT_FOUND");
        thief.client().send("GET", "/mcp", Body::None).refuses(404, "NOT_FOUND");
        thief.client().send("DELETE", "/mcp", Body::None).refuses(404, "NOT_FOUND");
    }
    mcp.taken_by(&server.anyone()).post(list()).is(401);
    assert_eq!(mcp.names(), ["echo__go"], "nobody ended it");
    assert_eq!(as_ada.names(), ["echo__go"]);
    let unknown = Mcp { session: "00000000-0000-4000-8000-000000000000".to_owned(), ..mcp.clone() };
    unknown.post(list()).refuses(404, "NOT_FOUND");
    mcp.end();
    mcp.post(list()).refuses(404, "NOT_FOUND");
}

#[test]
fn whom_a_call_is_for_comes_from_key_and_header_alone() {
    let place = Place::new(StoreKind::Sqlite);
    place.install("echo", &echo());
    let server = place.start();
    let mcp = Mcp::begin(&server.service().acting_for("ada"));
    let arguments =
        json!({"project": "p", "user": "eve", "connection_id": "c", "agent": "a", "Portcullis-User": "eve"});
    let params = json!({
        "name": "echo__go", "arguments": arguments, "user": "eve", "agent": "a",
        "_meta": {"user": "eve", "portcullis-user": "eve", "project": "p", "agent": "a"},
    });
    assert_eq!(mcp.result("tools/call", params)["structuredContent"], arguments);
    let recorded = server.admin().get("/api/executions").is(200).json();
    let execution = &recorded["executions"][0];
    assert_eq!((&execution["user"], &execution["agent"]), (&json!("ada"), &Value::Null), "{execution:#}");
    assert_eq!(column(&recorded["executions"], "outcome"), ["ok"]);
}

#[test]
fn requests_that_make_no_sense_are_refused_in_words() {
    let place = Place::new(StoreKind::Sqlite);
    let server = place.start();
    let admin = server.admin();
    admin.post("/mcp", initialize(json!({}))).refuses(406, "NOT_ACCEPTABLE");
    let client = speaking(&admin);
    let text = Body::Bytes { content_type: "text/plain".to_owned(), bytes: b"{}".to_vec() };
    client.send("POST", "/mcp", text).refuses(415, "UNSUPPORTED_MEDIA_TYPE");
    let cut = Body::Bytes { content_type: "application/json".to_owned(), bytes: b"{\"jsonrpc\": ".to_vec() };
    let answer = client.send("POST", "/mcp", cut);
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    let huge =
        Body::Bytes { content_type: "application/json".to_owned(), bytes: vec![b' '; 9 * 1024 * 1024] };
    client.send("POST", "/mcp", huge).refuses(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(
        client.post("/mcp", request(1, "tools/list", json!({}))).status / 100,
        4,
        "there is no session"
    );
}
