//! What `run` and `test` share: their flags, the call, and how its outcome is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use portcullis_runtime::manifest::{AuthMethod, Kind};
use portcullis_runtime::{
    Call, CallError, Cancellation, Connector, Engine, EngineConfig, ErrorCode, FileStore, LogLevel, LogLine,
    Manifest, Outcome, Package, Redactor,
};
use serde_json::{Value, json};

use super::connection::ConnectionFlags;
use super::output::{Colour, Console, indented, plain};
use super::{findings, params, signals};
use crate::config::{CacheFlags, LimitFlags, NetworkFlags, flag_of_limit};
use crate::error::{Failure, FailureKind, Finding, Status};

/// How long cancelling a query on its server may hold the command up.
pub(super) const SETTLING: Duration = Duration::from_secs(3);

/// What of this machine's files a connector may use.
#[derive(Args)]
pub(super) struct FileFlags {
    /// Give the connector ctx.files, which stores into this folder
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_FILES", hide_env_values = true)]
    files: Option<PathBuf>,
    /// The folder that SQLite databases are in [default: the connector's own]
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_SQLITE_DIR", hide_env_values = true)]
    sqlite_dir: Option<PathBuf>,
}

impl FileFlags {
    /// Where SQLite databases are: the operator's folder, or the connector's own.
    pub(super) fn sqlite_folder(&self, package: &Path) -> Option<PathBuf> {
        let own = self.sqlite_dir.clone().filter(|folder| !folder.as_os_str().is_empty());
        own.or_else(|| package.is_dir().then(|| package.to_owned()))
    }
}

/// What an engine is made of, as these flags say; with a warning where compiled connectors can't be kept.
pub(super) fn engine_config(
    console: &mut Console,
    files: &FileFlags,
    network: &NetworkFlags,
    limits: &LimitFlags,
    cache: &CacheFlags,
) -> Result<EngineConfig, Failure> {
    let files = files.files.as_ref().filter(|folder| !folder.as_os_str().is_empty());
    let files = files.map(|folder| {
        FileStore::in_folder(folder).map_err(|error| {
            Failure::usage(format!("--files: can't use the folder {}: {error}", folder.display()))
        })
    });
    let cache = cache.cache().unwrap_or_else(|reason| {
        console
            .warning(&format!("{reason}; compiling without it (--cache-dir names another, --no-cache none)"));
        None
    });
    let egress = network.client()?;
    Ok(EngineConfig {
        limits: limits.limits(),
        files: files.transpose()?,
        cache,
        ..EngineConfig::new(egress)
    })
}

/// The flags of a command that calls a connector.
#[derive(Args)]
pub(super) struct CallFlags {
    /// Print one JSON object about all that happened
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    connection: ConnectionFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    cache: CacheFlags,
}

/// What to call.
pub(super) struct Target<'a> {
    /// The connector's folder or zip.
    pub(super) package: &'a Path,
    /// The operation and its `--params`; none tests the connection.
    pub(super) operation: Option<(&'a str, Option<&'a str>)>,
}

/// A call that was made, and what of it its telling needs.
struct Made {
    connector: Connector,
    outcome: Outcome,
}

impl CallFlags {
    /// Makes the call and prints what came of it.
    pub(super) fn perform(&self, console: &mut Console, target: &Target<'_>) -> Status {
        let proxy = self.network.proxy_credentials();
        match self.connection.secrets() {
            Ok(secrets) => {
                let redactor = Redactor::new(secrets.values().map(String::as_str).chain(proxy));
                match self.make(console, target, secrets, &redactor) {
                    Ok(made) => self.tell(console, target, &made),
                    Err(failure) => print_failure(console, &failure.redacted(&redactor), self.json),
                }
            }
            Err(failure) => print_failure(console, &failure.redacted(&Redactor::new(proxy)), self.json),
        }
    }

