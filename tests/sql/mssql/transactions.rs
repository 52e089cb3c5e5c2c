//! One transaction for each call: committed, rolled back, and never the query's own.

use portcullis_test_servers::tds::{Length, Message};

use super::*;

/// The only session's events.
#[track_caller]
fn only_events(server: &TdsServer) -> Vec<String> {
    let [session] = server.sessions().try_into().unwrap_or_else(|_| panic!("not one session"));
    events(&session)
}

#[test]
fn a_write_is_committed_and_a_read_is_not() {
    let server = server(|_| vec![Reply::RowCount(1), integers(&[7])]);
    let query = "UPDATE t SET a = 1; SELECT 7 AS n";
    let expected = json!({
        "rows": [{"n": 7}], "rowCount": 1, "rowsAffected": 1, "truncated": false,
        "columns": [{"name": "n", "type": "int"}],
    });
    assert_eq!(Case::write(&server, query).value(), expected);
    assert_eq!(events(&server.sessions()[0]), ["Begun", "Completed", "Committed"]);
    Case::read(&server, query).value();
    assert_eq!(events(&server.sessions()[1]), ["Begun", "Completed", "RolledBack(Statement)"]);
    let read_only = Case::write(&server, query).sql(json!({"readOnly": true}));
    read_only.value();
    assert_eq!(events(&server.sessions()[2]), ["Begun", "Completed", "RolledBack(Statement)"]);
}

#[test]
fn an_error_rolls_back_and_leaves_the_connection_usable() {
    let server = server(|request| match request.sql() {
        Some("SELECT 1 AS n") => vec![integers(&[1])],
        _ => vec![
            Reply::RowCount(1),
            Reply::Error(Message::new(2627, "Violation of PRIMARY KEY constraint 'PK_guest'.").line(2)),
        ],
    });
    let case = Case::write(&server, "INSERT INTO guest VALUES (1);\n  INSERT INTO guest VALUES (1)");
    let case = case.sql(json!({"security": {"maxConnectionPoolSize": 1}})).load();
    for _ in 0..2 {
        let error = case.fails(ErrorCode::ProviderError);
        let expected =
            "Violation of PRIMARY KEY constraint 'PK_guest'. (line 2: INSERT INTO guest VALUES (1))";
        assert_eq!(error.message, expected);
        assert_eq!(error.details, Some(json!({"line": 2, "sqlState": "2627"})));
    }
    let once = ["Begun", "Completed", "RolledBack(Abort)"];
    assert_eq!(only_events(&server), [once, once].concat());
}

#[test]
fn an_error_in_the_middle_of_rows_is_the_result() {
    let server = server(|_| {
        let rows = [Ok(vec![Cell::Int(1)]), Err(Message::new(8134, "Divide by zero error encountered."))];
        vec![Reply::ResultSet {
            columns: vec![Column::new("n", Type::Int)],
            rows: Box::new(rows.into_iter()),
        }]
    });
    let error = Case::read(&server, "SELECT 1 / a AS n FROM t").fails(ErrorCode::ProviderError);
    assert!(error.message.starts_with("Divide by zero error encountered."), "{error}");
}

#[test]
fn a_procedures_error_names_it() {
    let server = server(|_| {
        let message = Message::new(50_000, "No rooms left.").line(12);
        vec![Reply::Error(Message { procedure: "dbo.book".to_owned(), ..message })]
    });
    let error = Case::write(&server, "EXEC dbo.book").fails(ErrorCode::ProviderError);
    assert_eq!(error.message, "No rooms left. (procedure dbo.book, line 12)");
    assert_eq!(error.details, Some(json!({"procedure": "dbo.book", "line": 12, "sqlState": "50000"})));
}

#[test]
fn a_commit_inside_of_a_read_commits_nothing() {
    let server = server(|_| vec![Reply::RowCount(1), Reply::Commit, integers(&[1])]);
    let error = Case::read(&server, "EXEC dbo.sneaky").fails(ErrorCode::ProviderError);
    assert!(error.message.contains("a read may not"), "{error}");
    assert_eq!(only_events(&server), ["Begun", "Completed", "RolledBack(Statement)"]);
}

