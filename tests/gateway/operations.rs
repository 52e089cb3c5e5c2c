//! What operators meet: health, metrics, logs, refusals of malformed requests, and an end that waits for what is under way.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use portcullis_test_servers::postgres;
use serde_json::{Value, json};

use crate::support::client::{Body, run_body};
use crate::support::connectors::{desk, desk_connection, echo, relay};
use crate::support::outage::Door;
use crate::support::{Place, Reply, TestServer, column, eventually};

#[test]
fn each_answer_has_a_request_id() {
    let place = Place::sqlite();
    place.install("echo", &echo());
    let server = place.start();
    let admin = server.admin();
    let given = admin.with_header("X-Request-Id", "my-own-id-7").get("/api/integrations").is(200);
    assert_eq!(given.header("x-request-id"), Some("my-own-id-7"));
    let first = admin.get("/nowhere").is(404);
    let second = admin.get("/healthz").is(200);
    assert!(first.header("x-request-id").is_some());
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    // One that isn't fit for a log is replaced.
    for id in ["x".repeat(5000), "a b\u{1b}[31m".to_owned()] {
        let answer = admin.with_header("X-Request-Id", &id).get("/healthz");
        assert_ne!(answer.header("x-request-id"), Some(id.as_str()));
    }
    let ran = admin
        .with_header("X-Request-Id", "run-1")
        .post("/api/tools/run", run_body(&[("c", "echo__go", "{}")]));
    assert_eq!(ran.is(200).header("x-request-id"), Some("run-1"));
    let records = admin.get("/api/executions").is(200).json();
    assert_eq!(column(&records["executions"], "request_id"), ["run-1"]);
}

#[test]
fn json_logs_are_json_lines() {
    let place = Place::sqlite();
    place.install("echo", &echo());
    let server = place.start_with(&["--log-format", "json", "--log", "debug"]);
    let client = server.admin().with_header("X-Request-Id", "find-me");
    client.post("/api/tools/run", run_body(&[("c", "echo__go", "{}")])).is(200);
    client.get("/nowhere\u{7f}%0a").status.to_string();
    let log = server.logged();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()), "{log}");
    eventually("the request is in the log", || server.logged().contains("find-me"));
}

#[test]
fn metrics_tell_of_requests_and_calls() {
    let place = Place::sqlite();
    place.install("echo", &echo());
    let server = place.start();
    server.admin().result("echo__go", json!({}));
    let metrics = server.anyone().get("/metrics").is(200);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    let text = metrics.text();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("portcullis_") || name.starts_with("process_"), "{line}");
        value.parse::<f64>().unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(text.contains("_bucket{"), "latency histograms:\n{text}");
    assert!(text.lines().any(|line| line.contains("/api/tools/run")), "{text}");
    assert!(!text.contains("nowhere"), "an unknown path is no label");
}

#[test]
fn refusals_have_one_shape() {
    let place = Place::sqlite();
    let server = place.start();
    let admin = server.admin();
    admin.get("/nowhere").refuses(404, "NOT_FOUND");
    admin.get("/api/nowhere").refuses(404, "NOT_FOUND");
    let wrong_method = admin.delete("/api/tools/run");
    let allowed = wrong_method.header("allow").map(str::to_owned);
    wrong_method.refuses(405, "METHOD_NOT_ALLOWED");
    let methods: Vec<&str> = allowed.as_deref().unwrap_or_default().split(", ").collect();
    assert!(methods.contains(&"POST") && !methods.contains(&"DELETE"), "{methods:?}");
    let of = |content_type: &str, text: &str| {
        let body = Body::Bytes { content_type: content_type.to_owned(), bytes: text.into() };
        admin.send("POST", "/api/tools/run", body)
    };
    of("text/plain", "{}").refuses(415, "UNSUPPORTED_MEDIA_TYPE");
    of("application/json", "{").refuses(400, "INVALID_REQUEST");
    of("application/json", "").refuses(400, "INVALID_REQUEST");
    of("application/json", "{\"tool_calls\": \u{7f}]").refuses(400, "INVALID_REQUEST");
    let one = run_body(&[("a", "nowhere", "{}")]).to_string();
    of("application/json; charset=utf-8", &one).is(200);
    admin.send("POST", "/api/integrations", Body::Json(json!({}))).refuses(415, "UNSUPPORTED_MEDIA_TYPE");
    let huge = format!("{{\"tool_calls\": [], \"x\": \"{}\"}}", "x".repeat(80 * 1024 * 1024));
    of("application/json", &huge).refuses(413, "PAYLOAD_TOO_LARGE");
    admin.get("/api/tools/connections/no-uuid").is(404);
    admin.get("/healthz?%ff=%00").is(200);
    // Depth is no way to a stack overflow.
    let deep = format!("{{\"tool_calls\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    of("application/json", &deep).refuses(400, "INVALID_REQUEST");
    admin.get("/healthz").is(200);
}

#[test]
fn too_much_of_a_head_is_refused() {
    let place = Place::sqlite();
    let server = place.start();
    for head in [
        format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(1024 * 1024)),
        format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: 1\r\n".repeat(5000)),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1024 * 1024)),
    ] {
        let status = server.anyone().raw(head.as_bytes()).status;
        assert!([431, 414, 400].contains(&status), "{status}");
    }
    assert_eq!(server.anyone().raw(b"nonsense\r\n\r\n").status, 400);
    server.anyone().get("/healthz").is(200);
}

