//! The places that queries have for arguments: in each, an argument is what the place makes of it, and NULL is welcome.

use serde_json::{Value, json};

use crate::support::{Kind, Place, check, on_each_engine};

on_each_engine!(arguments_fit_their_places, null_fits_every_place, inserts_by_select);

/// On PostgreSQL each place of a parameter has a type of its own.
#[test]
fn a_place_keeps_its_type_whatever_the_others_are() {
    let place = Place::new(Kind::Postgres);
    let query = "SELECT @d::date AS day, @d::timestamptz AS moment, @n::float8 AS f, @n::numeric AS exact, @n::int8 AS whole";
    let arguments = json!({"d": "2026-01-01T00:30:00+02:00", "n": "9007199254740993"});
    let row = place.read(query).with(arguments).rows();
    let expected = json!([{
        "day": "2026-01-01", "moment": "2025-12-31T22:30:00Z", "f": 9_007_199_254_740_992.0_f64,
        "exact": "9007199254740993", "whole": "9007199254740993",
    }]);
    check("places", &row, &expected);
}

/// What FETCH and EXECUTE return is known only when they run.
#[test]
fn what_a_cursor_or_a_prepared_statement_returns_has_its_columns() {
    let place = Place::new(Kind::Postgres);
    for query in [
        "DECLARE c CURSOR FOR SELECT g AS n FROM generate_series(1, 2) g; FETCH ALL c",
        "PREPARE p AS SELECT g AS n FROM generate_series(1, 2) g; EXECUTE p",
    ] {
        check(query, &place.read(query).rows(), &json!([{"n": 1}, {"n": 2}]));
    }
}

fn tables(place: &Place) {
    place.execute(
        "CREATE TABLE stay (id integer PRIMARY KEY, room integer, arrival date, rate decimal(10,2), vip boolean, note varchar(40), booked timestamp NULL);
         INSERT INTO stay VALUES (1, 101, '2026-11-20', 80.00, true, 'quiet', '2026-10-01 08:00:00'),
         (2, 102, '2026-11-25', 120.50, false, NULL, '2026-10-02 09:30:00'), (3, 101, '2026-12-01', 95.00, false, '', '2026-10-03 10:00:00')",
    );
}

/// Queries with arguments, and the values of their rows' only column `v`.
fn places() -> Vec<(&'static str, Value, Value)> {
    vec![
        (
            "SELECT id AS v FROM stay WHERE arrival BETWEEN @a AND @b ORDER BY id",
            json!({"a": "2026-11-21", "b": "2026-12-31"}),
            json!([2, 3]),
        ),
        (
            "SELECT id AS v FROM stay WHERE arrival > @a AND arrival <= @b",
            json!({"a": "2026-11-20", "b": "2026-11-25"}),
            json!([2]),
        ),
        ("SELECT id AS v FROM stay WHERE booked < @a", json!({"a": "2026-10-02 00:00:00"}), json!([1])),
        ("SELECT id AS v FROM stay WHERE id IN (@a, @b) ORDER BY id", json!({"a": 1, "b": 3}), json!([1, 3])),
        (
            "SELECT id AS v FROM stay WHERE id IN (@a, @b) ORDER BY id",
            json!({"a": "1", "b": "3"}),
            json!([1, 3]),
        ),
        ("SELECT id AS v FROM stay WHERE @a IN (id, room) ORDER BY id", json!({"a": 101}), json!([1, 3])),
        ("SELECT id AS v FROM stay WHERE rate = @a", json!({"a": "120.5"}), json!([2])),
        ("SELECT id AS v FROM stay WHERE rate > @a ORDER BY id", json!({"a": 94.99}), json!([2, 3])),
        ("SELECT id AS v FROM stay WHERE rate * 2 > @a ORDER BY id", json!({"a": 200}), json!([2])),
        ("SELECT id AS v FROM stay WHERE vip = @a", json!({"a": true}), json!([1])),
        ("SELECT id AS v FROM stay WHERE (vip OR @a) ORDER BY id", json!({"a": false}), json!([1])),
        ("SELECT id AS v FROM stay WHERE NOT @a ORDER BY id", json!({"a": false}), json!([1, 2, 3])),
        ("SELECT CASE WHEN @a THEN 1 ELSE 2 END AS v", json!({"a": false}), json!([2])),
        ("SELECT CASE @a WHEN 'x' THEN 1 ELSE 2 END AS v", json!({"a": "x"}), json!([1])),
        ("SELECT id AS v FROM stay WHERE note LIKE @a", json!({"a": "qu%"}), json!([1])),
        (
            "SELECT id AS v FROM stay WHERE note = @a OR (@a = '' AND note IS NULL) ORDER BY id",
            json!({"a": ""}),
            json!([2, 3]),
        ),
        ("SELECT id AS v FROM stay WHERE lower(note) = lower(@a)", json!({"a": "QUIET"}), json!([1])),
        (
            "SELECT id AS v FROM stay ORDER BY CASE WHEN @a = 'desc' THEN -id ELSE id END",
            json!({"a": "desc"}),
            json!([3, 2, 1]),
        ),
        ("SELECT id AS v FROM stay ORDER BY id LIMIT @a OFFSET @b", json!({"a": 1, "b": 1}), json!([2])),
        ("SELECT id AS v FROM stay WHERE id = @a + 1", json!({"a": 1}), json!([2])),
        ("SELECT id AS v FROM stay WHERE id > @a - @b ORDER BY id", json!({"a": 5, "b": 3}), json!([3])),
        ("SELECT @a + 1 AS v", json!({"a": 41}), json!([42])),
        ("SELECT -@a AS v", json!({"a": 7}), json!([-7])),
        ("SELECT abs(id - @a) AS v FROM stay WHERE id = 2", json!({"a": 9}), json!([7])),
        ("SELECT id * @a AS v FROM stay WHERE id = 2", json!({"a": 3}), json!([6])),
        ("SELECT upper(@a) AS v", json!({"a": "x"}), json!(["X"])),
        ("SELECT length(@a) AS v", json!({"a": "four"}), json!([4])),
        ("SELECT replace(@a, @b, @c) AS v", json!({"a": "a-b", "b": "-", "c": "+"}), json!(["a+b"])),
        (
            "SELECT coalesce(@a, note, 'none') AS v FROM stay WHERE id = 2",
            json!({"a": "given"}),
            json!(["given"]),
        ),
        ("SELECT coalesce(@a, id) AS v FROM stay WHERE id = 2", json!({"a": 9}), json!([9])),
        ("SELECT nullif(@a, '') AS v", json!({"a": ""}), json!([null])),
        ("SELECT @a AS v UNION ALL SELECT @b", json!({"a": "x", "b": "y"}), json!(["x", "y"])),
        ("SELECT @a AS v UNION ALL SELECT id FROM stay WHERE id = 2", json!({"a": 1}), json!([1, 2])),
        (
            "SELECT id AS v FROM stay s WHERE EXISTS (SELECT 1 FROM stay o WHERE o.room = s.room AND o.id <> s.id AND o.room = @a) ORDER BY id",
            json!({"a": 101}),
            json!([1, 3]),
        ),
        (
            "WITH wanted AS (SELECT @a AS room) SELECT id AS v FROM stay JOIN wanted ON wanted.room = stay.room ORDER BY id",
            json!({"a": 101}),
            json!([1, 3]),
        ),
        ("SELECT count(*) AS v FROM stay GROUP BY room HAVING count(*) >= @a", json!({"a": 2}), json!([2])),
        ("SELECT max(CASE WHEN room = @a THEN id END) AS v FROM stay", json!({"a": 101}), json!([3])),
        ("SELECT (SELECT count(*) FROM stay WHERE room = @a) AS v", json!({"a": 101}), json!([2])),
        ("SELECT id AS v FROM stay WHERE (room, id) = (@a, @b)", json!({"a": 101, "b": 3}), json!([3])),
    ]
}

