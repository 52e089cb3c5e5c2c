//! `introspect_tables` and `introspect_columns`, the same on every engine, and the test of a connection.

use portcullis_runtime::ErrorCode;
use portcullis_runtime::manifest::OperationType;
use serde_json::{Value, json};

use crate::support::{Place, check, on_each_engine};

on_each_engine!(tables_and_columns, the_manifest_lists_both, connections_are_tested);

/// Names that need quoting, keys of one and two columns, defaults, a view.
fn create(place: &Place) {
    let sql = "
        CREATE TABLE `Guest's \"Book\"` (`Id` integer NOT NULL PRIMARY KEY, `Full Name` varchar(40) NOT NULL, `o'clock` date,
            `select` integer DEFAULT 5, price decimal(10,2));
        CREATE TABLE plain (a integer NOT NULL, b integer NOT NULL, `ünï` varchar(10), PRIMARY KEY (a, b));
        CREATE VIEW `A View` AS SELECT a AS `Only Column` FROM plain;";
    // In PostgreSQL and SQLite a quoted name is in double quotes, each of which in the name is doubled.
    let standard = sql.replace("`Guest's \"Book\"`", "`Guest's \"\"Book\"\"`").replace('`', "\"");
    place.execute(&place.pick(standard.clone(), standard, sql.to_owned()));
}

/// The operation's rows for these filters, with the schema's name, which each engine has its own for, as `S`.
fn rows(place: &Place, operation: &str, filters: Value) -> Value {
    let mut case = place.read("SELECT 1").operation(Some(operation));
    case.call.arguments = filters;
    let mut rows = case.rows();
    for row in rows.as_array_mut().unwrap() {
        assert_eq!(row["schemaName"], json!(schema(place)), "{row}");
        row["schemaName"] = json!("S");
    }
    rows
}

fn schema(place: &Place) -> String {
    place.pick(
        "main".to_owned(),
        "public".to_owned(),
        match place.kind {
            crate::support::Kind::Sqlite => String::new(),
            _ => place.server().name().to_owned(),
        },
    )
}

fn tables_and_columns(place: &Place) {
    create(place);
    let table = |name: &str, kind: &str| json!({"schemaName": "S", "tableName": name, "tableType": kind});
    let (view, guests, plain) =
        (table("A View", "view"), table("Guest's \"Book\"", "table"), table("plain", "table"));
    // MariaDB has every database of the server: other tests' too.
    let own = json!({"schemaName": schema(place)});
    check(format!("{place:?} all"), &rows(place, "introspect_tables", own), &json!([view, guests, plain]));
    for (filters, expected) in [
        (json!({"tableName": "Guest's \"Book\"", "schemaName": schema(place)}), json!([guests])),
        (json!({"tableName": "A View", "schemaName": schema(place)}), json!([view])),
        (json!({"tableName": "Guest", "schemaName": schema(place)}), json!([])),
        (json!({"tableName": "pla%", "schemaName": schema(place)}), json!([])),
        (json!({"schemaName": "no such"}), json!([])),
        (json!({"schemaName": "' OR 1=1 --"}), json!([])),
    ] {
        check(format!("{place:?} {filters}"), &rows(place, "introspect_tables", filters.clone()), &expected);
    }
    let guests = rows(
        place,
        "introspect_columns",
        json!({"tableName": "Guest's \"Book\"", "schemaName": schema(place)}),
    );
    let column = |name: &str,
                  position: u32,
                  kind: [&str; 3],
                  nullable: bool,
                  default: Value,
                  is_key: bool| {
        json!({"schemaName": "S", "tableName": "Guest's \"Book\"", "columnName": name, "position": position,
            "dataType": place.pick(kind[0], kind[1], kind[2]), "nullable": nullable, "defaultValue": default, "primaryKey": is_key})
    };
    // MariaDB writes the default NULL where there is none to a column that may be NULL.
    let none = || place.pick(json!(null), json!(null), json!("NULL"));
    let expected = json!([
        column("Id", 1, ["integer", "integer", "int(11)"], false, json!(null), true),
        column(
            "Full Name",
            2,
            ["varchar(40)", "character varying(40)", "varchar(40)"],
            false,
            json!(null),
            false
        ),
        column("o'clock", 3, ["date", "date", "date"], true, none(), false),
        column("select", 4, ["integer", "integer", "int(11)"], true, json!("5"), false),
        column("price", 5, ["decimal(10,2)", "numeric(10,2)", "decimal(10,2)"], true, none(), false),
    ]);
    check(format!("{place:?} columns"), &guests, &expected);
    let all = rows(place, "introspect_columns", json!({"schemaName": schema(place)}));
    let brief: Vec<Value> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|row| json!([row["columnName"], row["position"], row["primaryKey"]]))
        .collect();
    let expected = json!([
        ["Only Column", 1, false],
        ["Id", 1, true],
        ["Full Name", 2, false],
        ["o'clock", 3, false],
        ["select", 4, false],
        ["price", 5, false],
        ["a", 1, true],
        ["b", 2, true],
        ["ünï", 3, false],
    ]);
    check(format!("{place:?} all columns"), &json!(brief), &expected);
}

fn the_manifest_lists_both(place: &Place) {
    let connector = place.write("DELETE FROM t").load().connector;
    let listed: Vec<_> = connector
        .manifest()
        .operations
        .iter()
        .map(|operation| (operation.name.as_str(), operation.operation_type))
        .collect();
    let read = OperationType::Read;
    assert_eq!(
        listed,
        [("run", OperationType::Write), ("introspect_tables", read), ("introspect_columns", read)]
    );
    for operation in ["introspect_tables", "introspect_columns"] {
        let mut unknown = place.read("SELECT 1").operation(Some(operation));
        unknown.call.arguments = json!({"table": "x"});
        unknown.fails(ErrorCode::InvalidArguments);
    }
}

fn connections_are_tested(place: &Place) {
    let tested = place.read("SELECT broken FROM nowhere").operation(None);
    check(format!("{place:?}"), &tested.value()["success"], &json!(true));
    let wrong = place.read("SELECT 1").operation(None).config(json!({"database": "no_such_database"}));
    let error = wrong.fails(ErrorCode::ProviderError);
    assert!(error.message.contains("no_such_database"), "{error:#?}");
}
