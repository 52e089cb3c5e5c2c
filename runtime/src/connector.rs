//! A connector, loaded and callable: where packages, manifests, the sandbox and egress meet.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::cache::BytecodeCache;
use crate::cancellation::Cancellation;
use crate::egress::Client;
use crate::error::{CallError, ErrorCode};
use crate::files::FileStore;
use crate::isolate::Image;
use crate::json_text::parse_json;
use crate::limits::{Exceeded, Limits};
use crate::manifest::host::AllowedHosts;
use crate::manifest::{
    AuthMethod, Diagnostic, Kind, Manifest, Operation, OperationType, Severity, SqlConfig, nearest,
};
use crate::outcome::{Outcome, redacted};
use crate::package::{Package, PackageError};
use crate::redact::Redactors;
use crate::sandbox::processes::{ConnectorProcesses, Keeper};
use crate::sandbox::supervisor::{Report, Supervision, supervise};
use crate::sandbox::wire::CallRequest;
use crate::sandbox::{CompileFailure, Sandbox, SandboxError};
use crate::sql::{Databases, SqlCall, introspect};

/// What every connector runs in: one per gateway, or per run of the command line.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<EngineParts>,
}

#[derive(Debug)]
struct EngineParts {
    sandbox: Sandbox,
    egress: Client,
    limits: Limits,
    files: Option<FileStore>,
    cache: Option<BytecodeCache>,
    keeper: Keeper,
    databases: Databases,
    redactors: Redactors,
}

/// What an [`Engine`] is made of.
#[derive(Debug)]
pub struct EngineConfig {
    /// The client that all HTTP goes through.
    pub egress: Client,
    /// The limits of each call.
    pub limits: Limits,
    /// Where connectors' files go; none: `ctx.files` is absent.
    pub files: Option<FileStore>,
    /// Where bytecode is kept from one start to the next.
    pub cache: Option<BytecodeCache>,
    /// The binary whose `main` begins with [`crate::init`]; none: this very one.
    pub executable: Option<std::path::PathBuf>,
    /// Processes to keep forked ahead for each busy connector.
    pub n_ready: usize,
    /// The one folder that SQLite databases are files in; none: no SQLite connector can be called.
    pub sqlite_folder: Option<std::path::PathBuf>,
}

impl EngineConfig {
    /// Defaults around a client: no files, no cache, no SQLite databases, this binary, two processes ahead.
    pub fn new(egress: Client) -> Self {
        Self {
            egress,
            limits: Limits::default(),
            files: None,
            cache: None,
            executable: None,
            n_ready: 2,
            sqlite_folder: None,
        }
    }
}

/// Why a package didn't become a connector.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The archive or folder is not a package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The manifest or the code is wrong: every error, and the warnings beside them.
    #[error("{}", Lines(.0))]
    Invalid(Vec<Diagnostic>),
    /// The sandbox failed; the package may be fine.
    #[error("the connector can't be loaded")]
    Sandbox(#[from] SandboxError),
}

struct Lines<'a>(&'a [Diagnostic]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl Engine {
    /// An engine of these parts; its first process starts with the first connector.
    pub fn new(config: EngineConfig) -> Self {
        let EngineConfig { egress, limits, files, cache, executable, n_ready, sqlite_folder } = config;
        let sandbox = Sandbox::new(executable);
        let keeper = Keeper::new(n_ready);
        let databases = Databases::new(&egress, sqlite_folder);
        let redactors = Redactors::default();
        let parts = EngineParts { sandbox, egress, limits, files, cache, keeper, databases, redactors };
        Self { inner: Arc::new(parts) }
    }

