//! What each engine computes: values of types that no column of the golden table has, and how they read.

use portcullis_runtime::ErrorCode;
use serde_json::{Value, json};

use crate::support::{Kind, Place};

/// Reads each expression, and fails with all that don't give what they should.
fn check_all(kind: Kind, setup: &str, cases: &[(&str, Value)]) {
    let place = Place::new(kind);
    if !setup.is_empty() {
        place.execute(setup);
    }
    let mut wrong = Vec::new();
    for (expression, expected) in cases {
        let (value, from) = expression.split_once(" FROM ").unwrap_or((expression, ""));
        let from = if from.is_empty() { String::new() } else { format!(" FROM {from}") };
        match place.read(&format!("SELECT {value} AS v{from}")).outcome().result {
            Ok(result) if result["rows"] == json!([{"v": expected}]) => {}
            Ok(result) => wrong.push(format!("{expression}: {}, not {expected}", result["rows"][0]["v"])),
            Err(error) => wrong.push(format!("{expression}: {error}, not {expected}")),
        }
    }
    assert!(wrong.is_empty(), "{kind:?}:\n{}", wrong.join("\n"));
}

#[test]
fn postgres_types() {
    let setup = "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE pair AS (a int, b text);
                 CREATE DOMAIN age AS int CHECK (VALUE >= 0); CREATE TABLE pairs (p pair); INSERT INTO pairs VALUES ('(1,x)')";
    check_all(
        Kind::Postgres,
        setup,
        &[
            ("1", json!(1)),
            ("1.50", json!("1.50")),
            ("2::smallint", json!(2)),
            ("9007199254740992::bigint", json!("9007199254740992")),
            ("count(*)", json!(1)),
            ("sum(n) FROM generate_series(1, 3) n", json!(6)),
            ("sum(n::bigint) FROM generate_series(1, 3) n", json!("6")),
            ("avg(n) FROM generate_series(1, 2) n", json!("1.5000000000000000")),
            ("12345.678::money::text", json!("$12,345.68")),
            (
                "'-1234567890123456789012345678901234567890.000000000000000000000000000001'::numeric",
                json!("-1234567890123456789012345678901234567890.000000000000000000000000000001"),
            ),
            ("0.00001::numeric", json!("0.00001")),
            ("100000000::numeric", json!("100000000")),
            ("10000.0001::numeric", json!("10000.0001")),
            ("0::numeric(10,4)", json!("0.0000")),
            ("'Infinity'::numeric", json!("Infinity")),
            ("'NaN'::float8", json!("NaN")),
            ("'-Infinity'::float4", json!("-Infinity")),
            ("0.1::float4", json!(0.1)),
            ("1 = 1", json!(true)),
            ("NULL", json!(null)),
            ("NULL::int", json!(null)),
            ("'x'", json!("x")),
            ("'x'::char(3)", json!("x  ")),
            ("'x'::\"char\"", json!("x")),
            ("'x'::name", json!("x")),
            ("'x'::bpchar", json!("x")),
            ("'\\x00ff'::bytea", json!("AP8=")),
            ("'infinity'::date", json!("infinity")),
            ("'-infinity'::timestamp", json!("-infinity")),
            ("'0044-03-15 BC'::date", json!("-0043-03-15")),
            ("'12026-01-02'::date", json!("+12026-01-02")),
            ("'2000-01-01'::date", json!("2000-01-01")),
            ("'1999-12-31 23:59:59.999999'::timestamp", json!("1999-12-31T23:59:59.999999")),
            ("'2026-11-20 12:30:00+02'::timestamptz", json!("2026-11-20T10:30:00Z")),
            ("'24:00:00'::time", json!("24:00:00")),
            ("'12:30:00.5'::time", json!("12:30:00.5")),
            ("'12:30:00+02'::timetz", json!("12:30:00+02:00")),
            ("'1 year 2 months 3 days 04:05:06.5'::interval", json!("P1Y2M3DT4H5M6.5S")),
            ("'-1 day'::interval", json!("P-1D")),
            ("'0'::interval", json!("PT0S")),
            ("'90 minutes'::interval", json!("PT1H30M")),
            ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
            ("'happy'::mood", json!("happy")),
            ("ARRAY['happy', 'sad']::mood[]", json!(["happy", "sad"])),
            ("5::age", json!(5)),
            ("ARRAY[1, 2]::age[]", json!([1, 2])),
            ("'{\"b\": 1, \"a\": [null]}'::json", json!({"b": 1, "a": [null]})),
            ("'{\"a\": 12345678901234567890.12}'::jsonb ->> 'a'", json!("12345678901234567890.12")),
            ("'null'::jsonb", json!(null)),
            ("ARRAY['{\"a\": 1}', '2']::jsonb[]", json!([{"a": 1}, 2])),
            ("ARRAY[1.5, NULL]::numeric[]", json!(["1.5", null])),
            ("ARRAY[ARRAY['a', NULL], ARRAY['c', 'd']]", json!([["a", null], ["c", "d"]])),
            ("'{}'::text[]", json!([])),
            ("'[2:3]={a,b}'::text[]", json!(["a", "b"])),
            ("ARRAY['2026-11-20 12:00+00']::timestamptz[]", json!(["2026-11-20T12:00:00Z"])),
            ("ARRAY['\\x00']::bytea[]", json!(["AA=="])),
            ("ARRAY[true, false]", json!([true, false])),
            (
                "ARRAY['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11']::uuid[]",
                json!(["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
            ),
            ("'192.168.0.1'::inet", json!("192.168.0.1")),
            ("'192.168.0.1/24'::inet", json!("192.168.0.1/24")),
            ("'2001:db8::/32'::cidr", json!("2001:db8::/32")),
            ("'08:00:2b:01:02:03:04:05'::macaddr8", json!("08:00:2b:01:02:03:04:05")),
            ("'[1,5)'::int4range", json!("[1,5)")),
            ("'{[1,3), [5,7)}'::int4multirange::text", json!("{[1,3),[5,7)}")),
            ("tstzrange('2026-11-20 12:00+00', NULL)", json!("[\"2026-11-20 12:00:00+00\",)")),
            ("B'101'", json!("101")),
            ("B'101'::varbit", json!("101")),
            ("'(1,2)'::point", json!("(1,2)")),
            ("'a fat cat'::tsvector", json!("'a' 'cat' 'fat'")),
            ("'fat & cat'::tsquery", json!("'fat' & 'cat'")),
            ("'<a/>'::xml", json!("<a/>")),
            ("p FROM pairs", json!("(1,x)")),
            ("ROW(1, 'x')::pair", json!("(1,x)")),
            ("'pairs'::regclass", json!("pairs")),
            ("26::oid", json!(26)),
            ("'0/16B3748'::pg_lsn", json!("0/16B3748")),
            ("'$.a[*]'::jsonpath", json!("$.\"a\"[*]")),
            ("pg_catalog.array_agg(n) FROM generate_series(1, 3) n", json!([1, 2, 3])),
            ("'1 2 3'::int2vector", json!([1, 2, 3])),
        ],
    );
}

/// What can't be read is never read wrongly.
#[test]
fn unreadable_types_are_told() {
    let place = Place::new(Kind::Postgres);
    let error = place.read("SELECT '{[1,3)}'::int4multirange AS v").fails(ErrorCode::ProviderError);
    assert!(error.message.contains("cast it to text"), "{error:#?}");
    let place = Place::new(Kind::Sqlite);
    let error = place.read("SELECT CAST(x'ff' AS TEXT) AS v").fails(ErrorCode::ProviderError);
    assert!(error.message.contains("\"v\"") && error.message.contains("UTF-8"), "{error:#?}");
}

#[test]
fn mariadb_types() {
    let setup = "CREATE TABLE t (b8 bit(8), b1 bit(1), tiny tinyint, flag tinyint(1), y year, j json, d decimal(65,30),
                     u bigint unsigned, z datetime, e enum('a b', 'c'), s set('a', 'b'), f float, c char(3), bin binary(3), ts timestamp(3) NULL);
                 INSERT INTO t VALUES (b'10101010', b'1', -128, 2, 1999, '{\"a\": [1, null]}', '12345678901234567890123456789012345.5', 18446744073709551615,
                     '2026-11-20 00:00:00', 'a b', 'a,b', 0.1, 'x', 'x', '2026-11-20 12:00:00.5')";
    check_all(
        Kind::MariaDb,
        setup,
        &[
            ("1", json!(1)),
            ("-1", json!(-1)),
            ("1.50", json!("1.50")),
            ("1e3", json!(1000.0)),
            ("18446744073709551615", json!("18446744073709551615")),
            ("COUNT(*)", json!(1)),
            ("SUM(seq) FROM seq_1_to_3", json!("6")),
            ("AVG(seq) FROM seq_1_to_2", json!("1.5000")),
            ("1 = 1", json!(1)),
            ("TRUE", json!(1)),
            ("NULL", json!(null)),
            ("'x'", json!("x")),
            ("_latin1 X'E9'", json!("é")),
            ("X'00FF'", json!("AP8=")),
            ("CAST('abc' AS BINARY)", json!("YWJj")),
            ("DATE '2026-11-20'", json!("2026-11-20")),
            ("TIMESTAMP '2026-11-20 12:30:00.25'", json!("2026-11-20T12:30:00.25")),
            ("TIME '12:30:00'", json!("12:30:00")),
            ("TIME '-01:30:00'", json!("-01:30:00")),
            ("TIME '838:59:59.5'", json!("838:59:59.5")),
            ("CAST('2026-11-20' AS DATETIME)", json!("2026-11-20T00:00:00")),
            ("b8 FROM t", json!(170)),
            ("b1 FROM t", json!(true)),
            ("tiny FROM t", json!(-128)),
            ("flag FROM t", json!(2)),
            ("y FROM t", json!(1999)),
            ("j FROM t", json!({"a": [1, null]})),
            ("JSON_EXTRACT(j, '$.a') FROM t", json!("[1, null]")),
            ("d FROM t", json!("12345678901234567890123456789012345.500000000000000000000000000000")),
            ("u FROM t", json!("18446744073709551615")),
            ("z FROM t", json!("2026-11-20T00:00:00")),
            ("ts FROM t", json!("2026-11-20T12:00:00.5Z")),
            ("e FROM t", json!("a b")),
            ("s FROM t", json!("a,b")),
            ("f FROM t", json!(0.1)),
            ("c FROM t", json!("x")),
            ("bin FROM t", json!("eAAA")),
            ("UUID() IS NOT NULL", json!(1)),
            (
                "CAST('6F9619FF-8B86-D011-B42D-00C04FC964FF' AS UUID)",
                json!("6f9619ff-8b86-d011-b42d-00c04fc964ff"),
            ),
            ("CAST('2001:DB8::1' AS INET6)", json!("2001:db8::1")),
            ("ST_AsText(ST_GeomFromText('POINT(1 2)'))", json!("POINT(1 2)")),
            ("GROUP_CONCAT(seq) FROM seq_1_to_3", json!("1,2,3")),
            ("@@version_comment IS NOT NULL", json!(1)),
            ("'a@b.example' LIKE '%@b.%'", json!(1)),
        ],
    );
}

#[test]
fn sqlite_types() {
    let setup = "CREATE TABLE t (flag boolean, price decimal(10,2), doc json, day date, moment timestamp, id uuid, any_thing, n integer);
                 INSERT INTO t VALUES (1, 12.5, '{\"a\": [1, null]}', '2026-11-20', '2026-11-20 12:30:00', x'6f9619ff8b86d011b42d00c04fc964ff', 'x', 7)";
    check_all(
        Kind::Sqlite,
        setup,
        &[
            ("1", json!(1)),
            ("1.5", json!(1.5)),
            ("1e308 * 10", json!("Infinity")),
            ("9223372036854775807", json!("9223372036854775807")),
            ("count(*)", json!(1)),
            ("1 = 1", json!(1)),
            ("NULL", json!(null)),
            ("'x'", json!("x")),
            ("x'00ff'", json!("AP8=")),
            ("''", json!("")),
            ("x''", json!("")),
            ("date('2026-11-20', '+1 day')", json!("2026-11-21")),
            ("flag FROM t", json!(true)),
            ("price FROM t", json!("12.50")),
            ("doc FROM t", json!({"a": [1, null]})),
            ("day FROM t", json!("2026-11-20")),
            ("moment FROM t", json!("2026-11-20T12:30:00")),
            ("id FROM t", json!("6f9619ff-8b86-d011-b42d-00c04fc964ff")),
            ("any_thing FROM t", json!("x")),
            ("n FROM t", json!(7)),
            ("doc ->> '$.a[0]' FROM t", json!(1)),
            ("group_concat(n) FROM t", json!("7")),
        ],
    );
}
