//! The columns of results: many, of one name, without a name, and what types they are said to have.

use serde_json::{Value, json};

use crate::support::{Kind, Place, check, on_each_engine};

on_each_engine!(wide_tables, duplicate_names, types_are_named, empty_results);

const N_COLUMNS: usize = 500;

fn wide_tables(place: &Place) {
    let columns: Vec<String> = (0..N_COLUMNS).map(|n| format!("c{n}")).collect();
    let values: Vec<String> = (0..N_COLUMNS).map(|n| n.to_string()).collect();
    place.execute(&format!(
        "CREATE TABLE wide ({} integer); INSERT INTO wide VALUES ({})",
        columns.join(" integer, "),
        values.join(", ")
    ));
    let result = place.read("SELECT * FROM wide").value();
    let row = result["rows"][0].as_object().unwrap();
    let names: Vec<&String> = row.keys().collect();
    assert_eq!(names, columns.iter().collect::<Vec<_>>(), "{place:?}");
    assert!(row.values().enumerate().all(|(n, value)| *value == json!(n)), "{place:?}: {row:?}");
    assert_eq!(result["columns"].as_array().unwrap().len(), N_COLUMNS);
    let names: Vec<Value> =
        result["columns"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(json!(names), json!(columns));
}

fn duplicate_names(place: &Place) {
    place.execute(
        "CREATE TABLE a (id integer, name varchar(5)); INSERT INTO a VALUES (1, 'x');
         CREATE TABLE b (id integer, name varchar(5)); INSERT INTO b VALUES (2, 'y')",
    );
    let joined = place.read("SELECT * FROM a, b").value();
    check(
        format!("{place:?} join"),
        &joined["rows"],
        &json!([{"id": 1, "name": "x", "id_2": 2, "name_2": "y"}]),
    );
    let names: Vec<&Value> = joined["columns"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    check(format!("{place:?} join's columns"), &json!(names), &json!(["id", "name", "id_2", "name_2"]));
    if place.kind != Kind::Postgres {
        let empty = place.pick("SELECT 1 AS \"\", 2 AS \"\", 3 AS x", "", "SELECT 1 AS ``, 2 AS ``, 3 AS x");
        check(
            format!("{place:?} {empty}"),
            &place.read(empty).rows(),
            &json!([{"column_1": 1, "column_2": 2, "x": 3}]),
        );
    }
    let odd = place.pick(
        "SELECT 1 AS \"Two Words\", 2 AS \"q\"\"uote\", 3 AS \"ünï\"",
        "SELECT 1 AS \"Two Words\", 2 AS \"q\"\"uote\", 3 AS \"ünï\"",
        "SELECT 1 AS `Two Words`, 2 AS `q\"uote`, 3 AS `ünï`",
    );
    check(
        format!("{place:?} {odd}"),
        &place.read(odd).rows(),
        &json!([{"Two Words": 1, "q\"uote": 2, "ünï": 3}]),
    );
}

fn types_are_named(place: &Place) {
    place.execute("CREATE TABLE t (a integer, b varchar(10), c decimal(10,2), d date, e boolean)");
    let result = place.read("SELECT * FROM t").value();
    let types: Vec<&str> =
        result["columns"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    assert!(
        types.iter().all(|name| !name.is_empty() && *name == name.to_lowercase()),
        "{place:?}: {types:?}"
    );
    assert!(types[0].starts_with("int") && types[3] == "date", "{place:?}: {types:?}");
    check(format!("{place:?}"), &result["rows"], &json!([]));
}

/// The shape is the same whether or not there is anything in it.
fn empty_results(place: &Place) {
    place.execute("CREATE TABLE t (a integer)");
    let read = place.read("SELECT a FROM t").value();
    let shape = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(shape(&read), ["rows", "rowCount", "truncated", "columns"], "{place:?}");
    assert_eq!((&read["rowCount"], &read["truncated"]), (&json!(0), &json!(false)));
    let written = place.write("DELETE FROM t").value();
    let expected = json!({"rows": [], "rowCount": 0, "rowsAffected": 0, "truncated": false, "columns": []});
    check(format!("{place:?} DELETE"), &written, &expected);
}
