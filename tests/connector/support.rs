//! A connector of a few lines and what it is called with: five lines a test.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs, io};

use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::{
    Call, CallError, Client, Connector, EgressConfig, Engine, EngineConfig, ErrorCode, FileStore, Limits,
    LoadError, Outcome, Package,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::upstream::server::{Recorded, Reply, TestServer};
use crate::upstream::tls::TestCa;

/// The host that a [`Case`]'s server is called, over http and https.
pub(crate) const HOST: &str = "api.test";

/// A connector, what it is called with, and the server that it may reach as `http://api.test` (or https).
pub(crate) struct Case {
    files: Vec<(String, Vec<u8>)>,
    manifest: Value,
    call: Call,
    limits: Limits,
    stores_files: bool,
    server: Option<TestServer>,
    /// Where connections go where there is no server.
    target: Option<SocketAddr>,
    ca: TestCa,
}

impl Case {
    /// A connector whose `execute(ctx)` has this body.
    pub(crate) fn execute(body: &str) -> Case {
        Case::code(&format!(
            "const connector = {{\n  testConnection(ctx) {{}},\n  execute(ctx) {{\n{body}\n  }},\n}};\n"
        ))
    }

    /// A connector whose `testConnection(ctx)` has this body; it is what is called.
    pub(crate) fn test_connection(body: &str) -> Case {
        let code = format!(
            "const connector = {{\n  testConnection(ctx) {{\n{body}\n  }},\n  execute(ctx) {{}},\n}};\n"
        );
        let mut case = Case::code(&code);
        case.call.operation = None;
        case
    }

    /// A connector of this connector.ts; its operation `run` is called.
    pub(crate) fn code(source: &str) -> Case {
        Case::file("connector.ts", source)
    }

    /// A connector of this connector.js.
    pub(crate) fn javascript(source: &str) -> Case {
        Case::file("connector.js", source)
    }

    fn file(name: &str, source: &str) -> Case {
        let manifest = json!({
            "title": "Test",
            "version": 1,
            "authMethod": "api_key",
            "secretBindings": ["apiKey"],
            "allowedHosts": [format!("http://{HOST}"), HOST],
            "operations": [{"name": "run"}],
        });
        Case {
            files: vec![(name.to_owned(), source.as_bytes().to_vec())],
            manifest,
            call: Call { operation: Some("run".to_owned()), ..Call::default() },
            limits: Limits::default(),
            stores_files: false,
            server: None,
            target: None,
            ca: TestCa::new(),
        }
    }

    /// Sets keys of the manifest.
    pub(crate) fn manifest(mut self, keys: Value) -> Case {
        for (key, value) in keys.as_object().unwrap() {
            self.manifest[key] = value.clone();
        }
        self
    }

    /// Sets the schema of the operation `run`.
    pub(crate) fn schema(self, schema: Value) -> Case {
        self.manifest(json!({"operations": [{"name": "run", "parametersSchema": schema}]}))
    }

    /// Calls this operation.
    pub(crate) fn operation(mut self, name: &str) -> Case {
        self.call.operation = Some(name.to_owned());
        self
    }

    pub(crate) fn arguments(mut self, arguments: Value) -> Case {
        self.call.arguments = arguments;
        self
    }

    pub(crate) fn secret(mut self, key: &str, value: &str) -> Case {
        self.call.secrets.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets keys of the connection's own configuration.
    pub(crate) fn config(mut self, config: Value) -> Case {
        self.call.config.extend(config.as_object().unwrap().clone());
        self
    }

    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Case {
        change(&mut self.limits);
        self
    }

    /// Configures a file store, in a folder of this test's own.
    pub(crate) fn storing_files(mut self) -> Case {
        self.stores_files = true;
        self
    }

    /// Answers the requests to `http://api.test`.
    pub(crate) fn serve(mut self, answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Case {
        self.server = Some(TestServer::start(answer));
        self
    }

    /// Answers the requests to `https://api.test`, as which a trusted certificate names it.
    pub(crate) fn serve_tls(self, answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Case {
        self.serve_tls_as(&[HOST], answer)
    }

    /// The same with a certificate for other names.
    pub(crate) fn serve_tls_as(
        mut self,
        names: &[&str],
        answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> Case {
        self.server = Some(TestServer::start_tls(self.ca.issue(names), answer));
        self
    }

    /// Sends connections to a port that refuses them.
    pub(crate) fn refused(mut self) -> Case {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.target = Some(listener.local_addr().unwrap());
        self
    }

    /// Sends connections to this address, whatever is there.
    pub(crate) fn target(mut self, address: &str) -> Case {
        self.target = Some(address.parse().unwrap());
        self
    }

    /// Removes a key of the manifest.
    pub(crate) fn without(mut self, key: &str) -> Case {
        self.manifest.as_object_mut().unwrap().remove(key);
        self
    }

    /// Loads the connector; what is wrong with it is a failure of the test.
    #[track_caller]
    pub(crate) fn load(self) -> Loaded {
        self.try_load().unwrap_or_else(|error| panic!("the connector wasn't loaded:\n{error}"))
    }

    pub(crate) fn try_load(self) -> Result<Loaded, LoadError> {
        let mut files = self.files;
        files.push(("config.json".to_owned(), self.manifest.to_string().into_bytes()));
        let package = Package::from_files(Slug::parse("test").unwrap(), files).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let target = self.server.as_ref().map(TestServer::address).or(self.target);
        let config = EngineConfig {
            limits: self.limits,
            files: self.stores_files.then(|| FileStore::in_folder(folder.path()).unwrap()),
            ..engine_config(target, &self.ca)
        };
        let connector = Engine::new(config).load(&package)?;
        Ok(Loaded { connector, call: self.call, server: self.server, folder })
    }

    /// Loads the connector and calls it once.
    #[track_caller]
    pub(crate) fn run(self) -> Ran {
        self.load().run()
    }

    /// Runs, and expects this result.
    #[track_caller]
    pub(crate) fn gives(self, expected: Value) -> Ran {
        let ran = self.run();
        match &ran.result {
            Ok(result) => {
                assert_eq!(*result, expected, "got {result}\nwanted {expected}\nlogs: {:?}", ran.logs);
            }
            Err(error) => panic!("{error:#?}"),
        }
        ran
    }

    /// Runs, and expects this error.
    #[track_caller]
    pub(crate) fn fails(self, code: ErrorCode, message: &str) -> Ran {
        let ran = self.run();
        let error = ran.error();
        assert_eq!((error.code, error.message.as_str()), (code, message), "{error:#?}");
        ran
    }
}

/// An engine's parts, where all of `http://…` and `https://…` on their own ports leads to `target`.
pub(crate) fn engine_config(target: Option<SocketAddr>, ca: &TestCa) -> EngineConfig {
    let map = target.map(|target| format!("*={target}").parse().unwrap());
    let egress = EgressConfig {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        map: map.into_iter().collect(),
        extra_roots_pem: vec![ca.pem()],
        ..EgressConfig::default()
    };
    // A name that isn't mapped has no address: no test asks the network's name servers.
    let no_name = |_: &str| -> io::Result<Vec<IpAddr>> { Err(io::Error::other("no such name")) };
    let client = Client::with_lookup(&egress, Arc::new(no_name)).unwrap();
    EngineConfig { executable: Some(env!("CARGO_BIN_EXE_portcullis").into()), ..EngineConfig::new(client) }
}

/// A connector that can be called more than once.
pub(crate) struct Loaded {
    pub(crate) connector: Connector,
    pub(crate) call: Call,
    pub(crate) server: Option<TestServer>,
    folder: TempDir,
}

impl Loaded {
    pub(crate) fn run(self) -> Ran {
        let outcome = self.connector.call(&self.call);
        Ran { outcome, loaded: self }
    }

    /// Calls once more with these arguments.
    #[track_caller]
    pub(crate) fn result_of(&self, arguments: Value) -> Value {
        let outcome = self.connector.call(&Call { arguments, ..self.call.clone() });
        outcome.result.unwrap_or_else(|error| panic!("{error:#?}"))
    }
}

/// A call that has ended.
pub(crate) struct Ran {
    outcome: Outcome,
    loaded: Loaded,
}

impl Deref for Ran {
    type Target = Outcome;

    fn deref(&self) -> &Outcome {
        &self.outcome
    }
}

impl Ran {
    /// Why the call failed.
    #[track_caller]
    pub(crate) fn error(&self) -> &CallError {
        match &self.result {
            Ok(result) => panic!("it gave {result}"),
            Err(error) => error,
        }
    }

    /// The result.
    #[track_caller]
    pub(crate) fn value(&self) -> &Value {
        self.result.as_ref().unwrap_or_else(|error| panic!("{error:#?}"))
    }

    /// The stack trace of the error.
    #[track_caller]
    pub(crate) fn stack(&self) -> &str {
        self.error().stack.as_deref().unwrap_or_else(|| panic!("no stack: {:#?}", self.error()))
    }

    /// What was logged: each line's level and message.
    pub(crate) fn logged(&self) -> Value {
        json!(self.logs.iter().map(|line| json!([line.level, line.message])).collect::<Vec<_>>())
    }

    /// The requests that the server got.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.loaded.server.as_ref().unwrap().requests()
    }

    /// The only request that the server got.
    #[track_caller]
    pub(crate) fn request(&self) -> Recorded {
        self.loaded.server.as_ref().unwrap().request()
    }

    /// The server's address.
    pub(crate) fn server(&self) -> &TestServer {
        self.loaded.server.as_ref().unwrap()
    }

    /// The folder of the file store.
    pub(crate) fn folder(&self) -> &Path {
        self.loaded.folder.path()
    }

    /// Everything that the call left, as `run --json` prints it.
    pub(crate) fn report(&self) -> String {
        serde_json::to_string(&self.outcome.report()).unwrap()
    }
}

/// A request as it was on the wire, its headers sorted and their names in lower case: `line\nheaders\n\nbody`.
pub(crate) fn wire(request: &Recorded) -> String {
    let mut lines = request.head.lines();
    let first = lines.next().unwrap();
    let mut headers: Vec<String> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            format!("{}:{value}", name.to_ascii_lowercase())
        })
        .collect();
    headers.sort();
    let body = String::from_utf8_lossy(&request.raw_body);
    format!("{first}\n{}\n\n{body}", headers.join("\n"))
}

/// `tests/cases/connector/<name>`.
pub(crate) fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/connector").join(name)
}

/// Compares text with a golden file; `BLESS=1` rewrites it.
#[track_caller]
pub(crate) fn check_golden(name: &str, actual: &str) {
    let path = golden_path(name);
    if env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    for (n, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(actual, expected, "{}:{}; BLESS=1 rewrites it", path.display(), n + 1);
    }
    assert_eq!(actual.lines().count(), expected.lines().count(), "{}; BLESS=1 rewrites it", path.display());
}

/// `{"a": "1"}` as a map of secrets or the like.
pub(crate) fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A JSON object as the map that it is.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}
