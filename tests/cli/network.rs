//! The network flags of §3.5, as flags and as environment variables, against a server on loopback.

use serde_json::{Value, json};

use crate::loopback::server::{Reply, TestServer};
use crate::loopback::tls::TestCa;
use crate::workspace::Workspace;

const GET: &str = "const r = ctx.http.get(ctx.params.url, { headers: { 'X-Test': '1' } }); return { status: r.status, body: r.body };";

fn getter(allowed_hosts: &[&str]) -> Workspace {
    let here = Workspace::new();
    here.connector("getter", json!({"allowedHosts": allowed_hosts}), GET);
    here
}

fn params(url: &str) -> String {
    json!({"url": url}).to_string()
}

fn hello(status: &str) -> Reply {
    Reply::status(status, &[("Content-Type", "application/json")], "{\"hello\": 1}")
}

#[test]
fn loopback_is_refused_until_the_operator_allows_it() {
    let server = TestServer::start(|_| hello("200 OK"));
    let host = format!("http://127.0.0.1:{}", server.port());
    let here = getter(&[&host]);
    let params = params(&server.url("/a?b=c"));
    let run = ["run", "getter", "go", "--params", &params];
    here.run(&run)
        .exits(1)
        .says("code: HOST_BLOCKED")
        .says("hint: if connectors are meant to reach that address, pass --allow-network 127.0.0.1/32");
    assert_eq!(server.n_connections(), 0);
    let expected = json!({"status": 200, "body": {"hello": 1}});
    for network in ["127.0.0.0/8", "127.0.0.1", "10.0.0.0/8,127.0.0.1/32"] {
        let ran = here.run(&[&run as &[&str], &["--allow-network", network]].concat()).exits(0);
        assert_eq!(ran.json(), expected, "{network}");
        let by_env = here.run_with_env(&run, &[("PORTCULLIS_ALLOW_NETWORK", network)]).exits(0);
        assert_eq!(by_env.json(), expected, "{network}");
    }
    let twice = ["--allow-network", "10.0.0.0/8", "--allow-network", "127.0.0.0/8"];
    here.run(&[&run as &[&str], &twice].concat()).exits(0);
    here.run_with_env(&run, &[("PORTCULLIS_ALLOW_NETWORK", "")]).exits(1);
}

#[test]
fn http_exchanges_are_in_the_report() {
    let server = TestServer::start(|_| hello("404 Not Found"));
    let host = format!("http://127.0.0.1:{}", server.port());
    let here = getter(&[&host]);
    let url = server.url("/a?b=c");
    let ran = here.run(&[
        "run",
        "getter",
        "go",
        "--params",
        &params(&url),
        "--json",
        "--allow-network",
        "127.0.0.0/8",
    ]);
    let report = ran.exits(0).report();
    let exchange = &report["http"][0];
    assert_eq!((&exchange["method"], &exchange["url"]), (&json!("GET"), &json!(url)));
    assert_eq!((&exchange["status"], &exchange["bytes"]), (&json!(404), &json!(12)));
    assert!(exchange["ms"].is_u64());
    assert_eq!(server.request().header("x-test"), Some("1"));
}

#[test]
fn a_host_outside_allowed_hosts_is_told_with_those_inside() {
    let here = getter(&["a.com", "b.com"]);
    let ran = here.run(&["run", "getter", "go", "--params", &params("https://evil.com/")]).exits(1);
    ran.says("error: HTTP request to \"evil.com\" blocked: host not in allowedHosts [a.com, b.com]")
        .says("hint: \"allowedHosts\" in config.json says which hosts this connector may reach");
}

#[test]
fn allowed_hosts_are_filled_from_the_config() {
    let server = TestServer::start(|_| hello("200 OK"));
    let here = getter(&["http://{{domain}}"]);
    let config = format!("domain=127.0.0.1:{}", server.port());
    let url = params(&server.url("/"));
    let run = ["run", "getter", "go", "--params", &url, "--allow-network", "127.0.0.0/8"];
    here.run(&run).exits(1).says("HOST_BLOCKED");
    here.run(&[&run as &[&str], &["--config", &config]].concat()).exits(0);
}

