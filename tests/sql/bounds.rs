//! What bounds a query: rows, bytes, time and connections; and what becomes of it on its server when it is given up.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_runtime::{Cancellation, ErrorCode};
use serde_json::json;

use crate::support::{Case, Kind, Place, check, eventually, on_each_engine, on_each_server};
use crate::workspace::Workspace;

on_each_engine!(rows_are_bounded, time_is_bounded, bytes_are_bounded, calls_are_cancelled);
on_each_server!(signals_cancel, killed_programs_leave_no_query);

/// A generous bound on what a query may take in memory, where its rows are many times that.
const MEMORY: u64 = 150 * 1024 * 1024;

/// A million rows of a kilobyte.
fn million(place: &Place) -> String {
    kilobytes(place, 1_000_000)
}

/// So many rows of a kilobyte.
fn kilobytes(place: &Place, n: u32) -> String {
    let text = "replace('0123456789', '0', @pad) AS t";
    place.pick(
        format!("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {n}) SELECT n, {text} FROM c"),
        format!("SELECT n, {text} FROM generate_series(1, {n}) n"),
        format!("SELECT seq AS n, {text} FROM seq_1_to_{n}"),
    )
}

/// A query that takes a minute.
fn minute(place: &Place) -> &'static str {
    place.pick(
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c",
        "SELECT pg_sleep(60)",
        "SELECT SLEEP(60)",
    )
}

fn pad(case: Case) -> Case {
    case.with(json!({"pad": "x".repeat(1000)}))
}

/// Memory of this process that isn't swapped out, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn is_quiet(place: &Place) -> bool {
    place.kind == Kind::Sqlite || place.n_running() == 0
}

/// A million rows are read as far as they are wanted.
fn rows_are_bounded(place: &Place) {
    let bounded = |case: Case, n: u64| pad(case).sql(json!({"security": {"maxResultRows": n}}));
    bounded(place.read(&million(place)), 1).value();
    let before = resident();
    for n in [1, 100] {
        let result = bounded(place.read(&million(place)), n).value();
        check(format!("{place:?} {n}"), &json!([result["rowCount"], result["truncated"]]), &json!([n, true]));
        assert_eq!(result["rows"].as_array().unwrap().len(), usize::try_from(n).unwrap());
        check("the first row", &result["rows"][0]["n"], &json!(1));
    }
    eventually("the server stops as well", || is_quiet(place));
    // A write reads on, and throws away.
    place.execute("CREATE TABLE t (n integer)");
    let many = kilobytes(place, 200_000);
    let written = bounded(place.write(&format!("INSERT INTO t (n) VALUES (1); {many}")), 5).value();
    check(
        format!("{place:?} a write"),
        &json!([written["rowCount"], written["truncated"], written["rowsAffected"]]),
        &json!([5, true, 1]),
    );
    assert_eq!(place.query_value("SELECT count(*) FROM t"), "1");
    let growth = resident().saturating_sub(before);
    assert!(growth < MEMORY, "{place:?}: {growth} bytes more");
    // Exactly as many rows as are allowed are all of them.
    let exact =
        place.read("SELECT 1 AS n UNION ALL SELECT 2").sql(json!({"security": {"maxResultRows": 2}})).value();
    check("as many as allowed", &json!([exact["rowCount"], exact["truncated"]]), &json!([2, false]));
    let many = "SELECT n FROM c".replace('c', &format!("({}) q", million(place)));
    let default = pad(place.read(&many)).value();
    check("by default", &json!([default["rowCount"], default["truncated"]]), &json!([10_000, true]));
}

fn time_is_bounded(place: &Place) {
    place.execute("CREATE TABLE t (n integer)");
    let bounded =
        |case: Case| case.sql(json!({"security": {"queryTimeoutMs": 500, "maxConnectionPoolSize": 1}}));
    let writing = format!("INSERT INTO t VALUES (1); {}", minute(place));
    for case in [place.read(minute(place)), place.write(minute(place)), place.write(&writing)] {
        let shown = case.to_string();
        let started = Instant::now();
        let error = bounded(case).fails(ErrorCode::LimitExceeded);
        assert!(started.elapsed() < Duration::from_secs(15), "{shown} took {:?}", started.elapsed());
        check(&shown, &json!(error.details), &json!({"limit": "query_timeout", "value": 500}));
        assert!(error.message.contains("queryTimeoutMs"), "{error:#?}");
        eventually("it is cancelled on the server", || is_quiet(place));
        check("the next call on the same pool", &bounded(place.read("SELECT 7 AS n")).single(), &json!(7));
        assert_eq!(place.query_value("SELECT count(*) FROM t"), "0", "{shown}");
    }
    // A request's timeout is one too, and the call's own deadline.
    let request = place.read(minute(place)).sql(json!({"options": {"requestTimeout": 300}}));
    check(
        "requestTimeout",
        &json!(request.fails(ErrorCode::LimitExceeded).details),
        &json!({"limit": "query_timeout", "value": 300}),
    );
    let deadline = place.read(minute(place)).config(json!({"timeout": 400}));
    check(
        "timeout",
        &json!(deadline.fails(ErrorCode::LimitExceeded).details),
        &json!({"limit": "deadline", "value": 400}),
    );
    eventually("all are cancelled on the server", || is_quiet(place));
}

