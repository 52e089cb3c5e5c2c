//! The connectors in `examples/`, each operation's success and main failures, against servers on loopback.

use std::net::SocketAddr;
use std::path::Path;

use portcullis_runtime::ErrorCode::{
    HostBlocked, InvalidArguments, ProviderError, ProviderRateLimited, ProviderUnavailable,
};
use portcullis_runtime::{Call, Connector, Engine, EngineConfig, ErrorCode, FileStore, Package};
use serde_json::{Value, json};

use crate::support::{engine_config, object, strings};
use crate::upstream::server::{Recorded, Reply, TestServer};
use crate::upstream::tls::TestCa;

/// An example, and the API that it talks to.
struct Example {
    connector: Connector,
    server: Option<TestServer>,
    secrets: &'static [(&'static str, &'static str)],
    config: Value,
    folder: tempfile::TempDir,
}

impl Example {
    fn load(
        name: &str,
        host: &str,
        answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
        stores_files: bool,
    ) -> Example {
        let ca = TestCa::new();
        let server = TestServer::start_tls(ca.issue(&[host]), answer);
        let folder = tempfile::tempdir().unwrap();
        let files = stores_files.then(|| FileStore::in_folder(folder.path()).unwrap());
        let connector = load(name, Some(server.address()), &ca, files);
        Example { connector, server: Some(server), secrets: &[], config: json!({}), folder }
    }

    fn call(&self, operation: Option<&str>, arguments: Value) -> portcullis_runtime::Outcome {
        self.connector.call(&Call {
            operation: operation.map(str::to_owned),
            arguments,
            secrets: strings(self.secrets),
            config: object(self.config.clone()),
            ..Call::default()
        })
    }

    #[track_caller]
    fn gives(&self, operation: &str, arguments: Value, expected: Value) {
        let result = self.call(Some(operation), arguments).result;
        assert_eq!(result.unwrap_or_else(|error| panic!("{error:#?}")), expected);
    }

    #[track_caller]
    fn fails(&self, operation: &str, arguments: Value, code: ErrorCode, message: &str) {
        let error = self.call(Some(operation), arguments).result.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (code, message), "{error:#?}");
    }

    #[track_caller]
    fn tests_as(&self, message: &str) {
        let result = self.call(None, json!(null)).result.unwrap_or_else(|error| panic!("{error:#?}"));
        assert_eq!(result, json!({"success": true, "message": message}));
    }

    fn requests(&self) -> Vec<Recorded> {
        self.server.as_ref().unwrap().requests()
    }
}

#[track_caller]
fn load(name: &str, target: Option<SocketAddr>, ca: &TestCa, files: Option<FileStore>) -> Connector {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let package = Package::read(folder).unwrap();
    let engine = Engine::new(EngineConfig { files, ..engine_config(target, ca) });
    let connector = engine.load(&package).unwrap_or_else(|error| panic!("{name}:\n{error}"));
    assert!(connector.warnings().is_empty(), "{:?}", connector.warnings());
    connector
}

fn json_reply(status: &str, body: &Value) -> Reply {
    Reply::status(status, &[("Content-Type", "application/json")], body.to_string())
}

#[test]
fn every_example_is_tested_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // That of hotel, which needs no HTTP server, are in tests/sql/hotel.rs.
    assert_eq!(names, ["files", "hello", "hotel", "pagination", "self_hosted"]);
}

