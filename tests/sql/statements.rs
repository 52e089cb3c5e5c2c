//! Queries of several statements: in order, in one transaction, with the last result, and nothing left after an error.

use portcullis_runtime::ErrorCode;
use serde_json::json;

use crate::support::{Kind, Place, check, on_each_engine, on_each_server};

on_each_engine!(
    results_of_several,
    errors_roll_back,
    violations_are_told,
    parameters_in_several,
    schemas_may_change
);
on_each_server!(procedures);

const HOTEL: &str = "
    CREATE TABLE room (id integer PRIMARY KEY, name varchar(20) UNIQUE, price decimal(10,2) CHECK (price >= 0));
    INSERT INTO room VALUES (1, 'Garden', 80.00), (2, 'Sea', 120.00), (3, 'Attic', 60.00);
    CREATE TABLE stay (id integer PRIMARY KEY, room_id integer NOT NULL, FOREIGN KEY (room_id) REFERENCES room (id));";

fn hotel(place: &Place) {
    place.execute(HOTEL);
}

/// The rows are those of the last statement with columns, and the changes of all count.
fn results_of_several(place: &Place) {
    hotel(place);
    let id = place.pick("last_insert_rowid()", "(SELECT max(id) FROM room)", "(SELECT max(id) FROM room)");
    let insert = "INSERT INTO room (id, name, price) VALUES (4, @name, @price)";
    let select = format!("SELECT id, name, price FROM room WHERE id = {id}");
    for (query, expected) in [
        (
            format!("{insert}; {select}"),
            json!({"rows": [{"id": 4, "name": "Tower", "price": "99.90"}], "rowCount": 1, "rowsAffected": 1}),
        ),
        (
            "UPDATE room SET price = price + 1 WHERE id <= 2; SELECT id, price FROM room WHERE id <= 2 ORDER BY id;".to_owned(),
            json!({"rows": [{"id": 1, "price": "81.00"}, {"id": 2, "price": "121.00"}], "rowCount": 2, "rowsAffected": 2}),
        ),
        (
            "SELECT 1 AS first; SELECT 2 AS second; DELETE FROM room WHERE id = 4".to_owned(),
            json!({"rows": [{"second": 2}], "rowCount": 1, "rowsAffected": 1}),
        ),
        (
            "SELECT 1 AS a; SELECT id FROM room WHERE id = 99".to_owned(),
            json!({"rows": [], "rowCount": 0, "rowsAffected": null}),
        ),
        (
            "UPDATE room SET price = 1 WHERE id = 1; UPDATE room SET price = 2 WHERE id IN (1, 2); DELETE FROM room WHERE id = 3".to_owned(),
            json!({"rows": [], "rowCount": 0, "rowsAffected": 4}),
        ),
        (
            "INSERT INTO room (id, name, price) VALUES (5, 'a', 1), (6, 'b', 2) RETURNING id, name".to_owned(),
            json!({"rows": [{"id": 5, "name": "a"}, {"id": 6, "name": "b"}], "rowCount": 2, "rowsAffected": 2}),
        ),
        (
            "DELETE FROM room WHERE id >= 5 RETURNING id".to_owned(),
            json!({"rows": [{"id": 5}, {"id": 6}], "rowCount": 2, "rowsAffected": 2}),
        ),
        (
            "; ;SELECT 1 AS a;; -- the end\n; /* of it */".to_owned(),
            json!({"rows": [{"a": 1}], "rowCount": 1, "rowsAffected": null}),
        ),
    ] {
        let case = place.write(&query).declare(json!({"name": {}, "price": {}}));
        let mut result = case.with(json!({"name": "Tower", "price": "99.90"})).value();
        let found = json!({"rows": result["rows"].take(), "rowCount": result["rowCount"], "rowsAffected": result["rowsAffected"]});
        check(format!("{place:?} {query}"), &found, &expected);
    }
    check(
        "committed",
        &json!(place.query("SELECT id, price FROM room ORDER BY id")),
        &place.pick(
            json!([["1", "2"], ["2", "2"]]),
            json!([["1", "2.00"], ["2", "2.00"]]),
            json!([["1", "2.00"], ["2", "2.00"]]),
        ),
    );
    if place.kind == Kind::Postgres {
        let moved = "WITH gone AS (DELETE FROM room WHERE id = @id RETURNING *)
                     INSERT INTO room SELECT id + 10, name, price FROM gone RETURNING id";
        let result = place.write(moved).with(json!({"id": 2})).value();
        check(
            "a CTE that writes",
            &json!([result["rows"], result["rowsAffected"]]),
            &json!([[{"id": 12}], 1]),
        );
    }
}