    /// Validates a package and compiles its code. All errors of manifest and code are reported together.
    pub fn load(&self, package: &Package) -> Result<Connector, LoadError> {
        let (manifest, mut diagnostics) = match Manifest::parse(package.manifest()) {
            Ok((manifest, warnings)) => (Some(manifest), warnings),
            Err(errors) => (None, errors.0),
        };
        let needs_code = manifest.as_ref().is_none_or(|manifest| matches!(manifest.kind, Kind::Rest));
        let image = match package.code() {
            Some(_) if !needs_code => {
                diagnostics.push(code_diagnostic(
                    package,
                    Severity::Warning,
                    "an SQL connector runs its queries; this file is never run",
                ));
                None
            }
            Some(code) => match self.image(code) {
                Ok(image) => Some(image),
                Err(CompileFailure::Sandbox(error)) => return Err(error.into()),
                Err(failure) => {
                    diagnostics.extend(compile_diagnostics(package, failure));
                    None
                }
            },
            None if manifest.as_ref().is_some_and(|manifest| matches!(manifest.kind, Kind::Rest)) => {
                diagnostics.push(code_diagnostic(
                    package,
                    Severity::Error,
                    "a REST connector needs its code: add connector.ts (or connector.js) beside config.json",
                ));
                None
            }
            None => None,
        };
        match manifest {
            Some(manifest) if diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error) => {
                Ok(Connector::new(self.clone(), package, manifest, image, diagnostics))
            }
            _ => Err(LoadError::Invalid(diagnostics)),
        }
    }

    /// The client that all HTTP of connectors goes through, for what is done on their connections' behalf.
    pub fn egress(&self) -> &Client {
        &self.inner.egress
    }

    /// Waits, for so long at most, until queries that timed out or were cancelled are cancelled on their servers too. For
    /// a process that is about to end.
    pub fn settle(&self, limit: Duration) {
        self.inner.databases.settle(limit);
    }

    fn image(&self, code: &crate::package::Code) -> Result<Image, CompileFailure> {
        let cache = self.inner.cache.as_ref();
        if let Some(image) = cache.and_then(|cache| cache.get(code)) {
            return Ok(image);
        }
        let image = self.inner.sandbox.compile(code)?;
        if let Some(cache) = cache {
            cache.put(code, &image);
        }
        Ok(image)
    }
}

/// In bytes. Accounts are called `sa`, which is in "transaction" too.
const SHORTEST_HIDDEN_NAME: usize = 4;

/// A manifest that has operations of these names keeps its own.
fn add_introspection(manifest: &mut Manifest) {
    let Kind::Sql(config) = &manifest.kind else { return };
    for operation in introspect::operations(config.engine) {
        if manifest.operation(operation.name.as_str()).is_none() {
            manifest.operations.push(operation);
        }
    }
}

fn code_diagnostic(package: &Package, severity: Severity, message: &str) -> Diagnostic {
    let file = package.code().map_or("connector.ts", crate::package::Code::file_name).to_owned();
    Diagnostic {
        severity,
        file,
        pointer: String::new(),
        line: 1,
        column: 1,
        message: message.to_owned(),
        help: None,
    }
}

fn compile_diagnostics(package: &Package, failure: CompileFailure) -> Vec<Diagnostic> {
    match failure {
        CompileFailure::Code(error) => error
            .errors
            .into_iter()
            .map(|source| Diagnostic {
                severity: Severity::Error,
                file: error.file.clone(),
                pointer: String::new(),
                line: source.line,
                column: source.column,
                message: source.message,
                help: source.help,
            })
            .collect(),
        other => vec![code_diagnostic(package, Severity::Error, &other.to_string())],
    }
}

/// A connector: valid, compiled, and ready to be called from any thread.
#[derive(Debug)]
pub struct Connector {
    engine: Engine,
    slug: String,
    digest: String,
    manifest: Manifest,
    /// How many of the manifest's operations are its author's.
    n_declared: usize,
    /// None for a connector without code.
    processes: Option<Arc<ConnectorProcesses>>,
    warnings: Vec<Diagnostic>,
}

/// What to call, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The operation; none tests the connection.
    pub operation: Option<String>,
    /// The operation's arguments, not yet validated; `null` is an empty object.
    pub arguments: Value,
    /// The connection's credentials. Their values are redacted from everything that the call leaves.
    pub secrets: BTreeMap<String, String>,
    /// The connection's own configuration, over the manifest's `connectionConfig`.
    pub config: Map<String, Value>,
    /// Cancels the call when nobody waits for its answer any more.
    pub cancellation: Cancellation,
}

impl Connector {
    fn new(
        engine: Engine,
        package: &Package,
        mut manifest: Manifest,
        image: Option<Image>,
        warnings: Vec<Diagnostic>,
    ) -> Self {
        let (slug, digest) = (package.slug().to_string(), package.digest());
        let processes = image.map(|image| Arc::new(ConnectorProcesses::new(image)));
        let n_declared = manifest.operations.len();
        add_introspection(&mut manifest);
        Self { engine, slug, digest, manifest, n_declared, processes, warnings }
    }

    /// The connector's slug.
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// SHA-256 of the package's contents, in hexadecimal: it names the version that a call runs.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The manifest. That of an SQL connector has `introspect_tables` and `introspect_columns` after its own operations.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The operations that the manifest itself declares.
    pub fn declared_operations(&self) -> &[Operation] {
        &self.manifest.operations[..self.n_declared]
    }

    /// The compiled code; none for a connector without code.
    #[doc(hidden)]
    pub fn image(&self) -> Option<&Image> {
        self.processes.as_deref().map(ConnectorProcesses::image)
    }

