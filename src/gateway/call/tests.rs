//! Calls through a gateway with a real store and vault, and SQLite connectors from a folder.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use portcullis_runtime::manifest::AuthMethod;
use portcullis_runtime::{Client, EgressConfig, Engine, EngineConfig};
use tempfile::TempDir;

use super::*;
use crate::gateway::GatewayConfig;
use crate::identity::{ProjectId, Role, UserName};
use crate::integrations::Registry;
use crate::store::connections::{
    Connection, ConnectionChange, ConnectionStatus, FieldContent, FieldKind, StoredField, Visibility,
};
use crate::store::executions::{Execution, ExecutionFilter, ExecutionOutcome};
use crate::store::{DatabaseUrl, Store};
use crate::time::Timestamp;
use crate::vault::rotate::settle_active_key;
use crate::vault::{Binding, Vault};

/// A credential that must not turn up anywhere.
const CANARY: &str = "c4nary-7f3a";

/// A gateway with the integrations `rows` (no authentication) and `shop` (a key).
struct Bench {
    _folder: TempDir,
    store: Store,
    gateway: Gateway,
    project: ProjectId,
}

/// `echo` takes `text` and answers with it; `slow` counts until its deadline; `put` is a write, `mark` one that needs no
/// approval; `broken` has no table to read.
fn operations() -> Value {
    json!([
        {"name": "echo", "query": "SELECT @text AS text", "parametersSchema": {
            "properties": {"text": {"type": "string", "maxLength": 40}, "password": {"type": "string"}},
            "required": ["text"], "additionalProperties": false}},
        {"name": "slow", "query":
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT MAX(n) FROM c"},
        {"name": "put", "operationType": "write", "query": "INSERT INTO rows VALUES (1)"},
        {"name": "mark", "operationType": "write", "requiresApproval": false, "query": "INSERT INTO rows VALUES (1)"},
        {"name": "broken", "query": "SELECT * FROM nowhere"},
    ])
}

fn manifest(auth_method: &str, config: Value) -> Value {
    let bindings = if auth_method == "none" { json!([]) } else { json!(["apiKey"]) };
    json!({
        "title": "T", "version": 3, "type": "sql", "authMethod": auth_method, "secretBindings": bindings,
        "connectionConfig": config, "sqlConnectionConfig": {"engine": "sqlite"}, "sqlOperations": operations(),
    })
}

impl Bench {
    async fn new() -> Bench {
        Self::with(GatewayConfig::default()).await
    }

    async fn with(config: GatewayConfig) -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("databases")).expect("a folder");
        // Eleven kilobytes of a real database; what it holds doesn't matter here.
        let hotel = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hotel/hotel.db");
        fs::copy(hotel, at("databases/hotel.db")).expect("a database");
        let rows = manifest("none", json!({"database": "hotel.db", "timeout": 2000}));
        let limited = manifest("none", json!({"database": "hotel.db", "rateLimit": 2}));
        let shop = manifest("api_key", json!({"database": "hotel.db"}));
        for (slug, manifest) in [("rows", rows), ("limited", limited), ("shop", shop)] {
            fs::create_dir_all(at("integrations").join(slug)).expect("a folder");
            fs::write(at("integrations").join(slug).join("config.json"), manifest.to_string())
                .expect("a file");
        }
        let store = Store::open(&DatabaseUrl::Sqlite(at("portcullis.db"))).await.expect("a store");
        let vault = Vault::open_or_create(&at("master.key")).expect("a vault");
        settle_active_key(&vault, &store).await.expect("a key");
        let egress = Client::new(&EgressConfig::default()).expect("a client");
        let engine =
            Engine::new(EngineConfig { sqlite_folder: Some(at("databases")), ..EngineConfig::new(egress) });
        let project = store.create_project("tests").await.expect("a project").id;
        let registry = Registry::new(engine.clone(), store.clone(), Some(at("integrations")));
        registry.load_all().await.expect("integrations");
        let gateway = Gateway::new(config, engine, store.clone(), vault, Arc::clone(&registry));
        Bench { _folder: folder, store, gateway, project }
    }

    fn ada(&self) -> Identity {
        let user = Some(UserName::new("ada").expect("a name"));
        Identity { project: self.project, key: Uuid::now_v7(), role: Role::User, user, on_behalf: false }
    }

    /// A connection of ada's with this key.
    async fn connect(&self, slug: &str, key: Option<&str>) -> Connection {
        let connection = Connection {
            id: Uuid::now_v7(),
            project: self.project,
            owner: UserName::new("ada").expect("a name"),
            integration: "shop".parse().expect("a slug"),
            slug: slug.parse().expect("a slug"),
            mode: AuthMethod::ApiKey,
            status: ConnectionStatus::Active,
            name: slug.to_owned(),
            description: None,
            last_error: None,
            identity: None,
            scopes: None,
            expires_at: None,
            visibility: Visibility::User,
            created_at: Timestamp::now(),
            updated_at: Timestamp::now(),
        };
        let fields: Vec<StoredField> = key.map(|key| self.field(&connection, key)).into_iter().collect();
        self.store.insert_connection(&connection, &fields).await.expect("stored");
        connection
    }

    fn field(&self, connection: &Connection, key: &str) -> StoredField {
        let (kind, field) = (FieldKind::Credential, "apiKey".to_owned());
        let binding = Binding {
            project: connection.project,
            kind: kind.as_str(),
            owner: &connection.id.to_string(),
            field: &field,
        };
        let sealed = self.gateway.inner.vault.seal(&binding, key.as_bytes()).expect("sealed");
        StoredField { kind, field, content: FieldContent::Sealed(sealed) }
    }

    async fn run(&self, calls: &[(&str, &str)]) -> Vec<Answer> {
        let calls = calls.iter().enumerate().map(|(index, (name, arguments))| ToolCall {
            id: index.to_string(),
            name: (*name).to_owned(),
            arguments: (*arguments).to_owned(),
            approval: ApprovalRule::Default,
        });
        let context = RequestContext { request_id: Some("r1".to_owned()), ..RequestContext::default() };
        self.gateway.run(&self.ada(), calls.collect(), &context).await.expect("answers")
    }

    async fn one(&self, name: &str, arguments: &str) -> Result<Value, ToolError> {
        self.run(&[(name, arguments)]).await.pop().expect("an answer").result
    }

    async fn error(&self, name: &str, arguments: &str) -> ToolError {
        self.one(name, arguments).await.expect_err("an error")
    }

    /// Until a call has been taken.
    async fn until_it_runs(&self) {
        while self.gateway.inner.fairness.n_calls() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What was recorded, oldest first.
    async fn executions(&self) -> Vec<Execution> {
        let filter = ExecutionFilter { limit: 200, ..ExecutionFilter::default() };
        let mut found = self.gateway.executions(&self.ada(), filter).await.expect("executions");
        found.reverse();
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_its_order_and_one_fails_alone() {
    let bench = Bench::new().await;
    let texts: Vec<String> = (0..50).map(|number| json!({"text": number.to_string()}).to_string()).collect();
    let calls: Vec<(&str, &str)> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| if index == 7 { ("rows__nope", "{}") } else { ("rows__echo", text.as_str()) })
        .collect();
    let answers = bench.run(&calls).await;
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer.id, index.to_string());
        match &answer.result {
            Ok(result) => assert_eq!(result["rows"], json!([{"text": index.to_string()}])),
            Err(error) => assert_eq!((index, error.code.as_str()), (7, "TOOL_NOT_FOUND")),
        }
    }
    let executions = bench.executions().await;
    assert_eq!(executions.len(), 50);
    let answered: std::collections::HashSet<Uuid> = answers.iter().map(|answer| answer.execution).collect();
    assert!(executions.iter().all(|execution| answered.contains(&execution.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_a_size() {
    let bench = Bench::new().await;
    let call = ToolCall {
        id: String::new(),
        name: "rows__echo".to_owned(),
        arguments: String::new(),
        approval: ApprovalRule::Default,
    };
    for n_calls in [0, MAX_BATCH + 1] {
        let calls = vec![call.clone(); n_calls];
        let refused = bench.gateway.run(&bench.ada(), calls, &RequestContext::default()).await;
        assert!(matches!(refused, Err(GatewayError::Invalid { .. })), "{n_calls}");
    }
    assert_eq!(bench.executions().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_checked_before_anything_runs() {
    let bench = Bench::new().await;
    let cases = [
        ("{", json!({"line": 1, "column": 1}), "not JSON"),
        (
            "[]",
            json!({"violations": [{"path": "", "message": "the arguments must be an object, found an array"}]}),
            "object",
        ),
    ];
    for (arguments, details, words) in cases {
        let error = bench.error("rows__echo", arguments).await;
        assert_eq!((error.code.as_str(), &error.details), ("INVALID_ARGUMENTS", &details));
        assert!(error.message.contains(words), "{}", error.message);
    }
    let error = bench.error("rows__echo", r#"{"password": 5, "more": 1}"#).await;
    let paths: Vec<&str> = error.details["violations"]
        .as_array()
        .expect("violations")
        .iter()
        .filter_map(|violation| violation["path"].as_str())
        .collect();
    assert_eq!(paths.len(), 3, "{error:?}");
    let last = bench.executions().await.pop().expect("an execution");
    assert_eq!((last.outcome, last.attempts), (ExecutionOutcome::Failed, 0));
    assert_eq!(last.arguments, json!({"password": "[redacted]", "more": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_tells_all_of_a_call() {
    let bench = Bench::new().await;
    let connection = bench.connect("desk", Some(CANARY)).await;
    let arguments = json!({"text": format!("say {CANARY}"), "password": "hunter2"}).to_string();
    // What the connector returns is redacted as well.
    let result = bench.one("desk__echo", &arguments).await.expect("a result");
    assert_eq!(result["rows"], json!([{"text": "say [redacted]"}]));
    let execution = bench.executions().await.pop().expect("an execution");
    assert_eq!(execution.outcome, ExecutionOutcome::Ok);
    assert_eq!(execution.user.as_ref().map(UserName::as_str), Some("ada"));
    assert_eq!(execution.connection_id, Some(connection.id));
    assert_eq!(execution.connection_slug.as_deref(), Some("desk"));
    assert_eq!(execution.integration.as_deref(), Some("shop"));
    assert_eq!((execution.tool.as_str(), execution.operation.as_deref()), ("desk__echo", Some("echo")));
    assert_eq!((execution.connector_version, execution.attempts), (Some(3), 1));
    assert!(execution.connector_digest.is_some());
    assert_eq!(execution.request_id.as_deref(), Some("r1"));
    assert_eq!(execution.arguments, json!({"text": "say [redacted]", "password": "[redacted]"}));
    let text = format!("{execution:?}");
    assert!(!text.contains(CANARY) && !text.contains("hunter2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_decide_whether_a_call_runs() {
    let bench = Bench::new().await;
    let text = r#"{"text": "x"}"#;
    assert_eq!(bench.error("shop__echo", text).await.code, "CONNECTION_NOT_FOUND");
    let incomplete = bench.connect("desk", None).await;
    let error = bench.error("shop__echo", text).await;
    assert_eq!(error.code, "CONNECTION_INACTIVE");
    assert_eq!(error.details, json!({"connection": "desk", "missing": ["apiKey"]}));
    let other = bench.connect("lobby", Some(CANARY)).await;
    assert_eq!(bench.error("shop__echo", text).await.code, "CONNECTION_AMBIGUOUS");
    bench.one("lobby__echo", text).await.expect("a result");
    let set = async |id, status| {
        let change = ConnectionChange { status: Some(status), ..ConnectionChange::default() };
        bench.store.change_connection(bench.project, id, &change).await.expect("changed");
    };
    set(incomplete.id, ConnectionStatus::Disabled).await;
    bench.one("shop__echo", text).await.expect("a result");
    assert_eq!(bench.error("desk__echo", text).await.code, "CONNECTION_INACTIVE");
    set(other.id, ConnectionStatus::Expired).await;
    assert_eq!(bench.error("lobby__echo", text).await.code, "CONNECTION_EXPIRED");
    // Another user sees none of them.
    let eve = Identity { user: Some(UserName::new("eve").expect("a name")), ..bench.ada() };
    let call = ToolCall {
        id: String::new(),
        name: "lobby__echo".to_owned(),
        arguments: text.to_owned(),
        approval: ApprovalRule::Default,
    };
    let answers = bench.gateway.run(&eve, vec![call], &RequestContext::default()).await.expect("answers");
    assert_eq!(answers[0].result.as_ref().expect_err("an error").code, "TOOL_NOT_FOUND");
    let executions = bench.executions().await;
    assert!(
        executions.iter().filter(|one| one.code.is_some()).all(|one| one.outcome == ExecutionOutcome::Denied)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_an_approval_is_stopped_before_it_runs() {
    let bench = Bench::new().await;
    let answer = bench.one("rows__put", "{}").await.expect("an answer");
    assert_eq!(answer["status"], "approval_required");
    assert_eq!(answer["tool"], "tools.gateway.connector.rows.put");
    let execution = bench.executions().await.pop().expect("an execution");
    assert_eq!((execution.outcome, execution.attempts), (ExecutionOutcome::ApprovalRequired, 0));
    // A write that needs none runs, and fails here for want of a table.
    assert_eq!(bench.error("rows__mark", "{}").await.code, "PROVIDER_ERROR");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_database_and_the_deadline_are_told_apart() {
    let bench = Bench::new().await;
    let answers = bench.run(&[("rows__broken", "{}"), ("rows__slow", "{}")]).await;
    let errors: Vec<&ToolError> = answers.iter().filter_map(|answer| answer.result.as_ref().err()).collect();
    assert_eq!(errors[0].code, "PROVIDER_ERROR");
    assert!(errors[0].message.contains("nowhere"), "{}", errors[0].message);
    assert_eq!(errors[1].code, "LIMIT_EXCEEDED");
    assert_eq!(errors[1].details["limit"], "deadline");
    assert!(errors.iter().all(|error| !error.retryable && error.details.is_object()));
    let executions = bench.executions().await;
    let outcome = |name: &str| {
        executions.iter().find(|one| one.operation.as_deref() == Some(name)).map(|one| one.outcome)
    };
    assert_eq!(outcome("broken"), Some(ExecutionOutcome::Failed));
    assert_eq!(outcome("slow"), Some(ExecutionOutcome::TimedOut));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_past_its_rate_limit_is_told_when_to_come_back() {
    let bench = Bench::new().await;
    let text = r#"{"text": "x"}"#;
    for _ in 0..2 {
        bench.one("limited__echo", text).await.expect("a result");
    }
    let error = bench.error("limited__echo", text).await;
    assert_eq!((error.code.as_str(), error.retryable), ("PROVIDER_RATE_LIMITED", true));
    assert!(error.details["retry_after"].as_u64().is_some_and(|seconds| (1..=61).contains(&seconds)));
    bench.one("rows__echo", text).await.expect("others don't wait");
    let execution = bench.executions().await.remove(2);
    assert_eq!((execution.outcome, execution.attempts), (ExecutionOutcome::Denied, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_room_says_so_and_one_past_the_queue_is_refused() {
    let config = GatewayConfig {
        max_calls: 1,
        max_calls_per_project: 1,
        max_queued_per_project: 1,
        max_queue_time: Duration::from_millis(50),
        ..GatewayConfig::default()
    };
    let bench = Bench::with(config).await;
    let answers = bench.run(&[("rows__slow", "{}"), ("rows__slow", "{}")]).await;
    let mut limits: Vec<&Value> =
        answers.iter().filter_map(|answer| answer.result.as_ref().err()?.details.get("limit")).collect();
    limits.sort_by_key(ToString::to_string);
    assert_eq!(limits, ["calls_in_flight", "deadline"]);
    let call = ToolCall {
        id: String::new(),
        name: "rows__echo".to_owned(),
        arguments: String::new(),
        approval: ApprovalRule::Default,
    };
    let refused = bench.gateway.run(&bench.ada(), vec![call; 3], &RequestContext::default()).await;
    assert!(matches!(refused, Err(GatewayError::Invalid { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_caller_has_gone_is_cancelled_and_recorded() {
    let bench = Bench::new().await;
    let call = ToolCall {
        id: String::new(),
        name: "limited__slow".to_owned(),
        arguments: "{}".to_owned(),
        approval: ApprovalRule::Default,
    };
    let context = RequestContext::default();
    {
        let ada = bench.ada();
        let mut request = std::pin::pin!(bench.gateway.run(&ada, vec![call], &context));
        tokio::select! {
            _ = &mut request => panic!("it ended"),
            () = bench.until_it_runs() => {}
        }
    }
    assert!(context.cancellation.is_cancelled());
    bench.gateway.drain(Duration::from_secs(10)).await;
    let execution = bench.executions().await.pop().expect("an execution");
    assert_eq!(execution.code.as_deref(), Some("CANCELLED"));
    assert_eq!(execution.outcome, ExecutionOutcome::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_gateway_takes_no_calls_and_has_recorded_the_last() {
    let bench = Bench::new().await;
    let gateway = bench.gateway.clone();
    let running = {
        let (ada, gateway) = (bench.ada(), gateway.clone());
        let call = ToolCall {
            id: String::new(),
            name: "limited__slow".to_owned(),
            arguments: "{}".to_owned(),
            approval: ApprovalRule::Default,
        };
        tokio::spawn(async move { gateway.run(&ada, vec![call], &RequestContext::default()).await })
    };
    bench.until_it_runs().await;
    gateway.drain(Duration::from_millis(50)).await;
    let answers = running.await.expect("ended").expect("answers");
    assert_eq!(answers[0].result.as_ref().expect_err("cancelled").code, "CANCELLED");
    let filter = ExecutionFilter { limit: 10, ..ExecutionFilter::default() };
    assert_eq!(bench.store.executions(bench.project, &filter).await.expect("executions").len(), 1);
    let call = ToolCall {
        id: String::new(),
        name: "rows__echo".to_owned(),
        arguments: "{}".to_owned(),
        approval: ApprovalRule::Default,
    };
    let refused = gateway.run(&bench.ada(), vec![call], &RequestContext::default()).await;
    assert!(matches!(refused, Err(GatewayError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_fails_the_request() {
    let bench = Bench::new().await;
    bench.store.close().await;
    // Nothing is cached for this user yet.
    let call = ToolCall {
        id: String::new(),
        name: "rows__echo".to_owned(),
        arguments: "{}".to_owned(),
        approval: ApprovalRule::Default,
    };
    let failed = bench.gateway.run(&bench.ada(), vec![call], &RequestContext::default()).await;
    assert!(matches!(failed, Err(GatewayError::Store(_))));
}
