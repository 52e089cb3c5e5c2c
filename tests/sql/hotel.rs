//! examples/hotel: a day at the front desk, on SQLite as it ships and on the servers, with the same answers.

use std::path::PathBuf;
use std::{env, fs};

use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::{Call, Connector, ErrorCode, Package};
use serde_json::{Value, json};

use crate::sqlite_client;
use crate::support::{Kind, Place, on_each_engine};
use crate::workspace::{Workspace, example};

on_each_engine!(a_day_at_the_front_desk, operations_refuse_what_makes_no_sense);

fn file(name: &str) -> PathBuf {
    PathBuf::from(example("hotel")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// The example's connector on an engine, with its tables filled: on SQLite a copy of what ships.
fn open(place: &Place) -> Connector {
    let mut manifest: Value = serde_json::from_str(&text("config.json")).unwrap();
    if place.kind == Kind::Sqlite {
        fs::copy(file("hotel.db"), place.folder().join("test.db")).unwrap();
    } else {
        place.execute(&text("schema.sql"));
        place.execute(&text("seed.sql"));
        manifest["sqlConnectionConfig"]["engine"] =
            place.pick(json!("sqlite"), json!("postgres"), json!("mysql"));
        manifest["authMethod"] = json!("basic_auth");
    }
    let files = vec![("config.json".to_owned(), manifest.to_string().into_bytes())];
    place.engine().load(&Package::from_files(Slug::parse("hotel").unwrap(), files).unwrap()).unwrap()
}

fn call(place: &Place, operation: &str, arguments: &Value) -> Call {
    Call {
        operation: Some(operation.to_owned()),
        arguments: arguments.clone(),
        secrets: place.secrets(),
        config: place.config(),
        ..Call::default()
    }
}

/// What is asked and done in the order of the day, and how many rows each returns and changes.
fn day() -> Vec<(&'static str, Value, usize, Option<u64>)> {
    let booking = json!({"reference": "WEB-20261201", "guest_id": 4, "room_number": "204", "arrive": "2026-12-01",
        "depart": "2026-12-03", "adults": 2, "notes": "O'Brien; DROP TABLE rooms; -- \"late\" 🌙"});
    let taken = json!({"reference": "WEB-20261202", "guest_id": 5, "room_number": "204", "arrive": "2026-12-02", "depart": "2026-12-05"});
    let charge = |id: u32, day: &str| {
        json!({"reservation_id": id, "charged_on": day, "category": "minibar", "description": "Mineral water",
            "quantity": 3, "unit_price": "3.20"})
    };
    vec![
        ("list_reservations", json!({}), 32, None),
        ("list_reservations", json!({"status": "in_house"}), 8, None),
        ("list_reservations", json!({"guest": "o'b"}), 1, None),
        ("list_reservations", json!({"guest": "%"}), 0, None),
        ("list_reservations", json!({"guest": "' OR 1=1 --"}), 0, None),
        (
            "list_reservations",
            json!({"arriving_from": "2026-11-20", "arriving_to": "2026-11-21", "status": "booked"}),
            4,
            None,
        ),
        ("list_reservations", json!({"staying_on": "2026-11-19", "room_number": "406"}), 1, None),
        ("get_reservation", json!({"reservation_id": 12}), 1, None),
        ("get_reservation", json!({"reservation_id": 4711}), 0, None),
        (
            "find_available_rooms",
            json!({"arrive": "2026-12-01", "depart": "2026-12-03", "guests": 2, "room_type": "DBL"}),
            7,
            None,
        ),
        ("find_available_rooms", json!({"arrive": "2026-12-03", "depart": "2026-12-01"}), 0, None),
        ("list_rooms", json!({}), 24, None),
        ("list_rooms", json!({"status": "out_of_order", "floor": 3, "room_type": "TWN"}), 1, None),
        ("occupancy_report", json!({"from_date": "2026-11-18", "to_date": "2026-11-21"}), 4, None),
        ("housekeeping_list", json!({"on_date": "2026-11-20"}), 12, None),
        ("search_guests", json!({"text": "MORETTI"}), 1, None),
        ("search_guests", json!({"text": "nobody at all"}), 0, None),
        ("guest_history", json!({"guest_id": 1}), 3, None),
        ("get_folio", json!({"reservation_id": 9}), 8, None),
        ("get_folio", json!({"reservation_id": 4711}), 0, None),
        ("create_reservation", booking.clone(), 1, Some(1)),
        ("create_reservation", booking, 1, Some(0)),
        ("create_reservation", taken, 0, Some(0)),
        ("list_reservations", json!({"room_number": "204"}), 2, None),
        ("check_in", json!({"reservation_id": 17}), 1, Some(1)),
        ("check_in", json!({"reservation_id": 17}), 1, Some(0)),
        ("check_in", json!({"reservation_id": 4711}), 0, Some(0)),
        ("add_charge", charge(17, "2026-11-20"), 1, Some(1)),
        ("add_charge", charge(17, "2026-12-24"), 0, Some(0)),
        ("add_charge", charge(1, "2026-11-02"), 0, Some(0)),
        ("get_folio", json!({"reservation_id": 17}), 5, None),
        ("check_out", json!({"reservation_id": 9}), 1, Some(2)),
        ("check_out", json!({"reservation_id": 9}), 1, Some(0)),
        ("cancel_reservation", json!({"reservation_id": 22, "reason": "Flight cancelled"}), 1, Some(1)),
        ("cancel_reservation", json!({"reservation_id": 23}), 1, Some(1)),
        ("cancel_reservation", json!({"reservation_id": 12}), 1, Some(0)),
        ("set_room_status", json!({"room_number": "102", "status": "clean"}), 1, Some(1)),
        ("set_room_status", json!({"room_number": "999", "status": "clean"}), 0, Some(0)),
        ("list_rooms", json!({"floor": 1}), 6, None),
    ]
}

/// Each answer is that of tests/cases/sql/hotel.jsonl; `BLESS=1` writes it anew, from SQLite.
fn a_day_at_the_front_desk(place: &Place) {
    let connector = open(place);
    let (mut answers, mut wrong) = (String::new(), Vec::new());
    for (operation, arguments, n_rows, n_affected) in day() {
        let outcome = connector.call(&call(place, operation, &arguments));
        let mut result =
            outcome.result.unwrap_or_else(|error| panic!("{place:?} {operation} {arguments}: {error:#?}"));
        let found = json!([result["rowCount"], result["rowsAffected"]]);
        if found != json!([n_rows, n_affected]) {
            wrong.push(format!("{operation} {arguments}: {found}, not {}", json!([n_rows, n_affected])));
        }
        // Types have other names on each engine.
        for column in result["columns"].as_array_mut().unwrap() {
            *column = column["name"].take();
        }
        answers.push_str(&format!(
            "{}\n",
            json!({"operation": operation, "arguments": arguments, "result": result})
        ));
    }
    assert!(wrong.is_empty(), "{place:?}: {wrong:#?}");
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/sql/hotel.jsonl");
    if env::var_os("BLESS").is_some() && place.kind == Kind::Sqlite {
        fs::write(&golden, &answers).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    for (found, expected) in answers.lines().zip(expected.lines()) {
        assert!(
            found == expected,
            "{place:?}:\n   found {found}\nexpected {expected}\nBLESS=1 rewrites {}",
            golden.display()
        );
    }
    assert_eq!(answers.lines().count(), expected.lines().count(), "BLESS=1 rewrites {}", golden.display());
}

/// Arguments that the operations' schemas don't take reach no database.
fn operations_refuse_what_makes_no_sense(place: &Place) {
    let connector = open(place);
    for (operation, arguments) in [
        ("list_reservations", json!({"status": "asleep"})),
        ("list_reservations", json!({"arriving_from": "2026-02-30"})),
        ("list_reservations", json!({"guests": "typo"})),
        ("get_reservation", json!({})),
        ("find_available_rooms", json!({"arrive": "2026-12-01"})),
        ("list_rooms", json!({"floor": "1"})),
        ("occupancy_report", json!({"from_date": "today", "to_date": "2026-11-20"})),
        ("housekeeping_list", json!({"on_date": null})),
        ("search_guests", json!({"text": "x"})),
        ("guest_history", json!({"guest_id": 0})),
        ("get_folio", json!({"reservation_id": 1.5})),
        (
            "create_reservation",
            json!({"reference": "x", "guest_id": 1, "room_number": "204", "arrive": "2026-12-01", "depart": "2026-12-03"}),
        ),
        ("check_in", json!({"reservation_id": "17"})),
        ("check_out", json!({"reservation_id": [9]})),
        ("cancel_reservation", json!({"reservation_id": 22, "reason": ""})),
        (
            "add_charge",
            json!({"reservation_id": 9, "charged_on": "2026-11-20", "category": "spa", "description": "x", "unit_price": 5}),
        ),
        ("set_room_status", json!({"room_number": "102", "status": "burnt"})),
    ] {
        let error = connector.call(&call(place, operation, &arguments)).result.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArguments, "{place:?} {operation} {arguments}: {error:#?}");
    }
}

/// What ships is what the scripts make.
#[test]
fn the_database_is_that_of_the_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let (made, shipped) = (folder.path().join("made.db"), folder.path().join("shipped.db"));
    sqlite_client::query(&made, &text("schema.sql"));
    sqlite_client::query(&made, &text("seed.sql"));
    fs::copy(file("hotel.db"), &shipped).unwrap();
    let schema = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name";
    assert_eq!(sqlite_client::query(&shipped, schema), sqlite_client::query(&made, schema));
    let tables = sqlite_client::query(&made, "SELECT name FROM sqlite_master WHERE type = 'table'").concat();
    assert!(tables.len() >= 6, "{tables:?}");
    for table in tables {
        let rows = format!("SELECT * FROM {table} ORDER BY 1");
        assert_eq!(sqlite_client::query(&shipped, &rows), sqlite_client::query(&made, &rows), "{table}");
    }
    assert_eq!(sqlite_client::query(&shipped, "PRAGMA integrity_check"), [["ok"]]);
}

/// As the README says it, where the repository is: nothing there changes by reading.
#[test]
fn it_runs_from_the_repository() {
    let before = fs::read(file("hotel.db")).unwrap();
    let here = Workspace::new();
    let hotel = example("hotel");
    let listed = here.run(&["run", &hotel, "list_reservations", "--params", "{\"status\": \"in_house\"}"]);
    assert_eq!(listed.exits(0).json()["rowCount"], 8);
    here.run(&["test", &hotel]).exits(0);
    here.run(&["check", &hotel]).exits(0);
    let tables = here.run(&["run", &hotel, "introspect_tables"]).exits(0).json();
    assert_eq!(
        tables["rows"][0],
        json!({"schemaName": "main", "tableName": "charges", "tableType": "table"})
    );
    assert_eq!(fs::read(file("hotel.db")).unwrap(), before);
    let beside = fs::read_dir(&hotel).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(beside.into_iter().all(|name| !name.starts_with("hotel.db-")), "a journal was left");
}
