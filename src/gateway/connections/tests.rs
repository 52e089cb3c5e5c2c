//! Connections through a gateway with a real store and vault, and SQLite connectors from a folder.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use portcullis_runtime::manifest::AuthMethod;
use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::{Client, EgressConfig, Engine, EngineConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::*;
use crate::gateway::GatewayConfig;
use crate::identity::{ProjectId, Role, UserName};
use crate::integrations::Registry;
use crate::store::{DatabaseUrl, Store};
use crate::vault::Vault;
use crate::vault::rotate::settle_active_key;

/// A credential that must not turn up anywhere.
const CANARY: &str = "c4nary-7f3a";

/// A gateway with the integrations `shop` (a key, or basic authentication), `stock` (no authentication) and `broken`.
struct Bench {
    folder: TempDir,
    store: Store,
    registry: Arc<Registry>,
    gateway: Gateway,
    project: ProjectId,
}

impl Bench {
    async fn new() -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let url = DatabaseUrl::Sqlite(folder.path().join("portcullis.db"));
        Self::on(folder, &url).await
    }

    async fn on(folder: TempDir, url: &DatabaseUrl) -> Bench {
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("databases")).expect("a folder");
        let hotel = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hotel/hotel.db");
        fs::copy(hotel, at("databases/hotel.db")).expect("a database");
        let store = Store::open(url).await.expect("a store");
        let vault = Vault::open_or_create(&at("master.key")).expect("a vault");
        settle_active_key(&vault, &store).await.expect("a key");
        let egress = Client::new(&EgressConfig::default()).expect("a client");
        let engine =
            Engine::new(EngineConfig { sqlite_folder: Some(at("databases")), ..EngineConfig::new(egress) });
        let project = store.create_project("tests").await.expect("a project").id;
        let registry = Registry::new(engine.clone(), store.clone(), Some(at("integrations")));
        let gateway =
            Gateway::new(GatewayConfig::default(), engine, store.clone(), vault, Arc::clone(&registry));
        let bench = Bench { folder, store, registry, gateway, project };
        bench.write("shop", &shop(&["apiKey"]));
        bench.write("stock", &sql(json!({"authMethod": "none"})));
        bench.write("broken", &json!({"title": 7}));
        bench.registry.load_all().await.expect("integrations");
        bench
    }

    fn write(&self, slug: &str, manifest: &Value) {
        let folder = self.folder.path().join("integrations").join(slug);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("config.json"), manifest.to_string()).expect("a manifest");
    }

    fn user(&self, name: &str) -> Identity {
        self.identity(Role::User, Some(name))
    }

    fn admin(&self) -> Identity {
        self.identity(Role::Admin, Some("admin"))
    }

    fn identity(&self, role: Role, user: Option<&str>) -> Identity {
        let user = user.map(|name| UserName::new(name).expect("a name"));
        Identity { project: self.project, key: Uuid::now_v7(), role, user, on_behalf: false }
    }

    async fn create(&self, identity: &Identity, new: NewConnection) -> Result<Connection, GatewayError> {
        self.gateway.create_connection(identity, new).await.map(|connected| connected.connection)
    }

    /// A connection of ada's.
    async fn ada(&self, change: impl FnOnce(&mut NewConnection)) -> Connection {
        let mut new = new("shop");
        change(&mut new);
        self.create(&self.user("ada"), new).await.expect("a connection")
    }

    async fn get(&self, id: Uuid) -> Connection {
        self.gateway.connection(&self.admin(), id).await.expect("a connection")
    }

    async fn change(&self, id: Uuid, patch: ConnectionPatch) -> Result<Connection, GatewayError> {
        self.gateway.change_connection(&self.user("ada"), id, patch).await
    }

    async fn slugs(&self, identity: &Identity, filter: ConnectionFilter) -> Vec<String> {
        let found = self.gateway.connections(identity, &filter).await.expect("connections");
        found.iter().map(|connection| connection.slug.to_string()).collect()
    }

    /// What a connection's calls get: credentials, and config.
    async fn opened(&self, connection: &Connection) -> Value {
        let opened = self.gateway.open_credentials(connection).await.expect("credentials");
        json!([opened.secrets, opened.config])
    }
}

