//! Arguments in all the places that queries have for them: NULL, absent, twice, in lists, compared exactly, refused.

use portcullis_runtime::ErrorCode;
use serde_json::{Value, json};

use crate::support::{Kind, Place, check, on_each_engine};

on_each_engine!(nulls_and_absent_arguments, one_value_in_several_places, exact_comparisons, hints, refusals);

/// `(@x IS NULL OR col = @x)`, `COALESCE(@x, …)` and `@x` alone, with a value, with null and with nothing.
fn nulls_and_absent_arguments(place: &Place) {
    place.execute(
        "CREATE TABLE guest (id integer PRIMARY KEY, name varchar(20), born date, rate decimal(10,2), vip boolean);
         INSERT INTO guest VALUES (1, 'Ada', '1815-12-10', 10.50, true), (2, 'Grace', '1906-12-09', 20.00, false)",
    );
    let types = [
        ("id", json!({"type": ["integer", "null"]}), json!(2)),
        ("name", json!({"type": ["string", "null"]}), json!("Grace")),
        ("born", json!({"type": ["string", "null"], "format": "date"}), json!("1906-12-09")),
        ("rate", json!({"type": ["number", "null"]}), json!(20)),
        ("vip", json!({"type": ["boolean", "null"]}), json!(false)),
    ];
    for (column, schema, value) in types {
        let schemas = json!({"x": schema});
        let ids = |query: &str, arguments: Value| {
            let rows = place.read(query).declare(schemas.clone()).with(arguments).rows();
            json!(rows.as_array().unwrap().iter().map(|row| row["id"].clone()).collect::<Vec<_>>())
        };
        for (shape, all_if_null) in [
            (format!("SELECT id FROM guest WHERE (@x IS NULL OR {column} = @x) ORDER BY id"), true),
            (format!("SELECT id FROM guest WHERE {column} = COALESCE(@x, {column}) ORDER BY id"), true),
            (format!("SELECT id FROM guest WHERE {column} = @x ORDER BY id"), false),
        ] {
            let for_null = if all_if_null { json!([1, 2]) } else { json!([]) };
            check(format!("{place:?} {shape} with {value}"), &ids(&shape, json!({"x": value})), &json!([2]));
            check(format!("{place:?} {shape} with null"), &ids(&shape, json!({"x": null})), &for_null);
            check(format!("{place:?} {shape} without"), &ids(&shape, json!({})), &for_null);
        }
        for arguments in [json!({"x": null}), json!({})] {
            let alone =
                place.read("SELECT @x AS x").declare(schemas.clone()).with(arguments.clone()).single();
            check(format!("{place:?} SELECT @x, {schema}, {arguments}"), &alone, &json!(null));
        }
        let set = format!("UPDATE guest SET {column} = @x WHERE id = 99");
        let none = place.write(&set).declare(schemas.clone()).with(json!({})).value();
        check(&set, &none["rowsAffected"], &json!(0));
    }
    let written = "INSERT INTO guest (id, name, born, rate, vip) VALUES (@id, @name, @born, @rate, @vip)";
    let nothing = json!({"name": {}, "born": {}, "rate": {}, "vip": {}});
    place.write(written).declare(nothing).with(json!({"id": 3, "name": null})).value();
    let row = place.read("SELECT name, born, rate, vip FROM guest WHERE id = 3").rows();
    check("a row of NULLs", &row, &json!([{"name": null, "born": null, "rate": null, "vip": null}]));
}

/// The same name twice is one value; a default fills what is absent.
fn one_value_in_several_places(place: &Place) {
    let concat = place.pick("@a || @b || @a", "concat(@a, @b, @a)", "concat(@a, @b, @a)");
    let case = place.read(&format!("SELECT {concat} AS v")).with(json!({"a": "x'", "b": "y"}));
    check("twice", &case.single(), &json!("x'yx'"));
    let sum = place.read("SELECT @n + @n + 1 AS v").with(json!({"n": 20}));
    check("a sum", &sum.single(), &json!(41));
    let filled = place.read("SELECT @d AS v").declare(json!({"d": {"type": "string", "default": "given"}}));
    check("a default", &filled.single(), &json!("given"));
    let far = place.read("SELECT @a AS a -- @a isn't one here\n, '@a' AS b /* nor @a here */, @a AS c");
    let rows = far.with(json!({"a": "v"})).rows();
    check("in comments and literals", &rows, &json!([{"a": "v", "b": "@a", "c": "v"}]));
}