/// Whatever fails, and however late, nothing remains of the call; what was there before stays.
fn errors_roll_back(place: &Place) {
    hotel(place);
    let before = place.query("SELECT id, name, price FROM room ORDER BY id");
    let late_error = place.pick(
        "SELECT abs(-9223372036854775807 - 1)",
        "SELECT 1 / 0",
        "SELECT 1 FROM room WHERE id = (SELECT id FROM room)",
    );
    for failing in [
        "INSERT INTO room VALUES (1, 'again', 1)",
        "INSERT INTO no_such_table VALUES (1)",
        "SELECT no_such_column FROM room",
        "THIS IS NOT SQL",
        "UPDATE room SET price = -1",
        "INSERT INTO stay VALUES (1, 99)",
        late_error,
    ] {
        let query = format!(
            "INSERT INTO room VALUES (7, 'Cellar', 10); UPDATE room SET price = 0 WHERE id = 1; DELETE FROM room WHERE id = 3; {failing}"
        );
        if failing.contains("stay") && place.kind == Kind::Sqlite && !is_enforcing_foreign_keys(place) {
            continue;
        }
        place.write(&query).fails(ErrorCode::ProviderError);
        assert_eq!(place.query("SELECT id, name, price FROM room ORDER BY id"), before, "{place:?} {query}");
    }
    // The same connection works on.
    let after = place.write("INSERT INTO room VALUES (7, 'Cellar', 10)").value();
    check(format!("{place:?} afterwards"), &after["rowsAffected"], &json!(1));
}

fn is_enforcing_foreign_keys(place: &Place) -> bool {
    place.read("SELECT * FROM pragma_foreign_keys").single() == json!(1)
}

/// The database's own message, its code, and nothing of ours in between.
fn violations_are_told(place: &Place) {
    hotel(place);
    for (query, message, state) in [
        (
            "INSERT INTO room VALUES (1, 'x', 1)",
            place.pick(
                "UNIQUE constraint failed: room.id",
                "duplicate key value violates unique constraint \"room_pkey\"",
                "Duplicate entry '1' for key 'PRIMARY'",
            ),
            place.pick("1555", "23505", "23000"),
        ),
        (
            "UPDATE room SET price = -1 WHERE id = 1",
            place.pick(
                "CHECK constraint failed",
                "violates check constraint \"room_price_check\"",
                "CONSTRAINT `room.price` failed",
            ),
            place.pick("275", "23514", "23000"),
        ),
        (
            "INSERT INTO stay VALUES (1, NULL)",
            place.pick(
                "NOT NULL constraint failed: stay.room_id",
                "null value in column \"room_id\"",
                "Column 'room_id' cannot be null",
            ),
            place.pick("1299", "23502", "23000"),
        ),
        (
            "SELECT no_column FROM room",
            place.pick(
                "no such column: no_column",
                "column \"no_column\" does not exist",
                "Unknown column 'no_column'",
            ),
            place.pick("1", "42703", "42S22"),
        ),
        (
            "SELEC 1",
            place.pick(
                "near \"SELEC\": syntax error",
                "syntax error at or near \"SELEC\"",
                "You have an error in your SQL syntax",
            ),
            place.pick("1", "42601", "42000"),
        ),
    ] {
        let error = place.write(query).fails(ErrorCode::ProviderError);
        assert!(error.message.contains(message), "{place:?} {query}: {error:#?}");
        let found = error.details.as_ref().and_then(|details| details.get("sqlState"));
        check(format!("{place:?} {query}"), &json!(found), &json!(state));
    }
    if place.kind == Kind::Postgres {
        place.execute(
            "CREATE TABLE booking (room_id int REFERENCES room (id) DEFERRABLE INITIALLY DEFERRED);",
        );
        let error =
            place.write("INSERT INTO booking VALUES (99); SELECT 1 AS a").fails(ErrorCode::ProviderError);
        assert!(error.message.contains("booking_room_id_fkey"), "at the commit: {error:#?}");
        check("at the commit", &error.details.unwrap()["sqlState"], &json!("23503"));
        assert_eq!(place.query_value("SELECT count(*) FROM booking"), "0");
    }
}