fn bytes_are_bounded(place: &Place) {
    let limit = 2 * 1024 * 1024;
    let many = pad(place.read(&million(place)));
    let error = many.fails(ErrorCode::LimitExceeded);
    check(format!("{place:?} many rows"), &json!(error.details), &json!({"limit": "result", "value": limit}));
    let large = place.pick(
        "SELECT hex(zeroblob(1500000)) AS t",
        "SELECT repeat('x', 3000000) AS t",
        "SELECT REPEAT('x', 3000000) AS t",
    );
    let error = place.read(large).fails(ErrorCode::LimitExceeded);
    check(format!("{place:?} one value"), &json!(error.details), &json!({"limit": "result", "value": limit}));
    place.execute("CREATE TABLE t (n integer)");
    pad(place.write(&format!("INSERT INTO t (n) VALUES (1); {}", million(place))))
        .fails(ErrorCode::LimitExceeded);
    assert_eq!(place.query_value("SELECT count(*) FROM t"), "0", "{place:?}");
    eventually("the server stops as well", || is_quiet(place));
}

/// A caller that goes away takes its query along.
fn calls_are_cancelled(place: &Place) {
    let mut loaded = place.read(minute(place)).load();
    for early in [false, true] {
        let cancellation = Cancellation::default();
        loaded.call.cancellation = cancellation.clone();
        if early {
            cancellation.cancel();
        }
        let started = Instant::now();
        let error = thread::scope(|scope| {
            let call = scope.spawn(|| loaded.outcome().result.unwrap_err());
            thread::sleep(Duration::from_millis(300));
            cancellation.cancel();
            call.join().unwrap()
        });
        assert_eq!(error.code, ErrorCode::Cancelled, "{error:#?}");
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
        eventually("it is cancelled on the server", || is_quiet(place));
    }
    check("the next call", &place.read("SELECT 7 AS n").single(), &json!(7));
}

/// The program, running a query of a minute on its server.
fn running_program(place: &Place, here: &Workspace, query_timeout_ms: u64) -> Child {
    let mut manifest = place.manifest(json!([{"name": "wait", "query": minute(place)}]));
    manifest["sqlConnectionConfig"]["security"] = json!({"queryTimeoutMs": query_timeout_ms});
    here.write("slow/config.json", manifest.to_string());
    let mut arguments = vec!["run".to_owned(), "slow".to_owned(), "wait".to_owned()];
    arguments.extend(place.flags());
    let mut command = here.command(&arguments);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the query runs", || place.n_running() == 1);
    child
}

/// SQLite has no server that could go on, but a program that would.
#[test]
fn signals_end_a_query_of_sqlite() {
    let (place, here) = (Place::new(Kind::Sqlite), Workspace::new());
    here.write(
        "slow/config.json",
        place.manifest(json!([{"name": "wait", "query": minute(&place)}])).to_string(),
    );
    let arguments = [vec!["run".to_owned(), "slow".to_owned(), "wait".to_owned()], place.flags()].concat();
    let child = here.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_millis(500));
    signal(&child, Signal::SIGINT);
    let started = Instant::now();
    assert!(!child.wait_with_output().unwrap().status.success());
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

fn signals_cancel(place: &Place) {
    let here = Workspace::new();
    for stop in [Signal::SIGINT, Signal::SIGTERM] {
        let child = running_program(place, &here, 30_000);
        signal(&child, stop);
        let started = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
        assert!(!output.status.success(), "{output:?}");
        eventually("it is cancelled on the server", || place.n_running() == 0);
    }
}

/// Nobody is left to cancel it: the server ends it by its own limit.
fn killed_programs_leave_no_query(place: &Place) {
    let here = Workspace::new();
    let mut child = running_program(place, &here, 3_000);
    signal(&child, Signal::SIGKILL);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    eventually("it ends on the server", || place.n_running() == 0);
}