/// Integers past 2^53 are neighbours that no float tells apart, and decimals aren't binary.
fn exact_comparisons(place: &Place) {
    place.execute(
        "CREATE TABLE n (id integer PRIMARY KEY, b bigint, d decimal(38,10));
         INSERT INTO n VALUES (1, 9007199254740992, 0.1), (2, 9007199254740993, 0.2), (3, 9223372036854775807, 0.3),
         (4, -9223372036854775808, 12345678901234567890.0000000001)",
    );
    let ids = |query: &str, value: Value| {
        let schema = json!({"x": {"type": ["string", "integer", "number"]}});
        let rows = place.read(query).declare(schema).with(json!({"x": value})).rows();
        json!(rows.as_array().unwrap().iter().map(|row| row["id"].clone()).collect::<Vec<_>>())
    };
    let equal = "SELECT id FROM n WHERE b = @x";
    let more = "SELECT id FROM n WHERE b >= @x ORDER BY id";
    for (query, value, expected) in [
        (equal, json!("9007199254740992"), json!([1])),
        (equal, json!("9007199254740993"), json!([2])),
        (equal, json!(9_007_199_254_740_993_i64), json!([2])),
        (equal, json!("9223372036854775807"), json!([3])),
        (equal, json!("-9223372036854775808"), json!([4])),
        (more, json!("9007199254740993"), json!([2, 3])),
    ] {
        check(format!("{place:?} {query} {value}"), &ids(query, value.clone()), &expected);
    }
    if place.kind != Kind::Sqlite {
        let equal = "SELECT id FROM n WHERE d = @x";
        for (value, expected) in [
            (json!("0.1"), json!([1])),
            (json!(0.2), json!([2])),
            (json!("12345678901234567890.0000000001"), json!([4])),
            (json!("12345678901234567890.0000000002"), json!([])),
        ] {
            check(format!("{place:?} {equal} {value}"), &ids(equal, value.clone()), &expected);
        }
    }
}

/// Where nothing but the schema tells what a value is, it comes back as that.
fn hints(place: &Place) {
    let alone = |schema: Value, value: Value| {
        place.read("SELECT @x AS x").declare(json!({"x": schema})).with(json!({"x": value})).single()
    };
    for (schema, value, expected) in [
        (json!({"type": "integer"}), json!(42), json!(42)),
        (json!({"type": "integer"}), json!(4_294_967_296_i64), json!(4_294_967_296_i64)),
        (json!({"type": "integer"}), json!(i64::MIN), json!(i64::MIN.to_string())),
        // MariaDB takes 2.5 for the decimal that it is there, and decimals are texts.
        (json!({"type": "number"}), json!(2.5), place.pick(json!(2.5), json!(2.5), json!("2.5"))),
        (json!({"type": "string"}), json!("9007199254740993"), json!("9007199254740993")),
        (json!({"type": "string"}), json!("x"), json!("x")),
        (json!({"type": "string", "contentEncoding": "base64"}), json!("AP8="), json!("AP8=")),
        (json!({"type": "boolean"}), json!(true), json!(true)),
        (json!({"type": "boolean"}), json!(false), json!(false)),
    ] {
        check(format!("{place:?} SELECT @x with {schema} {value}"), &alone(schema, value.clone()), &expected);
    }
    let limited = place.read("SELECT 1 AS n LIMIT @n").with(json!({"n": 0}));
    check(format!("{place:?} LIMIT @n"), &limited.rows(), &json!([]));
}