fn values(result: &Value) -> Value {
    json!(result["rows"].as_array().unwrap().iter().map(|row| row["v"].clone()).collect::<Vec<_>>())
}

fn arguments_fit_their_places(place: &Place) {
    tables(place);
    let mut wrong = Vec::new();
    for (query, arguments, expected) in places() {
        match place.read(query).with(arguments.clone()).outcome().result {
            Ok(result) if values(&result) == expected => {}
            Ok(result) => wrong.push(format!("{query} {arguments}: {}, not {expected}", values(&result))),
            Err(error) => wrong.push(format!("{query} {arguments}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{place:?}:\n{}", wrong.join("\n"));
}

/// With the schema as it was, and nothing given.
fn null_fits_every_place(place: &Place) {
    tables(place);
    let mut wrong = Vec::new();
    for (query, arguments, _) in places() {
        let mut case = place.read(query).with(arguments);
        case.call.arguments = json!({});
        // Only PostgreSQL takes NULL for no limit.
        if let Err(error) = case.outcome().result
            && !(query.contains("LIMIT") && place.kind != Kind::Postgres)
        {
            wrong.push(format!("{query}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{place:?}:\n{}", wrong.join("\n"));
}

/// Where columns give the types of a `SELECT`'s values.
fn inserts_by_select(place: &Place) {
    tables(place);
    let query = "INSERT INTO stay (id, room, arrival, rate, vip, note, booked) SELECT @id, @room, @arrival, @rate, @vip, @note, @booked
                 WHERE NOT EXISTS (SELECT 1 FROM stay WHERE id = @id);
                 UPDATE stay SET room = room + @more, note = COALESCE(@note, note), rate = @rate WHERE id = @id;
                 SELECT room, arrival, rate, vip, note, booked FROM stay WHERE id = @id";
    let full = json!({"id": 7, "room": 200, "more": 5, "arrival": "2026-11-20", "rate": "70.50", "vip": true, "note": "n", "booked": "2026-11-01 10:00:00"});
    let result = place.write(query).with(full.clone()).value();
    let row = json!([{"room": 205, "arrival": "2026-11-20", "rate": "70.50", "vip": true, "note": "n", "booked": place.pick(
        "2026-11-01T10:00:00", "2026-11-01T10:00:00", "2026-11-01T10:00:00Z")}]);
    check(format!("{place:?}"), &result["rows"], &row);
    let mut sparse = place.write(query).with(full);
    sparse.call.arguments = json!({"id": 8});
    let empty =
        json!([{"room": null, "arrival": null, "rate": null, "vip": null, "note": null, "booked": null}]);
    check(format!("{place:?} of NULLs"), &sparse.value()["rows"], &empty);
}