/// Each statement gets the values that it names, whatever those of the others are.
fn parameters_in_several(place: &Place) {
    hotel(place);
    let query = "INSERT INTO room (id, name, price) VALUES (@id, @name, @price);
                 UPDATE room SET price = @price, name = @other WHERE id = @id;
                 DELETE FROM room WHERE id = @gone;
                 SELECT id, name, price FROM room WHERE name = @other OR id = @gone";
    let arguments = json!({"gone": 1, "price": "5.50", "id": 8, "other": "it's; new", "name": "old"});
    let result = place.write(query).with(arguments).value();
    check(format!("{place:?}"), &result["rows"], &json!([{"id": 8, "name": "it's; new", "price": "5.50"}]));
    check(format!("{place:?}"), &result["rowsAffected"], &json!(3));
}

/// A table that is changed between two calls of one connection gives what it now has.
fn schemas_may_change(place: &Place) {
    place.execute("CREATE TABLE t (a integer); INSERT INTO t VALUES (1)");
    let all = place.read("SELECT * FROM t").load();
    let equal = place.read("SELECT count(*) AS n FROM t WHERE a = @a").with(json!({"a": "1"})).load();
    let insert = place
        .write("INSERT INTO t (a) VALUES (@a); SELECT * FROM t WHERE a = @a")
        .with(json!({"a": "5"}))
        .load();
    check(format!("{place:?} before"), &all.value()["rows"], &json!([{"a": 1}]));
    check(format!("{place:?} before"), &equal.value()["rows"], &json!([{"n": 1}]));
    check(format!("{place:?} before"), &insert.value()["rows"], &json!([{"a": 5}]));
    place.execute("DROP TABLE t; CREATE TABLE t (z integer, a varchar(10)); INSERT INTO t VALUES (7, '1')");
    check(format!("{place:?} after"), &all.value()["rows"], &json!([{"z": 7, "a": "1"}]));
    check(format!("{place:?} after"), &equal.value()["rows"], &json!([{"n": 1}]));
    check(format!("{place:?} after"), &insert.value()["rows"], &json!([{"z": null, "a": "5"}]));
    assert_eq!(place.query_value("SELECT count(*) FROM t"), "2", "{place:?}");
    place.execute("ALTER TABLE t ADD COLUMN more integer");
    let mut row = all.value()["rows"][0].clone();
    check(format!("{place:?} a column more"), &row["more"].take(), &json!(null));
    assert_eq!(row.as_object().unwrap().len(), 3, "{place:?}: {row}");
}

fn procedures(place: &Place) {
    hotel(place);
    place.execute(place.pick(
        "",
        "CREATE PROCEDURE retitle(room_id int, new_name text) LANGUAGE SQL AS 'UPDATE room SET name = new_name WHERE id = room_id';
         CREATE FUNCTION rooms_below(p numeric) RETURNS TABLE (id int, name varchar) LANGUAGE SQL AS
         'SELECT id, name FROM room WHERE price < p ORDER BY id';
         CREATE PROCEDURE fails(room_id int) LANGUAGE plpgsql AS $$ BEGIN
           UPDATE room SET name = 'changed' WHERE id = room_id; RAISE EXCEPTION 'no such luck' USING ERRCODE = 'P0042'; END $$;",
        "DELIMITER //
         CREATE PROCEDURE retitle(room_id int, new_name text) UPDATE room SET name = new_name WHERE id = room_id //
         CREATE PROCEDURE rooms_below(p decimal(10,2)) BEGIN SELECT id, name FROM room WHERE price < p ORDER BY id; END //
         CREATE PROCEDURE fails(room_id int) BEGIN
           UPDATE room SET name = 'changed' WHERE id = room_id; SIGNAL SQLSTATE '45042' SET MESSAGE_TEXT = 'no such luck'; END //
         DELIMITER ;",
    ));
    let renamed = place.write("CALL retitle(@id, @name); SELECT name FROM room WHERE id = @id");
    check(
        format!("{place:?} CALL"),
        &renamed.with(json!({"id": 1, "name": "Orchard"})).single(),
        &json!("Orchard"),
    );
    let below = place.pick("", "SELECT * FROM rooms_below(@p)", "CALL rooms_below(@p)");
    let rows = place.write(below).with(json!({"p": "100"})).rows();
    check(below, &rows, &json!([{"id": 1, "name": "Orchard"}, {"id": 3, "name": "Attic"}]));
    let error = place
        .write("CALL retitle(1, 'Hall'); CALL fails(@id)")
        .with(json!({"id": 2}))
        .fails(ErrorCode::ProviderError);
    assert!(error.message.contains("no such luck"), "{error:#?}");
    check(
        "sqlState",
        &error.details.unwrap()["sqlState"],
        &place.pick(json!(""), json!("P0042"), json!("45042")),
    );
    let names = place.query("SELECT name FROM room ORDER BY id").concat();
    assert_eq!(names, ["Orchard", "Sea", "Attic"], "{place:?}");
}
