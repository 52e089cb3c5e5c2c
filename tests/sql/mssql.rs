//! SQL Server, of which there is none here: against the tests' own TDS server, whose answers each test makes up.

#[path = "mssql/bounds.rs"]
mod bounds;
#[path = "mssql/logins.rs"]
mod logins;
#[path = "mssql/parameters.rs"]
mod parameters;
#[path = "mssql/transactions.rs"]
mod transactions;
#[path = "mssql/values.rs"]
mod values;

use std::time::Duration;

use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::{Call, CallError, Connector, EgressConfig, Engine, ErrorCode, Package};
use portcullis_test_servers::tds::{
    Column, Entry, Options, Reply, Request, Response, Session, TdsServer, Type, Value as Cell,
};
use serde_json::{Map, Value, json};

use crate::support;

const USER: &str = "frontdesk";
const PASSWORD: &str = "Pa55-w0rd!";
const DATABASE: &str = "hotel";
/// How long something that comes "soon" may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A server without encryption, whose handler answers the query; what else is asked it answers by itself.
fn server(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> TdsServer {
    TdsServer::start(Options::new(USER, PASSWORD, DATABASE), handler)
}

/// A connector with the one operation `run`, and what it is called with.
struct Case {
    engine: Engine,
    manifest: Value,
    call: Call,
}

impl Case {
    /// A read of one server's database, unencrypted.
    fn read(server: &TdsServer, query: &str) -> Case {
        Case::new(server, query, "read")
    }

    /// A write.
    fn write(server: &TdsServer, query: &str) -> Case {
        Case::new(server, query, "write")
    }

    fn new(server: &TdsServer, query: &str, operation_type: &str) -> Case {
        let operation = json!({
            "name": "run", "operationType": operation_type, "query": query,
            "parametersSchema": {"type": "object", "properties": {}},
        });
        let manifest = json!({
            "title": "Test", "version": 1, "type": "sql", "authMethod": "basic_auth",
            "sqlConnectionConfig": {"engine": "mssql", "options": {"encrypt": false}},
            "sqlOperations": [operation],
        });
        let mut call = Call { operation: Some("run".to_owned()), ..Call::default() };
        call.secrets.insert("username".to_owned(), USER.to_owned());
        call.secrets.insert("password".to_owned(), PASSWORD.to_owned());
        let config = json!({"server": "127.0.0.1", "port": server.port(), "database": DATABASE});
        call.config = object(config);
        let engine = engine(&support::local_network());
        Case { engine, manifest, call }
    }

    /// Declares parameters: a schema for each name.
    fn declare(mut self, schemas: Value) -> Case {
        self.manifest["sqlOperations"][0]["parametersSchema"]["properties"] = schemas;
        self
    }

    fn with(mut self, arguments: Value) -> Case {
        self.call.arguments = arguments;
        self
    }

    /// Sets keys of `sqlConnectionConfig`.
    fn sql(mut self, keys: Value) -> Case {
        self.manifest["sqlConnectionConfig"].as_object_mut().unwrap().extend(object(keys));
        self
    }

    /// Sets keys of the connection's config.
    fn config(mut self, keys: Value) -> Case {
        self.call.config.extend(object(keys));
        self
    }

    fn secret(mut self, key: &str, value: &str) -> Case {
        self.call.secrets.insert(key.to_owned(), value.to_owned());
        self
    }

    fn egress(mut self, egress: &EgressConfig) -> Case {
        self.engine = engine(egress);
        self
    }

    #[track_caller]
    fn load(self) -> Loaded {
        let files = vec![("config.json".to_owned(), self.manifest.to_string().into_bytes())];
        let package = Package::from_files(Slug::parse("test").unwrap(), files).unwrap();
        let connector = self.engine.load(&package).unwrap_or_else(|error| panic!("not loaded: {error}"));
        Loaded { connector, call: self.call }
    }

    #[track_caller]
    fn value(self) -> Value {
        self.load().value()
    }

    #[track_caller]
    fn fails(self, code: ErrorCode) -> CallError {
        self.load().fails(code)
    }
}

/// A connector that can be called more than once.
struct Loaded {
    connector: Connector,
    call: Call,
}

impl Loaded {
    #[track_caller]
    fn value(&self) -> Value {
        self.connector.call(&self.call).result.unwrap_or_else(|error| panic!("{error:#?}"))
    }

    #[track_caller]
    fn fails(&self, code: ErrorCode) -> CallError {
        match self.connector.call(&self.call).result {
            Ok(result) => panic!("it gave {result}"),
            Err(error) => {
                assert_eq!(error.code, code, "{error:#?}");
                assert!(!format!("{error:?}").contains(PASSWORD), "{error:#?}");
                error
            }
        }
    }
}

fn engine(egress: &EgressConfig) -> Engine {
    support::engine(egress, &std::env::temp_dir())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        value => panic!("no object: {value}"),
    }
}

/// A result of one column `n` of `int`.
fn integers(values: &[i64]) -> Reply {
    let rows = values.iter().map(|value| vec![Cell::Int(*value)]).collect();
    Reply::rows(vec![Column::new("n", Type::IntN(4))], rows)
}

/// The calls of `sp_executesql` that a server had: the text, the declarations, the values in order.
fn executed(server: &TdsServer) -> Vec<(String, String, Vec<Cell>)> {
    let requests = server.requests().into_iter();
    let calls = requests.filter_map(|request| match request {
        Request::Rpc { sql, declarations, parameters, .. } => {
            let values = parameters.into_iter().map(|parameter| parameter.value).collect();
            Some((sql.unwrap_or_default(), declarations.unwrap_or_default(), values))
        }
        _ => None,
    });
    calls.collect()
}

/// What became of a session's transactions, and of its calls of `sp_executesql`.
fn events(session: &Session) -> Vec<String> {
    let event = |entry: &Entry| match entry {
        Entry::Request { request: Request::Rpc { .. }, outcome } => Some(format!("{outcome:?}")),
        Entry::Request { .. } => None,
        entry => Some(format!("{entry:?}")),
    };
    session.log.iter().filter_map(event).collect()
}
