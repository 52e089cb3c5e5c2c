//! The limits of §2 as flags and as environment variables: exit status 3, the limit named with its value, and its flag.

use serde_json::json;

use crate::loopback::server::{Reply, TestServer};
use crate::workspace::{Ran, Workspace};

const LOOP: &str = "while (true) {}";

#[track_caller]
fn exceeds(code: &str, flags: &[&str], message: &str, flag: &str) -> Ran {
    let here = Workspace::new();
    here.connector("eater", json!({}), code);
    let run = [&["run", "eater", "go"] as &[&str], flags].concat();
    let report = here.run(&[run.as_slice(), &["--json"]].concat()).exits(3).report();
    assert_eq!(report["error"]["code"], "LIMIT_EXCEEDED");
    assert_eq!(report["error"]["message"], message);
    here.run(&run).exits(3).says("code: LIMIT_EXCEEDED").says(&format!("hint: {flag} raises this limit"))
}

#[test]
fn each_limit_has_a_flag() {
    let sleep = "for (;;) Array.prototype.sort.call({ length: 1e9 });";
    exceeds(sleep, &["--deadline-ms", "300"], "the call passed its deadline of 300 ms", "--deadline-ms");
    exceeds(LOOP, &["--cpu-ms", "200"], "the call used more than its 200 ms of CPU time", "--cpu-ms");
    let hoard = "const kept = []; for (;;) kept.push('x'.repeat(10000) + kept.length);";
    exceeds(hoard, &["--memory-mib", "16"], "the call used more than its 16 MiB of memory", "--memory-mib");
    let recurse = "const f = (n: number): number => f(n + 1) + 1; return f(0);";
    exceeds(recurse, &["--stack-kib", "128"], "the call used more than its 128 KiB of stack", "--stack-kib");
    let big = "return 'x'.repeat(3000);";
    exceeds(big, &["--result-kib", "1"], "the result is larger than the limit of 1 KiB", "--result-kib");
    let chatty = "for (let i = 0; i < 100; i++) console.log('x'.repeat(100)); return 1;";
    exceeds(chatty, &["--logs-kib", "1"], "the call logged more than its 1 KiB", "--logs-kib");
    let file = "return ctx.files.store('x'.repeat(2000000), { encoding: 'utf-8', contentType: 'a/b', fileName: 'a' });";
    exceeds(
        file,
        &["--file-mib", "1", "--files", "f"],
        "a file is larger than the limit of 1 MiB",
        "--file-mib",
    );
}

#[test]
fn limits_on_http_have_flags() {
    let server = TestServer::start(|_| Reply::ok("x".repeat(2000)));
    let here = Workspace::new();
    let host = format!("http://127.0.0.1:{}", server.port());
    let code =
        "let n = 0; for (let i = 0; i < 3; i++) n += ctx.http.get(ctx.params.url).text().length; return n;";
    here.connector("getter", json!({"allowedHosts": [host]}), code);
    let params = json!({"url": server.url("/")}).to_string();
    let run = ["run", "getter", "go", "--params", &params, "--allow-network", "127.0.0.1"];
    assert_eq!(here.run(&run).exits(0).json(), 6000);
    here.run(&[&run as &[&str], &["--http-requests", "2"]].concat())
        .exits(3)
        .says("error: the call made more than its 2 HTTP requests")
        .says("hint: --http-requests");
    here.run(&[&run as &[&str], &["--response-body-kib", "1"]].concat())
        .exits(3)
        .says("error: an HTTP response's body is larger than the limit of 1 KiB")
        .says("hint: --response-body-kib");
}

#[test]
fn a_limit_is_an_environment_variable_too_and_the_flag_wins() {
    let here = Workspace::new();
    here.connector("eater", json!({}), LOOP);
    let variables = [("PORTCULLIS_CPU_MS", "200")];
    here.run_with_env(&["run", "eater", "go"], &variables).exits(3).says("200 ms of CPU time");
    here.run_with_env(&["run", "eater", "go", "--cpu-ms", "300"], &variables)
        .exits(3)
        .says("300 ms of CPU time");
}

#[test]
fn a_connectors_own_timeout_counts_up_to_the_operators_maximum() {
    let here = Workspace::new();
    let forever = "for (;;) Array.prototype.sort.call({ length: 1e9 });";
    here.connector("slow", json!({"connectionConfig": {"timeout": 200}}), forever);
    here.run(&["run", "slow", "go"])
        .exits(3)
        .says("its deadline of 200 ms")
        .says("hint: the connector's connectionConfig.timeout");
    here.run(&["run", "slow", "go", "--config", "timeout=300"]).exits(3).says("its deadline of 300 ms");
    let capped = ["run", "slow", "go", "--config", "timeout=60000", "--max-deadline-ms", "400"];
    here.run(&capped).exits(3).says("its deadline of 400 ms");
}

#[test]
fn a_connection_test_has_a_deadline_of_its_own() {
    let here = Workspace::new();
    let code = "function execute() {}\nfunction testConnection() { for (;;) Array.prototype.sort.call({ length: 1e9 }); }";
    here.connector_with_code("slow", json!({}), code);
    here.run(&["test", "slow", "--test-deadline-ms", "200"])
        .exits(3)
        .says("its deadline of 200 ms")
        .says("hint: --test-deadline-ms raises this limit");
}
