//! The examples against services played on loopback, as their READMEs say to run them.

use std::fs;

use serde_json::{Value, json};

use crate::loopback::server::{Recorded, Reply, TestServer};
use crate::loopback::tls::TestCa;
use crate::workspace::{Ran, Workspace, example};

/// A service of this name, and a workspace with its certificate authority.
struct Service {
    here: Workspace,
    server: TestServer,
}

impl Service {
    fn start(name: &str, answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        let ca = TestCa::new();
        let server = TestServer::start_tls(ca.issue(&[name]), answer);
        let here = Workspace::new();
        here.write("ca.pem", ca.pem());
        Self { here, server }
    }

    fn run(&self, slug: &str, operation: &str, params: Value, flags: &[&str]) -> Ran {
        let (package, params) = (example(slug), params.to_string());
        self.call(&[&["run", &package, operation, "--params", &params] as &[&str], flags].concat())
    }

    fn call(&self, arguments: &[&str]) -> Ran {
        let map = format!("*:443=127.0.0.1:{}", self.server.port());
        let network = ["--egress-map", &map, "--allow-network", "127.0.0.0/8", "--ca-file", "ca.pem"];
        self.here.run(&[arguments, &network].concat())
    }
}

fn json_reply(value: &Value) -> Reply {
    Reply::status("200 OK", &[("Content-Type", "application/json")], value.to_string())
}

#[test]
fn hello_greets_and_counts() {
    let here = Workspace::new();
    let greeted = here.run(&["run", &example("hello"), "greet", "--params", "{\"name\":\"Ada\"}"]).exits(0);
    assert_eq!(greeted.json(), json!({"greeting": "Hello, Ada!", "language": "en"}));
    let text = json!({"text": "the cat and the hat", "top": 2}).to_string();
    let counted = here.run(&["run", &example("hello"), "count_words", "--params", &text]).exits(0).json();
    assert_eq!(counted["most_frequent"][0], json!({"word": "the", "count": 2}));
    here.run(&["test", &example("hello")]).exits(0).says("ok: Ready to greet");
}

#[test]
fn pagination_follows_cursors_and_explains_errors() {
    let token = ["--secret", "apiToken=t0ken"];
    let service = Service::start("api.tickets.example", |request| {
        assert_eq!(request.header("authorization"), Some("Bearer t0ken"));
        let target = request.target();
        let tickets =
            |from: u32, n: u32| (from..from + n).map(|id| json!({"id": id.to_string()})).collect::<Vec<_>>();
        if target.contains("/v1/me") {
            return json_reply(&json!({"email": "ada@tickets.example"}));
        }
        if target.starts_with("/v1/tickets/gone") {
            return Reply::status(
                "404 Not Found",
                &[("Content-Type", "application/json")],
                "{\"error\":{\"message\":\"no\"}}",
            );
        }
        if target.starts_with("/v1/tickets/busy") {
            return Reply::status("429 Too Many Requests", &[("Retry-After", "12")], "slow down");
        }
        match target.contains("cursor=c2") {
            false => json_reply(&json!({"tickets": tickets(0, 100), "next_cursor": "c2"})),
            true => json_reply(&json!({"tickets": tickets(100, 20), "next_cursor": null})),
        }
    });
    let listed = service.run("pagination", "list_tickets", json!({"limit": 250}), &token).exits(0).json();
    assert_eq!((&listed["count"], &listed["next_cursor"]), (&json!(120), &json!(null)));
    let gone = service.run("pagination", "get_ticket", json!({"ticket_id": "gone"}), &token).exits(1);
    gone.says("not found. Ids come from list_tickets").says("code: PROVIDER_ERROR");
    let busy = service.run("pagination", "get_ticket", json!({"ticket_id": "busy"}), &token).exits(1);
    busy.says("try again in 12 s").says("code: PROVIDER_RATE_LIMITED");
    service
        .call(&["test", &example("pagination"), token[0], token[1]])
        .exits(0)
        .says("ok: Connected as ada@tickets.example");
}

#[test]
fn files_are_downloaded_and_uploaded() {
    let key = ["--secret", "apiKey=k3y-value", "--files", "downloads"];
    let service = Service::start("archive.documents.example", |request| {
        assert_eq!(request.header("x-api-key"), Some("k3y-value"));
        match (request.method(), request.target().ends_with("/d-1")) {
            ("POST", _) => json_reply(&json!({"id": "d-2"})),
            (_, true) => json_reply(&json!({"id": "d-1", "title": "One", "file_name": "one.pdf", "size": 4})),
            _ => Reply::status("200 OK", &[("Content-Type", "application/pdf")], "%PDF"),
        }
    });
    let ran = service.run(
        "files",
        "download_document",
        json!({"document_id": "d-1", "file_name": "one.pdf"}),
        &[&key as &[&str], &["--json"]].concat(),
    );
    let report = ran.exits(0).report();
    let reference = &report["fileReferences"][0];
    assert_eq!(
        (&reference["fileName"], &reference["contentType"]),
        (&json!("one.pdf"), &json!("application/pdf"))
    );
    let stored = format!("downloads/{}/one.pdf", reference["fileId"].as_str().unwrap());
    assert_eq!(fs::read(service.here.path(&stored)).unwrap(), b"%PDF");
    let upload =
        json!({"title": "Two", "file_name": "two.txt", "content_type": "text/plain", "text": "zwei"});
    service.run("files", "upload_document", upload, &key).exits(0);
    let requests = service.server.requests();
    let sent = requests.last().unwrap();
    assert!(sent.header("content-type").unwrap().starts_with("multipart/form-data; boundary="));
    let body = String::from_utf8_lossy(&sent.body);
    assert!(
        body.contains("name=\"file\"; filename=\"two.txt\"") && body.contains("\r\n\r\nzwei\r\n"),
        "{body}"
    );
}

#[test]
fn self_hosted_goes_to_the_connections_own_domain() {
    let login =
        ["--config", "domain=wiki.example.org", "--secret", "username=ada", "--secret", "password=s3cret"];
    let service = Service::start("wiki.example.org", |request| {
        assert_eq!(request.header("host"), Some("wiki.example.org"));
        // base64 of ada:s3cret
        assert_eq!(request.header("authorization"), Some("Basic YWRhOnMzY3JldA=="));
        match request.method() {
            "PUT" => Reply::status("412 Precondition Failed", &[], ""),
            _ => json_reply(&json!({"pages": [{"id": 1, "title": "Holiday", "revision": 2, "text": "…"}]})),
        }
    });
    let found =
        service.run("self_hosted", "search_pages", json!({"query": "holiday"}), &login).exits(0).json();
    assert_eq!(found, json!({"pages": [{"id": 1, "title": "Holiday"}]}));
    let update = json!({"page_id": 1, "revision": 2, "text": "new"});
    service.run("self_hosted", "update_page", update, &login).exits(1).says("changed since revision 2");
    let without = service.run("self_hosted", "search_pages", json!({"query": "x"}), &login[2..]).exits(1);
    without.says("The connection has no \"domain\"");
}