// ── hello ────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn hello() {
    let connector = load("hello", None, &TestCa::new(), None);
    let example = Example {
        connector,
        server: None,
        secrets: &[],
        config: json!({}),
        folder: tempfile::tempdir().unwrap(),
    };
    example.tests_as("Ready to greet");
    example.gives("greet", json!({"name": "Ada"}), json!({"greeting": "Hello, Ada!", "language": "en"}));
    for (language, greeting) in [("de", "Hallo, Ada!"), ("es", "Hola, Ada!"), ("fr", "Bonjour, Ada!")] {
        example.gives(
            "greet",
            json!({"name": " Ada ", "language": language}),
            json!({"greeting": greeting, "language": language}),
        );
    }
    let logged = example.call(Some("greet"), json!({"name": "Ada"})).logs;
    assert_eq!(logged[0].message, "greeting Ada in en");
    example.fails(
        "greet",
        json!({"name": "  "}),
        ProviderError,
        "name holds nothing but spaces: say whom to greet",
    );
    for wrong in [
        json!({}),
        json!({"name": 7}),
        json!({"name": "Ada", "language": "xx"}),
        json!({"name": "Ada", "more": 1}),
    ] {
        assert_eq!(example.call(Some("greet"), wrong).result.unwrap_err().code, InvalidArguments);
    }
    example.gives(
        "count_words",
        json!({"text": "the cat and the hat", "top": 2}),
        json!({"words": 5, "distinct": 4, "most_frequent": [{"word": "the", "count": 2}, {"word": "cat", "count": 1}]}),
    );
    example.gives(
        "count_words",
        json!({"text": "Größe GRÖSSE größe — 日本 42"}),
        json!({"words": 5, "distinct": 4, "most_frequent": [
            {"word": "größe", "count": 2}, {"word": "grösse", "count": 1}, {"word": "日本", "count": 1}, {"word": "42", "count": 1},
        ]}),
    );
    example.gives(
        "count_words",
        json!({"text": "…"}),
        json!({"words": 0, "distinct": 0, "most_frequent": []}),
    );
}

// ── pagination ───────────────────────────────────────────────────────────────────────────────────────────────────────

/// A help desk with `n_tickets` tickets, whose cursors are the index to go on from.
fn tickets(n_tickets: usize) -> Example {
    let answer = move |request: &Recorded| {
        if request.header("authorization") != Some("Bearer t0ken-value") {
            return json_reply("401 Unauthorized", &json!({"error": {"message": "unknown token"}}));
        }
        let (path, query) = request.target().split_once('?').unwrap_or((request.target(), ""));
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(str::to_owned)
        };
        match path {
            "/v1/me" => json_reply("200 OK", &json!({"email": "ada@tickets.example"})),
            "/v1/tickets" => {
                let from: usize = parameter("cursor").map_or(0, |cursor| cursor.parse().unwrap());
                let to = n_tickets.min(from + parameter("limit").unwrap().parse::<usize>().unwrap());
                let page: Vec<Value> = (from..to).map(|n| json!({"id": format!("T-{n}")})).collect();
                let next = (to < n_tickets).then(|| to.to_string());
                json_reply("200 OK", &json!({"tickets": page, "next_cursor": next}))
            }
            "/v1/tickets/T-1" => json_reply("200 OK", &json!({"id": "T-1", "subject": "Help"})),
            "/v1/tickets/T-1/comments" => json_reply("201 Created", &json!({"id": "C-1"})),
            "/v1/tickets/forbidden" => {
                json_reply("403 Forbidden", &json!({"error": {"message": "scope missing"}}))
            }
            "/v1/tickets/busy" => Reply::status("429 Too Many Requests", &[("Retry-After", "30")], ""),
            "/v1/tickets/broken" => Reply::status("503 Service Unavailable", &[], "<h1>Down</h1>"),
            "/v1/tickets/odd" => json_reply(
                "422 Unprocessable Content",
                &json!({"error": {"message": "invalid", "fields": {"text": "too long"}}}),
            ),
            _ => json_reply("404 Not Found", &json!({"error": {"message": "no such thing"}})),
        }
    };
    let example = Example::load("pagination", "api.tickets.example", answer, false);
    Example { secrets: &[("apiToken", "t0ken-value")], ..example }
}

fn ids(n_tickets: usize) -> Vec<Value> {
    (0..n_tickets).map(|n| json!({"id": format!("T-{n}")})).collect()
}

#[test]
fn pagination_follows_cursors() {
    let example = tickets(250);
    example.tests_as("Connected as ada@tickets.example");
    example.gives(
        "list_tickets",
        json!({"limit": 1000}),
        json!({"tickets": ids(250), "count": 250, "next_cursor": null}),
    );
    let targets: Vec<String> =
        example.requests()[1..].iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(
        targets,
        [
            "/v1/tickets?status=open&limit=100",
            "/v1/tickets?status=open&limit=100&cursor=100",
            "/v1/tickets?status=open&limit=100&cursor=200",
        ]
    );
    example.gives(
        "list_tickets",
        json!({"limit": 120, "status": "any"}),
        json!({"tickets": ids(120), "count": 120, "next_cursor": "120"}),
    );
    example.gives(
        "list_tickets",
        json!({"cursor": "249", "updated_since": "2025-01-31T00:00:00Z"}),
        json!({"tickets": [{"id": "T-249"}], "count": 1, "next_cursor": null}),
    );
    let last = example.requests().last().unwrap().target().to_owned();
    assert_eq!(last, "/v1/tickets?status=open&updated_since=2025-01-31T00%3A00%3A00Z&limit=100&cursor=249");
}

