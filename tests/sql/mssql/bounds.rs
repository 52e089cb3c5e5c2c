//! Rows, bytes and time have their bounds, and a server that misbehaves harms one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_test_servers::tds::{End, Length};

use super::*;

fn endless() -> Reply {
    Reply::stream(vec![Column::new("n", Type::IntN(8))], (0..).map(|n| vec![Cell::Int(n)]))
}

#[test]
fn reading_stops_at_the_bound_and_the_server_is_told() {
    let server = server(|_| vec![endless()]);
    let case =
        Case::read(&server, "SELECT n FROM numbers").sql(json!({"security": {"maxResultRows": 1000}})).load();
    let value = case.value();
    assert_eq!((&value["rowCount"], &value["truncated"]), (&json!(1000), &json!(true)));
    assert_eq!(value["rows"][999], json!({"n": 999}));
    let is_over = |sessions: &[Session]| sessions[0].end == Some(End::Closed);
    assert!(server.wait_until(SOON, is_over), "{:?}", server.sessions()[0].end);
    assert_eq!(events(&server.sessions()[0])[1], "Cancelled");
    case.value();
}

#[test]
fn as_many_rows_as_there_may_be_are_not_truncated() {
    let server = server(|_| vec![integers(&[1, 2, 3])]);
    let value = Case::read(&server, "SELECT n FROM t").sql(json!({"security": {"maxResultRows": 3}})).value();
    assert_eq!((&value["rowCount"], &value["truncated"]), (&json!(3), &json!(false)));
    assert_eq!(events(&server.sessions()[0]), ["Begun", "Completed", "RolledBack(Statement)"]);
}

#[test]
fn a_result_after_a_long_one_is_read() {
    let server = server(|_| vec![integers(&[0; 5000]), integers(&[7])]);
    let bound = json!({"security": {"maxResultRows": 10}});
    let value = Case::read(&server, "SELECT n FROM t; SELECT 7 AS n").sql(bound).value();
    assert_eq!((&value["rows"], &value["truncated"]), (&json!([{"n": 7}]), &json!(false)));
}

#[test]
fn a_write_goes_on_past_the_bound() {
    let server = server(|_| vec![integers(&[0; 5000]), Reply::RowCount(1)]);
    let bound = json!({"security": {"maxResultRows": 10}});
    let value = Case::write(&server, "SELECT n FROM t; DELETE t").sql(bound).value();
    assert_eq!(
        (&value["rowCount"], &value["truncated"], &value["rowsAffected"]),
        (&json!(10), &json!(true), &json!(1))
    );
    assert_eq!(events(&server.sessions()[0]), ["Begun", "Completed", "Committed"]);
}

#[test]
fn one_value_cannot_fill_the_memory() {
    let server = server(|_| {
        let columns = vec![Column::new("t", Type::NVarChar(Length::Max))];
        vec![Reply::rows(columns, vec![vec![Cell::Text("x".repeat(8 << 20))]])]
    });
    let error = Case::write(&server, "SELECT t FROM big").fails(ErrorCode::LimitExceeded);
    assert!(error.message.contains("the result is larger"), "{error}");
    assert!(server.wait_until(SOON, |sessions| sessions[0].end.is_some()), "it is still open");
    assert_eq!(events(&server.sessions()[0]).last().map(String::as_str), Some("RolledBack(Disconnect)"));
}

#[test]
fn a_result_larger_than_it_may_be_rolls_back() {
    let server = server(|_| {
        let columns = vec![Column::new("t", Type::NVarChar(Length::Max))];
        let rows = (0..40).map(|_| vec![Cell::Text("x".repeat(100_000))]);
        vec![Reply::RowCount(1), Reply::stream(columns, rows)]
    });
    Case::write(&server, "DELETE t; SELECT t FROM big").fails(ErrorCode::LimitExceeded);
    assert!(server.wait_until(SOON, |sessions| sessions[0].end.is_some()), "it is still open");
    assert!(!events(&server.sessions()[0]).contains(&"Committed".to_owned()));
}

#[test]
fn a_query_that_takes_too_long_is_cancelled_on_the_server() {
    let server = server(|request| match request.sql() {
        Some(sql) if sql.starts_with("WAITFOR") => vec![Reply::Wait(Duration::from_secs(60))],
        _ => vec![integers(&[1])],
    });
    let started = Instant::now();
    let security = json!({"security": {"queryTimeoutMs": 300}});
    let case = Case::write(&server, "WAITFOR DELAY '00:01'").sql(security).load();
    let error = case.fails(ErrorCode::LimitExceeded);
    assert!(error.message.contains("300 ms"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
    let is_over = |sessions: &[Session]| sessions[0].end == Some(End::Closed);
    assert!(server.wait_until(SOON, is_over), "{:?}", server.sessions()[0].end);
    assert_eq!(events(&server.sessions()[0]), ["Begun", "Cancelled", "RolledBack(Abort)"]);
    Case::read(&server, "SELECT 1 AS n").value();
}

#[test]
fn a_caller_that_goes_away_cancels_the_query() {
    let is_running = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_running);
    let server = server(move |_| {
        flag.store(true, Ordering::SeqCst);
        vec![Reply::Wait(Duration::from_secs(60))]
    });
    let case = Case::read(&server, "SELECT 1").load();
    thread::scope(|scope| {
        let cancellation = case.call.cancellation.clone();
        scope.spawn(move || {
            support::eventually("the query runs", || is_running.load(Ordering::SeqCst));
            cancellation.cancel();
        });
        case.fails(ErrorCode::Cancelled);
    });
    assert!(server.wait_until(SOON, |sessions| sessions[0].end.is_some()), "it is still open");
    assert_eq!(events(&server.sessions()[0])[1], "Cancelled");
}

#[test]
fn a_server_that_hangs_up_fails_its_own_call() {
    let n_calls = Arc::new(AtomicBool::new(false));
    let server = server(move |_| match n_calls.swap(true, Ordering::SeqCst) {
        false => vec![integers(&[1]), Reply::HangUp],
        true => vec![integers(&[1])],
    });
    let case = Case::read(&server, "SELECT 1 AS n").load();
    let error = case.fails(ErrorCode::ProviderUnavailable);
    assert!(error.message.contains("the connection broke"), "{error}");
    case.value();
}

#[test]
fn connections_that_died_while_they_lay_idle_are_replaced() {
    let server = server(|_| vec![integers(&[1])]);
    let case = Case::read(&server, "SELECT 1 AS n").load();
    case.value();
    server.kill_sessions();
    // Past this age a connection is tried before it is used.
    thread::sleep(Duration::from_millis(2200));
    case.value();
    assert_eq!(server.sessions().len(), 2);
}
