//! Operations that read: whatever their text tries, nothing is written, and nothing is left for the next call.

use std::fs;

use portcullis_runtime::{CallError, ErrorCode};
use serde_json::{Value, json};

use crate::support::{Case, Kind, Place, check, on_each_engine, on_each_server};

on_each_engine!(writes_fail, read_only_connectors, sessions_start_afresh);
on_each_server!(tampering_weakens_nothing);

/// Tables, and routines that write.
fn hotel(place: &Place) {
    place.execute(
        "CREATE TABLE room (id integer PRIMARY KEY, name varchar(20)); INSERT INTO room VALUES (1, 'Garden')",
    );
    place.execute(place.pick(
        "CREATE TABLE log (n integer);
         CREATE VIEW writable AS SELECT id FROM room;
         CREATE TRIGGER on_view INSTEAD OF INSERT ON writable BEGIN INSERT INTO room VALUES (NEW.id, 'view'); END",
        "CREATE SEQUENCE counter;
         CREATE FUNCTION writing() RETURNS int LANGUAGE SQL AS 'INSERT INTO room VALUES (2, ''function''); SELECT 1';
         CREATE FUNCTION hiding() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
           BEGIN SET LOCAL transaction_read_only = off; EXCEPTION WHEN OTHERS THEN NULL; END;
           INSERT INTO room VALUES (3, 'hiding'); RETURN 1; END $$;
         CREATE FUNCTION meddling() RETURNS text LANGUAGE SQL AS
           'SELECT set_config(''TimeZone'', ''Asia/Tokyo'', false) || set_config(''default_transaction_read_only'', ''off'', false)';
         CREATE VIEW meddles AS SELECT meddling() AS m;
         CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO room VALUES (4, 'procedure'); COMMIT; END $$;
         CREATE PROCEDURE freeing() LANGUAGE plpgsql AS $$ BEGIN
           COMMIT; SET TRANSACTION READ WRITE; INSERT INTO room VALUES (5, 'freed'); COMMIT; END $$;",
        "CREATE SEQUENCE counter;
         DELIMITER //
         CREATE FUNCTION writing() RETURNS int BEGIN INSERT INTO room VALUES (2, 'function'); RETURN 1; END //
         CREATE FUNCTION meddling() RETURNS int BEGIN SET @own = 7; SET time_zone = '+09:00'; SET SESSION tx_read_only = 0; RETURN GET_LOCK('mine', 0); END //
         CREATE VIEW meddles AS SELECT meddling() AS m //
         CREATE PROCEDURE committing() BEGIN INSERT INTO room VALUES (4, 'procedure'); COMMIT; END //
         CREATE PROCEDURE freeing() BEGIN
           COMMIT; SET SESSION TRANSACTION READ WRITE; START TRANSACTION READ WRITE;
           INSERT INTO room VALUES (5, 'freed'); COMMIT; END //
         CREATE PROCEDURE implicitly() BEGIN CREATE TABLE made (a int); END //
         DELIMITER ;",
    ));
}

