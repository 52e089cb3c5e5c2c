//! What a query through a connector costs, beside the same query through sqlx: measured in turns in one run, on a
//! PostgreSQL and a MariaDB of the bench's own, over loopback.
//!
//! `cargo bench --bench sql` prints the second table of BENCHMARKS.md and fails where a ratio passes its bound.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench is read by the person who runs it"
)]

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::TryStreamExt;
use portcullis_runtime::package::Package;
use portcullis_runtime::{Call, Client, Connector, EgressConfig, Engine, EngineConfig, Limits, MIB};
use portcullis_test_servers::Database;
use serde_json::{Map, Value, json};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, Row};

#[path = "table.rs"]
mod table;
use table::{Table, median, timed};

/// Rows of the large result.
const ROWS: usize = 100_000;
/// One-row queries on each side.
const ROUNDS: usize = 3000;
/// Large results on each side.
const LARGE_ROUNDS: usize = 7;

const COLUMNS: &str = "id, guest_id, room, nights, price, rating, paid, name, email, note";

fn main() {
    portcullis_runtime::init();
    let mut table = Table::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().unwrap();
    let database = portcullis_test_servers::postgres().create_database();
    fill(&database, "generate_series");
    let mut direct = runtime.block_on(postgres(&database));
    measure(&mut table, "PostgreSQL", &connector("postgres", &database), &mut |sql| {
        runtime.block_on(async { postgres_rows(&mut direct, sql).await })
    });
    let database = portcullis_test_servers::mariadb().create_database();
    fill(&database, "seq");
    let mut direct = runtime.block_on(mariadb(&database));
    measure(&mut table, "MariaDB", &connector("mysql", &database), &mut |sql| {
        runtime.block_on(async { mariadb_rows(&mut direct, sql).await })
    });
    table.finish();
}

/// What both sides run: a query with one parameter, or none, whose rows become JSON objects.
struct Sql {
    text: &'static str,
    argument: Option<i32>,
}

fn measure(
    table: &mut Table,
    engine: &str,
    connector: &Connected,
    direct: &mut dyn FnMut(&Sql) -> Vec<Value>,
) {
    let (mut plain, mut called) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 50 {
        let id = i32::try_from(round % ROWS + 1).unwrap();
        let sql = Sql { text: one_row(engine), argument: Some(id) };
        let timings = [
            timed(|| assert_eq!(direct(&sql).len(), 1)),
            timed(|| assert_eq!(rows(connector, "one", &json!({"id": id})), 1)),
        ];
        if round >= 50 {
            plain.push(timings[0]);
            called.push(timings[1]);
        }
    }
    table.row(&format!("{engine}: one row through sqlx"), &mut plain, None);
    let base = median(&plain);
    table.row(&format!("{engine}: one row through a call"), &mut called, Some((base, 1.3)));
    let (mut plain, mut called) = (Vec::new(), Vec::new());
    for _ in 0..LARGE_ROUNDS {
        let started = Instant::now();
        assert_eq!(direct(&Sql { text: ALL_ROWS, argument: None }).len(), ROWS);
        plain.push(started.elapsed());
        called.push(timed(|| assert_eq!(rows(connector, "all", &json!({})), ROWS)));
    }
    let rate = median(&plain).as_secs_f64() / median(&called).as_secs_f64();
    table.row(&format!("{engine}: 100,000 rows, sqlx and serde_json"), &mut plain, None);
    table.row(&format!("{engine}: 100,000 rows through a call"), &mut called, None);
    table.bound("  … its rate", format!("{rate:.2} ×"), rate >= 0.6, "≥ 0.6 ×");
}

const ALL_ROWS: &str = "SELECT id, guest_id, room, nights, price, rating, paid, name, email, note FROM stay";

fn one_row(engine: &str) -> &'static str {
    if engine == "MariaDB" {
        "SELECT id, guest_id, room, nights, price, rating, paid, name, email, note FROM stay WHERE id = ?"
    } else {
        "SELECT id, guest_id, room, nights, price, rating, paid, name, email, note FROM stay WHERE id = $1"
    }
}

fn fill(database: &Database, series: &str) {
    database.execute(
        "CREATE TABLE stay (id integer PRIMARY KEY, guest_id integer, room integer, nights bigint, \
         price double precision, rating double precision, paid boolean, name varchar(50), email varchar(100), \
         note varchar(200))",
    );
    let numbers = if series == "seq" {
        format!("SELECT seq AS n FROM seq_1_to_{ROWS}")
    } else {
        format!("SELECT n FROM generate_series(1, {ROWS}) AS n")
    };
    database.execute(&format!(
        "INSERT INTO stay SELECT n, n % 5000, n % 300, n % 14, n * 1.25, n % 10 / 2.0, n % 2 = 0, \
         concat('Guest number ', n), concat('guest', n, '@example.com'), \
         concat('Arrives late, wants a quiet room, no. ', n) FROM ({numbers}) AS numbers"
    ));
}

