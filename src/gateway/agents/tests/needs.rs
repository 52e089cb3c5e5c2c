//! What an agent lacks, for each way in which a connection can fall short; connections are stored as they are to be found.

use std::fs;
use std::sync::Arc;

use portcullis_runtime::manifest::AuthMethod;
use portcullis_runtime::{Client, EgressConfig, Engine, EngineConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::gateway::agents::{NewGrant, Requirement};
use crate::gateway::approvals::ApprovalRule;
use crate::gateway::call::{RequestContext, ToolCall};
use crate::gateway::{Gateway, GatewayConfig, GatewayError};
use crate::identity::{Identity, ProjectId, Role, UserName};
use crate::integrations::Registry;
use crate::store::agents::DeclaredConnection;
use crate::store::connections::{Connection, ConnectionStatus, Visibility};
use crate::store::grants::GrantApproval;
use crate::store::{DatabaseUrl, Store};
use crate::time::Timestamp;
use crate::vault::Vault;
use crate::vault::rotate::settle_active_key;

/// A gateway with the integration `mail`: `list` needs the scope `read`, `send` the scopes `read` and `write`; a SQLite file has
/// no account, so that a connection needs no credentials.
struct Bench {
    _folder: TempDir,
    store: Store,
    gateway: Gateway,
    project: ProjectId,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("databases")).expect("a folder");
        fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hotel/hotel.db"), at("databases/hotel.db"))
            .expect("a database");
        let manifest = json!({
            "title": "Mail", "version": 3, "type": "sql", "authMethod": "basic_auth",
            "connectionConfig": {"database": "hotel.db"}, "sqlConnectionConfig": {"engine": "sqlite"},
            "sqlOperations": [
                {"name": "list", "query": "SELECT 1 AS one", "requiredScopes": ["read"]},
                {"name": "send", "query": "SELECT 2 AS two", "requiredScopes": ["read", "write"]},
            ],
        });
        fs::create_dir_all(at("integrations/mail")).expect("a folder");
        fs::write(at("integrations/mail/config.json"), manifest.to_string()).expect("a manifest");
        fs::create_dir_all(at("integrations/broken")).expect("a folder");
        fs::write(at("integrations/broken/config.json"), "{}").expect("a manifest");
        let store = Store::open(&DatabaseUrl::Sqlite(at("portcullis.db"))).await.expect("a store");
        let vault = Vault::open_or_create(&at("master.key")).expect("a vault");
        settle_active_key(&vault, &store).await.expect("a key");
        let egress = Client::new(&EgressConfig::default()).expect("a client");
        let engine =
            Engine::new(EngineConfig { sqlite_folder: Some(at("databases")), ..EngineConfig::new(egress) });
        let project = store.create_project("tests").await.expect("a project").id;
        let registry = Registry::new(engine.clone(), store.clone(), Some(at("integrations")));
        registry.load_all().await.expect("integrations");
        let gateway =
            Gateway::new(GatewayConfig::default(), engine, store.clone(), vault, Arc::clone(&registry));
        Self { _folder: folder, store, gateway, project }
    }

    fn identity(&self, role: Role, user: &str) -> Identity {
        let user = Some(UserName::new(user).expect("a name"));
        Identity { project: self.project, key: Uuid::now_v7(), role, user, on_behalf: false }
    }

    fn ada(&self) -> Identity {
        self.identity(Role::User, "ada")
    }

    async fn declare(&self, connections: Value) {
        let connections: Vec<DeclaredConnection> =
            serde_json::from_value(connections).expect("a declaration");
        let admin = self.identity(Role::Admin, "admin");
        self.gateway.put_agent(&admin, "support", None, connections).await.expect("an agent");
    }

    /// A connection to `mail`.
    async fn connect(&self, slug: &str, change: impl FnOnce(&mut Connection)) -> Connection {
        let mut connection = Connection {
            id: Uuid::now_v7(),
            project: self.project,
            owner: UserName::new("ada").expect("a name"),
            integration: "mail".parse().expect("a slug"),
            slug: slug.parse().expect("a slug"),
            mode: AuthMethod::BasicAuth,
            status: ConnectionStatus::Active,
            name: format!("My {slug}"),
            description: None,
            last_error: None,
            identity: None,
            scopes: None,
            expires_at: None,
            visibility: Visibility::User,
            created_at: Timestamp::now(),
            updated_at: Timestamp::now(),
        };
        change(&mut connection);
        self.store.insert_connection(&connection, &[]).await.expect("stored");
        connection
    }

    async fn lacking(&self, identity: &Identity) -> Vec<Requirement> {
        self.gateway.requirements(identity, "support").await.expect("requirements").items
    }

    /// The one thing that is lacking, as `status: message`, and how it is mended.
    async fn the_one(&self, identity: &Identity) -> (String, Value) {
        let lacking = self.lacking(identity).await;
        let [item] = lacking.as_slice() else { panic!("{lacking:#?}") };
        let shown = serde_json::to_value(item).expect("JSON");
        (format!("{}: {}", shown["status"].as_str().expect("a word"), item.message), shown["connect"].clone())
    }
}

