//! Transactions that tiberius begins and ends, with SQL and without.

use portcullis_test_servers::tds::{Cause, Entry, Request, Session, TransactionRequest};

use crate::support::{ended_session, options, start};
use crate::tiberius_client::{connect_plainly, run, select_one};

/// What of a session's log is about transactions.
fn transactions(session: &Session) -> Vec<Entry> {
    session.log.iter().filter(|entry| !matches!(entry, Entry::Request { .. })).cloned().collect()
}

#[test]
fn transactions_begun_and_ended_by_batches_are_kept() {
    let server = start(options());
    run(async {
        let mut client = connect_plainly(&server).await;
        for sql in [
            "SET XACT_ABORT OFF; BEGIN TRAN",
            "BEGIN TRAN",
            "COMMIT",
            "COMMIT TRANSACTION",
            "IF @@TRANCOUNT > 0 ROLLBACK TRAN",
            "BEGIN TRAN",
        ] {
            client.simple_query(sql).await.unwrap().into_results().await.unwrap();
        }
        // Its descriptor has to be the transaction's, or the server would refuse it.
        assert_eq!(select_one(&mut client).await, 1);
        let count =
            client.simple_query("SELECT @@TRANCOUNT").await.unwrap().into_row().await.unwrap().unwrap();
        assert_eq!(count.get(0), Some(1_i32));
        client.simple_query("if @@trancount > 0 rollback").await.unwrap().into_results().await.unwrap();
        let error = client.simple_query("ROLLBACK").await.unwrap_err();
        assert_eq!(error.code(), Some(3903));
        client.simple_query("BEGIN TRAN").await.unwrap().into_results().await.unwrap();
    });
    let expected = [
        Entry::Begun,
        Entry::Committed,
        Entry::Begun,
        Entry::RolledBack(Cause::Statement),
        Entry::Begun,
        Entry::RolledBack(Cause::Disconnect),
    ];
    assert_eq!(transactions(&ended_session(&server)), expected);
}

#[test]
fn a_commit_inside_of_a_statement_is_seen() {
    let server = start(options());
    run(async {
        let mut client = connect_plainly(&server).await;
        client.simple_query("BEGIN TRAN").await.unwrap().into_results().await.unwrap();
        client.query("commit it", &[]).await.unwrap().into_results().await.unwrap();
        assert_eq!(select_one(&mut client).await, 1);
    });
    assert_eq!(transactions(&ended_session(&server)), [Entry::Begun, Entry::Committed]);
}

#[test]
fn under_xact_abort_an_error_rolls_back_and_ends_the_batch() {
    let server = start(options());
    run(async {
        let mut client = connect_plainly(&server).await;
        client.simple_query("SET XACT_ABORT ON; BEGIN TRAN").await.unwrap().into_results().await.unwrap();
        let error = client.query("broken", &[]).await.unwrap().into_results().await.unwrap_err();
        assert_eq!(error.code(), Some(8134));
        client.simple_query("IF @@TRANCOUNT > 0 ROLLBACK").await.unwrap().into_results().await.unwrap();
        assert_eq!(select_one(&mut client).await, 1);
    });
    let session = ended_session(&server);
    assert_eq!(transactions(&session), [Entry::Begun, Entry::RolledBack(Cause::Abort)]);
}

#[test]
fn transactions_begun_and_ended_without_sql_are_kept() {
    let server = start(options());
    run(async {
        let mut client = connect_plainly(&server).await;
        client.begin_transaction().await.unwrap();
        assert_eq!(select_one(&mut client).await, 1);
        client.commit_transaction().await.unwrap();
        client.begin_transaction().await.unwrap();
        client.rollback_transaction().await.unwrap();
        assert_eq!(select_one(&mut client).await, 1);
    });
    let session = ended_session(&server);
    let expected = [Entry::Begun, Entry::Committed, Entry::Begun, Entry::RolledBack(Cause::Statement)];
    assert_eq!(transactions(&session), expected);
    let begin = Request::TransactionManager(TransactionRequest::Begin(0));
    assert_eq!(session.requests().filter(|request| **request == begin).count(), 2);
}