fn sql(fields: Value) -> Value {
    let mut manifest = json!({
        "title": "T", "type": "sql", "sqlConnectionConfig": {"engine": "sqlite"},
        "sqlOperations": [{"name": "rooms", "query": "SELECT COUNT(*) AS n FROM rooms"}],
    });
    manifest.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    manifest
}

fn shop(bindings: &[&str]) -> Value {
    let methods = ["api_key", "basic_auth"];
    sql(json!({"authMethod": "api_key", "supportedAuthMethods": methods, "secretBindings": bindings}))
}

fn value(text: &str) -> GivenCredential {
    GivenCredential::Value(Zeroizing::new(text.to_owned()))
}

fn credentials(pairs: &[(&str, &str)]) -> BTreeMap<String, GivenCredential> {
    pairs.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect()
}

fn config(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

/// A connection whose test passes.
fn new(integration: &str) -> NewConnection {
    NewConnection {
        integration: integration.to_owned(),
        provider: None,
        mode: AuthMethod::ApiKey,
        slug: None,
        name: "Front desk".to_owned(),
        description: None,
        credentials: credentials(&[("apiKey", CANARY)]),
        config: config(json!({"database": "hotel.db"})),
        callback_url: None,
        visibility: Visibility::User,
        oauth_app: None,
        scopes: None,
    }
}

/// The kind of an error, and its code if it has one: `409 CONFLICT`.
fn kind(error: &GatewayError) -> String {
    let text = format!("{error} {error:?}");
    assert!(!text.contains(CANARY), "{text}");
    match error {
        GatewayError::Invalid { code, .. } => format!("400 {code}"),
        GatewayError::Forbidden(_) => "403".to_owned(),
        GatewayError::NotFound(_) => "404".to_owned(),
        GatewayError::Conflict { code, .. } => format!("409 {code}"),
        GatewayError::Unprocessable { code, .. } => format!("422 {code}"),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_refused<T>(result: Result<T, GatewayError>, expected: &str, words: &str) {
    let Err(error) = result else { panic!("was not refused: {expected}") };
    assert_eq!(kind(&error), expected, "{error}");
    assert!(error.to_string().contains(words), "{words:?} isn't in: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_tested_and_stored_sealed() {
    let bench = Bench::new().await;
    let made = bench.ada(|new| new.description = Some("Rooms".to_owned())).await;
    assert_eq!(made.id.get_version_num(), 7);
    assert_eq!((made.slug.as_str(), made.status), ("front-desk", ConnectionStatus::Active));
    assert_eq!(made.owner.as_str(), "ada");
    assert_eq!(bench.get(made.id).await, made);
    assert_eq!(bench.opened(&made).await, json!([{"apiKey": CANARY}, {"database": "hotel.db"}]));
    let fields = bench.store.connection_fields(bench.project, made.id).await.expect("fields");
    assert!(!format!("{fields:?}").contains(CANARY));
    bench.store.close().await;
    for entry in fs::read_dir(bench.folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let bytes = if path.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
        let is_there = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!is_there, "the credential is in {}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_test_stores_nothing() {
    let bench = Bench::new().await;
    let mut bad = new("shop");
    bad.config = config(json!({"database": "absent.db"}));
    let refused = bench.create(&bench.user("ada"), bad).await;
    check_refused(refused, "422 CONNECTION_TEST_FAILED", "absent.db");
    assert!(bench.slugs(&bench.admin(), ConnectionFilter::default()).await.is_empty());
    // Where there is no authentication, the test is run all the same.
    let mut none = new("stock");
    none.mode = AuthMethod::None;
    none.credentials = BTreeMap::new();
    none.config = config(json!({"database": "absent.db"}));
    check_refused(bench.create(&bench.user("ada"), none).await, "422 CONNECTION_TEST_FAILED", "absent.db");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_wrong_is_told_at_once() {
    let bench = Bench::new().await;
    let bad = NewConnection {
        provider: Some("composio".to_owned()),
        mode: AuthMethod::BasicAuth,
        slug: Some("No Slug".to_owned()),
        name: String::new(),
        description: Some("\0".to_owned()),
        credentials: credentials(&[("pasword", CANARY), ("username", "")]),
        config: config(json!({"timeout": 0})),
        callback_url: Some("nowhere".to_owned()),
        ..new("shop")
    };
    let error = bench.create(&bench.user("ada"), bad).await.expect_err("many problems");
    assert_eq!(kind(&error), "422 VALIDATION_FAILED");
    let GatewayError::Unprocessable { details: Some(details), .. } = error else { panic!("{error:?}") };
    let paths: Vec<&str> = details["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|problem| problem["path"].as_str().expect("a path"))
        .collect();
    // A SQLite file has no account, so that neither name nor password is missing.
    let expected = [
        "/provider",
        "/connection_slug",
        "/name",
        "/description",
        "/callback_url",
        "/credentials/pasword",
        "/credentials/username",
        "/config/timeout",
        "/config/database",
    ];
    assert_eq!(paths, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_connected_says_why() {
    let bench = Bench::new().await;
    let ada = bench.user("ada");
    let nobody = bench.identity(Role::Service, None);
    check_refused(bench.create(&nobody, new("shop")).await, "400 INVALID_REQUEST", "Portcullis-User");
    check_refused(bench.create(&ada, new("absent")).await, "404", "integration absent");
    check_refused(bench.create(&ada, new("No Slug")).await, "404", "integration No Slug");
    check_refused(bench.create(&ada, new("broken")).await, "409 INTEGRATION_BROKEN", "broken");
    let with_mode = |mode| NewConnection { mode, ..new("shop") };
    let refused = bench.create(&ada, with_mode(AuthMethod::OAuth2)).await;
    check_refused(refused, "422 VALIDATION_FAILED", "only: api_key, basic_auth");
    let oauth = json!({
        "authMethod": "oauth2",
        "oauth2Config": {"authorizationUrl": "https://a.example/a", "tokenUrl": "https://a.example/t"},
    });
    bench.write("consent", &sql(oauth));
    bench.registry.rescan().await;
    let consent = NewConnection {
        integration: "consent".to_owned(),
        credentials: BTreeMap::new(),
        ..with_mode(AuthMethod::OAuth2)
    };
    check_refused(bench.create(&ada, consent).await, "422 OAUTH_NOT_CONFIGURED", "OAuth2");
}

#[tokio::test(flavor = "multi_thread")]
async fn slugs_are_unique_and_never_another_integrations() {
    let bench = Bench::new().await;
    let slug = |text: &str| NewConnection { slug: Some(text.to_owned()), ..new("shop") };
    let named = |text: &str| NewConnection { name: text.to_owned(), ..new("shop") };
    let (ada, bob) = (bench.user("ada"), bench.user("bob"));
    let made = bench.create(&ada, slug("desk")).await.expect("a connection");
    assert_eq!(made.slug.as_str(), "desk");
    // Another user's private connection too holds its slug.
    check_refused(bench.create(&bob, slug("desk")).await, "409 CONFLICT", "\"desk\" is taken");
    check_refused(bench.create(&bob, slug("stock")).await, "409 CONFLICT", "integration");
    check_refused(bench.create(&bob, slug("broken")).await, "409 CONFLICT", "integration");
    for (name, expected) in
        [("Desk!", "desk-2"), ("DESK", "desk-3"), ("Stock", "stock-2"), ("Shop", "shop"), ("店", "shop-2")]
    {
        let made = bench.create(&bob, named(name)).await.expect("a connection");
        assert_eq!(made.slug.as_str(), expected, "{name:?}");
    }
    let to = |slug: &str| ConnectionPatch { slug: Some(slug.to_owned()), ..ConnectionPatch::default() };
    check_refused(bench.change(made.id, to("shop")).await, "409 CONFLICT", "is taken");
    check_refused(bench.change(made.id, to("stock")).await, "409 CONFLICT", "integration");
    check_refused(bench.change(made.id, to("A")).await, "422 VALIDATION_FAILED", "connection_slug");
    assert_eq!(bench.change(made.id, to("desk")).await.expect("its own").slug.as_str(), "desk");
    assert_eq!(bench.change(made.id, to("front")).await.expect("a free one").slug.as_str(), "front");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_on_sqlite() {
    many_of_one_name_get_slugs_of_their_own(Bench::new().await).await;
    changes_do_not_lose_fields(Bench::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_on_postgresql() {
    for check in 0..2 {
        let database = tokio::task::spawn_blocking(|| portcullis_test_servers::postgres().create_database());
        let database = database.await.expect("a database");
        // Encoded whole: the account's password has characters that mean something in a URL.
        let password: String = database.password().bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (user, port, name) = (database.user(), database.port(), database.name());
        let url = DatabaseUrl::Postgres(format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}"));
        let bench = Bench::on(tempfile::tempdir().expect("a folder"), &url).await;
        let store = bench.store.clone();
        match check {
            0 => many_of_one_name_get_slugs_of_their_own(bench).await,
            _ => changes_do_not_lose_fields(bench).await,
        }
        store.close().await;
        tokio::task::spawn_blocking(move || drop(database)).await.expect("dropped");
    }
}

async fn many_of_one_name_get_slugs_of_their_own(bench: Bench) {
    let bench = Arc::new(bench);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let bench = Arc::clone(&bench);
            // On another thread only if the futures are Send, as those of HTTP handlers must be.
            tokio::spawn(async move { bench.create(&bench.user("ada"), new("shop")).await })
        })
        .collect();
    let mut slugs = HashSet::new();
    for task in tasks {
        slugs.insert(task.await.expect("no panic").expect("a connection").slug.to_string());
    }
    let expected: HashSet<String> =
        (1..=16).map(|n| if n == 1 { "front-desk".to_owned() } else { format!("front-desk-{n}") }).collect();
    assert_eq!(slugs, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_have_a_connection_read_a_workspace_secret() {
    let bench = Bench::new().await;
    let (ada, admin) = (bench.user("ada"), bench.admin());
    let reading = |name: &str| {
        let secret = GivenCredential::Secret { secret: name.to_owned() };
        let mut new = new("shop");
        new.credentials = BTreeMap::from([("apiKey".to_owned(), secret)]);
        new
    };
    check_refused(bench.create(&ada, reading("clay")).await, "403", "workspace secret");
    check_refused(
        bench.create(&admin, reading("clay")).await,
        "422 VALIDATION_FAILED",
        "no workspace secret \"clay\"",
    );
    bench.gateway.put_secret(&admin, "clay", CANARY).await.expect("a secret");
    let for_ada = Identity { user: ada.user.clone(), ..admin.clone() };
    let made = bench.create(&for_ada, reading("clay")).await.expect("a connection");
    assert_eq!(bench.opened(&made).await[0], json!({"apiKey": CANARY}));
    // Its owner can't point it at another server, nor refer to another secret; the rest is theirs.
    let moved = || ConnectionPatch {
        config: Some(config(json!({"database": "hotel.db", "server": "evil"}))),
        ..ConnectionPatch::default()
    };
    check_refused(bench.change(made.id, moved()).await, "403", "config");
    let other =
        ConnectionPatch { credentials: Some(reading("other").credentials), ..ConnectionPatch::default() };
    check_refused(bench.change(made.id, other).await, "403", "workspace secret");
    let renamed = ConnectionPatch { name: Some("Mine".to_owned()), ..ConnectionPatch::default() };
    assert_eq!(bench.change(made.id, renamed).await.expect("renamed").name, "Mine");
    bench.gateway.change_connection(&admin, made.id, moved()).await.expect("an admin may");
    let own = ConnectionPatch {
        credentials: Some(credentials(&[("apiKey", "k")])),
        config: moved().config,
        ..ConnectionPatch::default()
    };
    bench.change(made.id, own).await.expect("with a key of their own");
    // A secret that is gone is missing.
    let made = bench.create(&admin, reading("clay")).await.expect("a connection");
    bench.store.delete_secret(bench.project, "clay").await.expect("deleted");
    let shown = bench.get(made.id).await;
    assert_eq!(shown.status, ConnectionStatus::Failed);
    assert!(
        shown.last_error.as_deref().is_some_and(|error| error.contains("also needs: apiKey;")),
        "{shown:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_and_who_manages_a_connection() {
    let bench = Bench::new().await;
    let private = bench.ada(|new| new.slug = Some("private".to_owned())).await;
    let shared = bench
        .ada(|new| {
            new.slug = Some("shared".to_owned());
            new.visibility = Visibility::Project;
        })
        .await;
    let other = bench.store.create_project("other").await.expect("a project").id;
    let stranger = Identity { project: other, ..bench.admin() };
    for (identity, expected, of_private, of_shared) in [
        (bench.user("ada"), &["private", "shared"][..], "ok", "ok"),
        (bench.admin(), &["private", "shared"], "ok", "ok"),
        (bench.identity(Role::Service, Some("ada")), &["private", "shared"], "ok", "ok"),
        (bench.user("bob"), &["shared"], "404", "403"),
        (bench.identity(Role::Service, Some("bob")), &["shared"], "404", "403"),
        (bench.identity(Role::Service, None), &["shared"], "404", "403"),
        (stranger, &[], "404", "404"),
    ] {
        assert_eq!(bench.slugs(&identity, ConnectionFilter::default()).await, expected, "{identity:?}");
        for (connection, expected) in [(&private, of_private), (&shared, of_shared)] {
            let seen = bench.gateway.connection(&identity, connection.id).await.map(drop);
            let patch = ConnectionPatch { name: Some("N".to_owned()), ..ConnectionPatch::default() };
            let changed = bench.gateway.change_connection(&identity, connection.id, patch).await.map(drop);
            let tested = bench.gateway.test_connection(&identity, connection.id).await.map(drop);
            let word =
                |result: Result<(), GatewayError>| result.err().map_or("ok".to_owned(), |error| kind(&error));
            assert_eq!(word(seen), expected.replace("403", "ok"), "{identity:?} {}", connection.slug);
            assert_eq!(word(changed), expected, "{identity:?} {}", connection.slug);
            assert_eq!(word(tested), expected, "{identity:?} {}", connection.slug);
            if expected != "ok" {
                let deleted = bench.gateway.delete_connection(&identity, connection.id).await;
                assert_eq!(word(deleted.map(drop)), expected, "{identity:?} {}", connection.slug);
            }
        }
    }
    bench.gateway.delete_connection(&bench.user("ada"), private.id).await.expect("deleted");
    bench.gateway.delete_connection(&bench.admin(), shared.id).await.expect("deleted");
    check_refused(bench.gateway.delete_connection(&bench.admin(), shared.id).await, "404", "connection");
    check_refused(bench.gateway.connection(&bench.admin(), private.id).await, "404", "connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_filtered() {
    let bench = Bench::new().await;
    let one = bench.ada(|new| new.slug = Some("one".to_owned())).await;
    let two = bench.ada(|new| new.slug = Some("two".to_owned())).await;
    let off = ConnectionPatch { status: Some(ConnectionStatus::Disabled), ..ConnectionPatch::default() };
    bench.change(two.id, off).await.expect("switched off");
    let none = ConnectionFilter::default;
    for (filter, expected) in [
        (none(), &["one", "two"][..]),
        (ConnectionFilter { integration: Some("shop".to_owned()), ..none() }, &["one", "two"]),
        (ConnectionFilter { integration: Some("stock".to_owned()), ..none() }, &[]),
        (ConnectionFilter { integration: Some("\0".to_owned()), ..none() }, &[]),
        (ConnectionFilter { slug: Some("two".to_owned()), ..none() }, &["two"]),
        (ConnectionFilter { slug: Some("\0".to_owned()), ..none() }, &[]),
        (ConnectionFilter { id: Some(one.id), ..none() }, &["one"]),
        (ConnectionFilter { status: Some(ConnectionStatus::Disabled), ..none() }, &["two"]),
        (ConnectionFilter { status: Some(ConnectionStatus::Active), id: Some(two.id), ..none() }, &[]),
    ] {
        assert_eq!(bench.slugs(&bench.user("ada"), filter.clone()).await, expected, "{filter:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_calls_depend_on_is_tested_before_it_changes() {
    let bench = Bench::new().await;
    let made = bench.ada(|_| ()).await;
    let bad = |credentials| ConnectionPatch {
        name: Some("New".to_owned()),
        status: Some(ConnectionStatus::Disabled),
        credentials,
        config: Some(config(json!({"database": "absent.db"}))),
        ..ConnectionPatch::default()
    };
    let refused = bench.change(made.id, bad(None)).await;
    check_refused(refused, "422 CONNECTION_TEST_FAILED", "absent.db");
    let refused = bench.change(made.id, bad(Some(credentials(&[("apikey", "k")])))).await;
    check_refused(refused, "422 VALIDATION_FAILED", "\"apiKey\"");
    assert_eq!(bench.get(made.id).await, made);
    assert_eq!(bench.opened(&made).await, json!([{"apiKey": CANARY}, {"database": "hotel.db"}]));

    let replaced = ConnectionPatch {
        credentials: Some(credentials(&[("accessToken", "k2")])),
        description: Some(Some("D".to_owned())),
        ..ConnectionPatch::default()
    };
    let changed = bench.change(made.id, replaced).await.expect("changed");
    assert_eq!((changed.name.as_str(), changed.description.as_deref()), ("Front desk", Some("D")));
    assert_eq!(bench.opened(&made).await, json!([{"accessToken": "k2"}, {"database": "hotel.db"}]));
    let replaced = ConnectionPatch {
        config: Some(config(json!({"database": "hotel.db", "more": [1]}))),
        description: Some(None),
        ..ConnectionPatch::default()
    };
    let changed = bench.change(made.id, replaced).await.expect("changed");
    assert_eq!(changed.description, None);
    let expected = json!([{"accessToken": "k2"}, {"database": "hotel.db", "more": [1]}]);
    assert_eq!(bench.opened(&made).await, expected);
}

async fn changes_do_not_lose_fields(bench: Bench) {
    let bench = Arc::new(bench);
    let made = bench.ada(|_| ()).await;
    let none = ConnectionPatch::default;
    let patches = [
        ConnectionPatch { name: Some("N".to_owned()), ..none() },
        ConnectionPatch { description: Some(Some("D".to_owned())), ..none() },
        ConnectionPatch { visibility: Some(Visibility::Project), ..none() },
        ConnectionPatch { slug: Some("s".to_owned()), ..none() },
        ConnectionPatch { credentials: Some(credentials(&[("apiKey", "k2")])), ..none() },
        ConnectionPatch { config: Some(config(json!({"database": "hotel.db", "x": 1}))), ..none() },
    ];
    let tasks = patches.map(|patch| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.change(made.id, patch).await.map(drop) })
    });
    for task in tasks {
        task.await.expect("no panic").expect("changed");
    }
    let changed = bench.get(made.id).await;
    assert_eq!((changed.name.as_str(), changed.description.as_deref()), ("N", Some("D")));
    assert_eq!((changed.slug.as_str(), changed.visibility), ("s", Visibility::Project));
    assert_eq!(bench.opened(&made).await, json!([{"apiKey": "k2"}, {"database": "hotel.db", "x": 1}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_keeps_what_it_found() {
    let bench = Bench::new().await;
    let ada = bench.user("ada");
    let with_database = async |name: &str| {
        let mut manifest = shop(&["apiKey"]);
        manifest["connectionConfig"] = json!({"database": name});
        bench.write("shop", &manifest);
        bench.registry.rescan().await;
    };
    with_database("hotel.db").await;
    let made = bench.ada(|new| new.config = Map::new()).await;
    let test = async || bench.gateway.test_connection(&ada, made.id).await.expect("a report");

    let report = test().await;
    assert!(report.success);
    assert_eq!((report.message.as_str(), &report.connection), ("the database answers", &made));
    with_database("absent.db").await;
    let report = test().await;
    assert!(!report.success && report.message.contains("absent.db"), "{}", report.message);
    assert_eq!(report.connection.status, ConnectionStatus::Failed);
    assert_eq!(report.connection.last_error.as_deref(), Some(report.message.as_str()));
    assert_eq!(bench.get(made.id).await, report.connection);

    // One that is switched off stays so, whatever its test says; switched on, it is tested first.
    let status = |status| ConnectionPatch { status: Some(status), ..ConnectionPatch::default() };
    bench.change(made.id, status(ConnectionStatus::Disabled)).await.expect("switched off");
    let refused = bench.change(made.id, status(ConnectionStatus::Active)).await;
    check_refused(refused, "422 CONNECTION_TEST_FAILED", "absent.db");
    with_database("hotel.db").await;
    let report = test().await;
    assert!(report.success);
    assert_eq!((report.connection.status, report.connection.last_error), (ConnectionStatus::Disabled, None));
    let active = bench.change(made.id, status(ConnectionStatus::Active)).await.expect("switched on");
    assert_eq!(active.status, ConnectionStatus::Active);
    let refused = bench.change(made.id, status(ConnectionStatus::Expired)).await;
    check_refused(refused, "422 VALIDATION_FAILED", "ACTIVE or DISABLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_changed_says_what_is_missing() {
    let bench = Bench::new().await;
    let made = bench.ada(|_| ()).await;
    bench.write("shop", &shop(&["apiKey", "apiSecret"]));
    bench.registry.rescan().await;
    let needs = "the connector now also needs: apiSecret; update the connection's credentials";
    let shown = bench.get(made.id).await;
    assert_eq!((shown.status, shown.last_error.as_deref()), (ConnectionStatus::Failed, Some(needs)));
    let status = |status| ConnectionFilter { status: Some(status), ..ConnectionFilter::default() };
    assert_eq!(bench.slugs(&bench.admin(), status(ConnectionStatus::Failed)).await, ["front-desk"]);
    assert!(bench.slugs(&bench.admin(), status(ConnectionStatus::Active)).await.is_empty());
    let report = bench.gateway.test_connection(&bench.user("ada"), made.id).await.expect("a report");
    assert_eq!((report.success, report.message.as_str()), (false, needs));
    let on = ConnectionPatch { status: Some(ConnectionStatus::Active), ..ConnectionPatch::default() };
    check_refused(bench.change(made.id, on).await, "422 VALIDATION_FAILED", "\"apiSecret\" is missing");
    let both = credentials(&[("apiKey", "a"), ("apiSecret", "b")]);
    let patch = ConnectionPatch { credentials: Some(both), ..ConnectionPatch::default() };
    let changed = bench.change(made.id, patch).await.expect("changed");
    assert_eq!((changed.status, changed.last_error), (ConnectionStatus::Active, None));

    fs::remove_dir_all(bench.folder.path().join("integrations/shop")).expect("removed");
    bench.registry.rescan().await;
    let shown = bench.get(made.id).await;
    let gone = "integration shop is not installed";
    assert_eq!((shown.status, shown.last_error.as_deref()), (ConnectionStatus::Failed, Some(gone)));
    let report = bench.gateway.test_connection(&bench.user("ada"), made.id).await.expect("a report");
    assert_eq!((report.success, report.message.as_str()), (false, gone));
    let on = ConnectionPatch { status: Some(ConnectionStatus::Active), ..ConnectionPatch::default() };
    check_refused(bench.change(made.id, on).await, "409 INTEGRATION_GONE", gone);
    let renamed = ConnectionPatch { name: Some("N".to_owned()), ..ConnectionPatch::default() };
    assert_eq!(bench.change(made.id, renamed).await.expect("renamed").name, "N");
    // Nothing of that was stored: it works again once the integration is back.
    bench.write("shop", &shop(&["apiKey"]));
    bench.registry.rescan().await;
    let shown = bench.get(made.id).await;
    assert_eq!((shown.status, shown.last_error), (ConnectionStatus::Active, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_copied_elsewhere_spoils_only_its_own_connection() {
    let bench = Bench::new().await;
    let made = bench.ada(|_| ()).await;
    let fields = bench.store.connection_fields(bench.project, made.id).await.expect("fields");
    let slug = Slug::parse("copy").expect("a slug");
    let copy = Connection { id: Uuid::now_v7(), slug, ..made.clone() };
    bench.store.insert_connection(&copy, &fields).await.expect("a row");
    assert!(matches!(bench.gateway.open_credentials(&copy).await, Err(GatewayError::Vault(_))));
    let all = ConnectionFilter::default();
    let listed = bench.gateway.connections(&bench.admin(), &all).await.expect("a list");
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].status, ConnectionStatus::Failed);
    assert!(listed[0].last_error.as_deref().is_some_and(|error| error.contains("can't be opened")));
    assert_eq!(listed[1], made);
    // It can be repaired with new fields, without the old.
    let patch = ConnectionPatch {
        credentials: Some(credentials(&[("apiKey", "k")])),
        config: Some(config(json!({"database": "hotel.db"}))),
        ..ConnectionPatch::default()
    };
    let repaired = bench.change(copy.id, patch).await.expect("repaired");
    assert_eq!(repaired.status, ConnectionStatus::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_oauth_connections_are_refreshed() {
    let bench = Bench::new().await;
    let made = bench.ada(|_| ()).await;
    let refresh = async |identity: &Identity| {
        bench.gateway.refresh_connection(identity, made.id, Refresh::default()).await
    };
    check_refused(refresh(&bench.user("ada")).await, "409 NOT_OAUTH", "mode api_key");
    check_refused(refresh(&bench.user("bob")).await, "404", "connection");
}