fn mail() -> Value {
    json!({"type": "mail", "source": "connector"})
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fall_short_is_told_with_what_a_person_does() {
    use ConnectionStatus::{Disabled, Expired, Failed, Pending};
    let bench = Bench::new().await;
    let ada = bench.ada();
    bench.declare(json!([mail()])).await;
    let (told, connect) = bench.the_one(&ada).await;
    assert_eq!(told, "missing: connect an account of Mail (mail)");
    let body = json!({"integration": "mail", "mode": "basic_auth", "name": "Mail", "credentials": {}});
    assert_eq!(connect, json!({"method": "POST", "path": "/api/tools/connections", "body": body}));

    let off = bench.connect("off", |one| one.status = Disabled).await;
    let (told, connect) = bench.the_one(&ada).await;
    assert_eq!(told, "inactive: the connection \"off\" of mail is switched off: switch it on");
    let path = format!("/api/tools/connections/{}", off.id);
    assert_eq!(connect, json!({"method": "PATCH", "path": path, "body": {"status": "ACTIVE"}}));

    let broken = |one: &mut Connection| {
        one.status = Failed;
        one.last_error = Some("wrong password".to_owned());
    };
    for (slug, change, expected) in [
        (
            "b",
            broken as fn(&mut Connection),
            "inactive: the connection \"b\" of mail doesn't work (wrong password)",
        ),
        (
            "p",
            |one| one.status = Pending,
            "inactive: the connection \"p\" of mail doesn't work (consent was not given within 10 minutes",
        ),
        ("e", |one| one.status = Expired, "expired: the connection \"e\" of mail is no longer accepted"),
    ] {
        bench.declare(json!([{"type": "mail", "source": "connector", "name": slug}])).await;
        bench.connect(slug, change).await;
        let (told, _) = bench.the_one(&ada).await;
        assert!(told.starts_with(expected), "{told}");
    }
    // Of all of them the one that lacks least is told of; and any that works does.
    bench.declare(json!([mail()])).await;
    assert!(bench.the_one(&ada).await.0.starts_with("expired: the connection \"e\""));
    bench.connect("fine", |_| {}).await;
    assert!(bench.lacking(&ada).await.is_empty());
    let bob = bench.identity(Role::User, "bob");
    assert!(bench.the_one(&bob).await.0.starts_with("missing"), "ada's are none of bob's");
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_those_of_declared_tools_or_of_granted_ones() {
    let bench = Bench::new().await;
    let ada = bench.ada();
    let narrow = bench.connect("narrow", |one| {
        one.mode = AuthMethod::OAuth2;
        one.scopes = Some(vec!["read".to_owned()]);
    });
    let narrow = narrow.await;
    let with = |tools: Value| json!([{"type": "mail", "source": "connector", "tools": tools}]);
    bench.declare(with(json!(["list"]))).await;
    assert!(bench.lacking(&ada).await.is_empty());
    bench.declare(with(json!(["list", "send"]))).await;
    let (told, connect) = bench.the_one(&ada).await;
    assert_eq!(
        told,
        "scope: the connection \"narrow\" of mail was granted fewer rights than the agent needs; it lacks: write: connect it \
         again and allow them"
    );
    assert_eq!(connect["path"], format!("/api/tools/connections/{}/refresh", narrow.id));

    bench.declare(json!([mail()])).await;
    assert!(bench.lacking(&ada).await.is_empty(), "no tool is declared, and none granted");
    let grant = |tools: &[&str]| NewGrant {
        connection: narrow.id,
        tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        approval: GrantApproval::Default,
    };
    let put = |tools: &'static [&'static str]| {
        bench.gateway.put_connection_tools(&ada, "support", vec![grant(tools)])
    };
    put(&["list"]).await.expect("granted");
    assert!(bench.lacking(&ada).await.is_empty());
    put(&["send"]).await.expect("granted");
    assert!(bench.the_one(&ada).await.0.starts_with("scope: "));
    // One of which isn't known what it was granted may do.
    bench.connect("unknown", |_| {}).await;
    assert!(bench.lacking(&ada).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_person_can_connect_is_told_to_whom_it_concerns() {
    let bench = Bench::new().await;
    let ada = bench.ada();
    for (declared, expected) in [
        (
            json!({"type": "mial", "source": "connector"}),
            "missing: there is no integration mial: an admin must install it",
        ),
        (json!({"type": "broken", "source": "connector"}), "inactive: the integration broken doesn't work: "),
        (
            json!({"type": "mail", "source": "connector", "tools": ["list", "purge"]}),
            "tools: version 3 of mail hasn't got what the agent needs: purge; an admin must install",
        ),
        (json!({"type": "clay", "source": "secret"}), "missing: an admin must set the workspace secret clay"),
        (
            json!({"type": "key", "source": "secret", "name": "clay"}),
            "missing: an admin must set the workspace secret clay",
        ),
        (
            json!({"type": "files", "source": "native-mcp"}),
            "unsupported: this server doesn't provide MCP servers",
        ),
        (
            json!({"type": "GMAIL", "source": "composio"}),
            "unsupported: this server doesn't provide Composio's",
        ),
    ] {
        bench.declare(json!([declared])).await;
        let (told, _) = bench.the_one(&ada).await;
        assert!(told.starts_with(expected), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_another_shares_is_theirs_to_mend() {
    let bench = Bench::new().await;
    bench.declare(json!([mail()])).await;
    bench
        .connect("shared", |one| {
            one.visibility = Visibility::Project;
            one.status = ConnectionStatus::Disabled;
        })
        .await;
    let (told, connect) = bench.the_one(&bench.identity(Role::User, "bob")).await;
    assert_eq!(
        told,
        "inactive: the connection \"shared\" of mail is switched off: ask its owner to mend it, or connect an account of your own"
    );
    assert_eq!(connect["method"], "POST");
    let (told, connect) = bench.the_one(&bench.ada()).await;
    assert!(told.ends_with("switch it on"), "{told}");
    assert_eq!(connect["method"], "PATCH");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_run_happens_while_anything_is_lacking() {
    let bench = Bench::new().await;
    let ada = bench.ada();
    let work = bench.connect("work", |_| {}).await;
    bench.declare(json!([mail(), {"type": "clay", "source": "secret"}])).await;
    let grant =
        NewGrant { connection: work.id, tools: vec!["list".to_owned()], approval: GrantApproval::Default };
    bench.gateway.put_connection_tools(&ada, "support", vec![grant]).await.expect("granted");
    let run = async || {
        let call = ToolCall {
            id: "1".to_owned(),
            name: "work__list".to_owned(),
            arguments: "{}".to_owned(),
            approval: ApprovalRule::Default,
        };
        bench.gateway.run_agent(&ada, "support", vec![call], &RequestContext::default()).await
    };
    let Err(GatewayError::Unprocessable { code, message, details }) = run().await else { panic!("it ran") };
    assert_eq!(code, "REQUIREMENTS_MISSING");
    assert_eq!(
        message,
        "the agent support lacks what it declares: an admin must set the workspace secret clay"
    );
    let listed = details.expect("details");
    assert_eq!(listed["requirements"][0]["type"], "clay");
    // What the call's own message tells isn't asked for; what else is lacking still is.
    bench.store.delete_connection(bench.project, work.id, None).await.expect("deleted");
    let Err(GatewayError::Unprocessable { message, .. }) = run().await else { panic!("it ran") };
    assert_eq!(
        message,
        "the agent support lacks what it declares: an admin must set the workspace secret clay"
    );
    bench.declare(json!([mail()])).await;
    let answers = run().await.expect("an answer");
    assert_eq!(answers[0].result.as_ref().expect_err("gone").message, "Connection not accessible");
}
