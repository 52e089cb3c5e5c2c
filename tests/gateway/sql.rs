//! SQL connectors through the gateway, on real PostgreSQL and MariaDB.

use portcullis_test_servers::{Database, mariadb, postgres};
use serde_json::{Value, json};

use crate::support::Place;

fn guests(engine: &str) -> (Value, String) {
    let manifest = json!({
        "title": "Guests", "version": 1, "type": "sql", "authMethod": "basic_auth",
        "sqlConnectionConfig": {"engine": engine},
        "sqlOperations": [
            {"name": "find", "query": "SELECT id, name FROM guest WHERE name = @name",
             "parametersSchema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
            {"name": "add", "operationType": "write", "requiresApproval": false,
             "query": "INSERT INTO guest (id, name) VALUES (@id, @name)",
             "parametersSchema": {"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"}}}},
        ],
    });
    (manifest, String::new())
}

#[track_caller]
fn check(engine: &str, database: &Database) {
    database.execute("CREATE TABLE guest (id int, name varchar(50)); INSERT INTO guest VALUES (1, 'Ada');");
    let place = Place::sqlite();
    place.write("integrations/guests/config.json", guests(engine).0.to_string());
    let server = place.start();
    let ada = server.user("ada");
    let connection = |password: &str| {
        json!({
            "integration": "guests", "mode": "basic_auth", "name": "Hotel",
            "credentials": {"username": database.user(), "password": password},
            "config": {"server": "127.0.0.1", "port": database.port(), "database": database.name()},
        })
    };
    let refused =
        ada.post("/api/tools/connections", connection("wrong")).refuses(422, "CONNECTION_TEST_FAILED");
    assert!(!refused.to_string().contains(database.password()), "{refused}");
    ada.connect(connection(database.password()));
    let found = ada.result("guests__find", json!({"name": "Ada"}));
    assert_eq!((&found["rows"], &found["rowCount"]), (&json!([{"id": 1, "name": "Ada"}]), &json!(1)));
    ada.result("guests__add", json!({"id": 2, "name": "O'Hara; DROP TABLE guest"}));
    assert_eq!(database.query("SELECT name FROM guest WHERE id = 2"), [["O'Hara; DROP TABLE guest"]]);
    let tables = ada.result("guests__introspect_tables", json!({}));
    assert!(tables.to_string().contains("guest"), "{tables:#}");
    ada.error("INVALID_ARGUMENTS", "guests__find", json!({}));
}

#[test]
fn a_connection_to_postgres_reads_and_writes() {
    check("postgres", &postgres().create_database());
}

#[test]
fn a_connection_to_mariadb_reads_and_writes() {
    check("mysql", &mariadb().create_database());
}