/// What reads must not do; `{file}` is a file outside the database.
fn attempts(place: &Place) -> Vec<&'static str> {
    let everywhere = [
        "INSERT INTO room VALUES (9, 'x')",
        "UPDATE room SET name = 'x'",
        "DELETE FROM room",
        "CREATE TABLE made (a int)",
        "DROP TABLE room",
        "ALTER TABLE room ADD COLUMN x int",
        "CREATE INDEX made ON room (name)",
        "CREATE VIEW made AS SELECT 1 AS a",
        "SELECT 1 AS a; INSERT INTO room VALUES (9, 'x')",
        "INSERT INTO room VALUES (9, 'x'); SELECT 1 AS a",
        "INSERT INTO room VALUES (9, 'x') RETURNING id",
    ];
    let own = place.pick(
        vec![
            "REPLACE INTO room VALUES (9, 'x')",
            "INSERT INTO writable VALUES (9)",
            "WITH x AS (SELECT 9 AS id) INSERT INTO room SELECT id, 'x' FROM x",
            "ANALYZE",
        ],
        vec![
            "WITH x AS (INSERT INTO room VALUES (9, 'x') RETURNING id) SELECT id FROM x",
            "WITH x AS (DELETE FROM room RETURNING id) SELECT count(*) FROM x",
            "SELECT writing()",
            "SELECT hiding()",
            "SELECT * INTO made FROM room",
            "CREATE TABLE made AS SELECT 1 AS a",
            "SELECT set_config('transaction_read_only', 'off', true), writing()",
            "SELECT set_config('transaction_read_only', 'off', false), hiding()",
            "SELECT nextval('counter')",
            "SELECT setval('counter', 5)",
            "SELECT * FROM room FOR UPDATE",
            "TRUNCATE room",
            "CALL committing()",
            "CALL freeing()",
            "DO $$ BEGIN INSERT INTO room VALUES (9, 'x'); COMMIT; END $$",
            "DO $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; INSERT INTO room VALUES (9, 'x'); COMMIT; END $$",
            "SELECT set_config('transaction_read_only', 'off', true); INSERT INTO room VALUES (9, 'x')",
            "SELECT set_config('default_transaction_read_only', 'off', false); INSERT INTO room VALUES (9, 'x')",
            "SET default_transaction_read_only = off; INSERT INTO room VALUES (9, 'x')",
            "SET SESSION default_transaction_read_only = off; DO $$ BEGIN COMMIT; INSERT INTO room VALUES (9, 'x'); COMMIT; END $$",
            "EXPLAIN ANALYZE INSERT INTO room VALUES (9, 'x')",
            "PREPARE p AS INSERT INTO room VALUES (9, 'x'); EXECUTE p",
            "COPY (SELECT 1) TO '{file}'",
            "COPY room TO PROGRAM 'cat > {file}'",
            "COMMENT ON TABLE room IS 'x'",
            "VACUUM room",
            "DO $$ BEGIN COPY (SELECT 1) TO '{file}'; END $$",
            "DO $$ BEGIN COPY (SELECT 1) TO PROGRAM 'cat > {file}'; END $$",
        ],
        vec![
            "REPLACE INTO room VALUES (9, 'x')",
            "SELECT writing()",
            "SELECT * FROM room INTO OUTFILE '{file}'",
            "SELECT name INTO DUMPFILE '{file}' FROM room",
            "(SELECT * FROM room) UNION (SELECT 2, 'x' INTO OUTFILE '{file}')",
            "CREATE TABLE made AS SELECT 1 AS a",
            "TRUNCATE room",
            "CALL committing()",
            "CALL freeing()",
            "CALL implicitly()",
            "SELECT NEXT VALUE FOR counter",
            "SELECT NEXTVAL(counter)",
            "SET @q = 'INSERT INTO room VALUES (9, ''x'')'; EXECUTE IMMEDIATE @q",
            "EXECUTE IMMEDIATE 'COMMIT'; INSERT INTO room VALUES (9, 'x')",
            "EXECUTE IMMEDIATE 'SET SESSION TRANSACTION READ WRITE'; INSERT INTO room VALUES (9, 'x')",
            "EXECUTE IMMEDIATE 'START TRANSACTION READ WRITE'; INSERT INTO room VALUES (9, 'x')",
            "BEGIN NOT ATOMIC COMMIT; INSERT INTO room VALUES (9, 'x'); COMMIT; END",
            "SET STATEMENT sql_mode = '' FOR INSERT INTO room VALUES (9, 'x')",
            "ANALYZE INSERT INTO room VALUES (9, 'x')",
            "RENAME TABLE room TO made",
            "DO writing()",
            // What an executable comment that the server skips says isn't what the statement is.
            "/*!999999 SHOW */ SELECT 1 INTO OUTFILE '{file}'",
            "/*!999999 SHOW */ EXECUTE IMMEDIATE 'SELECT 1 INTO OUTFILE ''{file}'''",
            "/*!999999 SHOW */ SET GLOBAL max_connect_errors = 12345",
            "ANALYZE SELECT 1 INTO OUTFILE '{file}'",
            "ANALYZE FORMAT=JSON SELECT 1 INTO OUTFILE '{file}'",
            "SET STATEMENT max_statement_time = 3 FOR PURGE BINARY LOGS TO 'x'",
        ],
    );
    everywhere.into_iter().chain(own).collect()
}