    /// What was found at loading and is no error.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Carries out a call, on this thread, to its end: at the latest 100 ms after its deadline.
    pub fn call(&self, call: &Call) -> Outcome {
        let started = Instant::now();
        if let Kind::Sql(config) = &self.manifest.kind {
            return self.query(config, call, started);
        }
        let redactor = self.engine.inner.redactors.get(self.hidden_values(call));
        let (result, report) = match self.prepare(call) {
            Ok(request) => self.run(call, &request, started),
            Err(error) => (Err(error), Report::default()),
        };
        redacted(&redactor, result, report, started)
    }

    /// The values that nothing may show which a call leaves: its secrets, and what its config holds under the name of a
    /// credential. Names of hosts are none, though a binding be called like them.
    pub fn hidden_values<'a>(&'a self, call: &'a Call) -> impl Iterator<Item = &'a str> + Clone {
        let manifest = &self.manifest;
        let is_credential = |key: &str| {
            let is_bound = manifest.secret_bindings.iter().any(|binding| binding == key);
            let is_host = || manifest.allowed_hosts.iter().any(|host| host.keys().any(|own| own == key));
            matches!(key, "accessToken" | "password") || is_bound && !is_host()
        };
        let of_config = call.config.iter().filter(move |(key, _)| is_credential(key));
        call.secrets.values().map(String::as_str).chain(of_config.filter_map(|(_, value)| value.as_str()))
    }

    /// Runs an SQL connector's operation.
    fn query(&self, config: &SqlConfig, call: &Call, started: Instant) -> Outcome {
        let result = self.query_result(config, call, started);
        // What the database answers can hold the account's name for many reasons, and hiding it there would spoil results.
        // It is no secret in the sense that a password is; in errors, where nothing is spoilt, it is hidden as well.
        let has_failed = result.is_err();
        let is_hidden =
            |key: &str, value: &str| key != "username" || has_failed && value.len() >= SHORTEST_HIDDEN_NAME;
        let of_config = call.config.get("password").and_then(Value::as_str);
        let secrets = call.secrets.iter().filter(|(key, value)| is_hidden(key, value));
        let secrets = secrets.map(|(_, value)| value.as_str()).chain(of_config);
        let redactor = self.engine.inner.redactors.get(secrets);
        redacted(&redactor, result, Report::default(), started)
    }

    fn query_result(&self, config: &SqlConfig, call: &Call, started: Instant) -> Result<Value, CallError> {
        let parts = &self.engine.inner;
        let test;
        let operation = match &call.operation {
            Some(name) => Some(self.operation(name)?),
            None => {
                test = introspect::test_operation(config.engine);
                test.as_ref()
            }
        };
        let Some((operation, query)) = operation.and_then(|found| Some((found, found.query.as_ref()?)))
        else {
            return Err(CallError::new(ErrorCode::ToolNotFound, "this operation has no query"));
        };
        let arguments = self.arguments(operation, call)?;
        let mut connection = self.manifest.connection_config.clone();
        connection.extend(call.config.clone());
        let deadline_limit = self.deadline(call);
        let result = parts.databases.call(&SqlCall {
            config,
            connection,
            secrets: &call.secrets,
            query,
            schema: operation.parameters.as_value(),
            arguments: &arguments,
            read_only: config.read_only || operation.operation_type == OperationType::Read,
            deadline: started + deadline_limit,
            deadline_limit,
            max_bytes: parts.limits.result,
            cancellation: &call.cancellation,
        })?;
        Ok(match call.operation.as_deref() {
            None => json!({"success": true, "message": "the database answers"}),
            Some("introspect_columns") => introspect::with_booleans(result),
            Some(_) => result,
        })
    }

    /// Validates the call's arguments and gathers what its process is told.
    fn prepare(&self, call: &Call) -> Result<CallRequest, CallError> {
        let params = match &call.operation {
            Some(name) => Value::Object(self.arguments(self.operation(name)?, call)?).to_string(),
            None => String::new(),
        };
        Ok(CallRequest {
            operation: call.operation.clone(),
            params,
            secrets: self.readable_secrets(call),
            files: self.engine.inner.files.is_some(),
        })
    }

    fn operation(&self, name: &str) -> Result<&Operation, CallError> {
        self.manifest.operation(name).ok_or_else(|| {
            let known: Vec<&str> =
                self.manifest.operations.iter().map(|operation| operation.name.as_str()).collect();
            let nearest = nearest(name, known.iter().copied())
                .map_or(String::new(), |nearest| format!(" Did you mean {nearest:?}?"));
            let listed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let slug = &self.slug;
            CallError::new(
                ErrorCode::ToolNotFound,
                format!("{slug} has no operation {name:?}.{nearest} It has: {listed}."),
            )
        })
    }

