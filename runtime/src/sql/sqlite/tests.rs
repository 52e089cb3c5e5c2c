//! SQLite files, read and written through the pool as calls do it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::Sqlite;
use crate::cancellation::Cancellation;
use crate::egress::{Client, EgressConfig};
use crate::limits::Exceeded;
use crate::manifest::Engine;
use crate::sql::backend::{Argument, ArgumentValue, Hint, Job};
use crate::sql::dial::{Network, Route};
use crate::sql::error::SqlError;
use crate::sql::placeholder::{Dialect, Query};
use crate::sql::pool::Database;
use crate::sql::result::ResultSink;
use crate::sql::settings::{Encryption, Settings};

/// A database in a folder of its own, with two connections to it at most.
struct Tester {
    folder: TempDir,
    database: Arc<Database<Sqlite>>,
    query_timeout: Duration,
    max_rows: u64,
}

impl Tester {
    /// A database that these statements make.
    async fn new(setup: &str) -> Self {
        Self::with_timeout(setup, Duration::from_secs(20)).await
    }

    async fn with_timeout(setup: &str, query_timeout: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = connect(&folder).await;
        sqlx::raw_sql(AssertSqlSafe(setup.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let database = database(&folder, query_timeout).unwrap();
        Self { folder, database, query_timeout, max_rows: 1000 }
    }

    async fn run(&self, text: &str, arguments: &Value, read_only: bool) -> Result<Value, SqlError> {
        self.run_cancellable(text, arguments, read_only, &Cancellation::default()).await
    }

    async fn run_cancellable(
        &self,
        text: &str,
        arguments: &Value,
        read_only: bool,
        cancellation: &Cancellation,
    ) -> Result<Value, SqlError> {
        let arguments = arguments.as_object().unwrap();
        let names: Vec<&str> = arguments.keys().map(String::as_str).collect();
        let (query, problems) = Query::parse(Dialect::Sqlite, text, &names);
        let query = query.unwrap_or_else(|| panic!("{text}: {problems:?}"));
        let arguments = query.parameters().iter().map(|name| argument(name, arguments)).collect();
        let deadline = Instant::now() + self.query_timeout * 2;
        let job = Job { query: &query, arguments, read_only, deadline };
        let sink = ResultSink::new(self.max_rows, 1 << 20);
        let database: Arc<dyn crate::sql::pool::AnyDatabase> = self.database.clone();
        database.run(&job, sink, cancellation).await.map(ResultSink::finish)
    }

    async fn read(&self, text: &str, arguments: &Value) -> Value {
        self.run(text, arguments, true).await.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    async fn write(&self, text: &str, arguments: &Value) -> Value {
        self.run(text, arguments, false).await.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    async fn error(&self, text: &str, read_only: bool) -> String {
        match self.run(text, &json!({}), read_only).await {
            Ok(result) => panic!("{text}: {result}"),
            Err(error) => error.to_string(),
        }
    }

    /// The rows of a read.
    async fn rows(&self, text: &str, arguments: &Value) -> Value {
        self.read(text, arguments).await["rows"].take()
    }

    async fn other(&self) -> SqliteConnection {
        connect(&self.folder).await
    }

    /// How many files of the database this process has open.
    fn n_open(&self) -> usize {
        let folder = fs::canonicalize(self.folder.path()).unwrap();
        let files = fs::read_dir("/proc/self/fd").unwrap();
        let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        links.filter(|link| link.starts_with(&folder)).count()
    }
}

fn argument<'a>(name: &'a str, arguments: &'a Map<String, Value>) -> Argument<'a> {
    let (value, hint) = match &arguments[name] {
        Value::Null => (ArgumentValue::Null, Hint::None),
        Value::Bool(value) => (ArgumentValue::Bool(*value), Hint::Bool),
        Value::Number(number) => (ArgumentValue::Number(number), Hint::Number),
        Value::String(text) => (ArgumentValue::Text(text), Hint::None),
        Value::Array(values) => (ArgumentValue::List(values), Hint::None),
        Value::Object(map) => (ArgumentValue::Object(map), Hint::None),
    };
    Argument { name, value, hint }
}

fn database(folder: &TempDir, query_timeout: Duration) -> Result<Arc<Database<Sqlite>>, SqlError> {
    let settings = Settings {
        engine: Engine::Sqlite,
        host: String::new(),
        port: 0,
        database: "test.db".to_owned(),
        username: String::new(),
        password: String::new(),
        encryption: Encryption::Preferred,
        connection_timeout: Duration::from_secs(5),
        query_timeout,
        pool_size: 2,
    };
    let client = Client::new(&EgressConfig::default()).unwrap();
    let file = super::file(Some(folder.path()), &settings.database)?;
    let route = Route::new(Arc::new(settings), Network::new(&client));
    Ok(Arc::new(Database::new(Sqlite::new(file), route, TaskTracker::new())?))
}

/// A connection of somebody else's.
async fn connect(folder: &TempDir) -> SqliteConnection {
    let file = SqliteConnectOptions::new().filename(folder.path().join("test.db"));
    file.create_if_missing(true).busy_timeout(Duration::ZERO).connect().await.unwrap()
}

async fn execute(connection: &mut SqliteConnection, text: &'static str) {
    sqlx::raw_sql(text).execute(connection).await.unwrap();
}

const TYPES: &str = "
    CREATE TABLE types (
        id INTEGER PRIMARY KEY, big BIGINT, flag BOOLEAN, bit BIT, price DECIMAL(10,2), free NUMERIC, x REAL, f DOUBLE PRECISION,
        name VARCHAR(20), note TEXT, data BLOB, day DATE, at TIME, made DATETIME, zoned TIMESTAMP WITH TIME ZONE, doc JSON,
        uid UUID, plain);
    INSERT INTO types VALUES (
        1, 9007199254740993, 1, 0, 12.5, 120, 3, 0.1, 'Ada', '', x'00ff', '2026-11-20', '12:30', '2026-11-20 12:30:00.250',
        '2026-11-20T12:30:00+02:00', '{\"a\":[1]}', '6F9619FF-8B86-D011-B42D-00C04FC964FF', 'x');
    INSERT INTO types (id, price, flag, made, doc, plain) VALUES (2, 120, 7, 1700000000, 'no', 1.5);
    INSERT INTO types (id) VALUES (3);";

#[tokio::test]
async fn values_read_as_their_columns_were_declared() {
    let tester = Tester::new(TYPES).await;
    let result = tester.read("SELECT * FROM types ORDER BY id", &json!({})).await;
    let first = json!({
        "id": 1, "big": "9007199254740993", "flag": true, "bit": false, "price": "12.50", "free": "120", "x": 3.0, "f": 0.1,
        "name": "Ada", "note": "", "data": "AP8=", "day": "2026-11-20", "at": "12:30:00", "made": "2026-11-20T12:30:00.25",
        "zoned": "2026-11-20T10:30:00Z", "doc": {"a": [1]}, "uid": "6F9619FF-8B86-D011-B42D-00C04FC964FF", "plain": "x",
    });
    assert_eq!(result["rows"][0], first);
    let second = &result["rows"][1];
    assert_eq!(second["price"], "120.00");
    assert_eq!(second["flag"], 7);
    assert_eq!(second["made"], 1_700_000_000);
    assert_eq!(second["doc"], "no");
    let third = result["rows"][2].as_object().unwrap();
    assert!(third.iter().all(|(name, value)| name == "id" || value.is_null()), "{third:?}");
    let types = result["columns"].as_array().unwrap().iter().map(|column| column["type"].as_str().unwrap());
    let expected = "integer,bigint,boolean,bit,decimal(10,2),numeric,real,double precision,varchar(20),text,blob,date,time,\
                    datetime,timestamp with time zone,json,uuid,text";
    assert_eq!(types.collect::<Vec<_>>().join(","), expected);
}

#[tokio::test]
async fn declared_types_are_seen_through_names_views_and_subqueries() {
    let setup =
        format!("{TYPES} CREATE VIEW prices AS SELECT id AS n, price AS p, price * 2 AS twice FROM types;");
    let tester = Tester::new(&setup).await;
    for (text, expected) in [
        ("SELECT t.price AS p FROM types AS t WHERE id = 1", json!([{"p": "12.50"}])),
        ("SELECT p, twice FROM prices WHERE n = 1", json!([{"p": "12.50", "twice": 25.0}])),
        ("SELECT p FROM (SELECT price p FROM types) WHERE p > 100", json!([{"p": "120.00"}])),
        ("WITH a AS (SELECT flag FROM types WHERE id = 1) SELECT * FROM a", json!([{"flag": true}])),
        ("SELECT rowid, max(price) FROM types", json!([{"id": 2, "max(price)": 120}])),
        ("SELECT count(*) AS n, sum(price) AS s FROM types", json!([{"n": 3, "s": 132.5}])),
        (
            "SELECT CAST(sum(price) AS DECIMAL(10,2)) AS s, CAST(1 AS BOOLEAN) b FROM types",
            json!([{"s": "132.50", "b": true}]),
        ),
        (
            "SELECT 1, 2.0, 'a', x'01', NULL",
            json!([{"1": 1, "2.0": 2.0, "'a'": "a", "x'01'": "AQ==", "NULL": null}]),
        ),
        ("SELECT 1 AS a, 2 AS a, 3 AS \"\"", json!([{"a": 1, "a_2": 2, "column_3": 3}])),
        ("SELECT key, value FROM json_each('{\"a\": 1}')", json!([{"key": "a", "value": 1}])),
        ("SELECT name FROM pragma_table_info('types') LIMIT 1", json!([{"name": "id"}])),
    ] {
        assert_eq!(tester.rows(text, &json!({})).await, expected, "{text}");
    }
    let empty = tester.read("SELECT price, price + 1 AS more FROM types WHERE 0", &json!({})).await;
    assert_eq!(
        empty,
        json!({"rows": [], "rowCount": 0, "truncated": false,
               "columns": [{"name": "price", "type": "decimal(10,2)"}, {"name": "more", "type": "null"}]})
    );
}

#[tokio::test]
async fn texts_are_compared_exactly_as_numbers() {
    let tester = Tester::new(
        "CREATE TABLE t (n INTEGER, d DECIMAL(10,2), day DATE);
         INSERT INTO t VALUES (9007199254740992, 0.1, '2026-11-20'), (9007199254740993, 0.3, '2026-11-21');",
    )
    .await;
    let n = json!({"n": "9007199254740993", "m": "9007199254740992"});
    for (condition, expected) in [
        ("n = @n", json!([{"n": "9007199254740993"}])),
        ("n = @m", json!([{"n": "9007199254740992"}])),
        ("n IN (@n, '1')", json!([{"n": "9007199254740993"}])),
        ("n BETWEEN @n AND @n", json!([{"n": "9007199254740993"}])),
        ("n > @m", json!([{"n": "9007199254740993"}])),
        ("n = @n AND n <> @m", json!([{"n": "9007199254740993"}])),
    ] {
        assert_eq!(
            tester.rows(&format!("SELECT n FROM t WHERE {condition}"), &n).await,
            expected,
            "{condition}"
        );
    }
    for (text, arguments, expected) in [
        ("SELECT d FROM t WHERE d = @d", json!({"d": "0.1"}), json!([{"d": "0.10"}])),
        ("SELECT d FROM t WHERE d = @d", json!({"d": 0.3}), json!([{"d": "0.30"}])),
        ("SELECT day FROM t WHERE day = @d", json!({"d": "2026-11-21"}), json!([{"day": "2026-11-21"}])),
        ("SELECT day FROM t ORDER BY n LIMIT @n", json!({"n": "1"}), json!([{"day": "2026-11-20"}])),
        (
            "SELECT day FROM t ORDER BY n LIMIT @n OFFSET @m",
            json!({"n": 1, "m": "1"}),
            json!([{"day": "2026-11-21"}]),
        ),
    ] {
        assert_eq!(tester.rows(text, &arguments).await, expected, "{text}");
    }
    let written = tester
        .write(
            "INSERT INTO t (n, d) VALUES (@n, @d); SELECT n, d FROM t WHERE n = @n",
            &json!({"n": "7", "d": "1.50"}),
        )
        .await;
    assert_eq!(written["rows"], json!([{"n": 7, "d": "1.50"}]));
    assert_eq!(written["rowsAffected"], 1);
}

#[tokio::test]
async fn arguments_keep_their_types_where_no_column_gives_one() {
    let tester = Tester::new("CREATE TABLE t (a)").await;
    for (value, expected) in [
        (json!(5), json!(5)),
        (json!(1.5), json!(1.5)),
        (json!(9_007_199_254_740_993_i64), json!("9007199254740993")),
        (json!(u64::MAX), json!("18446744073709551615")),
        (json!(true), json!(true)),
        (json!(false), json!(false)),
        (json!(null), json!(null)),
        (json!(""), json!("")),
        (json!("'; DROP TABLE t; --"), json!("'; DROP TABLE t; --")),
        (json!("😀 @v ?1"), json!("😀 @v ?1")),
        (json!([1, "a"]), json!("[1,\"a\"]")),
        (json!({"a": null}), json!("{\"a\":null}")),
    ] {
        let arguments = json!({"v": value});
        assert_eq!(tester.rows("SELECT @v AS v", &arguments).await, json!([{"v": expected}]), "{value}");
        assert_eq!(tester.rows("SELECT @v", &arguments).await, json!([{"@v": expected}]), "{value}");
        let coalesced = tester.rows("SELECT COALESCE(@v, 'none') AS v", &arguments).await[0]["v"].take();
        assert_eq!(coalesced.is_string() && coalesced == "none", value.is_null(), "{value}");
    }
    let optional = "SELECT count(*) AS n FROM (SELECT 1 AS a UNION SELECT 2) WHERE (@x IS NULL OR a = @x)";
    assert_eq!(tester.rows(optional, &json!({"x": null})).await, json!([{"n": 2}]));
    assert_eq!(tester.rows(optional, &json!({"x": 2})).await, json!([{"n": 1}]));
    // Two queries with the same text, but for their parameters' names.
    assert_eq!(tester.rows("SELECT @b + 1", &json!({"b": 1})).await, json!([{"@b + 1": 2}]));
    assert_eq!(tester.rows("SELECT @c + 1", &json!({"c": 1})).await, json!([{"@c + 1": 2}]));
}

#[tokio::test]
async fn a_read_cannot_write() {
    let tester =
        Tester::new("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1); PRAGMA user_version = 7;").await;
    for text in [
        "INSERT INTO t VALUES (2)",
        "UPDATE t SET a = 2",
        "DELETE FROM t RETURNING a",
        "WITH b AS (SELECT 2 AS a) INSERT INTO t SELECT a FROM b",
        "SELECT 1; DELETE FROM t",
        "CREATE TABLE u (a)",
        "CREATE TEMP TABLE u (a)",
        "DROP TABLE t",
        "ANALYZE",
    ] {
        let error = tester.error(text, true).await;
        assert!(error.contains("readonly database"), "{text}: {error}");
    }
    assert_eq!(tester.rows("SELECT a FROM t", &json!({})).await, json!([{"a": 1}]));
}

#[tokio::test]
async fn pragma_functions_change_nothing() {
    let tester =
        Tester::new("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1); PRAGMA user_version = 7;").await;
    let names = tester.rows("SELECT name FROM pragma_pragma_list", &json!({})).await;
    for name in names.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()) {
        // Many of them aren't functions, and few take arguments: none may have an effect.
        for text in [
            format!("SELECT * FROM pragma_{name}"),
            format!("SELECT * FROM pragma_{name}(1)"),
            format!("SELECT * FROM pragma_{name}('wal')"),
            format!("SELECT * FROM pragma_{name} WHERE arg = 'wal'"),
        ] {
            let _ = tester.run(&text, &json!({}), true).await;
        }
    }
    assert_eq!(tester.rows("SELECT * FROM pragma_query_only", &json!({})).await, json!([{"query_only": 1}]));
    assert_eq!(
        tester.rows("SELECT * FROM pragma_trusted_schema", &json!({})).await,
        json!([{"trusted_schema": 0}])
    );
    assert_eq!(
        tester.rows("SELECT * FROM pragma_user_version", &json!({})).await,
        json!([{"user_version": 7}])
    );
    let mode = tester.rows("SELECT * FROM pragma_journal_mode", &json!({})).await;
    assert_eq!(mode, json!([{"journal_mode": "delete"}]));
    assert!(tester.error("DELETE FROM t", true).await.contains("readonly"));
    let files = fs::read_dir(tester.folder.path()).unwrap().count();
    assert_eq!(files, 1);
}

#[tokio::test]
async fn functions_that_leave_the_database_are_out_of_reach() {
    let tester = Tester::new("CREATE TABLE t (a)").await;
    for (text, expected) in [
        ("SELECT load_extension('x')", "not authorized"),
        ("SELECT readfile('/etc/passwd')", "no such function"),
        ("SELECT writefile('/tmp/x', 'x')", "no such function"),
        ("SELECT edit('x')", "no such function"),
        ("SELECT fts3_tokenizer('simple')", "isn't allowed"),
        ("SELECT * FROM sqlite_dbpage", "no such table"),
        ("SELECT * FROM fsdir('/')", "no such table"),
    ] {
        for read_only in [true, false] {
            let error = tester.error(text, read_only).await;
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
    let error = tester.error("UPDATE sqlite_schema SET sql = ''", false).await;
    assert!(error.contains("may not be modified"), "{error}");
}

#[tokio::test]
async fn a_file_and_folder_that_are_write_protected_can_be_read() {
    let tester = Tester::new("CREATE TABLE t (a); INSERT INTO t VALUES (1);").await;
    let file = tester.folder.path().join("test.db");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(tester.folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(tester.rows("SELECT a FROM t", &json!({})).await, json!([{"a": 1}]));
    fs::set_permissions(tester.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn statements_are_one_transaction() {
    let tester = Tester::new("CREATE TABLE t (a INTEGER UNIQUE); INSERT INTO t VALUES (1);").await;
    let written = tester
        .write(
            "INSERT INTO t VALUES (@a); UPDATE t SET a = a + 10; SELECT a FROM t ORDER BY a",
            &json!({"a": 2}),
        )
        .await;
    assert_eq!(written["rows"], json!([{"a": 11}, {"a": 12}]));
    assert_eq!(written["rowsAffected"], 3);
    let error =
        tester.error("DELETE FROM t; INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)", false).await;
    assert!(error.contains("UNIQUE constraint failed: t.a"), "{error}");
    tester.error("DELETE FROM t; SELECT * FROM none", false).await;
    assert_eq!(tester.rows("SELECT count(*) AS n FROM t", &json!({})).await, json!([{"n": 2}]));
    let returned = tester.write("DELETE FROM t WHERE a > @a RETURNING a", &json!({"a": 11})).await;
    assert_eq!(returned["rows"], json!([{"a": 12}]));
    assert_eq!(returned["rowsAffected"], 1);
    let with =
        tester.write("WITH b AS (SELECT 5 AS a) INSERT INTO t SELECT a FROM b WHERE a > 5", &json!({})).await;
    assert_eq!(with["rowsAffected"], 0);
    let guarded = "UPDATE t SET a = 99 WHERE a = @a; SELECT a FROM t WHERE changes() > 0";
    assert_eq!(tester.write(guarded, &json!({"a": 11})).await["rows"], json!([{"a": 99}]));
    assert_eq!(tester.write(guarded, &json!({"a": 11})).await["rows"], json!([]));
    let only_read = tester.write("SELECT a FROM t", &json!({})).await;
    assert_eq!(only_read.get("rowsAffected"), None);
}

#[tokio::test]
async fn foreign_keys_and_triggers_hold() {
    let tester = Tester::new(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, n INTEGER CHECK (n > 0), m INTEGER NOT NULL DEFAULT 1);
         CREATE TABLE b (a INTEGER REFERENCES a (id));",
    )
    .await;
    for (text, code, constraint) in [
        ("INSERT INTO b VALUES (1)", "787", None),
        ("INSERT INTO a (n) VALUES (0)", "275", Some("n > 0")),
        ("INSERT INTO a (m) VALUES (NULL)", "1299", Some("a.m")),
        ("INSERT INTO a (id) VALUES (1), (1)", "1555", Some("a.id")),
        ("SELECT 1 FORM t", "1", None),
    ] {
        let error = tester.run(text, &json!({}), false).await.unwrap_err();
        let SqlError::Database(error) = error else { panic!("{text}: {error}") };
        assert_eq!(error.code.as_deref(), Some(code), "{text}: {}", error.message);
        assert_eq!(error.details.get("constraint").and_then(Value::as_str), constraint, "{text}");
    }
    let trigger = "CREATE TRIGGER c AFTER INSERT ON a BEGIN INSERT INTO b VALUES (NEW.id); END; INSERT INTO a (id) VALUES (5)";
    tester.write(trigger, &json!({})).await;
    assert_eq!(tester.rows("SELECT * FROM b", &json!({})).await, json!([{"a": 5}]));
}

#[tokio::test]
async fn virtual_tables_work_and_are_searched() {
    let tester = Tester::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE VIRTUAL TABLE f USING fts5 (a, content=t, content_rowid=id);
         CREATE TRIGGER c AFTER INSERT ON t BEGIN INSERT INTO f (rowid, a) VALUES (NEW.id, NEW.a); END;",
    )
    .await;
    tester.write("INSERT INTO t (a) VALUES (@a)", &json!({"a": "a quiet room"})).await;
    let found = tester.rows("SELECT rowid AS id, a FROM f WHERE f MATCH @q", &json!({"q": "quiet"})).await;
    assert_eq!(found, json!([{"id": 1, "a": "a quiet room"}]));
    let columns = "SELECT c.name, CAST(c.pk > 0 AS BOOLEAN) AS key FROM pragma_table_list l
                   JOIN pragma_table_info(l.name) c WHERE l.name = 't' ORDER BY c.cid";
    let expected = json!([{"name": "id", "key": true}, {"name": "a", "key": false}]);
    assert_eq!(tester.rows(columns, &json!({})).await, expected);
}

#[tokio::test]
async fn schemas_may_change_between_queries_and_in_them() {
    let tester = Tester::new("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1);").await;
    let all = "SELECT * FROM t";
    assert_eq!(tester.rows(all, &json!({})).await, json!([{"a": 1}]));
    let mut other = tester.other().await;
    execute(&mut other, "ALTER TABLE t ADD COLUMN b DECIMAL(4,1) DEFAULT 2").await;
    assert_eq!(tester.rows(all, &json!({})).await, json!([{"a": 1, "b": "2.0"}]));
    execute(&mut other, "DROP TABLE t; CREATE TABLE t (c BOOLEAN); INSERT INTO t VALUES (1)").await;
    assert_eq!(tester.rows(all, &json!({})).await, json!([{"c": true}]));
    let within = "SELECT * FROM t; ALTER TABLE t ADD COLUMN d DATE; SELECT * FROM t";
    assert_eq!(tester.write(within, &json!({})).await["rows"], json!([{"c": true, "d": null}]));
    tester.error("ALTER TABLE t DROP COLUMN d; SELECT * FROM t; SELECT * FROM none", false).await;
    assert_eq!(tester.rows(all, &json!({})).await, json!([{"c": true, "d": null}]));
}

#[tokio::test]
async fn nothing_is_left_for_the_next_query() {
    let tester = Tester::new("CREATE TABLE t (a INTEGER PRIMARY KEY);").await;
    let temporary =
        "CREATE TEMP TABLE u (a DATE); INSERT INTO u VALUES ('2026-11-20 08:00'); SELECT * FROM u";
    for _ in 0..3 {
        assert_eq!(tester.write(temporary, &json!({})).await["rows"], json!([{"a": "2026-11-20T08:00:00"}]));
    }
    tester.write("INSERT INTO t VALUES (41); CREATE TEMP VIEW t AS SELECT 1", &json!({})).await;
    let seen = "SELECT last_insert_rowid() AS id, changes() AS n, (SELECT count(*) FROM sqlite_temp_schema) AS temporary";
    for read_only in [true, false] {
        let seen = tester.run(seen, &json!({}), read_only).await.unwrap();
        assert_eq!(seen["rows"], json!([{"id": 0, "n": 0, "temporary": 0}]));
    }
    assert_eq!(tester.rows("SELECT a FROM t", &json!({})).await, json!([{"a": 41}]));
}

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";

#[tokio::test]
async fn reading_stops_at_the_most_rows() {
    let mut tester = Tester::new("CREATE TABLE t (a INTEGER)").await;
    tester.max_rows = 3;
    for _ in 0..5 {
        let result = tester.read(&format!("{ENDLESS} SELECT i FROM n"), &json!({})).await;
        assert_eq!(result["rows"], json!([{"i": 1}, {"i": 2}, {"i": 3}]));
        assert_eq!(result["truncated"], true);
    }
    // The fourth row is long in coming: nobody waits for a fifth.
    let slow = format!("{ENDLESS} SELECT i FROM n WHERE i <= 4 OR i > 100000000000");
    let begun = Instant::now();
    assert_eq!(tester.read(&slow, &json!({})).await["truncated"], true);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let written = format!("INSERT INTO t {ENDLESS} SELECT i FROM n LIMIT 10 RETURNING a");
    let written = tester.run(&written.replace("INSERT INTO t WITH", "WITH"), &json!({}), false).await;
    assert!(written.is_err());
    let written = tester.write("INSERT INTO t VALUES (1), (2), (3), (4), (5) RETURNING a", &json!({})).await;
    assert_eq!((&written["truncated"], &written["rowsAffected"]), (&json!(true), &json!(5)));
    assert_eq!(tester.rows("SELECT count(*) AS n FROM t", &json!({})).await, json!([{"n": 5}]));
}

#[tokio::test]
async fn a_large_result_is_refused_and_a_write_of_it_undone() {
    let tester = Tester::new("CREATE TABLE t (a)").await;
    let large = "INSERT INTO t VALUES (hex(zeroblob(1000000))); SELECT a FROM t";
    let error = tester.run(large, &json!({}), false).await.unwrap_err();
    assert!(matches!(error, SqlError::Exceeded(Exceeded::Result(_))), "{error}");
    assert_eq!(tester.rows("SELECT count(*) AS n FROM t", &json!({})).await, json!([{"n": 0}]));
    let error = tester.run("SELECT hex(zeroblob(1000000)) AS a", &json!({}), true).await.unwrap_err();
    assert!(matches!(error, SqlError::Exceeded(Exceeded::Result(_))), "{error}");
    assert_eq!(tester.rows("SELECT 1 AS a", &json!({})).await, json!([{"a": 1}]));
}

#[tokio::test]
async fn a_query_without_end_is_ended() {
    let tester = Tester::with_timeout("CREATE TABLE t (a)", Duration::from_millis(300)).await;
    for (text, read_only) in [
        (format!("{ENDLESS} SELECT count(*) FROM n"), true),
        (format!("{ENDLESS} SELECT i FROM n WHERE i < 0"), false),
        (format!("INSERT INTO t SELECT * FROM ({ENDLESS} SELECT i FROM n)"), false),
    ] {
        let begun = Instant::now();
        let error = tester.run(&text, &json!({}), read_only).await.unwrap_err();
        assert!(matches!(error, SqlError::TimedOut(_)), "{text}: {error}");
        assert!(begun.elapsed() < Duration::from_millis(600), "{text}: {:?}", begun.elapsed());
    }
    // Its threads end, and with them what they had open.
    let begun = Instant::now();
    while tester.n_open() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(5), "{} are open", tester.n_open());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(tester.rows("SELECT count(*) AS n FROM t", &json!({})).await, json!([{"n": 0}]));
}

#[tokio::test]
async fn a_query_that_nobody_waits_for_is_ended() {
    let tester = Tester::new("CREATE TABLE t (a)").await;
    let cancellation = Cancellation::default();
    let endless = format!("{ENDLESS} SELECT count(*) FROM n");
    let arguments = json!({});
    let (ended, ()) =
        tokio::join!(tester.run_cancellable(&endless, &arguments, true, &cancellation), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            cancellation.cancel();
        });
    assert!(matches!(ended, Err(SqlError::Cancelled)), "{ended:?}");
    let begun = Instant::now();
    while tester.n_open() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(5), "{} are open", tester.n_open());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_lock_is_waited_for() {
    let tester = Tester::with_timeout("CREATE TABLE t (a)", Duration::from_secs(1)).await;
    assert_eq!(tester.rows("SELECT a FROM t", &json!({})).await, json!([]));
    let mut other = tester.other().await;
    execute(&mut other, "BEGIN EXCLUSIVE").await;
    for (text, read_only) in [("SELECT a FROM t", true), ("INSERT INTO t VALUES (1)", false)] {
        let error = tester.error(text, read_only).await;
        assert!(error.contains("database is locked (another program"), "{text}: {error}");
    }
    let arguments = json!({});
    let (written, read, ()) = tokio::join!(
        tester.write("INSERT INTO t VALUES (1)", &arguments),
        tester.read("SELECT count(*) FROM t", &arguments),
        async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            execute(&mut other, "COMMIT").await;
        }
    );
    assert_eq!((&written["rowsAffected"], &read["rowCount"]), (&json!(1), &json!(1)));
    // A reader that began earlier holds a commit up.
    execute(&mut other, "BEGIN; SELECT * FROM t").await;
    let (written, ()) = tokio::join!(tester.write("INSERT INTO t VALUES (2)", &arguments), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        execute(&mut other, "COMMIT").await;
    });
    assert_eq!(written["rowsAffected"], 1);
    assert_eq!(tester.rows("SELECT a FROM t", &json!({})).await, json!([{"a": 1}, {"a": 2}]));
}

#[tokio::test]
async fn writes_side_by_side_all_happen() {
    let tester = Tester::new("CREATE TABLE t (a); INSERT INTO t VALUES (0);").await;
    let arguments = json!({});
    let write = || tester.write("UPDATE t SET a = a + 1", &arguments);
    for _ in 0..5 {
        tokio::join!(write(), write(), write(), write());
    }
    assert_eq!(tester.rows("SELECT a FROM t", &json!({})).await, json!([{"a": 20}]));
}

#[tokio::test]
async fn a_journal_stays_what_it_is() {
    let tester =
        Tester::new("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1);").await;
    assert_eq!(tester.rows("SELECT a FROM t", &json!({})).await, json!([{"a": 1}]));
    tester.write("INSERT INTO t VALUES (2)", &json!({})).await;
    let seen = "SELECT count(*) AS n, (SELECT journal_mode FROM pragma_journal_mode) AS mode FROM t";
    assert_eq!(tester.rows(seen, &json!({})).await, json!([{"n": 2, "mode": "wal"}]));
}

#[tokio::test]
async fn what_a_dying_writer_left_is_undone() {
    let tester = Tester::new(
        "CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         INSERT INTO t SELECT hex(zeroblob(500)) FROM n;",
    )
    .await;
    let mut writer = tester.other().await;
    // More pages than the cache holds: they are in the file before the commit.
    execute(&mut writer, "PRAGMA cache_size = 1; BEGIN; UPDATE t SET a = 'half'").await;
    let crashed = tempfile::tempdir().unwrap();
    for name in ["test.db-journal", "test.db"] {
        fs::copy(tester.folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    let tester = Tester {
        database: database(&crashed, Duration::from_secs(5)).unwrap(),
        folder: crashed,
        query_timeout: Duration::from_secs(5),
        max_rows: 10,
    };
    let seen = "SELECT count(*) AS n FROM t WHERE a = 'half'";
    assert_eq!(tester.rows(seen, &json!({})).await, json!([{"n": 0}]));
}

#[tokio::test]
async fn another_file_in_the_place_is_noticed() {
    let tester = Tester::new("CREATE TABLE t (a); INSERT INTO t VALUES ('old');").await;
    assert_eq!(tester.rows("SELECT a FROM t", &json!({})).await, json!([{"a": "old"}]));
    let newer = Tester::new("CREATE TABLE t (a); INSERT INTO t VALUES ('new');").await;
    let file = tester.folder.path().join("test.db");
    fs::copy(newer.folder.path().join("test.db"), file.with_extension("new")).unwrap();
    fs::rename(file.with_extension("new"), &file).unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(tester.rows("SELECT a FROM t", &json!({})).await, json!([{"a": "new"}]));
    fs::remove_file(&file).unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let error = tester.error("SELECT a FROM t", true).await;
    assert!(error.contains("\"test.db\" can't be reached: No such file"), "{error}");
    assert!(!file.exists());
}

#[tokio::test]
async fn a_file_that_is_no_database_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("test.db"), "no database, but longer than the header of one\n".repeat(100))
        .unwrap();
    let database = database(&folder, Duration::from_secs(5)).unwrap();
    let tester = Tester { folder, database, query_timeout: Duration::from_secs(5), max_rows: 10 };
    let error = tester.error("SELECT 1", true).await;
    assert!(error.contains("file is not a database"), "{error}");
}

#[tokio::test]
async fn texts_in_other_encodings() {
    let tester = Tester::new(
        "PRAGMA encoding = 'UTF-16'; CREATE TABLE t (a, d DATE); INSERT INTO t VALUES ('é😀', '2026-11-20 08:00');",
    )
    .await;
    let rows = tester.rows("SELECT * FROM t WHERE a = @a", &json!({"a": "é😀"})).await;
    assert_eq!(rows, json!([{"a": "é😀", "d": "2026-11-20T08:00:00"}]));
    let tester = Tester::new("CREATE TABLE t (a TEXT); INSERT INTO t VALUES (CAST(x'ff41' AS TEXT));").await;
    let error = tester.error("SELECT a FROM t", true).await;
    assert!(error.contains("\"a\" holds a text that isn't UTF-8"), "{error}");
    assert_eq!(tester.rows("SELECT CAST(a AS BLOB) AS a FROM t", &json!({})).await, json!([{"a": "/0E="}]));
}

#[tokio::test]
async fn memory_is_bounded() {
    let tester = Tester::new("CREATE TABLE t (a)").await;
    for text in [
        "SELECT length(hex(zeroblob(400000000))) AS a",
        "SELECT length(replace(hex(zeroblob(10000000)), '0', hex(zeroblob(100)))) AS a",
    ] {
        let error = tester.error(text, true).await;
        assert!(error.contains("out of memory") || error.contains("too big"), "{error}");
    }
    assert_eq!(tester.rows("SELECT 1 AS a", &json!({})).await, json!([{"a": 1}]));
}
