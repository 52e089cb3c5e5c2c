//! Servers that can't be reached or don't let in: each fails its own calls, soon, saying which server, never a password.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use portcullis_runtime::{CallError, ErrorCode};
use serde_json::json;

use crate::support::{Case, Place, check, on_each_server};

on_each_server!(unreachable_servers, refused_accounts);

const TIMEOUT_MS: u64 = 700;

fn impatient(place: &Place) -> Case {
    place.read("SELECT 1 AS n").sql(json!({"options": {"connectionTimeout": TIMEOUT_MS}}))
}

#[track_caller]
fn says(error: &CallError, place: &Place, words: &[&str]) {
    let text = serde_json::to_string(error).unwrap();
    for word in words {
        assert!(error.message.contains(word), "no {word:?} in {error:#?}");
    }
    assert!(!text.contains(place.server().password()), "{text}");
}

fn unreachable_servers(place: &Place) {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging_up = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging_up_port = hanging_up.local_addr().unwrap().port();
    std::thread::spawn(move || while hanging_up.accept().is_ok() {});
    let babbling = TcpListener::bind("127.0.0.1:0").unwrap();
    let babbling_port = babbling.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = babbling.accept() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    for (what, port) in [
        ("closed", closed),
        ("silent", silent.local_addr().unwrap().port()),
        ("hanging up", hanging_up_port),
        ("babbling", babbling_port),
    ] {
        let started = Instant::now();
        let error = impatient(place).config(json!({"port": port})).fails(ErrorCode::ProviderUnavailable);
        let (name, address) = (place.server().name(), format!("127.0.0.1:{port}"));
        says(&error, place, &[&address, name]);
        // A debug build on a busy machine isn't what is measured: ten seconds would be the default.
        assert!(
            started.elapsed() < Duration::from_millis(TIMEOUT_MS + 4_000),
            "{what}: {:?}",
            started.elapsed()
        );
        check("a healthy server meanwhile", &place.read("SELECT 1 AS n").single(), &json!(1));
    }
    let unknown =
        impatient(place).config(json!({"server": "nowhere.test"})).fails(ErrorCode::ProviderUnavailable);
    says(&unknown, place, &["nowhere.test", place.server().name()]);
}

fn refused_accounts(place: &Place) {
    let address = format!("127.0.0.1:{}", place.server().port());
    let wrong = impatient(place).secret("password", "wr0ng-p4ssword").fails(ErrorCode::ProviderError);
    says(&wrong, place, &[&address, place.server().name()]);
    assert!(!serde_json::to_string(&wrong).unwrap().contains("wr0ng-p4ssword"), "{wrong:#?}");
    let nobody = impatient(place).secret("username", "nobody-here").fails(ErrorCode::ProviderError);
    says(&nobody, place, &[&address]);
    let database =
        impatient(place).config(json!({"database": "no_such_database"})).fails(ErrorCode::ProviderError);
    says(&database, place, &["no_such_database", &address]);
    let mut without = impatient(place);
    without.call.secrets.remove("username");
    assert!(without.fails(ErrorCode::ProviderError).message.contains("username"));
    for key in ["server", "database"] {
        let error = impatient(place).config(json!({key: null})).fails(ErrorCode::ProviderError);
        assert!(error.message.contains(key), "{error:#?}");
    }
    for port in [json!(0), json!(65_536), json!("x"), json!(-1)] {
        let error = impatient(place).config(json!({"port": port})).fails(ErrorCode::ProviderError);
        assert!(error.message.contains("port"), "{error:#?}");
    }
    let text = impatient(place).config(json!({"port": place.server().port().to_string()}));
    check("a port as text", &text.single(), &json!(1));
}