    fn arguments(&self, operation: &Operation, call: &Call) -> Result<Map<String, Value>, CallError> {
        let given = match &call.arguments {
            Value::Null => Value::Object(Map::new()),
            given => given.clone(),
        };
        operation.parameters.arguments(given).map_err(|invalid| {
            CallError::new(ErrorCode::InvalidArguments, invalid.to_string())
                .with_details(json!({"violations": invalid.violations}))
        })
    }

    /// What `secrets.get` answers: the manifest's configuration, under the connection's, under its credentials. Where the
    /// manifest's first binding or `accessToken` is missing, each stands in for the other.
    fn readable_secrets(&self, call: &Call) -> BTreeMap<String, String> {
        let mut readable: BTreeMap<String, String> = self.config_strings(call).collect();
        readable.extend(call.secrets.clone());
        let is_token = |method: &AuthMethod| {
            matches!(method, AuthMethod::ApiKey | AuthMethod::BearerToken | AuthMethod::OAuth2)
        };
        let has_token =
            is_token(&self.manifest.auth_method) || self.manifest.supported_auth_methods.iter().any(is_token);
        if let (true, Some(binding)) = (has_token, self.manifest.secret_bindings.first()) {
            for (absent, present) in [(binding.as_str(), "accessToken"), ("accessToken", binding.as_str())] {
                if let (None, Some(value)) = (readable.get(absent), call.secrets.get(present)) {
                    readable.insert(absent.to_owned(), value.clone());
                }
            }
        }
        readable
    }

    fn config_strings<'a>(&'a self, call: &'a Call) -> impl Iterator<Item = (String, String)> + 'a {
        self.manifest
            .connection_config
            .iter()
            .chain(&call.config)
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
    }

    fn allowed_hosts(&self, call: &Call) -> AllowedHosts {
        let config: BTreeMap<String, String> = self.config_strings(call).collect();
        AllowedHosts::resolve(&self.manifest.allowed_hosts, |key| config.get(key).cloned())
    }

    fn deadline(&self, call: &Call) -> Duration {
        let limits = &self.engine.inner.limits;
        let own = call.config.get("timeout").and_then(milliseconds);
        match own.or(self.manifest.timeout) {
            Some(asked) => asked.min(limits.max_deadline),
            None if call.operation.is_some() => limits.deadline,
            None => limits.test_deadline,
        }
    }

    fn run(
        &self,
        call: &Call,
        request: &CallRequest,
        started: Instant,
    ) -> (Result<Value, CallError>, Report) {
        let parts = &self.engine.inner;
        let deadline_limit = self.deadline(call);
        let deadline = started + deadline_limit;
        let supervision = Supervision {
            limits: &parts.limits,
            egress: &parts.egress,
            allowed_hosts: &self.allowed_hosts(call),
            files: parts.files.as_ref(),
            deadline,
            deadline_limit,
        };
        let Some(processes) = &self.processes else {
            let no_code = SandboxError::Load("it has no code".to_owned());
            return (Err(sandbox_error(&no_code)), Report::default());
        };
        let mut process = match processes.call_process(&parts.sandbox, &parts.limits, deadline) {
            Ok(process) => process,
            Err(_) if Instant::now() >= deadline => {
                return (Err(CallError::exceeded(Exceeded::deadline(deadline_limit))), Report::default());
            }
            Err(error) => return (Err(sandbox_error(&error)), Report::default()),
        };
        let killed_if_cancelled = call.cancellation.on_cancel(process.killer());
        let (mut result, report) = supervise(&mut process, request, &supervision);
        drop(killed_if_cancelled);
        drop(process);
        parts.keeper.called(processes);
        if result.is_err() && call.cancellation.is_cancelled() {
            result = Err(CallError::cancelled());
        }
        let result = result.and_then(|json| parse_result(&json)).and_then(|value| verdict(call, value));
        (result, report)
    }
}

fn milliseconds(value: &Value) -> Option<Duration> {
    let ms = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    (ms > 0).then(|| Duration::from_millis(ms))
}

fn sandbox_error(error: &SandboxError) -> CallError {
    CallError::new(ErrorCode::SandboxCrashed, error.to_string())
}

fn parse_result(json: &str) -> Result<Value, CallError> {
    parse_json(json).map_err(|error| {
        CallError::new(
            ErrorCode::ProviderError,
            format!("the connector's result can't be passed on: {error}"),
        )
    })
}

/// A connection test that returns `{success: false}` has failed, as one that throws has.
fn verdict(call: &Call, value: Value) -> Result<Value, CallError> {
    if call.operation.is_none() && value.get("success") == Some(&Value::Bool(false)) {
        let message = ["message", "error"].iter().find_map(|key| value.get(key)?.as_str());
        let message = message.unwrap_or("the connector says that the connection doesn't work").to_owned();
        return Err(CallError::new(ErrorCode::ProviderError, message).with_details(value));
    }
    Ok(value)
}