    fn make(
        &self,
        console: &mut Console,
        target: &Target<'_>,
        secrets: BTreeMap<String, String>,
        redactor: &Redactor,
    ) -> Result<Made, Failure> {
        let config = self.connection.config()?;
        let arguments = match target.operation {
            Some((_, params)) => params::read(params, redactor)?,
            None => Value::Null,
        };
        let engine = self.engine(console, target.package)?;
        let package =
            Package::read(target.package).map_err(|error| Failure::load(target.package, error.into()))?;
        let connector = engine.load(&package).map_err(|error| Failure::load(target.package, error))?;
        let operation = target.operation.map(|(name, _)| name.to_owned());
        let cancellation = Cancellation::default();
        if matches!(connector.manifest().kind, Kind::Sql(_)) {
            signals::cancel_on_signal(&cancellation)?;
        }
        let call = Call { operation, arguments, secrets, config, cancellation };
        if let Some(warning) = missing_secrets(connector.manifest(), &call) {
            console.warning(&redactor.text(&warning));
        }
        let outcome = connector.call(&call);
        engine.settle(SETTLING);
        Ok(Made { connector, outcome })
    }

    fn engine(&self, console: &mut Console, package: &Path) -> Result<Engine, Failure> {
        let config = engine_config(console, &self.files, &self.network, &self.limits, &self.cache)?;
        // One call is all that this process makes.
        Ok(Engine::new(EngineConfig {
            n_ready: 0,
            sqlite_folder: self.files.sqlite_folder(package),
            ..config
        }))
    }

    fn tell(&self, console: &mut Console, target: &Target<'_>, made: &Made) -> Status {
        let outcome = &made.outcome;
        let status = outcome.result.as_ref().map_or_else(Status::of_call, |_| Status::Done);
        if self.json {
            console.print_json(&outcome.report());
            return status;
        }
        outcome.logs.iter().for_each(|line| log(console, line));
        for file in &outcome.file_references {
            let stored = format!("stored {} ({} bytes): {}", file.file_name, file.size, file.url);
            let stored = console.err.paint(Colour::Dim, &plain(&stored));
            console.say(&stored);
        }
        match &outcome.result {
            Ok(result) => {
                if target.operation.is_none() {
                    let label = console.err.paint(Colour::Green, "ok:");
                    console.say(&format!("{label} {}", indented(&plain(test_message(result)))));
                }
                console.print_json(result);
            }
            Err(error) => print_error(console, error, hint(error, target, made).as_deref()),
        }
        status
    }
}

/// What to say where the manifest names credentials that nobody gave, though a call needs them.
fn missing_secrets(manifest: &Manifest, call: &Call) -> Option<String> {
    if manifest.supported_auth_methods.contains(&AuthMethod::None) {
        return None;
    }
    let is_given = |key: &str| {
        call.secrets.contains_key(key)
            || call.config.contains_key(key)
            || manifest.connection_config.contains_key(key)
    };
    let first = manifest.secret_bindings.first().map(String::as_str);
    let stands_in = |key: &str| {
        Some(key) == first && is_given("accessToken") || key == "accessToken" && first.is_some_and(is_given)
    };
    let missing: Vec<&str> = manifest
        .secret_bindings
        .iter()
        .map(String::as_str)
        .filter(|key| !is_given(key) && !stands_in(key))
        .collect();
    let flags: Vec<String> = missing.iter().map(|key| format!("--secret {key}=…")).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "no value for {}: give {}, or a file with such lines: --secrets-file FILE",
            missing.join(", "),
            flags.join(" ")
        )
    })
}

fn log(console: &mut Console, line: &LogLine) {
    let colour = match line.level {
        LogLevel::Error => Colour::Red,
        LogLevel::Warn => Colour::Yellow,
        LogLevel::Debug => Colour::Dim,
        LogLevel::Log | LogLevel::Info => Colour::Cyan,
    };
    let label = console.err.paint(colour, &format!("[{}]", line.level.as_str()));
    console.say(&format!("{label} {}", indented(&plain(&line.message))));
}

