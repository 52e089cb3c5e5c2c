//! A database of a test's own on each engine, and what its connectors are told of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use portcullis_runtime::{Call, Client, EgressConfig, Engine, EngineConfig};
use portcullis_test_servers::{Database, mariadb, postgres};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

pub(crate) use crate::case::Case;
use crate::sqlite_client;

/// How long something that comes "soon" may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// The engines that the same tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
}

/// Makes each function of a [`Place`] a test on each engine: `name::sqlite`, `name::postgres`, `name::mariadb`.
macro_rules! on_each_engine {
    ($($name:ident),+ $(,)?) => {
        $(crate::support::on_engines!($name: sqlite Sqlite, postgres Postgres, mariadb MariaDb);)+
    };
}

/// The same without SQLite, which has no server.
macro_rules! on_each_server {
    ($($name:ident),+ $(,)?) => {
        $(crate::support::on_engines!($name: postgres Postgres, mariadb MariaDb);)+
    };
}

macro_rules! on_engines {
    ($name:ident: $($engine:ident $kind:ident),+) => {
        mod $name {
            $(#[test]
            fn $engine() {
                super::$name(&crate::support::Place::new(crate::support::Kind::$kind));
            })+
        }
    };
}

pub(crate) use {on_each_engine, on_each_server, on_engines};

/// An empty database, and an engine that may reach it.
pub(crate) struct Place {
    engine: Engine,
    pub(crate) kind: Kind,
    server: Option<Database>,
    folder: TempDir,
}