#[test]
fn pagination_stops_before_the_limit_of_requests() {
    let example = tickets(5000);
    let outcome = example.call(Some("list_tickets"), json!({"limit": 1000}));
    assert_eq!(outcome.result.unwrap()["count"], json!(1000));
    assert_eq!(outcome.http.len(), 10);
    assert_eq!(outcome.logs.len(), 10);
}

#[test]
fn pagination_reads_and_comments() {
    let example = tickets(0);
    example.gives("list_tickets", json!({}), json!({"tickets": [], "count": 0, "next_cursor": null}));
    example.gives("get_ticket", json!({"ticket_id": "T-1"}), json!({"id": "T-1", "subject": "Help"}));
    example.gives("add_comment", json!({"ticket_id": "T-1", "text": "Grüße"}), json!({"id": "C-1"}));
    let request = example.requests().pop().unwrap();
    assert_eq!(request.line(), "POST /v1/tickets/T-1/comments HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(String::from_utf8(request.body).unwrap(), "{\"text\":\"Grüße\",\"public\":false}");
}

#[test]
fn pagination_says_what_went_wrong() {
    let example = tickets(0);
    let get = |id: &str| json!({ "ticket_id": id });
    example.fails(
        "get_ticket",
        get("gone"),
        ProviderError,
        "GET /tickets/gone: not found. Ids come from list_tickets",
    );
    example.fails(
        "get_ticket",
        get("forbidden"),
        ProviderError,
        "The token may not do this (scope missing): give it the scopes that the setup guide lists",
    );
    example.fails(
        "get_ticket",
        get("busy"),
        ProviderRateLimited,
        "The API's rate limit is reached: try again in 30 s",
    );
    example.fails(
        "get_ticket",
        get("broken"),
        ProviderUnavailable,
        "GET /tickets/broken failed with 503 Service Unavailable (<h1>Down</h1>): the service has a problem; try again later",
    );
    example.fails(
        "get_ticket",
        get("odd"),
        ProviderError,
        "GET /tickets/odd failed with 422 Unprocessable Content (invalid; text: too long): check the parameters",
    );
    let error = example.call(Some("get_ticket"), get("../x")).result.unwrap_err();
    assert_eq!(error.code, InvalidArguments);
    let refused = Example { secrets: &[("apiToken", "wrong-token")], ..tickets(0) };
    let error = refused.call(None, json!(null)).result.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (
            ProviderError,
            "The token was refused (unknown token): create a new one under Settings → API tokens"
        )
    );
    let missing = Example { secrets: &[], ..tickets(0) };
    missing.fails(
        "list_tickets",
        json!({}),
        ProviderError,
        "The connection has no \"apiToken\": create one under Settings → API tokens and connect again",
    );
}

// ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────

fn archive(stores_files: bool) -> Example {
    let answer = |request: &Recorded| {
        if request.header("x-api-key") != Some("k3y-value") {
            return json_reply("401 Unauthorized", &json!({}));
        }
        match (request.method(), request.target()) {
            ("GET", "/api/account") => json_reply("200 OK", &json!({"name": "Ada's archive"})),
            ("GET", "/api/documents") => json_reply(
                "200 OK",
                &json!({"documents": [
                    {"id": "d-1", "title": "Minutes, \"final\"", "file_name": "minutes.txt", "bytes": 4},
                    {"id": "d-2", "title": "Plan", "file_name": "plan.pdf", "bytes": 1000},
                ]}),
            ),
            ("GET", "/api/documents/d-1") => {
                json_reply("200 OK", &json!({"id": "d-1", "file_name": "minutes.txt"}))
            }
            ("GET", "/api/documents/d-1/content") => {
                Reply::status("200 OK", &[("Content-Type", "application/pdf")], [0, 255, 13, 10])
            }
            ("POST", "/api/documents") => json_reply("201 Created", &json!({"id": "d-3"})),
            _ => Reply::status("404 Not Found", &[], "no such document"),
        }
    };
    let example = Example::load("files", "archive.documents.example", answer, stores_files);
    Example { secrets: &[("apiKey", "k3y-value")], ..example }
}