fn test_message(result: &Value) -> &str {
    let message = result.get("message").and_then(Value::as_str);
    message.filter(|message| !message.trim().is_empty()).unwrap_or("the connection works")
}

fn print_error(console: &mut Console, error: &CallError, hint: Option<&str>) {
    let violations = violations(error);
    if violations.is_empty() {
        console.error(&error.message);
    } else {
        let list: String = violations.iter().map(|violation| format!("\n{violation}")).collect();
        console.error(&format!("the arguments don't fit the operation's parameters{list}"));
    }
    console.note("code", error.code.as_str());
    let stack = error.stack.as_deref().unwrap_or_default();
    for frame in stack.lines().map(str::trim).filter(|line| line.starts_with("at ")) {
        let frame = console.err.paint(Colour::Dim, &plain(frame));
        console.say(&format!("    {frame}"));
    }
    if let Some(hint) = hint {
        console.note("hint", hint);
    }
}

/// Each violation of the parameters' schema, as `/path: message`.
fn violations(error: &CallError) -> Vec<String> {
    let list = error.details.as_ref().and_then(|details| details.get("violations")?.as_array());
    let text = |violation: &Value, key: &str| {
        violation.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let lines = list.into_iter().flatten().map(|violation| {
        let (path, message) = (text(violation, "path"), text(violation, "message"));
        if path.is_empty() { message } else { format!("{path}: {message}") }
    });
    lines.filter(|line| !line.is_empty()).collect()
}

/// What the person at the command line can do about an error.
fn hint(error: &CallError, target: &Target<'_>, made: &Made) -> Option<String> {
    match error.code {
        ErrorCode::HostBlocked => Some(blocked_hint(error, &made.outcome)),
        ErrorCode::LimitExceeded => {
            let limit = error.details.as_ref()?.get("limit")?.as_str()?;
            let flag = match limit {
                "deadline" if made.connector.manifest().timeout.is_some() => {
                    return Some(
                        "the connector's connectionConfig.timeout sets this deadline; --config timeout=MS sets another, \
                         up to --max-deadline-ms"
                            .to_owned(),
                    );
                }
                "deadline" if target.operation.is_none() => "--test-deadline-ms",
                limit => flag_of_limit(limit)?,
            };
            Some(format!("{flag} raises this limit"))
        }
        _ => None,
    }
}

/// An address in a refused range is the operator's to allow; a host, the connector's author's.
fn blocked_hint(error: &CallError, outcome: &Outcome) -> String {
    let texts = outcome.http.iter().rev().filter_map(|exchange| exchange.error.as_deref());
    let network = texts.chain([error.message.as_str()]).find_map(|text| {
        let (_, after) = text.split_once("--allow-network ")?;
        after.split([' ', ',', ';']).next()
    });
    match network {
        Some(network) => {
            format!("if connectors are meant to reach that address, pass --allow-network {network}")
        }
        None => "\"allowedHosts\" in config.json says which hosts this connector may reach".to_owned(),
    }
}

/// Prints why a command did nothing, as JSON or in words, and returns the status to exit with.
pub(super) fn print_failure(console: &mut Console, failure: &Failure, json: bool) -> Status {
    if json {
        console.print_json(&failure_report(failure));
        return failure.status();
    }
    let findings = findings::render(&failure.package, &failure.findings, console.err);
    // What is wrong with the package as a whole is the message itself.
    if matches!(failure.findings.first(), Some(Finding::Placed(_))) {
        console.say(findings.trim_end());
    }
    console.error(&failure.message);
    failure.status()
}

/// A failure in the shape of a call's outcome. No call was made, so it took no time.
fn failure_report(failure: &Failure) -> Value {
    let mut error = json!({"code": failure.kind.code(), "message": failure.message});
    if failure.kind == FailureKind::Package {
        error["details"] = json!({"diagnostics": failure.findings});
    }
    json!({"success": false, "error": error, "logs": [], "http": [], "durationMs": 0})
}
