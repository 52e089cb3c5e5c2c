//! Which files SQLite connectors get at, by the engine's folder and by the command line.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use portcullis_runtime::ErrorCode;
use serde_json::{Value, json};

use crate::sqlite_client;
use crate::support::{Kind, Place, check};
use crate::workspace::Workspace;

#[test]
fn files_outside_the_folder_are_refused() {
    let place = Place::new(Kind::Sqlite);
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.db");
    sqlite_client::query(&secret, "CREATE TABLE t (v text); INSERT INTO t VALUES ('secret')");
    symlink(&secret, place.folder().join("link.db")).unwrap();
    symlink(outside.path(), place.folder().join("folder")).unwrap();
    fs::create_dir(place.folder().join("sub")).unwrap();
    sqlite_client::query(
        &place.folder().join("sub/inner.db"),
        "CREATE TABLE t (v text); INSERT INTO t VALUES ('inner')",
    );
    let absolute = secret.to_str().unwrap().to_owned();
    let above = format!("../{}/secret.db", outside.path().file_name().unwrap().to_str().unwrap());
    for database in [
        absolute.as_str(),
        above.as_str(),
        "sub/../../etc/passwd",
        "link.db",
        "folder/secret.db",
        ":memory:",
        "file:test.db",
        &format!("file:{absolute}"),
        "test.db?mode=rwc",
        "sub",
        ".",
        "/dev/null",
    ] {
        for case in [place.read("SELECT v FROM t"), place.write("CREATE TABLE made (a integer)")] {
            let error = case.config(json!({"database": database})).fails(ErrorCode::ProviderError);
            assert!(!error.message.contains("secret'"), "{error:#?}");
        }
    }
    let inner = place.read("SELECT v FROM t").config(json!({"database": "sub/inner.db"}));
    check("a folder in it", &inner.single(), &json!("inner"));
}

#[test]
fn missing_and_strange_files_are_told() {
    let place = Place::new(Kind::Sqlite);
    let missing = |case: crate::support::Case| {
        case.config(json!({"database": "new.db"})).fails(ErrorCode::ProviderError)
    };
    for case in [place.read("SELECT 1"), place.write("CREATE TABLE t (a integer)")] {
        let error = missing(case);
        assert!(error.message.contains("\"new.db\""), "{error:#?}");
    }
    assert!(!place.folder().join("new.db").exists());
    fs::write(
        place.folder().join("text.db"),
        "this is no database, and long enough to have a header of one\n".repeat(20),
    )
    .unwrap();
    let outcome = place.read("SELECT 1 AS n FROM t").config(json!({"database": "text.db"})).outcome();
    let error = outcome.result.unwrap_err();
    assert!(error.message.contains("not a database"), "{error:#?}");
    let without = place.read("SELECT 1").config(json!({"database": null})).fails(ErrorCode::ProviderError);
    assert!(without.message.contains("\"database\""), "{without:#?}");
}

/// A file that can't be written, in a folder that can't, is read all the same.
#[test]
fn write_protected_files_are_read() {
    let place = Place::new(Kind::Sqlite);
    place.execute("CREATE TABLE t (v text); INSERT INTO t VALUES ('kept')");
    let file = place.folder().join("test.db");
    let before = fs::read(&file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o555)).unwrap();
    let found = place.read("SELECT v FROM t").load().value();
    fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    check("reading", &found["rows"], &json!([{"v": "kept"}]));
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::read_dir(place.folder()).unwrap().count(), 1, "reading leaves no file");
}

/// Readers see what was there when they began, and don't fail, while others write; in both journal modes.
#[test]
fn other_programs_may_write_meanwhile() {
    for mode in ["DELETE", "WAL"] {
        let place = Place::new(Kind::Sqlite);
        place.execute(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t (v integer)"));
        for n in 1..=3 {
            place.execute(&format!("INSERT INTO t VALUES ({n})"));
            check(mode, &place.read("SELECT max(v) AS v FROM t").single(), &json!(n));
            let written = place.write("UPDATE t SET v = v; SELECT count(*) AS n FROM t");
            check(mode, &written.single(), &json!(n));
        }
    }
}

/// Words that would lead out of the file, at run time too.
#[test]
fn nothing_leads_out_of_the_file() {
    let place = Place::new(Kind::Sqlite);
    let other = place.folder().join("other.db");
    sqlite_client::query(&other, "CREATE TABLE t (v text)");
    place.execute("CREATE TABLE t (v text)");
    for query in [
        "ATTACH @f AS other",
        "ATTACH DATABASE 'other.db' AS other",
        "/* x */ ATTACH 'other.db' AS other",
        "EXPLAIN ATTACH 'other.db' AS other",
        "VACUUM INTO @f",
        "VACUUM",
        "PRAGMA writable_schema = 1",
        "PRAGMA temp_store_directory = '/tmp'",
        "SELECT load_extension(@f)",
        "SELECT writefile(@f, 'x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT edit('x')",
    ] {
        for case in [place.read(query), place.write(query)] {
            let case = case.with(json!({"f": place.folder().join("made.db").to_str().unwrap()}));
            if let Ok(connector) = case.try_load() {
                let outcome = connector.call(&case.call);
                assert!(outcome.result.is_err(), "{query} gave {:?}", outcome.result);
            }
        }
        assert_eq!(fs::read_dir(place.folder()).unwrap().count(), 2, "after {query}");
    }
}

/// A connector's own folder, the operator's, and a zip, which has none.
#[test]
fn the_command_line_names_the_folder() {
    let here = Workspace::new();
    let manifest = json!({
        "title": "Test", "type": "sql", "authMethod": "none",
        "sqlConnectionConfig": {"engine": "sqlite"}, "connectionConfig": {"database": "hotel.db"},
        "sqlOperations": [{"name": "get", "query": "SELECT v FROM t"}],
    });
    here.write("c/config.json", manifest.to_string());
    for (file, value) in [("c/hotel.db", "own"), ("elsewhere/hotel.db", "elsewhere")] {
        let file = here.write(file, "");
        sqlite_client::query(&file, &format!("CREATE TABLE t (v text); INSERT INTO t VALUES ('{value}')"));
    }
    let value = |json: Value| json["rows"][0]["v"].clone();
    assert_eq!(value(here.run(&["run", "c", "get"]).exits(0).json()), "own");
    assert_eq!(
        value(here.run(&["run", "c", "get", "--sqlite-dir", "elsewhere"]).exits(0).json()),
        "elsewhere"
    );
    let by_environment = here.run_with_env(&["run", "c", "get"], &[("PORTCULLIS_SQLITE_DIR", "elsewhere")]);
    assert_eq!(value(by_environment.exits(0).json()), "elsewhere");
    here.run(&["run", "c", "get", "--sqlite-dir", "nowhere"]).exits(1).says("nowhere");
    here.run(&["test", "c"]).exits(0);
    here.run(&["test", "c", "--config", "database=none.db"]).exits(1).says("none.db");
    fs::remove_file(here.path("c/hotel.db")).unwrap();
    here.run(&["pack", "c", "-o", "c.zip"]).exits(0);
    here.run(&["run", "c.zip", "get"]).exits(1).says("--sqlite-dir");
    assert_eq!(
        value(here.run(&["run", "c.zip", "get", "--sqlite-dir=elsewhere"]).exits(0).json()),
        "elsewhere"
    );
}
