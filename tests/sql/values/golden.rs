//! The golden table: what each type of each engine takes as an argument, and what it then gives as a result.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::{Kind, Place, check, on_each_engine};

on_each_engine!(golden_table, large_text);

/// One type, under the name that each engine has for it, and what goes in and comes out there.
struct Type {
    /// On SQLite, PostgreSQL and MariaDB; none where there is no such type.
    names: [Option<&'static str>; 3],
    /// The parameter's schema.
    schema: Value,
    /// Arguments, and the values that are then read back.
    cases: Vec<(Value, Value)>,
}

impl Type {
    fn new(names: [&'static str; 3], schema: Value, cases: Vec<(Value, Value)>) -> Type {
        let names = names.map(|name| (!name.is_empty()).then_some(name));
        Type { names, schema, cases }
    }

    /// What goes in comes out.
    fn same(names: [&'static str; 3], schema: Value, values: &[Value]) -> Type {
        Type::new(names, schema, values.iter().map(|value| (value.clone(), value.clone())).collect())
    }

    fn on(&self, place: &Place) -> Option<&'static str> {
        place.pick(self.names[0], self.names[1], self.names[2])
    }
}

fn text() -> Value {
    json!({"type": "string"})
}

/// Each value is written by one call into a column of its type, and read back by another.
fn golden_table(place: &Place) {
    if place.kind == Kind::Postgres {
        place.execute("CREATE TYPE mood AS ENUM ('sad', 'so so', 'happy')");
    }
    let all = [texts(), integers(), decimals_and_floats(), booleans_and_bytes(), dates_and_times(), others()];
    let types: Vec<Type> = all.into_iter().flatten().filter(|one| one.on(place).is_some()).collect();
    let tables = types.iter().enumerate().map(|(n, one)| {
        format!("CREATE TABLE t{n} (id integer PRIMARY KEY, v {});\n", one.on(place).unwrap())
    });
    place.execute(&tables.collect::<String>());
    for (n, one) in types.iter().enumerate() {
        let name = one.on(place).unwrap();
        let schemas = json!({"id": {"type": "integer"}, "v": one.schema});
        let insert = place
            .write(&format!("INSERT INTO t{n} (id, v) VALUES (@id, @v)"))
            .declare(schemas.clone())
            .load();
        let select = place.read(&format!("SELECT v FROM t{n} WHERE id = @id")).declare(schemas).load();
        for (id, (given, expected)) in one.cases.iter().enumerate() {
            let inserted = insert.with(json!({"id": id, "v": given})).value();
            check(format!("{place:?} {name} takes {given}"), &inserted["rowsAffected"], &json!(1));
            let found = select.with(json!({"id": id})).single();
            check(format!("{place:?} {name} given {given}"), &found, expected);
        }
    }
}

fn texts() -> Vec<Type> {
    let texts = [
        "",
        " ",
        "plain",
        "trailing   ",
        "O'Brien \"quoted\" `ticked` [bracketed]",
        "''",
        "back\\slash \\n \\0 \\' \\\\",
        "100% _under_ %s %n",
        "🏨 👩‍👩‍👧 \u{10ffff} \u{fffd}",
        "e\u{301} is not \u{e9}",
        "עברית مرحبا \u{202e}reversed",
        "line\nbreak\r\n\ttab",
        "\u{1}\u{7f}\u{85}\u{a0}\u{2028}\u{feff}",
        "NULL",
        "@v ? $1 :v {} %(v)s",
        "2026-11-20",
        "12.50",
        "true",
    ];
    let texts: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    vec![
        Type::same(["TEXT", "text", "TEXT"], text(), &texts),
        Type::same(["VARCHAR(100)", "varchar(100)", "VARCHAR(100)"], text(), &texts),
        // A parameter may have no schema that says anything.
        Type::same(["TEXT", "text", "TEXT"], json!({}), &[json!("12"), json!("{\"a\": 1}"), json!("[1]")]),
    ]
}

fn integers() -> Vec<Type> {
    let any = || json!({"type": ["integer", "string"]});
    let as_number = |n: i64| (json!(n), json!(n));
    let as_text = |n: i64| (json!(n), json!(n.to_string()));
    let spelled = |n: i64| (json!(n.to_string()), json!(n));
    let big = |n: i128| (json!(n.to_string()), json!(n.to_string()));
    let safe = 9_007_199_254_740_991_i64;
    vec![
        Type::same(["SMALLINT", "smallint", "SMALLINT"], any(), &[json!(32_767), json!(-32_768), json!(0)]),
        Type::new(
            ["INTEGER", "integer", "INT"],
            any(),
            vec![
                as_number(0),
                as_number(-1),
                as_number(2_147_483_647),
                as_number(-2_147_483_648),
                spelled(42),
                spelled(-7),
            ],
        ),
        Type::new(
            ["BIGINT", "bigint", "BIGINT"],
            any(),
            vec![
                as_number(2_147_483_648),
                as_number(-2_147_483_649),
                as_number(4_294_967_296),
                as_number(safe),
                as_number(-safe),
                as_text(safe + 1),
                as_text(-safe - 1),
                as_text(safe + 2),
                as_text(i64::MAX),
                as_text(i64::MIN),
                spelled(safe),
                spelled(4_294_967_296),
                big(i128::from(safe) + 1),
                big(i128::from(safe) + 2),
                big(i128::from(i64::MAX)),
                big(i128::from(i64::MIN)),
            ],
        ),
        Type::new(
            ["", "", "BIGINT UNSIGNED"],
            any(),
            vec![
                as_number(1),
                as_number(safe),
                big(i128::from(u64::MAX)),
                (json!(u64::MAX), json!(u64::MAX.to_string())),
            ],
        ),
        Type::new(["", "", "YEAR"], any(), vec![as_number(2026)]),
    ]
}

fn decimals_and_floats() -> Vec<Type> {
    let same = |digits: &str| (json!(digits), json!(digits));
    vec![
        Type::new(
            ["DECIMAL(10,2)", "numeric(10,2)", "DECIMAL(10,2)"],
            json!({"type": ["string", "number"]}),
            vec![
                same("12.50"),
                same("0.10"),
                same("-0.01"),
                same("99999999.99"),
                (json!("7"), json!("7.00")),
                (json!(12.5), json!("12.50")),
                (json!(0.1), json!("0.10")),
                (json!(3), json!("3.00")),
            ],
        ),
        // SQLite has no decimals; a column of texts keeps the digits.
        Type::new(
            ["TEXT", "numeric(38,0)", "DECIMAL(38,0)"],
            text(),
            vec![
                same("12345678901234567890123456789012345678"),
                same("-99999999999999999999999999999999999999"),
                same("0"),
            ],
        ),
        Type::new(
            ["", "numeric", ""],
            text(),
            vec![same("12.50"), same("0.1"), (json!("1e-20"), json!("0.00000000000000000001")), same("NaN")],
        ),
        Type::same(
            ["DOUBLE", "double precision", "DOUBLE"],
            json!({"type": "number"}),
            &[
                json!(0.1),
                json!(-2.5),
                json!(1e308),
                json!(1.797_693_134_862_315_7e308),
                json!(0.0),
                json!(3.0),
                json!(123_456_789.125),
            ],
        ),
        Type::same(
            ["", "real", "FLOAT"],
            json!({"type": "number"}),
            &[json!(0.1), json!(-2.5), json!(16_777_216.0), json!(1.5e-30)],
        ),
    ]
}

fn booleans_and_bytes() -> Vec<Type> {
    let schema = json!({"type": "string", "contentEncoding": "base64"});
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let all: Vec<u8> = (0..=255).collect();
    let encoded = [json!(""), json!("AA=="), json!(base64(&all)), json!(base64(b"'; DROP TABLE t0; --"))];
    let boolean = json!({"type": "boolean"});
    vec![
        Type::same(["BOOLEAN", "boolean", "BOOLEAN"], boolean.clone(), &[json!(true), json!(false)]),
        Type::same(["", "", "BIT(1)"], boolean, &[json!(true), json!(false)]),
        Type::new(
            ["", "boolean", ""],
            text(),
            vec![(json!("true"), json!(true)), (json!("no"), json!(false))],
        ),
        Type::same(["BLOB", "bytea", "BLOB"], schema.clone(), &encoded),
        Type::same(["", "", "VARBINARY(300)"], schema, &encoded),
    ]
}

fn dates_and_times() -> Vec<Type> {
    let texts = |texts: &[&str]| texts.iter().map(|text| json!(text)).collect::<Vec<_>>();
    let moments = texts(&[
        "2026-11-20T12:30:00",
        "2026-11-20T12:30:00.123456",
        "1969-12-31T23:59:59.5",
        "2024-02-29T00:00:00",
    ]);
    let zoned = vec![
        (json!("2026-11-20T14:30:00+02:00"), json!("2026-11-20T12:30:00Z")),
        (json!("2026-11-20T12:30:00Z"), json!("2026-11-20T12:30:00Z")),
        (json!("2026-11-19T23:15:00.25-08:00"), json!("2026-11-20T07:15:00.25Z")),
    ];
    vec![
        Type::same(
            ["DATE", "date", "DATE"],
            text(),
            &texts(&["2026-11-20", "1000-01-01", "9999-12-31", "2024-02-29"]),
        ),
        Type::same(
            ["DATE", "date", "DATE"],
            json!({"type": "string", "format": "date"}),
            &texts(&["2026-11-20"]),
        ),
        Type::same(
            ["TIME", "time", "TIME(6)"],
            text(),
            &texts(&["12:30:00", "00:00:00", "23:59:59.123456", "01:02:03.5"]),
        ),
        Type::same(["DATETIME", "timestamp", "DATETIME(6)"], text(), &moments),
        Type::new(
            ["", "timestamp", "DATETIME(6)"],
            text(),
            vec![(json!("2026-11-20 12:30:00"), json!("2026-11-20T12:30:00"))],
        ),
        Type::new(["TIMESTAMP", "timestamptz", ""], text(), zoned),
        // MariaDB takes no offset: what a text says is UTC, as the session is.
        Type::new(
            ["", "", "TIMESTAMP(6)"],
            text(),
            vec![(json!("2026-11-20T12:30:00.25"), json!("2026-11-20T12:30:00.25Z"))],
        ),
        Type::new(["", "timestamptz", ""], text(), vec![(json!("infinity"), json!("infinity"))]),
        Type::new(["", "interval", ""], text(), vec![(json!("1 day 02:03:04"), json!("P1DT2H3M4S"))]),
    ]
}

fn others() -> Vec<Type> {
    let uuid = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
    let documents = [
        json!({"a": [1, 2.5, null, true, "x"], "nested": {"deep": [[]]}, "": "empty", "ключ": "'; DROP TABLE t0; --"}),
        json!({}),
        json!([1, "two", null, {"three": 3}]),
        json!([]),
    ];
    let document = || json!({"type": ["object", "array"]});
    let written = vec![
        (json!("{\"a\": [1, null]}"), json!({"a": [1, null]})),
        (json!("5"), json!(5)),
        (json!("null"), json!(null)),
    ];
    let ids = vec![(json!(uuid), json!(uuid)), (json!(uuid.to_uppercase()), json!(uuid))];
    vec![
        Type::new(["", "uuid", "UUID"], text(), ids),
        Type::same(["", "mood", "ENUM('sad', 'so so', 'happy')"], text(), &[json!("so so"), json!("happy")]),
        Type::same(
            ["", "inet", ""],
            text(),
            &[json!("192.168.0.1"), json!("10.0.0.0/8"), json!("2001:db8::1")],
        ),
        Type::same(["", "", "INET6"], text(), &[json!("2001:db8::1")]),
        Type::same(["", "cidr", ""], text(), &[json!("10.0.0.0/8")]),
        Type::same(["", "macaddr", ""], text(), &[json!("08:00:2b:01:02:03")]),
        Type::same(["JSON", "jsonb", "JSON"], document(), &documents),
        Type::same(["", "json", ""], document(), &documents),
        Type::new(["JSON", "jsonb", "JSON"], text(), written),
        Type::same(
            ["", "int4[]", ""],
            json!({"type": "array"}),
            &[json!([1, 2, null]), json!([]), json!([[1, 2], [3, 4]])],
        ),
        Type::same(
            ["", "text[]", ""],
            json!({"type": "array"}),
            &[
                json!(["plain", "with \"quotes\" and, commas", "{braces}", "back\\slash", "", null, "NULL"]),
                json!([]),
            ],
        ),
        Type::same(["", "int4range", ""], text(), &[json!("[1,5)")]),
        Type::same(["", "xml", ""], text(), &[json!("<a>b</a>")]),
        Type::same(["", "", "SET('a', 'b', 'c')"], text(), &[json!("a,c")]),
    ]
}

/// A megabyte passes both ways, whatever it is made of.
fn large_text(place: &Place) {
    place.execute(place.pick(
        "CREATE TABLE t (v TEXT)",
        "CREATE TABLE t (v text)",
        "CREATE TABLE t (v LONGTEXT)",
    ));
    let text = "'é\\\"🏨\n".repeat(110_000);
    assert!(text.len() > 1_000_000);
    place.write("INSERT INTO t (v) VALUES (@v)").with(json!({"v": text})).value();
    let found = place.read("SELECT v FROM t").single();
    assert!(found == json!(text), "{} of {} bytes", found.as_str().unwrap().len(), text.len());
    let length = place.read("SELECT length(@v) AS n").with(json!({"v": "abc"})).single();
    check("length", &length, &json!(3));
}