/// What doesn't fit is refused, and nothing is written.
fn refusals(place: &Place) {
    place.execute(
        "CREATE TABLE t (n integer, s varchar(5), b blob)"
            .replace("blob", place.pick("blob", "bytea", "blob"))
            .as_str(),
    );
    for text in ["\0", "a\0b", "'; DROP TABLE t; --\0"] {
        let error = place
            .write("INSERT INTO t (s) VALUES (@v)")
            .with(json!({"v": text}))
            .fails(ErrorCode::InvalidArguments);
        assert!(error.message.contains("\"v\"") && error.message.contains("NUL"), "{error:#?}");
    }
    let bytes = json!({"v": {"type": "string", "contentEncoding": "base64"}});
    let no_base64 =
        place.write("INSERT INTO t (b) VALUES (@v)").declare(bytes).with(json!({"v": "no base64!"}));
    let error = no_base64.fails(ErrorCode::InvalidArguments);
    assert!(error.message.contains("\"v\"") && error.message.contains("base64"), "{error:#?}");
    let against_schema =
        place.write("INSERT INTO t (n) VALUES (@n)").declare(json!({"n": {"type": "integer"}}));
    against_schema.with(json!({"n": "x"})).fails(ErrorCode::InvalidArguments);
    if place.kind != Kind::Sqlite {
        for (query, value) in [
            ("INSERT INTO t (n) VALUES (@v)", json!(4_294_967_296_i64)),
            ("INSERT INTO t (n) VALUES (@v)", json!("99999999999999999999")),
            ("INSERT INTO t (n) VALUES (@v)", json!("five")),
            ("INSERT INTO t (s) VALUES (@v)", json!("too long")),
        ] {
            let outcome = place.write(query).with(json!({"v": value})).outcome();
            let error = outcome.result.expect_err(&format!("{place:?} takes {value} for {query}"));
            let is_told = matches!(error.code, ErrorCode::InvalidArguments | ErrorCode::ProviderError);
            assert!(is_told && !error.message.is_empty(), "{error:#?}");
        }
    }
    check("nothing was written", &json!(place.query_value("SELECT count(*) FROM t")), &json!("0"));
}

/// PostgreSQL's arrays, in the place of a list of values.
#[test]
fn lists_in_any() {
    let place = Place::new(Kind::Postgres);
    place.execute(
        "CREATE TABLE t (id int PRIMARY KEY, s text, u uuid, b bigint);
         INSERT INTO t VALUES (1, 'plain', '00000000-0000-0000-0000-000000000001', 9007199254740993),
         (2, 'it''s \"quoted\", {braced}\\', '00000000-0000-0000-0000-000000000002', 2), (3, '', NULL, 3), (4, 'NULL', NULL, 4)",
    );
    for (column, list, expected) in [
        ("id", json!([1, 3, 99]), json!([1, 3])),
        ("id", json!([]), json!([])),
        ("id", json!([1, null]), json!([1])),
        ("id", json!(["1", "2"]), json!([1, 2])),
        ("s", json!(["plain", "it's \"quoted\", {braced}\\"]), json!([1, 2])),
        ("s", json!(["", "NULL"]), json!([3, 4])),
        ("s", json!([null]), json!([])),
        ("s", json!(["') OR 1=1 --", "{plain}", "plain,NULL"]), json!([])),
        ("u", json!(["00000000-0000-0000-0000-000000000002"]), json!([2])),
        ("b", json!(["9007199254740993", 3]), json!([1, 3])),
    ] {
        let query = format!("SELECT id FROM t WHERE {column} = ANY(@ids) ORDER BY id");
        let rows = place.read(&query).with(json!({"ids": list})).rows();
        let ids = json!(rows.as_array().unwrap().iter().map(|row| row["id"].clone()).collect::<Vec<_>>());
        check(format!("{query} with {list}"), &ids, &expected);
    }
    let absent = "SELECT id FROM t WHERE (@ids::int[] IS NULL OR id = ANY(@ids)) ORDER BY id LIMIT 1";
    let rows = place.read(absent).declare(json!({"ids": {"type": "array"}})).rows();
    check("no list", &rows, &json!([{"id": 1}]));
    let nested = place.read("SELECT @a::int[] AS a").with(json!({"a": [[1, 2], [3, null]]}));
    check("nested", &nested.single(), &json!([[1, 2], [3, null]]));
}
