//! What the sandbox's tests share: engines, connectors of many cases, and a view of the process tree through /proc.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use portcullis_runtime::{
    Call, CallError, Client, Connector, EgressConfig, Engine, EngineConfig, ErrorCode, Limits, LoadError,
    Outcome, Package,
};
use serde_json::{Value, json};

/// The binary whose `main` begins with `init`: the sandbox's processes.
pub(crate) fn executable() -> PathBuf {
    std::env::var_os("PORTCULLIS_TEST_EXECUTABLE")
        .map_or_else(|| env!("CARGO_BIN_EXE_portcullis").into(), PathBuf::from)
}

/// Keeps tests of one process apart: several count the process's children, descriptors or memory.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The settings of an engine whose connectors may reach loopback.
pub(crate) fn config(limits: Limits) -> EngineConfig {
    let allow_networks = vec!["127.0.0.0/8".parse().expect("a network")];
    let egress = Client::new(&EgressConfig { allow_networks, ..EgressConfig::default() }).expect("a client");
    EngineConfig { limits, executable: Some(executable()), ..EngineConfig::new(egress) }
}

pub(crate) fn engine(limits: Limits) -> Engine {
    Engine::new(config(limits))
}

/// A package of this code, with one operation, `run`, and these hosts allowed.
pub(crate) fn package(code: &str, allowed_hosts: &[String]) -> Package {
    package_with(code, &json!({"allowedHosts": allowed_hosts}))
}

/// The same with more of the manifest.
pub(crate) fn package_with(code: &str, more: &Value) -> Package {
    let mut manifest = json!({"title": "A test", "authMethod": "none", "operations": [{"name": "run"}]});
    for (key, value) in more.as_object().expect("an object") {
        manifest[key] = value.clone();
    }
    let files = [("config.json", manifest.to_string()), ("connector.ts", code.to_owned())];
    Package::from_files("attacker".parse().expect("a slug"), files).expect("a package")
}

/// Code whose `execute` runs the case that `params.case` names: each a function's body that sees `ctx`.
pub(crate) fn code_of_cases<'a>(cases: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut code = String::from("const cases: Record<string, (ctx: any) => any> = {\n");
    for (name, body) in cases {
        code.push_str(&format!("{name:?}: (ctx) => {{ {body} }},\n"));
    }
    code + "};\nfunction execute(ctx: any) { return cases[ctx.params.case](ctx); }\n\
            function testConnection(ctx: any) { return cases.testConnection(ctx); }\n"
}

#[track_caller]
pub(crate) fn load(engine: &Engine, package: &Package) -> Connector {
    engine.load(package).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// A connector of these cases that may reach these hosts.
#[track_caller]
pub(crate) fn connector<'a>(
    limits: Limits,
    allowed_hosts: &[String],
    cases: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Connector {
    load(&engine(limits), &package(&code_of_cases(cases), allowed_hosts))
}

/// An error with its causes.
pub(crate) fn chain(error: &LoadError) -> String {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        said.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    said
}

pub(crate) fn run(connector: &Connector, case: &str) -> Outcome {
    connector.call(&call_of(case))
}

pub(crate) fn run_for(connector: &Connector, case: &str, deadline: Duration) -> Outcome {
    let mut call = call_of(case);
    call.config.insert("timeout".to_owned(), json!(deadline.as_millis()));
    connector.call(&call)
}

pub(crate) fn call_of(case: &str) -> Call {
    Call { operation: Some("run".to_owned()), arguments: json!({"case": case}), ..Call::default() }
}

/// Checks that the call went past `limit`, and that the error names it with its value, spelled `said` in the message.
#[track_caller]
pub(crate) fn check_exceeded(outcome: &Outcome, limit: &str, value: u64, said: &str) {
    let error = error_of(outcome);
    assert_eq!(error.code, ErrorCode::LimitExceeded, "{error:?}");
    assert_eq!(error.details, Some(json!({"limit": limit, "value": value})), "{error:?}");
    assert!(error.message.contains(said), "{:?} doesn't say {said:?}", error.message);
}

#[track_caller]
pub(crate) fn error_of(outcome: &Outcome) -> &CallError {
    match &outcome.result {
        Ok(value) => panic!("the call returned {value}"),
        Err(error) => error,
    }
}

#[track_caller]
pub(crate) fn value_of(outcome: &Outcome) -> &Value {
    outcome.result.as_ref().unwrap_or_else(|error| panic!("the call failed: {error:?}"))
}

/// A process as /proc shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) state: char,
    /// Clock ticks since boot: with the pid, it tells a process from a later one of the same number.
    pub(crate) started: u64,
    /// 1 for the root zygote, 2 for connector zygotes and compiles, 3 for calls.
    pub(crate) depth: usize,
}

impl Process {
    pub(crate) fn is_zombie(&self) -> bool {
        self.state == 'Z'
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        read(self.pid, 0).is_some_and(|now| now.started == self.started && !now.is_zombie())
    }

    pub(crate) fn file(&self, name: &str) -> std::io::Result<String> {
        fs::read(format!("/proc/{}/{name}", self.pid))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A field of its `status`.
    #[track_caller]
    pub(crate) fn status(&self, field: &str) -> String {
        let status = self.file("status").expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
    }

    pub(crate) fn kill(&self) {
        // A process that has ended in the meantime is as good as killed.
        let _ =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), nix::sys::signal::Signal::SIGKILL);
    }
}

fn read(pid: i32, depth: usize) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let state = fields.first()?.chars().next()?;
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        state,
        started: fields.get(19)?.parse().ok()?,
        depth,
    })
}

/// Everything that `pid` has started, whatever its depth; what is deeper comes later.
pub(crate) fn descendants_of(pid: i32) -> Vec<Process> {
    let names =
        fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let all: Vec<Process> = names.filter_map(|name| read(name.parse().ok()?, 0)).collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![pid];
    for depth in 1.. {
        let children: Vec<Process> = all
            .iter()
            .filter(|one| parents.contains(&one.parent))
            .map(|one| Process { depth, ..one.clone() })
            .collect();
        if children.is_empty() {
            break;
        }
        parents = children.iter().map(|child| child.pid).collect();
        found.extend(children);
    }
    found
}

/// Everything that this process has started.
pub(crate) fn descendants() -> Vec<Process> {
    descendants_of(i32::try_from(std::process::id()).expect("a pid"))
}

/// The descendants at this depth.
pub(crate) fn at_depth(depth: usize) -> Vec<Process> {
    descendants().into_iter().filter(|process| process.depth == depth).collect()
}

/// Waits, up to ten seconds, until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_true(Duration::from_secs(10), condition), "ten seconds later it still isn't so: {what}");
}

/// Whether `condition` holds within `time`.
pub(crate) fn comes_true(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