#[test]
fn files_downloads() {
    let example = archive(true);
    example.tests_as("Connected to Ada's archive");
    for (arguments, name) in [
        (json!({"document_id": "d-1"}), "minutes.txt"),
        (json!({"document_id": "d-1", "file_name": "mine.pdf"}), "mine.pdf"),
    ] {
        let outcome = example.call(Some("download_document"), arguments);
        let file = outcome.result.unwrap();
        assert_eq!(
            (&file["fileName"], &file["contentType"], &file["size"]),
            (&json!(name), &json!("application/pdf"), &json!(4))
        );
        assert_eq!(json!(outcome.file_references), json!([file]));
        let path = example.folder.path().join(file["fileId"].as_str().unwrap()).join(name);
        assert_eq!(std::fs::read(path).unwrap(), [0, 255, 13, 10]);
    }
    example.fails(
        "download_document",
        json!({"document_id": "d-9"}),
        ProviderError,
        "The archive answered 404 when reading the document d-9: no such document",
    );
    archive(false).fails(
        "download_document",
        json!({"document_id": "d-1"}),
        ProviderError,
        "No file storage is configured: run with --files DIR, or ask the operator to configure one",
    );
}

#[test]
fn files_exports() {
    let csv = "id,title,file_name,bytes\r\nd-1,\"Minutes, \"\"final\"\"\",minutes.txt,4\r\nd-2,Plan,plan.pdf,1000\r\n";
    archive(false).gives("export_index", json!({}), json!({"count": 2, "csv": csv}));
    let example = archive(true);
    let result = example.call(Some("export_index"), json!({})).result.unwrap();
    assert_eq!((&result["count"], &result["file"]["fileName"]), (&json!(2), &json!("documents.csv")));
    let path = example.folder.path().join(result["file"]["fileId"].as_str().unwrap()).join("documents.csv");
    assert_eq!(std::fs::read_to_string(path).unwrap(), csv);
}

#[test]
fn files_uploads() {
    let example = archive(false);
    example.gives(
        "upload_document",
        json!({"title": "Minutes", "file_name": "a \"b\".txt", "content_type": "text/plain", "text": "Grüße", "tags": ["x"]}),
        json!({"id": "d-3"}),
    );
    example.gives(
        "upload_document",
        json!({"title": "Bytes", "file_name": "b.bin", "content_base64": "AP8NCg=="}),
        json!({"id": "d-3"}),
    );
    let requests = example.requests();
    for (request, title, tags, file_head, content) in [
        (
            &requests[0],
            "Minutes",
            "[\"x\"]",
            "filename=\"a %22b%22.txt\"\r\nContent-Type: text/plain",
            "Grüße".as_bytes(),
        ),
        (
            &requests[1],
            "Bytes",
            "[]",
            "filename=\"b.bin\"\r\nContent-Type: application/octet-stream",
            b"\0\xff\r\n",
        ),
    ] {
        let boundary = request.header("content-type").unwrap().rsplit('=').next().unwrap();
        let mut expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\n{title}\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"tags\"\r\nContent-Type: application/json\r\n\r\n{tags}\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; {file_head}\r\n\r\n"
        )
        .into_bytes();
        expected.extend(content);
        expected.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
        assert!(request.body == expected, "{}", String::from_utf8_lossy(&request.body));
    }
    for wrong in [
        json!({"title": "t", "file_name": "f"}),
        json!({"title": "t", "file_name": "f", "text": "x", "content_base64": "eA=="}),
        json!({"title": "t", "file_name": "f", "content_base64": "*"}),
    ] {
        assert_eq!(example.call(Some("upload_document"), wrong).result.unwrap_err().code, InvalidArguments);
    }
    let refused = Example { secrets: &[("apiKey", "other-key")], ..archive(false) };
    refused.fails(
        "export_index",
        json!({}),
        ProviderError,
        "The API key was refused: copy the current one from Account → API key",
    );
    let missing = Example { secrets: &[], ..archive(false) };
    missing.fails(
        "export_index",
        json!({}),
        ProviderError,
        "The connection has no \"apiKey\": copy it from Account → API key and connect again",
    );
}

// ── self_hosted ──────────────────────────────────────────────────────────────────────────────────────────────────────

