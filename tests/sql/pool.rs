//! Connections that calls share: how many there are, whose they are, and what happens when they break.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use portcullis_runtime::{Cancellation, ErrorCode};
use serde_json::{Value, json};

use crate::support::{
    Case, Kind, Place, check, engine, eventually, local_network, on_each_engine, on_each_server,
};

on_each_server!(
    connections_are_bounded,
    a_full_pool_says_so,
    accounts_are_kept_apart,
    broken_connections_are_replaced,
);

on_each_engine!(calls_dont_mix);

fn sized(case: Case, n: u32) -> Case {
    case.sql(json!({"security": {"maxConnectionPoolSize": n}}))
}

/// Many callers share few connections, which go with the engine.
fn connections_are_bounded(place: &Place) {
    let nap = place.pick("", "SELECT 1 AS n FROM pg_sleep(0.3)", "SELECT 1 AS n, SLEEP(0.3) AS s");
    let engine = engine(&local_network(), place.folder());
    let loaded = sized(place.read(nap).engine(&engine), 2).load();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(place.n_connections());
            }
            most
        });
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| loaded.value()["rowCount"].clone())).collect();
        for call in calls {
            assert_eq!(call.join().unwrap(), json!(1));
        }
        done.store(true, Ordering::Relaxed);
        let most = counting.join().unwrap();
        assert!((1..=2).contains(&most), "{place:?}: {most} connections");
    });
    drop((loaded, engine));
    eventually("the connections are closed", || place.n_connections() == 0);
}

/// A call that gets no connection ends at its own deadline, and says why.
fn a_full_pool_says_so(place: &Place) {
    let sleeping = sized(place.read(place.pick("", "SELECT pg_sleep(3)", "SELECT SLEEP(3)")), 1).load();
    thread::scope(|scope| {
        let first = scope.spawn(|| sleeping.value());
        eventually("the only connection is in use", || place.n_running() == 1);
        let second = sized(place.read("SELECT 1 AS n"), 1).config(json!({"timeout": 300}));
        let error = second.fails(ErrorCode::ProviderUnavailable);
        assert!(error.message.contains("in use"), "{error:#?}");
        check("the first", &first.join().unwrap()["rowCount"], &json!(1));
    });
}

/// No call gets a connection that another account opened, or an account with another password.
fn accounts_are_kept_apart(place: &Place) {
    place.execute("CREATE TABLE t (n integer); INSERT INTO t VALUES (1)");
    let server = place.server().server();
    let who = place.pick("", "SELECT current_user::text AS u", "SELECT CURRENT_USER() AS u");
    let reader =
        |case: Case| case.secret("username", server.reader()).secret("password", server.reader_password());
    let name = |value: Value| value.as_str().unwrap().split('@').next().unwrap().to_owned();
    for _ in 0..3 {
        assert_eq!(name(place.read(who).single()), server.user());
        assert_eq!(name(reader(place.read(who)).single()), server.reader());
        place.read(who).secret("password", "wr0ng-p4ssword").fails(ErrorCode::ProviderError);
        place.read(who).secret("password", "").fails(ErrorCode::ProviderError);
        place.read(who).secret("username", server.reader()).fails(ErrorCode::ProviderError);
    }
    let refused = reader(place.write("INSERT INTO t VALUES (2)")).fails(ErrorCode::ProviderError);
    assert!(refused.message.contains("denied"), "{refused:#?}");
    assert_eq!(place.query_value("SELECT count(*) FROM t"), "1");
}

/// Connections that broke while they lay idle are replaced.
fn broken_connections_are_replaced(place: &Place) {
    let loaded = sized(place.read("SELECT 1 AS n"), 1).load();
    loaded.value();
    let database = place.server();
    let name = database.name();
    match place.kind {
        Kind::Postgres => database.server().execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )),
        _ => {
            let ids = format!("SELECT id FROM information_schema.processlist WHERE db = '{name}'");
            database
                .server()
                .query(&ids)
                .concat()
                .iter()
                .for_each(|id| database.server().execute(&format!("KILL {id}")));
        }
    }
    // The first call may meet the broken connection; it says so, and the next has another.
    if let Err(error) = loaded.outcome().result {
        assert_eq!(error.code, ErrorCode::ProviderUnavailable, "{error:#?}");
        thread::sleep(Duration::from_millis(100));
    }
    check("a new connection", &loaded.value()["rowCount"], &json!(1));
}

/// Many calls at once, some of which are given up at any moment: each gets its own answer, and a write is whole or not there.
fn calls_dont_mix(place: &Place) {
    place.execute("CREATE TABLE a (n integer); CREATE TABLE b (n integer)");
    let read = sized(place.read("SELECT @n AS n, @t AS t"), 3)
        .declare(json!({"n": {"type": "integer"}, "t": {}}))
        .load();
    let write = "INSERT INTO a VALUES (@n); INSERT INTO b VALUES (@n)";
    let write = sized(place.write(write), 3).declare(json!({"n": {"type": "integer"}})).load();
    let kept: Vec<u64> = thread::scope(|scope| {
        let callers = (0..4_u64).map(|caller| {
            let (read, write) = (&read, &write);
            scope.spawn(move || {
                let mut kept = Vec::new();
                for n in (caller * 100..).take(25) {
                    let text = "x".repeat(usize::try_from(n).unwrap() * 10);
                    let reading = read.with(json!({"n": n, "t": text}));
                    let mut writing = write.with(json!({"n": n}));
                    let cancellation = Cancellation::default();
                    writing.call.cancellation = cancellation.clone();
                    let written = thread::scope(|scope| {
                        let written = scope.spawn(|| writing.outcome().result);
                        // From before it begins until after it ended.
                        thread::sleep(Duration::from_micros(n * 7919 % 12_000));
                        cancellation.cancel();
                        written.join().unwrap()
                    });
                    match written {
                        Ok(_) => kept.push(n),
                        Err(error) => assert!(
                            error.code == ErrorCode::Cancelled || place.kind == Kind::Sqlite,
                            "{error:#?}"
                        ),
                    }
                    check(format!("{place:?} {n}"), &reading.value()["rows"], &json!([{"n": n, "t": text}]));
                }
                kept
            })
        });
        let callers: Vec<_> = callers.collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let both = || ["a", "b"].map(|table| place.query(&format!("SELECT n FROM {table} ORDER BY n")).concat());
    eventually("what was given up is over", || both()[0] == both()[1]);
    thread::sleep(Duration::from_millis(300));
    let [a, b] = both();
    assert_eq!(a, b, "{place:?}");
    assert!(kept.iter().all(|n| a.contains(&n.to_string())), "{place:?}: kept {kept:?}, there are {a:?}");
    assert!(!kept.is_empty(), "{place:?}");
}
