//! Calls: every error code, provoked end to end, and batches whose calls don't disturb each other.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::client::run_body;
use crate::support::connectors::{connector, desk, desk_connection, echo, relay};
use crate::support::{Place, Reply, TestServer, eventually, on_each_store};

/// A server with one connector, `it`, whose operation `go` is this code.
#[track_caller]
fn fails(manifest: Value, execute: &str, code: &str, says: &str) -> Value {
    fails_with(&[], manifest, execute, code, says)
}

#[track_caller]
fn fails_with(flags: &[&str], manifest: Value, execute: &str, code: &str, says: &str) -> Value {
    let place = Place::sqlite();
    place.install("it", &connector(manifest, execute));
    let server = place.start_with(flags);
    let error = server.admin().error(code, "it__go", json!({}));
    assert!(error["message"].as_str().unwrap().contains(says), "{error:#}");
    assert!(error["details"].is_object() && error["retryable"].is_boolean(), "{error:#}");
    error
}

/// An upstream that answers so, and a manifest that may reach it.
fn upstream(status: &'static str, headers: &'static [(&str, &str)]) -> (TestServer, Value, String) {
    let upstream = TestServer::start(move |_| Reply::status(status, headers, "x"));
    let manifest = json!({"allowedHosts": [upstream.url("")], "operations": [{"name": "go", "operationType": "write", "requiresApproval": false}]});
    let execute =
        format!("const r = ctx.http.get('{}'); throw new Error(`got ${{r.status}}`);", upstream.url("/"));
    (upstream, manifest, execute)
}

#[test]
fn tool_not_found() {
    let place = Place::sqlite();
    place.install("echo", &echo());
    let server = place.start();
    for name in [
        "echo__stop",
        "nowhere__go",
        "tools.gateway.connector.echo.stop",
        "tools.gateway.composio.echo.go",
        "",
        "go",
    ] {
        server.admin().error("TOOL_NOT_FOUND", name, json!({}));
    }
}

#[test]
fn connection_not_found_names_what_to_connect() {
    let place = Place::sqlite();
    place.install("desk", &desk());
    let server = place.start();
    let error = server.admin().error("CONNECTION_NOT_FOUND", "desk__whoami", json!({}));
    assert!(error["message"].as_str().unwrap().contains("desk"), "{error:#}");
}

#[test]
fn invalid_arguments_never_run() {
    let place = Place::sqlite();
    let schema = json!({
        "type": "object", "required": ["id", "size"],
        "properties": {"id": {"type": "integer"}, "size": {"enum": ["s", "l"]}},
    });
    let upstream = TestServer::start(|_| Reply::ok("x"));
    let manifest = json!({"allowedHosts": [upstream.url("")], "operations": [{"name": "go", "parametersSchema": schema}]});
    place.install(
        "strict",
        &connector(manifest, &format!("return ctx.http.get('{}').text();", upstream.url("/"))),
    );
    let server = place.start();
    let admin = server.admin();
    for text in ["", "{", "[1]", "7", "null", "\"{}\""] {
        if text.is_empty() {
            // Models leave the arguments of a tool without any empty: it is `{}`, or no JSON.
            admin.call_text("strict__go", text).error("INVALID_ARGUMENTS");
            continue;
        }
        let error = admin.call_text("strict__go", text).error("INVALID_ARGUMENTS");
        assert_eq!(error["retryable"], false, "{text}: {error:#}");
    }
    let error = admin.error("INVALID_ARGUMENTS", "strict__go", json!({"id": "seven", "size": "xl"}));
    let found = error["details"].to_string();
    assert!(found.contains("/id") && found.contains("/size"), "every violation with its path: {error:#}");
    assert_eq!(upstream.n_connections(), 0);
    admin.result("strict__go", json!({"id": 7, "size": "l"}));
}

#[test]
fn provider_error_is_the_connectors_own() {
    let error = fails(json!({}), "throw new Error('no such guest');", "PROVIDER_ERROR", "no such guest");
    assert_eq!(error["retryable"], false);
    let (_upstream, manifest, execute) = upstream("404 Not Found", &[]);
    fails(manifest, &execute, "PROVIDER_ERROR", "got 404");
}