fn wiki() -> Example {
    let answer = |request: &Recorded| {
        // "ada:pässwort 1" in base64.
        if request.header("authorization") != Some("Basic YWRhOnDDpHNzd29ydCAx") {
            return Reply::status("401 Unauthorized", &[], "");
        }
        match (request.method(), request.target()) {
            ("GET", "/api/v1/whoami") => json_reply("200 OK", &json!({"name": "Ada"})),
            ("GET", "/api/v1/pages?q=caf%C3%A9%20%26%20tea&limit=10") => json_reply(
                "200 OK",
                &json!({"pages": [{"id": 7, "title": "Café", "revision": 1, "text": "long"}]}),
            ),
            ("GET", "/api/v1/pages/7") => {
                json_reply("200 OK", &json!({"id": 7, "title": "Café", "revision": 3, "text": "long"}))
            }
            ("PUT", "/api/v1/pages/7") if request.header("if-match") == Some("\"3\"") => {
                json_reply("200 OK", &json!({"id": 7, "revision": 4}))
            }
            ("PUT", "/api/v1/pages/7") => Reply::status("412 Precondition Failed", &[], ""),
            ("PUT", _) => Reply::status("403 Forbidden", &[], ""),
            ("GET", "/api/v1/pages/500") => Reply::status("500 Internal Server Error", &[], "stack trace"),
            _ => Reply::status("404 Not Found", &[], ""),
        }
    };
    let example = Example::load("self_hosted", "wiki.example.org", answer, false);
    Example {
        secrets: &[("username", "ada"), ("password", "pässwort 1")],
        config: json!({"domain": "wiki.example.org"}),
        ..example
    }
}

#[test]
fn self_hosted_reads_and_edits() {
    let example = wiki();
    let result = example.call(None, json!(null)).result.unwrap();
    assert_eq!(result["success"], json!(true));
    example.gives(
        "search_pages",
        json!({"query": "café & tea"}),
        json!({"pages": [{"id": 7, "title": "Café"}]}),
    );
    example.gives(
        "get_page",
        json!({"page_id": 7}),
        json!({"id": 7, "title": "Café", "revision": 3, "text": "long"}),
    );
    example.gives(
        "update_page",
        json!({"page_id": 7, "revision": 3, "text": "new"}),
        json!({"page_id": 7, "revision": 4}),
    );
    let request = example.requests().pop().unwrap();
    assert_eq!(request.body, b"{\"text\":\"new\"}");
    assert_eq!(request.header("host"), Some("wiki.example.org"));
}

#[test]
fn self_hosted_says_what_went_wrong() {
    let example = wiki();
    example.fails(
        "update_page",
        json!({"page_id": 7, "revision": 2, "text": "new"}),
        ProviderError,
        "Page 7 changed since revision 2: get it again and redo the change",
    );
    example.fails(
        "update_page",
        json!({"page_id": 8, "revision": 2, "text": "new"}),
        ProviderError,
        "The wiki doesn't let this user go on with updating page 8: ask its administrator for the right",
    );
    example.fails(
        "get_page",
        json!({"page_id": 9}),
        ProviderError,
        "The wiki found nothing when reading page 9: ids come from search_pages",
    );
    example.fails(
        "get_page",
        json!({"page_id": 500}),
        ProviderUnavailable,
        "The wiki answered 500 when reading page 500: stack trace",
    );
    let refused = Example { secrets: &[("username", "bob"), ("password", "wrong-one")], ..wiki() };
    refused.fails(
        "get_page",
        json!({"page_id": 7}),
        ProviderError,
        "The wiki refused the user name or password: create a new app password and connect again",
    );
    let unset = Example { config: json!({}), ..wiki() };
    unset.fails(
        "get_page",
        json!({"page_id": 7}),
        ProviderError,
        "The connection has no \"domain\": set it to the host name of the wiki, such as wiki.example.org",
    );
}

#[test]
fn self_hosted_reaches_its_own_domain_alone() {
    let elsewhere = Example { config: json!({"domain": "wiki.example.org/../evil.example"}), ..wiki() };
    let error = elsewhere.call(Some("get_page"), json!({"page_id": 7})).result.unwrap_err();
    assert_eq!(error.code, HostBlocked, "{error:#?}");
    assert!(elsewhere.requests().is_empty());
}
