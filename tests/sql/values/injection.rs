//! Text that would be SQL if it were ever spliced into a query, in every kind of place: it stays data.

use serde_json::json;

use crate::support::{Kind, Place, check, on_each_engine};

on_each_engine!(attempts_are_data);

const ATTEMPTS: &[&str] = &[
    "'; DROP TABLE t; --",
    "\"; DROP TABLE t; --",
    "\\'; DROP TABLE t; --",
    "\\",
    "1 OR 1=1",
    "1; DELETE FROM t",
    "' OR '1'='1",
    "') OR 1=1 --",
    "x' UNION SELECT name FROM t --",
    "$1",
    "$$; DROP TABLE t; $$",
    "@v",
    "@id",
    "?",
    ":v",
    "?1",
    "%s",
    "/* */",
    "*/ DROP TABLE t /*",
    "--",
    "#",
    "\u{2019}; DROP TABLE t; --",
    "\u{ff07} OR 1=1",
    "\u{bf}\u{27} OR 1=1 --",
    "E'\\x27'",
    "{\"$ne\": null}",
    "COMMIT; DROP TABLE t",
    "1e400",
];

/// Each is stored and found by equality, and harms nothing in places that take no text.
fn attempts_are_data(place: &Place) {
    place.execute(&format!(
        "CREATE TABLE t (id integer PRIMARY KEY, name varchar(100), born date, rate decimal(10,2), vip boolean, doc {}, raw {});
         INSERT INTO t (id, name) VALUES (1, 'one'), (2, 'two'), (3, 'three')",
        place.pick("json", "jsonb", "json"),
        place.pick("blob", "bytea", "blob"),
    ));
    let any = json!({"id": {}, "v": {"type": ["string", "array", "object"]}, "doc": {}});
    let read = |query: &str| place.read(query).declare(any.clone()).load();
    let write = |query: &str| place.write(query).declare(any.clone()).load();
    let insert = write("INSERT INTO t (id, name, doc) VALUES (@id, @v, @doc)");
    let select = read("SELECT id, name, doc FROM t WHERE name = @v");
    let alone = read("SELECT @v AS v");
    let like = read("SELECT count(*) AS n FROM t WHERE name LIKE @v AND id < 10");
    let deletes = ["id", "born", "rate", "vip", "raw"]
        .map(|column| write(&format!("DELETE FROM t WHERE id < 0 AND {column} = @v")));
    for (n, attempt) in ATTEMPTS.iter().enumerate() {
        let (id, doc) = (n + 10, json!({*attempt: [attempt]}));
        insert.with(json!({"id": id, "v": attempt, "doc": doc})).value();
        let found = select.with(json!({"v": attempt})).value();
        check(
            format!("{place:?} {attempt}"),
            &found["rows"],
            &json!([{"id": id, "name": attempt, "doc": doc}]),
        );
        check(
            format!("{place:?} SELECT {attempt}"),
            &alone.with(json!({"v": attempt})).single(),
            &json!(attempt),
        );
        for delete in &deletes {
            for value in [json!(attempt), json!([attempt]), json!({*attempt: attempt})] {
                // The database may refuse such a value, or compare with it.
                let _ = delete.with(json!({"v": value})).outcome();
            }
        }
        // A pattern that ends with a backslash is an error in PostgreSQL.
        if let Ok(result) = like.with(json!({"v": attempt})).outcome().result {
            check(format!("{place:?} LIKE {attempt}"), &result["rows"], &json!([{"n": 0}]));
        }
    }
    if place.kind == Kind::Postgres {
        let found =
            place.read("SELECT count(*) AS n FROM t WHERE name = ANY(@v)").with(json!({"v": ATTEMPTS}));
        check("ANY", &found.single(), &json!(ATTEMPTS.len()));
    }
    let left = place.query("SELECT id, name FROM t ORDER BY id");
    let stored: Vec<&str> = left.iter().skip(3).map(|row| row[1].as_str()).collect();
    assert_eq!(left.len(), ATTEMPTS.len() + 3, "{left:?}");
    assert_eq!(stored, ATTEMPTS);
}