#[test]
fn provider_rate_limited_says_when_to_come_back() {
    let (_upstream, manifest, execute) = upstream("429 Too Many Requests", &[("Retry-After", "7")]);
    let error = fails(manifest, &execute, "PROVIDER_RATE_LIMITED", "got 429");
    assert_eq!(error["details"]["retry_after"], json!(7), "{error:#}");
}

#[test]
fn provider_unavailable_by_status_refusal_and_silence() {
    let (_upstream, manifest, execute) = upstream("503 Service Unavailable", &[]);
    fails(manifest, &execute, "PROVIDER_UNAVAILABLE", "got 503");
    let gone = TestServer::start(|_| Reply::default()).url("");
    let get = |base: &str| format!("return ctx.http.get('{base}/').text();");
    fails(json!({"allowedHosts": [&gone]}), &get(&gone), "PROVIDER_UNAVAILABLE", &gone);
    let silent = TestServer::start(|_| Reply::default().close());
    let base = silent.url("");
    fails(json!({"allowedHosts": [&base]}), &get(&base), "PROVIDER_UNAVAILABLE", &base);
}

#[test]
fn host_blocked_by_name_and_by_address() {
    let blocked = "return ctx.http.get('https://evil.com/').text();";
    fails(
        json!({"allowedHosts": ["a.com", "b.com"]}),
        blocked,
        "HOST_BLOCKED",
        "HTTP request to \"evil.com\" blocked: host not in allowedHosts [a.com, b.com]",
    );
    let private = "return ctx.http.get('http://10.0.0.1/').text();";
    fails(json!({"allowedHosts": ["http://10.0.0.1"]}), private, "HOST_BLOCKED", "10.0.0.1");
}

#[test]
fn limit_exceeded_names_the_limit() {
    let endless = fails_with(&["--cpu-ms", "200"], json!({}), "for (;;) {}", "LIMIT_EXCEEDED", "200");
    assert_eq!(endless["details"]["limit"], "cpu", "{endless:#}");
    let upstream = TestServer::start(|_| Reply::default().wait(Duration::from_secs(3)).close());
    let manifest = json!({"allowedHosts": [upstream.url("")]});
    let waits = format!("return ctx.http.get('{}').text();", upstream.url("/"));
    let slow = fails_with(&["--deadline-ms", "300"], manifest, &waits, "LIMIT_EXCEEDED", "300");
    assert_eq!(slow["details"]["limit"], "deadline", "{slow:#}");
    let memory = fails(
        json!({}),
        "const a = []; for (;;) a.push('x'.repeat(100000) + a.length);",
        "LIMIT_EXCEEDED",
        "",
    );
    assert_eq!(memory["details"]["limit"], "memory", "{memory:#}");
}

#[test]
fn sandbox_crashed_when_its_process_dies() {
    let place = Place::sqlite();
    place.install("busy", &connector(json!({}), "for (;;) {}"));
    place.install("echo", &echo());
    let server = place.start_with(&["--cpu-ms", "60000", "--deadline-ms", "60000"]);
    let admin = server.admin();
    thread::scope(|scope| {
        let call = scope.spawn(|| admin.error("SANDBOX_CRASHED", "busy__go", json!({})));
        let mut busy = None;
        eventually("a process computes", || {
            busy = descendants(server.pid()).into_iter().find(|pid| cpu_ticks(*pid) > 20);
            busy.is_some()
        });
        kill(busy.unwrap(), Signal::SIGKILL).unwrap();
        call.join().unwrap();
    });
    assert_eq!(admin.result("echo__go", json!({"a": 1})), json!({"a": 1}));
}

/// The processes that descend from one.
fn descendants(pid: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_threads = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut found: Vec<Pid> = of_threads
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .map(Pid::from_raw)
        .collect();
    let deeper: Vec<Pid> = found.iter().flat_map(|child| descendants(*child)).collect();
    found.extend(deeper);
    found
}

