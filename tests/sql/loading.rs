//! What `check` says of queries, as a person sees it: golden files in tests/cases/sql.

use std::path::Path;
use std::{env, fs};

use serde_json::{Value, json};

use crate::workspace::Workspace;

/// Each case's connector: its engine and operations.
fn cases() -> Vec<(&'static str, Value)> {
    let operation = |query: &str, names: &[&str]| {
        let properties: serde_json::Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
        json!({"name": "go", "query": query, "parametersSchema": {"properties": properties}})
    };
    vec![
        ("unknown-placeholder", json!(["postgres", [operation("SELECT 1\nWHERE 'x' = @nmae", &["name"])]])),
        ("unused-parameter", json!(["sqlite", [operation("SELECT @a AS a", &["a", "b"])]])),
        ("transaction-control", json!(["mysql", [operation("START TRANSACTION; SELECT 1; COMMIT", &[])]])),
        ("bind-variable", json!(["postgres", [operation("SELECT $1 AS a, @a AS b", &["a"])]])),
        ("unterminated", json!(["mysql", [operation("SELECT 'never ends", &[])]])),
        (
            "pragma-and-attach",
            json!(["sqlite", [operation("PRAGMA journal_mode = DELETE; ATTACH 'x' AS y", &[])]]),
        ),
        ("batch-separator", json!(["mssql", [operation("SELECT 1\nGO\nCOMMIT", &[])]])),
        ("no-statement", json!(["sqlite", [operation("-- nothing\n;", &[])]])),
        ("no-query", json!(["sqlite", [{"name": "go"}]])),
        ("no-operation", json!(["sqlite", []])),
        ("unknown-engine", json!(["oracle", [operation("SELECT 1", &[])]])),
        ("taken-name", json!(["sqlite", [{"name": "introspect_tables", "query": "SELECT 1"}]])),
        (
            "own-variables",
            json!([
                "mysql",
                [operation(
                    "SET @total := 5; SELECT @total AS total, @@version_comment AS v, 'a@name.org' AS m, @name AS n",
                    &["name"]
                )]
            ]),
        ),
    ]
}

#[test]
fn check_says_what_is_wrong_with_queries() {
    let here = Workspace::new();
    for (name, case) in cases() {
        let manifest = json!({
            "title": "Test", "type": "sql", "authMethod": "none",
            "sqlConnectionConfig": {"engine": case[0]}, "sqlOperations": case[1],
        });
        here.write(&format!("{name}/config.json"), format!("{manifest:#}\n"));
        let ran = here.run(&["check", name]);
        let found = format!("exit status: {}\n{}{}", ran.status.unwrap(), ran.stdout, ran.stderr);
        check_golden(name, &found);
    }
}

/// Compares with tests/cases/sql/<name>.txt; `BLESS=1` rewrites it.
#[track_caller]
fn check_golden(name: &str, found: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/sql").join(format!("{name}.txt"));
    if env::var_os("BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, found).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == expected,
        "{name}: expected\n{expected}\nfound\n{found}\nBLESS=1 rewrites {}",
        file.display()
    );
}