/// Each is refused at loading, or fails; and nothing is there afterwards, for anybody.
fn writes_fail(place: &Place) {
    hotel(place);
    // The servers run as other users: they can write here.
    let outside = tempfile::Builder::new().prefix("portcullis-outfile-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(outside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let before = state(place);
    for (n, query) in attempts(place).into_iter().enumerate() {
        let file = outside.path().join(n.to_string());
        let query = query.replace("{file}", &file.display().to_string());
        let case = place.read(&query);
        if let Ok(connector) = case.try_load() {
            let outcome = connector.call(&case.call);
            assert!(outcome.result.is_err(), "{place:?} {query} gave {:?}", outcome.result);
        }
        assert_eq!(state(place), before, "{place:?} after {query}");
        assert!(!file.exists(), "{place:?} {query} wrote a file");
    }
    if place.kind == Kind::Postgres {
        let beyond =
            "SELECT count(*) FROM pg_largeobject_metadata; SELECT count(*) FROM pg_replication_origin
                      WHERE roname = 'made'";
        let nothing = place.query(beyond);
        for query in [
            "SELECT lo_from_bytea(0, 'x')",
            "SELECT lo_create(0)",
            "SELECT lo_unlink(lo_create(0))",
            r#"SELECT U&"l\006f_create"(4445)"#,
            "SELECT query_to_xml('select l' || 'o_create(4446)', true, false, '')",
            "SELECT pg_replication_origin_create('made')",
        ] {
            // A read-only transaction doesn't refuse these: it is rolled back.
            for _ in 0..2 {
                let _ = place.read(query).outcome();
            }
            assert_eq!(state(place), before, "{place:?} after {query}");
            assert_eq!(place.query(beyond), nothing, "{place:?} after {query}");
        }
    }
    check("reading still works", &place.read("SELECT name FROM room").single(), &json!("Garden"));
}

/// All that those attempts could change.
fn state(place: &Place) -> Vec<Vec<String>> {
    let tables = place.pick(
        "SELECT type, name, sql FROM sqlite_master ORDER BY name",
        "SELECT relname, relnatts::text, obj_description(oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace
         UNION ALL SELECT last_value::text, is_called::text, '' FROM counter
         UNION ALL SELECT 'large object', oid::text, '' FROM pg_largeobject_metadata ORDER BY 1",
        "SELECT table_name, table_type, '' FROM information_schema.tables WHERE table_schema = database() AND table_name <> 'counter'
         UNION ALL SELECT table_name, column_name, '' FROM information_schema.columns WHERE table_schema = database() AND table_name <> 'counter'
         UNION ALL SELECT next_not_cached_value, '', '' FROM counter ORDER BY 1, 2",
    );
    place.query(&format!("SELECT id, name FROM room ORDER BY id; {tables}"))
}

/// `readOnly: true` holds operations that call themselves writes.
fn read_only_connectors(place: &Place) {
    hotel(place);
    let before = state(place);
    for query in
        ["INSERT INTO room VALUES (9, 'x')", "SELECT 1 AS a; DELETE FROM room", "CREATE TABLE made (a int)"]
    {
        let error = place.write(query).sql(json!({"readOnly": true})).fails(ErrorCode::ProviderError);
        assert!(!error.message.is_empty());
        assert_eq!(state(place), before, "{place:?} after {query}");
    }
    let reading = place.write("SELECT name FROM room").sql(json!({"readOnly": true}));
    check("reading works", &reading.single(), &json!("Garden"));
    place.write("INSERT INTO room VALUES (9, 'x')").sql(json!({"readOnly": false})).value();
}

/// One connection, so that each call gets what the one before left.
fn pooled(case: Case) -> Case {
    case.sql(json!({"security": {"maxConnectionPoolSize": 1}}))
}

/// What a session holds besides its data.
fn session(place: &Place) -> Value {
    let query = place.pick(
        "SELECT (SELECT count(*) FROM sqlite_temp_master) AS n_temporary, last_insert_rowid() AS last, changes() AS changed",
        "SELECT current_setting('default_transaction_read_only') AS read_only, current_setting('search_path') AS path,
                current_setting('TimeZone') AS zone, current_setting('statement_timeout') AS timeout,
                current_setting('DateStyle') AS dates, nullif(current_setting('app.own', true), '') AS own, current_user::text AS who,
                session_user::text AS login, current_setting('bytea_output') AS bytes,
                (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS n_locks,
                (SELECT count(*) FROM pg_listening_channels()) AS n_channels,
                (SELECT count(*) FROM pg_cursors WHERE is_holdable) AS n_cursors,
                (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND pg_table_is_visible(oid)) AS n_temporary,
                (SELECT count(*) FROM pg_prepared_statements WHERE from_sql) AS n_prepared, to_char(now(), 'TZ') AS abbreviation",
        "SELECT @@session.tx_read_only AS read_only, @@session.tx_isolation AS isolation, @@session.time_zone AS zone,
                @@session.sql_mode AS mode, @@session.autocommit AS autocommit, @@session.max_statement_time AS timeout,
                @@session.character_set_client AS client, @@session.character_set_results AS results,
                @@session.sql_select_limit AS lim, @@session.foreign_key_checks AS checks,
                @own AS own, IS_USED_LOCK('mine') AS locked, DATABASE() AS db, LAST_INSERT_ID() AS last",
    );
    pooled(place.read(query)).rows()
}

/// Settings, temporary tables, variables and locks of one call aren't there in the next.
fn sessions_start_afresh(place: &Place) {
    hotel(place);
    let fresh = session(place);
    let left: Vec<&str> = place.pick(
        vec![
            "CREATE TEMP TABLE room (id integer); INSERT INTO room VALUES (77)",
            "CREATE TEMP VIEW shadow AS SELECT 1",
            "INSERT INTO log VALUES (1)",
        ],
        vec![
            "SET default_transaction_read_only = off",
            "SELECT set_config('search_path', 'pg_temp', false)",
            "SET TIME ZONE 'Asia/Tokyo'",
            "SET statement_timeout = 0",
            "SET DateStyle = 'German, DMY'",
            "SET bytea_output = 'escape'",
            "SELECT set_config('app.own', 'x', false)",
            "SET ROLE pg_read_all_data",
            "SET SESSION AUTHORIZATION reader",
            "SELECT pg_advisory_lock(42)",
            "LISTEN channel",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "CREATE TEMP TABLE room (id integer); INSERT INTO room VALUES (77)",
            "PREPARE p AS SELECT 1",
            "SET standard_conforming_strings = off",
            "SET extra_float_digits = -10",
            "SELECT meddling()",
            "SELECT * FROM meddles",
            "SELECT meddling() FROM room",
        ],
        vec![
            "SET @own = 5",
            "SET time_zone = '+09:00'",
            "SET SESSION sql_mode = ''",
            "SET SESSION max_statement_time = 0",
            "SET NAMES latin1",
            "SET sql_select_limit = 1",
            "SET foreign_key_checks = 0",
            "SELECT GET_LOCK('mine', 0)",
            "CREATE TEMPORARY TABLE room (id integer); INSERT INTO room VALUES (77)",
            "EXECUTE IMMEDIATE 'SET SESSION TRANSACTION READ ONLY'",
            "EXECUTE IMMEDIATE 'SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED'",
            "EXECUTE IMMEDIATE 'SET autocommit = 0'",
            "USE mysql",
            "SELECT 5 INTO @own",
            "SELECT @own := 5 AS own",
            "SELECT meddling() AS m",
            "SELECT m FROM meddles",
            "SELECT room.id FROM room, meddles",
        ],
    );
    for query in left {
        for case in [place.write(query), place.read(query)] {
            let case = pooled(case);
            // Whether a read may do such a thing is the database's affair.
            let done = case.load().outcome().result;
            check(format!("{place:?} after {query} ({done:?})"), &session(place), &fresh);
            let name = pooled(place.read("SELECT name FROM room ORDER BY id")).rows();
            check(format!("{place:?} after {query}"), &name, &json!([{"name": "Garden"}]));
        }
    }
    let moment = place.pick(
        "SELECT '2026-01-01T00:00:00Z' AS t",
        "SELECT timestamptz '2026-01-01 00:00:00+00' AS t",
        "SELECT CAST(TIMESTAMP '2026-01-01 00:00:00' AS CHAR) AS t",
    );
    assert!(pooled(place.read(moment)).single().as_str().unwrap().starts_with("2026-01-01"), "{place:?}");
}

/// What a write changed of its session doesn't let the reads after it write.
fn tampering_weakens_nothing(place: &Place) {
    hotel(place);
    let tampering: Vec<&str> = place.pick(
        vec![],
        vec![
            "SET default_transaction_read_only = off",
            "SET SESSION default_transaction_read_only = off; SET default_transaction_deferrable = on",
            "SELECT set_config('default_transaction_read_only', 'off', false)",
            "SELECT meddling()",
            "SELECT * FROM meddles",
            "DO $$ BEGIN SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; END $$",
            "DO $$ BEGIN COMMIT; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; COMMIT; END $$",
        ],
        vec![
            "SELECT meddling() AS m",
            "SELECT m FROM meddles",
            "EXECUTE IMMEDIATE 'SET SESSION TRANSACTION READ WRITE'",
            "EXECUTE IMMEDIATE 'SET SESSION tx_read_only = 0'",
            "EXECUTE IMMEDIATE 'SET autocommit = 1'",
            "EXECUTE IMMEDIATE 'COMMIT'",
            "EXECUTE IMMEDIATE 'START TRANSACTION READ WRITE'",
        ],
    );
    let (before, fresh) = (state(place), session(place));
    for query in tampering {
        for case in [place.write(query), place.read(query)] {
            // Refused or not: what counts is what comes after.
            let done: Result<Value, CallError> = pooled(case).load().outcome().result;
            for writing in ["SELECT writing() AS n", "INSERT INTO room VALUES (9, 'x')"] {
                let written = pooled(place.read(writing)).load().outcome().result;
                assert!(written.is_err(), "{place:?} after {query} ({done:?}) a read writes: {written:?}");
            }
            assert_eq!(state(place), before, "{place:?} after {query} ({done:?})");
        }
    }
    // A transaction that the text ended isn't carried on in the next call either.
    if place.kind == Kind::Postgres {
        let committed = "DO $$ BEGIN INSERT INTO room VALUES (8, 'kept'); COMMIT; END $$";
        let _ = pooled(place.write(committed)).load().outcome();
        check("a session after COMMIT", &session(place), &fresh);
    }
}

/// A statement whose keyword can't be told is called something all the same.
#[test]
fn a_refusal_names_its_statement() {
    let place = Place::new(Kind::MariaDb);
    for (query, subject) in [
        ("/*!999999 SHOW */ SET GLOBAL max_connect_errors = 12345", "this statement returns no rows"),
        ("SET GLOBAL max_connect_errors = 12345", "SET of what isn't the session's own"),
    ] {
        let message = place.read(query).fails(ErrorCode::ProviderError).message;
        assert!(message.starts_with(subject), "{query}: {message}");
    }
}