#[test]
fn a_read_that_ends_its_transaction_fails() {
    for replies in [
        || vec![Reply::Rollback, integers(&[1])],
        || vec![Reply::Commit, Reply::Commit, integers(&[1])],
        || vec![Reply::BeginTransaction, integers(&[1])],
    ] {
        let server = server(move |_| replies());
        let error = Case::read(&server, "EXEC dbo.sneaky").fails(ErrorCode::ProviderError);
        assert!(error.message.contains("a read may not"), "{error}");
        assert!(server.wait_until(SOON, |sessions| sessions[0].end.is_some()), "it is still open");
    }
}

#[test]
fn a_write_that_ends_its_transaction_fails() {
    let server = server(|_| vec![Reply::Rollback, Reply::RowCount(1)]);
    let error = Case::write(&server, "EXEC dbo.sneaky").fails(ErrorCode::ProviderError);
    assert!(error.message.contains("ended the transaction"), "{error}");
}

#[test]
fn a_write_that_leaves_a_transaction_open_changes_nothing() {
    let server = server(|_| vec![Reply::BeginTransaction, Reply::RowCount(1)]);
    let error = Case::write(&server, "EXEC dbo.sneaky").fails(ErrorCode::ProviderError);
    assert!(error.message.contains("nothing was changed"), "{error}");
    assert!(server.wait_until(SOON, |sessions| sessions[0].end.is_some()), "it is still open");
    assert_eq!(only_events(&server), ["Begun", "Completed", "RolledBack(Disconnect)"]);
}

/// What a query that is answered so says of changed rows.
#[track_caller]
fn rows_affected(query: &str, replies: fn() -> Response) -> Value {
    let server = server(move |_| replies());
    Case::write(&server, query).value()["rowsAffected"].take()
}

#[test]
fn changed_rows_are_counted_where_that_can_be_told() {
    assert_eq!(rows_affected("UPDATE t SET a = 1", || vec![Reply::RowCount(0)]), json!(0));
    assert_eq!(
        rows_affected("UPDATE t SET a = 1; DELETE u", || vec![Reply::RowCount(2), Reply::RowCount(3)]),
        json!(5)
    );
    assert_eq!(
        rows_affected("INSERT INTO t OUTPUT inserted.id VALUES (1)", || vec![integers(&[9])]),
        json!(1)
    );
    assert_eq!(rows_affected("EXEC p", || vec![Reply::RowCount(4), integers(&[1, 2])]), json!(4));
    assert_eq!(rows_affected("SELECT 1 AS n", || vec![integers(&[1])]), json!(null));
    let assigns = "DECLARE @n int; SELECT @n = a FROM t; UPDATE t SET a = @n + 1";
    assert_eq!(rows_affected(assigns, || vec![Reply::RowCount(1), Reply::RowCount(1)]), json!(null));
}

#[test]
fn the_last_result_counts() {
    let server = server(|_| {
        let names = vec![Column::new("name", Type::NVarChar(Length::Limited(10)))];
        vec![integers(&[1, 2, 3]), Reply::Done, Reply::rows(names, vec![vec![Cell::Text("x".to_owned())]])]
    });
    let value = Case::read(&server, "SELECT 1 AS n; SELECT 'x' AS name").value();
    assert_eq!((&value["rows"], &value["rowCount"]), (&json!([{"name": "x"}]), &json!(1)));
}

#[test]
fn messages_and_return_values_are_passed_over() {
    let server = server(|_| {
        let print = || Reply::Info(Message::new(0, "halfway"));
        vec![print(), integers(&[1]), print(), Reply::ReturnStatus(3)]
    });
    assert_eq!(Case::read(&server, "EXEC dbo.chatty").value()["rows"], json!([{"n": 1}]));
}

#[test]
fn connections_are_kept_where_nothing_outlives_the_query() {
    let server = server(|_| vec![integers(&[1])]);
    // With one connection at most, the next call waits until the last one's is cleaned up.
    let one = json!({"security": {"maxConnectionPoolSize": 1}});
    let case = Case::read(&server, "SELECT * INTO #t FROM u; SELECT n FROM #t").sql(one).load();
    for _ in 0..3 {
        case.value();
    }
    assert_eq!(server.sessions().len(), 1);
    let case = Case::read(&server, "EXEC dbo.list").load();
    case.value();
    assert!(server.wait_until(SOON, |sessions| sessions[1].end.is_some()), "it is still open");
}