#[test]
fn a_mapped_host_keeps_its_tls_name_and_an_extra_root_is_trusted() {
    let ca = TestCa::new();
    let server = TestServer::start_tls(ca.issue(&["api.example.com"]), |_| hello("200 OK"));
    let here = getter(&["api.example.com"]);
    here.write("ca.pem", ca.pem());
    let url = params("https://api.example.com/x");
    let run = ["run", "getter", "go", "--params", &url, "--allow-network", "127.0.0.0/8"];
    for map in [
        format!("api.example.com=127.0.0.1:{}", server.port()),
        format!("api.example.com:443=127.0.0.1:{}", server.port()),
        format!("*:443=127.0.0.1:{}", server.port()),
        format!("other.com=127.0.0.1:1,*=127.0.0.1:{}", server.port()),
    ] {
        let mapped = [&run as &[&str], &["--egress-map", &map]].concat();
        here.run(&mapped).exits(1).says("TLS");
        let trusted = here.run(&[mapped.as_slice(), &["--ca-file", "ca.pem"]].concat()).exits(0);
        assert_eq!(trusted.json()["status"], 200, "{map}");
        let variables = [("PORTCULLIS_EGRESS_MAP", map.as_str()), ("PORTCULLIS_CA_FILE", "ca.pem")];
        here.run_with_env(&run, &variables).exits(0);
    }
    assert_eq!(server.requests()[0].header("host"), Some("api.example.com"));
    // A mapped address is checked like any other.
    let map = format!("*=127.0.0.1:{}", server.port());
    here.run(&["run", "getter", "go", "--params", &url, "--egress-map", &map, "--ca-file", "ca.pem"])
        .exits(1)
        .says("--allow-network 127.0.0.1/32");
}

#[test]
fn requests_go_through_the_proxy() {
    let proxy = TestServer::start(|_| Reply::status("403 Forbidden", &[], ""));
    let here = getter(&["api.example.com"]);
    let url = params("https://api.example.com/x");
    let flag = format!("http://ada:hunter2@127.0.0.1:{}", proxy.port());
    let run = ["run", "getter", "go", "--params", &url];
    for ran in [
        here.run(&[&run as &[&str], &["--egress-proxy", &flag]].concat()),
        here.run_with_env(&run, &[("PORTCULLIS_EGRESS_PROXY", &flag)]),
    ] {
        assert!(!format!("{ran:?}").replace(&flag, "").contains("hunter2"), "{ran:#?}");
        ran.exits(1).says("code: PROVIDER_UNAVAILABLE").says("proxy");
    }
    assert!(
        proxy.requests().iter().all(|request| request.line().starts_with("CONNECT api.example.com:443 "))
    );
    assert_eq!(proxy.requests().len(), 2);
    here.run_with_env(&run, &[("HTTPS_PROXY", "http://127.0.0.1:9")]).exits(1);
    assert_eq!(proxy.requests().len(), 2, "the usual variables don't count");
}

#[test]
fn what_the_service_answers_decides_the_code() {
    let throws = "const r = ctx.http.get(ctx.params.url); throw new Error(`status ${r.status}`);";
    for (status, code) in [
        ("429 Too Many Requests", "PROVIDER_RATE_LIMITED"),
        ("503 Service Unavailable", "PROVIDER_UNAVAILABLE"),
        ("404 Not Found", "PROVIDER_ERROR"),
    ] {
        let server = TestServer::start(move |_| Reply::status(status, &[("Retry-After", "7")], "x"));
        let here = Workspace::new();
        here.connector("thrower", json!({"allowedHosts": ["http://127.0.0.1"]}), throws);
        let here = {
            let host = format!("http://127.0.0.1:{}", server.port());
            here.connector("thrower", json!({"allowedHosts": [host]}), throws);
            here
        };
        let ran = here.run(&[
            "run",
            "thrower",
            "go",
            "--json",
            "--params",
            &params(&server.url("/")),
            "--allow-network",
            "127.0.0.1",
        ]);
        let report: Value = ran.exits(1).report();
        assert_eq!(report["error"]["code"], code);
    }
}