/// A connector with an account.
struct Connected {
    connector: Connector,
    secrets: BTreeMap<String, String>,
}

fn connector(engine: &str, database: &Database) -> Connected {
    let allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let client = Client::new(&EgressConfig { allow_networks, ..EgressConfig::default() }).unwrap();
    let limits = Limits { result: 512 * MIB, ..Limits::default() };
    let manifest = json!({
        "title": "Bench", "type": "sql", "authMethod": "basic_auth",
        "connectionConfig": {"server": "127.0.0.1", "port": database.port().to_string(), "database": database.name()},
        "sqlConnectionConfig": {
            "engine": engine, "options": {"encrypt": false}, "security": {"maxResultRows": ROWS},
        },
        "sqlOperations": [
            {
                "name": "one",
                "parametersSchema": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
                "query": format!("SELECT {COLUMNS} FROM stay WHERE id = @id"),
            },
            {"name": "all", "query": ALL_ROWS},
        ],
    });
    let files = [("config.json", manifest.to_string())];
    let package = Package::from_files("bench".parse().unwrap(), files).unwrap();
    let connector = Engine::new(EngineConfig { limits, ..EngineConfig::new(client) }).load(&package).unwrap();
    let secrets = BTreeMap::from([
        ("username".to_owned(), database.user().to_owned()),
        ("password".to_owned(), database.password().to_owned()),
    ]);
    Connected { connector, secrets }
}

fn rows(connected: &Connected, operation: &str, arguments: &Value) -> usize {
    let (secrets, arguments) = (connected.secrets.clone(), arguments.clone());
    let call = Call { operation: Some(operation.into()), arguments, secrets, ..Call::default() };
    connected.connector.call(&call).result.unwrap()["rows"].as_array().unwrap().len()
}

async fn postgres(database: &Database) -> PgConnection {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(database.port())
        .username(database.user())
        .password(database.password())
        .database(database.name())
        .ssl_mode(PgSslMode::Disable);
    PgConnection::connect_with(&options).await.unwrap()
}

async fn mariadb(database: &Database) -> MySqlConnection {
    let options = MySqlConnectOptions::new()
        .host("127.0.0.1")
        .port(database.port())
        .username(database.user())
        .password(database.password())
        .database(database.name())
        .ssl_mode(MySqlSslMode::Disabled);
    MySqlConnection::connect_with(&options).await.unwrap()
}

/// A row as anybody would make JSON of it who knows its types.
macro_rules! json_row {
    ($row:expr) => {{
        let row = $row;
        let mut object = Map::with_capacity(10);
        object.insert("id".to_owned(), json!(row.get::<i32, _>(0)));
        object.insert("guest_id".to_owned(), json!(row.get::<i32, _>(1)));
        object.insert("room".to_owned(), json!(row.get::<i32, _>(2)));
        object.insert("nights".to_owned(), json!(row.get::<i64, _>(3)));
        object.insert("price".to_owned(), json!(row.get::<f64, _>(4)));
        object.insert("rating".to_owned(), json!(row.get::<f64, _>(5)));
        object.insert("paid".to_owned(), json!(row.get::<bool, _>(6)));
        object.insert("name".to_owned(), json!(row.get::<&str, _>(7)));
        object.insert("email".to_owned(), json!(row.get::<&str, _>(8)));
        object.insert("note".to_owned(), json!(row.get::<&str, _>(9)));
        Value::Object(object)
    }};
}

/// Runs a query over a connection and makes JSON of its rows as they come.
macro_rules! all_rows {
    ($connection:expr, $sql:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($sql.text));
        if let Some(argument) = $sql.argument {
            query = query.bind(argument);
        }
        let mut stream = query.fetch($connection);
        let mut rows = Vec::new();
        while let Some(row) = stream.try_next().await.unwrap() {
            rows.push(json_row!(&row));
        }
        rows
    }};
}

async fn postgres_rows(connection: &mut PgConnection, sql: &Sql) -> Vec<Value> {
    all_rows!(connection, sql)
}

async fn mariadb_rows(connection: &mut MySqlConnection, sql: &Sql) -> Vec<Value> {
    all_rows!(connection, sql)
}
