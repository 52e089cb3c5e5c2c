//! The tools of a folder of connectors, without a store: one account each, whose secrets whoever starts the program gives.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use portcullis_runtime::manifest::{Operation, OperationType};
use portcullis_runtime::{
    Call, CallError, Cancellation, Connector, Engine, ErrorCode, LoadError, Outcome, Package,
};
use rmcp::ErrorData;
use rmcp::model::JsonObject;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::toolbox::{Called, Changes, Description, Offered, ToolList, Toolbox};
use crate::gateway::approvals::ApprovalRule;
use crate::gateway::call::{ToolError, check_arguments};
use crate::gateway::names::function_name;
use crate::vault::random;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(700);
/// Credentials that have a name of their own, whatever a manifest binds.
const STANDARD: [&str; 3] = ["accessToken", "username", "password"];

/// What the tools of a folder are called with.
pub(crate) struct FolderConfig {
    /// A folder of connectors, or one connector.
    pub(crate) folder: PathBuf,
    /// Credentials by key, or by `SLUG.KEY` for one connector alone.
    pub(crate) secrets: BTreeMap<String, String>,
    /// Settings, named likewise.
    pub(crate) config: Map<String, Value>,
    /// Whether writes run without anybody's word.
    pub(crate) allows_writes: bool,
}

/// A connector that didn't load.
pub(crate) struct NotLoaded {
    pub(crate) path: PathBuf,
    pub(crate) error: LoadError,
}

/// The folder's tools; clones are the same.
#[derive(Clone)]
pub(crate) struct FolderTools {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    config: FolderConfig,
    loaded: RwLock<Loaded>,
    changes: watch::Sender<u64>,
    /// Goes into what a pending call is told by, so that nobody makes one up.
    nonce: [u8; 16],
}

/// What is served now.
#[derive(Clone)]
struct Loaded {
    connectors: BTreeMap<PathBuf, (Fingerprint, Option<Arc<Connector>>)>,
    list: Arc<ToolList>,
}

impl Loaded {
    fn none() -> Self {
        Self { connectors: BTreeMap::new(), list: Arc::new(ToolList::new(Vec::new())) }
    }
}

/// The files of a connector: names, lengths, times.
type Fingerprint = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// A call that waits for a person.
pub(crate) struct Held {
    connector: Arc<Connector>,
    operation: String,
    arguments: JsonObject,
}

impl FolderTools {
    /// Loads what is there, and what didn't load. Blocks.
    pub(crate) fn load(engine: Engine, config: FolderConfig) -> (Self, Vec<NotLoaded>) {
        let (loaded, changes, nonce) =
            (RwLock::new(Loaded::none()), watch::Sender::new(0), *random::bytes::<16>());
        let tools = Self { inner: Arc::new(Inner { engine, config, loaded, changes, nonce }) };
        let problems = tools.look();
        (tools, problems)
    }

    /// How many tools there are.
    pub(crate) fn n_tools(&self) -> usize {
        self.loaded().list.tools.len()
    }

