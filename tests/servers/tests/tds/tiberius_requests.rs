//! tiberius's requests: several results, errors in their middle, Attention, ends of connections, packets.

use futures_util::TryStreamExt;
use portcullis_test_servers::tds::{Encryption, End, Outcome, Request};
use tiberius::{Command, CommandItem, EncryptionLevel, QueryItem};

use crate::support::{certificates, encrypted, ended_session, only_session, options, outcome_of, start};
use crate::tiberius_client::{config, connect, connect_plainly, run, select_one};

#[test]
fn it_tells_results_apart() {
    let server = start(options());
    let (names, counts) = run(async {
        let mut client = connect_plainly(&server).await;
        let mut stream = client.query("several", &[]).await.unwrap();
        let mut names = Vec::new();
        while let Some(item) = stream.try_next().await.unwrap() {
            if let QueryItem::Metadata(metadata) = item {
                names.push(metadata.columns()[0].name().to_owned());
            }
        }
        drop(stream);
        let counts = client.execute("several", &[]).await.unwrap().rows_affected().to_vec();
        (names, counts)
    });
    assert_eq!(names, ["first", "second", "third"]);
    assert_eq!(counts, [1, 7, 1, 0]);
}

#[test]
fn a_command_gives_rows_and_counts_in_order() {
    let server = start(options());
    let items = run(async {
        let mut client = connect_plainly(&server).await;
        let mut command = Command::new("sp_executesql");
        command.bind_param("@stmt", "several");
        let stream = command.exec(&mut client).await.unwrap();
        let describe = |item: CommandItem| match item {
            CommandItem::Metadata(metadata) => metadata.columns()[0].name().to_owned(),
            CommandItem::Row(row) => format!("row {}", row.get::<i32, _>(0).unwrap()),
            CommandItem::RowsAffected(count) => format!("count {count}"),
            CommandItem::ReturnStatus(status) => format!("status {status}"),
            other => format!("{other:?}"),
        };
        stream.map_ok(describe).try_collect::<Vec<_>>().await.unwrap()
    });
    let expected = [
        "first", "row 1", "count 1", "count 7", "second", "row 2", "count 1", "third", "count 0", "status 0",
    ];
    assert_eq!(items, expected);
}

#[test]
fn an_error_in_a_batch_has_its_number_and_line() {
    let server = start(options());
    for sql in ["broken", "cut"] {
        let (rows, error) = run(async {
            let mut client = connect_plainly(&server).await;
            let mut stream = client.query(sql, &[]).await.unwrap();
            let mut n_rows = 0;
            let error = loop {
                match stream.try_next().await {
                    Ok(Some(item)) => n_rows += usize::from(item.as_row().is_some()),
                    Ok(None) => panic!("{sql} has no error"),
                    Err(error) => break error,
                }
            };
            drop(stream);
            assert_eq!(select_one(&mut client).await, 1);
            (n_rows, error)
        });
        let tiberius::error::Error::Server(error) = error else { panic!("{error}") };
        assert_eq!((error.code(), error.class(), error.line()), (8134, 16, 4));
        assert_eq!(error.message(), "Divide by zero error encountered.");
        assert_eq!(rows, if sql == "broken" { 2 } else { 1 });
    }
}

#[test]
fn an_attention_ends_a_request_and_the_session_goes_on() {
    let server = start(options());
    run(async {
        let mut client = connect_plainly(&server).await;
        // While the server is busy, and while it sends rows faster than they are read.
        let mut stream = client.query("slow", &[]).await.unwrap();
        assert!(stream.try_next().await.unwrap().unwrap().as_metadata().is_some());
        assert!(stream.try_next().await.unwrap().unwrap().as_row().is_some());
        drop(stream);
        client.cancel_query().await.unwrap();
        assert_eq!(select_one(&mut client).await, 1);
        let stream = client.query("endless", &[]).await.unwrap();
        drop(stream);
        client.cancel_query().await.unwrap();
        assert_eq!(select_one(&mut client).await, 1);
        // After the answer is complete there is nothing to end, and it is acknowledged all the same.
        client.cancel_query().await.unwrap();
        assert_eq!(select_one(&mut client).await, 1);
    });
    let session = ended_session(&server);
    assert_eq!(outcome_of(&session, "slow"), Outcome::Cancelled);
    assert_eq!(outcome_of(&session, "endless"), Outcome::Cancelled);
    assert_eq!(session.requests().filter(|request| **request == Request::Attention).count(), 3);
}

#[test]
fn a_client_that_goes_away_ends_endless_rows() {
    let cases = [
        (options(), EncryptionLevel::NotSupported),
        (encrypted(Encryption::Required, &certificates()), EncryptionLevel::Required),
    ];
    for (options, encryption) in cases {
        let server = start(options);
        run(async {
            let mut config = config(encryption);
            config.trust_cert();
            let mut client = connect(&server, config).await.unwrap();
            let mut rows = client.simple_query("endless").await.unwrap().into_row_stream();
            for n in 0..1000 {
                let row = rows.try_next().await.unwrap().unwrap();
                assert_eq!(row.get(0), Some(n as i64));
            }
        });
        let session = ended_session(&server);
        assert_eq!(session.end, Some(End::Closed));
        assert_eq!(outcome_of(&session, "endless"), Outcome::Abandoned);
    }
}

#[test]
fn a_server_that_hangs_up_or_is_stopped_is_an_error_of_the_client() {
    let server = start(options());
    run(async {
        let mut client = connect_plainly(&server).await;
        let results = client.simple_query("gone").await.unwrap().into_results().await;
        assert!(results.is_err(), "{results:?}");
        let mut client = connect_plainly(&server).await;
        let stream = client.simple_query("slow").await.unwrap();
        server.kill_sessions();
        assert!(stream.into_results().await.is_err());
    });
    let ends: Vec<_> = server.sessions().into_iter().map(|session| session.end).collect();
    assert_eq!(ends, [Some(End::HungUp), Some(End::Killed)]);
}

#[test]
fn packets_have_the_size_that_was_negotiated() {
    let server = start(options().packet_size(512));
    let (n_rows, sql) = run(async {
        let mut config = config(EncryptionLevel::NotSupported);
        config.packet_size(16_384);
        let mut client = connect(&server, config).await.unwrap();
        let sql = format!("many {}", "x".repeat(5000));
        let rows = client.query(sql.as_str(), &[]).await.unwrap().into_first_result().await.unwrap();
        (rows.len(), sql)
    });
    assert_eq!(n_rows, 20_000);
    let session = only_session(&server);
    assert_eq!(session.sql().collect::<Vec<_>>(), [sql]);
}