impl Place {
    pub(crate) fn new(kind: Kind) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let server = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(postgres().create_database()),
            Kind::MariaDb => Some(mariadb().create_database()),
        };
        if kind == Kind::Sqlite {
            sqlite_client::create(&folder.path().join("test.db"));
        }
        Place { engine: engine(&local_network(), folder.path()), kind, server, folder }
    }

    /// One of three values, by engine: SQLite's, PostgreSQL's, MariaDB's.
    pub(crate) fn pick<T>(&self, sqlite: T, postgres: T, mariadb: T) -> T {
        match self.kind {
            Kind::Sqlite => sqlite,
            Kind::Postgres => postgres,
            Kind::MariaDb => mariadb,
        }
    }

    /// Runs statements behind the program's back.
    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) {
        self.query(sql);
    }

    /// The same, and returns the rows as texts; a NULL is the text `NULL`.
    #[track_caller]
    pub(crate) fn query(&self, sql: &str) -> Vec<Vec<String>> {
        match &self.server {
            Some(database) => database.query(sql),
            None => sqlite_client::query(&self.folder.path().join("test.db"), sql),
        }
    }

    /// The one value that a query gives behind the program's back.
    #[track_caller]
    pub(crate) fn query_value(&self, sql: &str) -> String {
        match self.query(sql).as_slice() {
            [row] if row.len() == 1 => row[0].clone(),
            rows => panic!("not one value: {rows:?}"),
        }
    }

    /// The database on its server.
    pub(crate) fn server(&self) -> &Database {
        self.server.as_ref().expect("SQLite has no server")
    }

    /// The folder of SQLite's file `test.db`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What this place's calls run in.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A connector with the one operation `run`, a read.
    pub(crate) fn read(&self, query: &str) -> Case {
        self.case(query, "read")
    }

    /// The same with a write.
    pub(crate) fn write(&self, query: &str) -> Case {
        self.case(query, "write")
    }

    fn case(&self, query: &str, operation_type: &str) -> Case {
        let operation = json!({
            "name": "run", "operationType": operation_type, "query": query,
            "parametersSchema": {"type": "object", "properties": {}},
        });
        let call = Call {
            operation: Some("run".to_owned()),
            secrets: self.secrets(),
            config: self.config(),
            ..Call::default()
        };
        Case { engine: self.engine.clone(), manifest: self.manifest(json!([operation])), call }
    }

    /// A manifest with these operations.
    pub(crate) fn manifest(&self, operations: Value) -> Value {
        json!({
            "title": "Test", "type": "sql", "authMethod": self.pick("none", "basic_auth", "basic_auth"),
            "sqlConnectionConfig": {"engine": self.pick("sqlite", "postgres", "mysql")},
            "sqlOperations": operations,
        })
    }

    /// The credentials of the user that may do everything.
    pub(crate) fn secrets(&self) -> BTreeMap<String, String> {
        let Some(database) = &self.server else { return BTreeMap::new() };
        strings(&[("username", database.user()), ("password", database.password())])
    }

    /// Where the database is.
    pub(crate) fn config(&self) -> Map<String, Value> {
        object(match &self.server {
            None => json!({"database": "test.db"}),
            Some(database) => {
                json!({"server": "127.0.0.1", "port": database.port(), "database": database.name()})
            }
        })
    }

    /// The command line's flags for this database: connection, network, folder.
    pub(crate) fn flags(&self) -> Vec<String> {
        let pair = |key: &str, value: &Value| {
            format!("{key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        let config =
            self.config().into_iter().flat_map(|(key, value)| ["--config".to_owned(), pair(&key, &value)]);
        let secrets = self
            .secrets()
            .into_iter()
            .flat_map(|(key, value)| ["--secret".to_owned(), format!("{key}={value}")]);
        let mut flags: Vec<String> = config.chain(secrets).collect();
        flags.push("--allow-network=127.0.0.0/8".to_owned());
        flags.push(format!("--sqlite-dir={}", self.folder.path().display()));
        flags
    }

    /// How many connections to the database there are, whatever they do, besides that which asks.
    pub(crate) fn n_connections(&self) -> usize {
        self.count_processes("")
    }

    /// How many of them run a statement.
    pub(crate) fn n_running(&self) -> usize {
        self.count_processes(self.pick("", "AND state = 'active'", "AND command <> 'Sleep'"))
    }

    fn count_processes(&self, condition: &str) -> usize {
        let database = self.server();
        let (table, column) =
            self.pick(("", ""), ("pg_stat_activity", "datname"), ("information_schema.processlist", "db"));
        let sql = format!("SELECT count(*) FROM {table} WHERE {column} = '{}' {condition}", database.name());
        database.server().query(&sql)[0][0].parse().unwrap()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

/// An engine whose SQLite databases are in `folder`. It looks up no name but localhost.
pub(crate) fn engine(egress: &EgressConfig, folder: &Path) -> Engine {
    let localhost_only = |name: &str| -> io::Result<Vec<IpAddr>> {
        if name.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            Ok(vec![[127, 0, 0, 1].into()])
        } else {
            Err(io::Error::other("no such name"))
        }
    };
    let client = Client::with_lookup(egress, Arc::new(localhost_only)).unwrap();
    Engine::new(EngineConfig {
        executable: Some(env!("CARGO_BIN_EXE_portcullis").into()),
        sqlite_folder: Some(folder.to_owned()),
        ..EngineConfig::new(client)
    })
}

/// 127.0.0.0/8 may be reached.
pub(crate) fn local_network() -> EgressConfig {
    EgressConfig { allow_networks: vec!["127.0.0.0/8".parse().unwrap()], ..EgressConfig::default() }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "after {} s still not so: {what}", SOON.as_secs());
        thread::sleep(Duration::from_millis(30));
    }
}

/// Fails with the name of the case that doesn't give what it should.
#[track_caller]
pub(crate) fn check(case: impl fmt::Display, found: &Value, expected: &Value) {
    assert!(found == expected, "{case}:\n   found {}\nexpected {}", shortened(found), shortened(expected));
}

pub(crate) fn shortened(value: &Value) -> String {
    let mut text = value.to_string();
    text.truncate(text.floor_char_boundary(2000));
    text
}

/// `{"a": "1"}` as a map of secrets.
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