    /// Looks at the folder now and then, and tells what doesn't load.
    pub(crate) async fn follow(self, tell: impl Fn(NotLoaded) + Send + 'static) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let tools = self.clone();
            let Ok(problems) = tokio::task::spawn_blocking(move || tools.look()).await else { return };
            problems.into_iter().for_each(&tell);
        }
    }

    /// Loads what is new or has changed. What no longer loads goes on as it last did.
    fn look(&self) -> Vec<NotLoaded> {
        let before = self.loaded();
        let (mut connectors, mut problems) = (BTreeMap::new(), Vec::new());
        for path in packages(&self.inner.config.folder) {
            let fingerprint = fingerprint(&path);
            let known = before.connectors.get(&path);
            if let Some(same) = known.filter(|(of, _)| *of == fingerprint) {
                connectors.insert(path, same.clone());
                continue;
            }
            let package = Package::read(&path).map_err(LoadError::from);
            let loaded = package.and_then(|package| self.inner.engine.load(&package));
            let connector = match loaded {
                Ok(connector) => Some(Arc::new(connector)),
                Err(error) => {
                    problems.push(NotLoaded { path: path.clone(), error });
                    known.and_then(|(_, last)| last.clone())
                }
            };
            connectors.insert(path, (fingerprint, connector));
        }
        let versions = |all: &BTreeMap<PathBuf, (Fingerprint, _)>| -> Vec<(PathBuf, Fingerprint)> {
            all.iter().map(|(path, (of, _))| (path.clone(), of.clone())).collect()
        };
        if versions(&connectors) == versions(&before.connectors) {
            return problems;
        }
        let all = connectors.values().filter_map(|(_, connector)| connector.as_ref());
        let list = Arc::new(ToolList::new(all.flat_map(offered).collect()));
        *self.inner.loaded.write().unwrap_or_else(PoisonError::into_inner) = Loaded { connectors, list };
        self.inner.changes.send_modify(|n| *n += 1);
        problems
    }

    fn loaded(&self) -> Loaded {
        self.inner.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connector and the operation that a tool stands for.
    fn find(&self, name: &str) -> Option<(Arc<Connector>, Operation)> {
        let loaded = self.loaded();
        let connectors = loaded.connectors.values().filter_map(|(_, connector)| connector.as_ref());
        connectors
            .flat_map(|connector| connector.manifest().operations.iter().map(move |own| (connector, own)))
            .find(|(connector, own)| function_name(connector.slug(), own.name.as_str()) == name)
            .map(|(connector, own)| (Arc::clone(connector), own.clone()))
    }

    /// Calls the connector on a thread of its own. Dropping the future cancels the call.
    async fn run(&self, held: Held) -> Result<Value, ToolError> {
        let Held { connector, operation, arguments } = held;
        let cancellation = Cancellation::default();
        let _ending = CancelIfDropped(cancellation.clone());
        let config = &self.inner.config;
        let bound = |key: &str| {
            STANDARD.contains(&key)
                || connector.manifest().secret_bindings.iter().any(|binding| binding == key)
        };
        let call = Call {
            operation: Some(operation.clone()),
            arguments: Value::Object(arguments),
            secrets: own(connector.slug(), config.secrets.iter()).filter(|(key, _)| bound(key)).collect(),
            config: own(connector.slug(), config.config.iter()).collect(),
            cancellation,
        };
        let (slug, is_read) = (connector.slug().to_owned(), is_read(&connector, &operation));
        let done = tokio::task::spawn_blocking(move || connector.call(&call)).await;
        let outcome =
            done.map_err(|_| ToolError::new("SANDBOX_CRASHED", "the call's thread ended in a fault"))?;
        log(&slug, &operation, &outcome);
        outcome.result.map_err(|error| tool_error(error, is_read))
    }
}

impl Toolbox for FolderTools {
    type Caller = ();
    type Pending = Held;

    async fn tools(&self, (): &()) -> Result<Arc<ToolList>, ErrorData> {
        Ok(self.loaded().list)
    }

    async fn call(&self, (): &(), name: &str, arguments: JsonObject) -> Result<Called<Held>, ErrorData> {
        let Some((connector, operation)) = self.find(name) else {
            let name: String = name.chars().take(200).collect();
            return Err(ErrorData::invalid_params(format!("unknown tool: {name:?}"), None));
        };
        let given = Value::Object(arguments.clone());
        if let Err(error) = check_arguments(&operation, &given) {
            return Ok(Called::Done(Err(error)));
        }
        let held = Held { connector, operation: operation.name.as_str().to_owned(), arguments };
        if self.inner.config.allows_writes || !ApprovalRule::Default.holds(&operation) {
            return Ok(Called::Done(self.run(held).await));
        }
        let (integration, operation) = (held.connector.slug(), &held.operation);
        Ok(Called::Pending {
            shown: json!({
                "status": "approval_required",
                "tool": name,
                "message": "a person must confirm this call, and this client can't ask one. Nothing was sent. Whoever starts \
                            portcullis mcp can allow such calls with --allow-writes",
            }),
            question: format!("May {integration}'s operation {operation} be called?\nArguments: {given:#}"),
            state: self.state(name, &given),
            pending: held,
        })
    }

    async fn may_ask(&self, (): &(), _: &Held) -> bool {
        true
    }

    async fn decide(&self, (): &(), pending: Held, is_approved: bool) -> Result<Value, ToolError> {
        if is_approved {
            return self.run(pending).await;
        }
        Err(ToolError::new("APPROVAL_REJECTED", "a person rejected the call. Nothing was sent"))
    }