/// The time that a process has computed, in hundredths of a second.
fn cpu_ticks(pid: Pid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().nth(11).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

#[test]
fn a_write_stops_before_anything_is_sent() {
    let upstream = TestServer::start(|_| Reply::ok("x"));
    let place = Place::sqlite();
    place.install("relay", &relay(&upstream.url("")));
    let server = place.start();
    let called = server.admin().call("relay__careful", json!({}));
    assert_eq!(called.content()["status"], "approval_required", "{:#}", called.answer);
    assert_eq!(upstream.n_connections(), 0);
    server.admin().result("relay__write", json!({}));
    assert_eq!(upstream.request().method(), "POST");
}

on_each_store!(a_batch_keeps_its_order_and_one_fails_alone);

fn a_batch_keeps_its_order_and_one_fails_alone(place: &Place) {
    place.install("echo", &echo());
    place.install("thrower", &connector(json!({}), "throw new Error('no');"));
    let server = place.start();
    let admin = server.admin();
    let calls: Vec<(String, &str, String)> = (0..50)
        .map(|n| {
            let tool = if n == 17 { "thrower__go" } else { "tools.gateway.connector.echo.go" };
            (format!("call-{n}"), tool, json!({"n": n}).to_string())
        })
        .collect();
    let borrowed: Vec<(&str, &str, &str)> =
        calls.iter().map(|(id, tool, arguments)| (id.as_str(), *tool, arguments.as_str())).collect();
    let answer = admin.post("/api/tools/run", run_body(&borrowed)).is(200).json();
    let messages = answer["tool_messages"].as_array().unwrap();
    assert_eq!(messages.len(), 50);
    for (n, message) in messages.iter().enumerate() {
        assert_eq!(message["tool_call_id"], json!(format!("call-{n}")));
        let content: Value = serde_json::from_str(message["content"].as_str().unwrap()).unwrap();
        if n == 17 {
            assert_eq!(content["error"]["code"], "PROVIDER_ERROR");
        } else {
            assert_eq!(content, json!({"n": n}));
        }
    }
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
    assert_eq!((&answer["errors"][0]["tool_call_id"], &answer["approvals"]), (&json!("call-17"), &json!([])));
    let too_many = [borrowed.as_slice(), &[("one-more", "echo__go", "{}")]].concat();
    admin.post("/api/tools/run", run_body(&too_many)).refuses(400, "INVALID_REQUEST");
    admin.post("/api/tools/run", run_body(&[])).refuses(400, "INVALID_REQUEST");
}

#[test]
fn requests_to_run_are_checked() {
    let place = Place::sqlite();
    place.install("echo", &echo());
    let server = place.start();
    let admin = server.admin();
    for body in [
        json!({}),
        json!([]),
        json!({"tool_calls": {}}),
        json!({"tool_calls": [{}]}),
        json!({"tool_calls": [{"id": "a", "type": "function", "function": {"name": "echo__go"}}]}),
    ] {
        let status = admin.post("/api/tools/run", body.clone()).status;
        let is_open = body.to_string().contains("echo__go");
        assert!(status == 400 || (is_open && status == 200), "{body}: {status}");
    }
    // Models' APIs add fields.
    let mut body = run_body(&[("a", "echo__go", "{}")]);
    body["model"] = json!("x");
    body["tool_calls"][0]["index"] = json!(0);
    assert_eq!(admin.post("/api/tools/run", body).is(200).json()["errors"], json!([]));
}

#[test]
fn no_identity_is_taken_from_arguments() {
    let place = Place::sqlite();
    place.install("desk", &desk());
    let server = place.start();
    let (ada, bob) = (server.user("ada"), server.user("bob"));
    let made = ada.connect(desk_connection("Ada's", "k"));
    let arguments =
        json!({"connection_id": made["id"], "connection": "ada-s", "user": "ada", "Portcullis-User": "ada"});
    bob.error("CONNECTION_NOT_FOUND", "desk__whoami", arguments);
}