#[test]
fn whoever_guesses_keys_is_slowed_down() {
    let place = Place::sqlite();
    let server = place.start();
    let guess = |n: u32| server.anyone().with_key(&format!("pc_{n:043}")).get("/api/integrations");
    let refused = (0..500).map(guess).find(|answer| answer.status == 429).expect("nobody stops it");
    assert!(refused.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok()).is_some());
    refused.refuses(429, "RATE_LIMITED");
}

#[test]
fn the_api_is_described_and_readable() {
    let place = Place::sqlite();
    let server = place.start();
    let described = server.anyone().get("/openapi.json").is(200).json();
    assert!(described["openapi"].as_str().unwrap().starts_with("3."));
    for path in [
        "/api/integrations",
        "/api/integrations/{slug}",
        "/api/integrations/{slug}/icon",
        "/api/integrations/{slug}/package",
        "/api/integrations/check",
        "/api/tools/connections",
        "/api/tools/connections/{id}",
        "/api/tools/connections/{id}/test",
        "/api/tools/connections/{id}/refresh",
        "/api/tools/catalog",
        "/api/tools/run",
        "/api/secrets",
        "/api/secrets/{name}",
        "/api/executions",
        "/api/executions/{id}",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(described["paths"][path].is_object(), "{path}");
    }
    let page = server.anyone().get("/docs").is(200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let text = page.text();
    for outside in ["src=\"http", "href=\"http", "src='http", "url(http", "//cdn", "@import"] {
        assert!(!text.contains(outside), "{outside}");
    }
}

#[test]
fn an_end_waits_for_the_calls_under_way() {
    let upstream = TestServer::start(|_| {
        Reply::default()
            .wait(Duration::from_millis(1500))
            .then("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
    });
    let place = Place::sqlite();
    place.install("relay", &relay(&upstream.url("")));
    let server = place.start();
    let admin = server.admin();
    thread::scope(|scope| {
        let call = scope.spawn(|| admin.result("relay__read", json!({})));
        eventually("the call is under way", || !upstream.requests().is_empty());
        server.signal(Signal::SIGTERM);
        assert_eq!(call.join().unwrap()["body"], "late");
    });
    let status = server.wait();
    assert!(status.success(), "{status:?}");
    let server = place.start();
    let records = server.admin().get("/api/executions").is(200).json();
    assert_eq!(column(&records["executions"], "outcome"), ["ok"], "its record was written before the end");
}

#[test]
fn a_store_that_is_down_is_told_and_comes_back() {
    let database = postgres().create_database();
    let door = Door::to(database.port());
    let place = Place::behind(database, door.port());
    place.install("desk", &desk());
    let server = place.start();
    let admin = server.admin();
    let connection = admin.connect(desk_connection("Mine", "key"));
    door.shut();
    eventually("it isn't ready", || server.anyone().get("/readyz").status == 503);
    server.anyone().get("/healthz").is(200);
    for target in ["/api/tools/connections", "/api/secrets", "/api/keys", "/api/executions"] {
        let answer = admin.get(target);
        // A key that was looked up before the outage may be known, or not; a list is never empty.
        assert_eq!(answer.status, 503, "{target}: {}", answer.text());
        answer.refuses(503, "STORE_UNAVAILABLE");
    }
    admin.put("/api/secrets/lost", json!({"value": "x"})).refuses(503, "STORE_UNAVAILABLE");
    door.open();
    eventually("it is ready again", || server.anyone().get("/readyz").status == 200);
    let list = admin.get("/api/tools/connections").is(200).json();
    assert_eq!(column(&list["connections"], "id"), [connection["id"].as_str().unwrap()]);
    assert_eq!(admin.get("/api/secrets").is(200).json()["count"], 0);
    assert_eq!(admin.result("desk__whoami", json!({})), "yek");
}