    fn changes(&self) -> Changes {
        Changes(vec![self.inner.changes.subscribe()])
    }

    fn owner(&self, (): &()) -> String {
        String::new()
    }
}

impl FolderTools {
    /// What a pending call is told by.
    fn state(&self, name: &str, arguments: &Value) -> String {
        let text = format!("{} {name} {arguments}", name.len());
        let hash = Sha256::new().chain_update(self.inner.nonce).chain_update(text).finalize();
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Ends a call that nobody waits for.
struct CancelIfDropped(Cancellation);

impl Drop for CancelIfDropped {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The connectors in a folder: the folder itself if it is one, otherwise those of its folders that have a manifest.
fn packages(folder: &Path) -> Vec<PathBuf> {
    let has_manifest = |path: &Path| path.join("config.json").is_file();
    if has_manifest(folder) {
        return vec![folder.to_owned()];
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| has_manifest(path)).collect();
    found.sort();
    found
}

fn fingerprint(package: &Path) -> Fingerprint {
    let entries = std::fs::read_dir(package).into_iter().flatten().flatten();
    let mut files: Fingerprint = entries
        .filter_map(|entry| {
            let about = entry.metadata().ok()?;
            Some((entry.path(), about.len(), about.modified().ok()))
        })
        .collect();
    files.sort();
    files
}

fn offered(connector: &Arc<Connector>) -> impl Iterator<Item = Offered> + use<'_> {
    let integration = connector.slug();
    connector.manifest().operations.iter().map(move |operation| {
        let name = operation.name.as_str();
        let described = Description {
            name: function_name(integration, name),
            title: operation.title.as_deref().unwrap_or(name),
            description: operation.description.clone(),
            is_write: operation.operation_type == OperationType::Write,
            input: operation.parameters.as_value(),
            output: None,
        };
        Offered { tool: described.tool(), integration: integration.to_owned(), connection: None }
    })
}

/// What of these is the connector's: its own, and what is said for all; its own goes before.
fn own<'g, V: Clone + 'g>(
    slug: &'g str,
    given: impl Iterator<Item = (&'g String, &'g V)> + Clone,
) -> impl Iterator<Item = (String, V)> {
    let for_all =
        given.clone().filter(|(key, _)| !key.contains('.')).map(|(key, value)| (key.clone(), value.clone()));
    let for_one = given.filter_map(move |(key, value)| {
        let key = key.strip_prefix(slug)?.strip_prefix('.')?;
        Some((key.to_owned(), value.clone()))
    });
    for_all.chain(for_one)
}

fn is_read(connector: &Connector, operation: &str) -> bool {
    let mut operations = connector.manifest().operations.iter();
    operations.any(|own| own.name.as_str() == operation && own.operation_type == OperationType::Read)
}

fn tool_error(error: CallError, is_read: bool) -> ToolError {
    let is_passing = matches!(error.code, ErrorCode::ProviderRateLimited | ErrorCode::ProviderUnavailable);
    let details = match error.details {
        Some(details @ Value::Object(_)) => details,
        Some(details) => json!({ "details": details }),
        None => json!({}),
    };
    let told = ToolError::new(error.code.as_str(), error.message).with(details);
    if is_passing && is_read { told.passing() } else { told }
}

/// Logs go to standard error: standard output is the protocol's.
fn log(slug: &str, operation: &str, outcome: &Outcome) {
    let mut stderr = std::io::stderr().lock();
    for line in &outcome.logs {
        let message: String = line.message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // Whoever can't be told can't be told that either.
        let _ = writeln!(stderr, "[{}] {slug}.{operation}: {message}", line.level.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connector_gets_its_own_before_what_is_for_all() {
        let given: BTreeMap<String, String> = [("KEY", "all"), ("desk.KEY", "desk"), ("other.KEY", "other")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let desk: BTreeMap<String, String> = own("desk", given.iter()).collect();
        assert_eq!(desk, BTreeMap::from([("KEY".to_owned(), "desk".to_owned())]));
        let third: BTreeMap<String, String> = own("third", given.iter()).collect();
        assert_eq!(third["KEY"], "all");
    }
}
