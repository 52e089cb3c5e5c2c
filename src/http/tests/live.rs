//! Requests to the whole router, with a gateway and a store behind it: what is looked at first, and what is refused.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use portcullis_runtime::{Client, EgressConfig, Engine, EngineConfig};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::super::*;
use super::{document, operations};
use crate::gateway::GatewayConfig;
use crate::gateway::keys::new_key;
use crate::identity::{ProjectId, Role, UserName};
use crate::integrations::Registry;
use crate::store::{DatabaseUrl, Store};
use crate::vault::Vault;
use crate::vault::rotate::settle_active_key;

/// A well-formed key that nobody has.
const WRONG: &str = "pc_0123456789012345678901234567890123456789012";

struct Bench {
    router: Router,
    shutdown: CancellationToken,
    store: Store,
    project: ProjectId,
    _folder: tempfile::TempDir,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    fn code(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or_default())
    }

    fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&DatabaseUrl::Sqlite(folder.path().join("portcullis.db"))).await.unwrap();
        let vault = Vault::open_or_create(&folder.path().join("master.key")).unwrap();
        settle_active_key(&vault, &store).await.unwrap();
        let engine = Engine::new(EngineConfig::new(Client::new(&EgressConfig::default()).unwrap()));
        let registry = Registry::new(engine.clone(), store.clone(), None);
        let gateway = Gateway::new(GatewayConfig::default(), engine, store.clone(), vault, registry);
        let project = store.create_project("one").await.unwrap().id;
        let config = HttpConfig {
            behind_proxy: false,
            drain: Duration::ZERO,
            hosts: Hosts::new(None, SocketAddr::from(([127, 0, 0, 1], 80))),
            mcp: McpSettings { max_chars: 1000 },
        };
        let shutdown = CancellationToken::new();
        let router = router(gateway, Metrics::collect(), config, shutdown.clone());
        Self { router, shutdown, store, project, _folder: folder }
    }

    async fn key(&self, role: Role) -> String {
        let user = (role != Role::Service).then(|| UserName::new("ada").unwrap());
        let (key, record) = new_key(self.project, role, user, "test").unwrap();
        self.store.insert_key(&record, key.hash()).await.unwrap();
        key.reveal().to_owned()
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, path: &str, key: &str) -> Reply {
        let request = Request::get(path).header(AUTHORIZATION, format!("Bearer {key}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, key: &str, content_type: &str, body: impl Into<Body>) -> Reply {
        let request = Request::post(path).header(AUTHORIZATION, format!("Bearer {key}"));
        self.send(request.header(CONTENT_TYPE, content_type).body(body.into()).unwrap()).await
    }
}

/// A request with everything wrong that can be: path, query and body.
fn nonsense(method: &str, path: &str) -> axum::http::request::Builder {
    let path = path.replace("{id}", "no-uuid").replace("{slug}", "No%20Slug").replace("{name}", "9");
    Request::builder().method(method.to_uppercase().as_str()).uri(format!("{path}?limit=abc&status=x"))
}

#[tokio::test]
async fn without_a_key_every_operation_says_only_that() {
    let bench = Bench::new().await;
    let document = document();
    for (method, path, _) in
        operations(&document).into_iter().filter(|(_, path, _)| path.starts_with("/api/"))
    {
        let reply = bench.send(nonsense(method, path).body(Body::from("{")).unwrap()).await;
        assert_eq!(reply.code(), (401, "UNAUTHORIZED"), "{method} {path}");
        assert!(reply.headers.contains_key(WWW_AUTHENTICATE), "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_for_admins_is_refused_before_anything_else_is_looked_at() {
    let bench = Bench::new().await;
    let for_admins = [
        ("post", "/api/integrations"),
        ("delete", "/api/integrations/{slug}"),
        ("get", "/api/secrets"),
        ("put", "/api/secrets/{name}"),
        ("delete", "/api/secrets/{name}"),
        ("get", "/api/keys"),
        ("post", "/api/keys"),
        ("delete", "/api/keys/{id}"),
    ];
    for role in [Role::User, Role::Service] {
        let key = bench.key(role).await;
        for (method, path) in for_admins {
            let request = nonsense(method, path).header(AUTHORIZATION, format!("ApiKey {key}"));
            let reply = bench.send(request.body(Body::from("{")).unwrap()).await;
            assert_eq!(reply.code(), (403, "FORBIDDEN"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn whoever_guesses_keys_is_slowed_down_and_nobody_else() {
    let bench = Bench::new().await;
    let key = bench.key(Role::Admin).await;
    assert_eq!(bench.get("/api/keys", &key).await.status, 200);
    for _ in 0..31 {
        assert_eq!(bench.get("/api/keys", WRONG).await.status, 401);
    }
    let reply = bench.get("/api/keys", WRONG).await;
    assert_eq!(reply.code(), (429, "RATE_LIMITED"));
    assert!(reply.headers.contains_key(RETRY_AFTER));
    assert_eq!(bench.get("/api/keys", "nonsense").await.status, 429);
    assert_eq!(bench.get("/api/keys", &key).await.status, 200);
    let fresh = bench.key(Role::Admin).await;
    assert_eq!(bench.get("/api/keys", &fresh).await.status, 200, "a good key from the same address");
    let without = Request::get("/api/keys").body(Body::empty()).unwrap();
    assert_eq!(bench.send(without).await.status, 401, "no key is no guess");
}

#[tokio::test]
async fn a_users_key_acts_for_its_user_alone() {
    let bench = Bench::new().await;
    let key = bench.key(Role::User).await;
    for (user, status) in [("ada", 200), ("eve", 403), ("", 400)] {
        let request = Request::get("/api/tools/catalog").header(AUTHORIZATION, format!("Bearer {key}"));
        let request = request.header("Portcullis-User", user).body(Body::empty()).unwrap();
        assert_eq!(bench.send(request).await.status, status, "{user:?}");
    }
}

#[tokio::test]
async fn bodies_are_held_to_their_type_their_size_and_their_schema() {
    let bench = Bench::new().await;
    let key = bench.key(Role::Admin).await;
    let post = |content_type: &'static str, body: String| bench.post("/api/keys", &key, content_type, body);
    assert_eq!(post("text/plain", "{}".to_owned()).await.code(), (415, "UNSUPPORTED_MEDIA_TYPE"));
    assert_eq!(
        post("application/json", " ".repeat(1024 * 1024 + 1)).await.code(),
        (413, "PAYLOAD_TOO_LARGE")
    );
    let reply = post("application/json", "{\"role\": \"admin\",\n}".to_owned()).await;
    assert_eq!(reply.code(), (400, "INVALID_REQUEST"));
    assert!(reply.message().contains("line 2 column 1"), "{}", reply.message());
    let reply = post("application/json", json!({"role": "admin", "name": 7, "nmae": ""}).to_string()).await;
    assert_eq!(reply.status, 400);
    for part in ["/name: ", "unknown field \"nmae\""] {
        assert!(reply.message().contains(part), "{part} in {}", reply.message());
    }
    let reply = post("application/json", json!({"role": "admin", "name": "a"}).to_string()).await;
    assert_eq!((reply.status, reply.body["role"].as_str()), (201, Some("admin")));
}

#[tokio::test]
async fn a_failing_call_is_a_message_of_its_own() {
    let bench = Bench::new().await;
    let key = bench.key(Role::User).await;
    let call = json!({"id": "c1", "type": "function", "function": {"name": "none__such", "arguments": "{}"}});
    let body = json!({ "tool_calls": [call] }).to_string();
    let reply = bench.post("/api/tools/run", &key, "application/json", body).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body["errors"][0]["code"], "TOOL_NOT_FOUND");
    let content: Value =
        serde_json::from_str(reply.body["tool_messages"][0]["content"].as_str().unwrap()).unwrap();
    assert_eq!(content["error"]["code"], "TOOL_NOT_FOUND");
}

#[tokio::test]
async fn other_methods_get_405_with_those_there_are() {
    let bench = Bench::new().await;
    for (path, methods) in [
        ("/api/keys", "GET, HEAD, POST, OPTIONS"),
        ("/api/tools/connections/x", "DELETE, GET, HEAD, PATCH, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
    ] {
        let request = Request::put(path).body(Body::empty()).unwrap();
        let reply = bench.send(request).await;
        assert_eq!(reply.code(), (405, "METHOD_NOT_ALLOWED"), "{path}");
        let mut allowed: Vec<&str> = reply.headers[ALLOW].to_str().unwrap().split(", ").collect();
        let mut expected: Vec<&str> = methods.split(", ").collect();
        allowed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(allowed, expected, "{path}");
    }
}

#[tokio::test]
async fn a_server_that_goes_down_says_so() {
    let bench = Bench::new().await;
    assert_eq!(bench.get("/readyz", "").await.body, json!({"ready": true, "server": "ok", "store": "ok"}));
    bench.shutdown.cancel();
    let reply = bench.get("/readyz", "").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.body, json!({"ready": false, "server": "draining", "store": "ok"}));
    assert_eq!(bench.get("/healthz", "").await.status, 200);
}
