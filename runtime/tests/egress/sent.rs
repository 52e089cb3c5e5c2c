//! `Exchange::sent`: false only where no byte of a request can have left for the server.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

use portcullis_runtime::egress::{EgressConfig, Method, Request};

use crate::support::server::{Reply, TestServer};
use crate::support::tls::TestCa;
use crate::{Fixture, loopback};

/// Whether each exchange of a POST of `url` was sent.
fn sent(fixture: &mut Fixture, url: &str) -> Vec<bool> {
    // Whatever comes of it.
    let _ = fixture.send(&Request::new(Method::Post, url).json_body("{}"));
    fixture.exchanges.iter().map(|exchange| exchange.sent).collect()
}

#[test]
fn what_was_answered_was_sent() {
    let server = TestServer::start(|_| Reply::status("503 Busy", &[], "later"));
    assert_eq!(sent(&mut Fixture::to(&server), &server.url("/")), [true]);
}

#[test]
fn a_name_without_an_address_is_sent_nothing() {
    let mut fixture = Fixture::with_lookup(&["http://a.test"], &loopback(), |_| Vec::<IpAddr>::new());
    assert_eq!(sent(&mut fixture, "http://a.test/"), [false]);
}

#[test]
fn a_refused_address_is_sent_nothing() {
    let mut fixture = Fixture::with_config(&["http://127.0.0.1"], &EgressConfig::default());
    assert_eq!(sent(&mut fixture, "http://127.0.0.1/"), [false]);
}

#[test]
fn a_refused_connection_is_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(sent(&mut Fixture::new(&[&url]), &format!("{url}/")), [false]);
}

#[test]
fn a_certificate_that_is_not_believed_keeps_everything_back() {
    let server = TestServer::start_tls(TestCa::new().issue(&["a.test"]), |_| Reply::ok("secure"));
    let map = vec![format!("*={}", server.address()).parse().unwrap()];
    let mut fixture = Fixture::with_config(&["a.test"], &EgressConfig { map, ..loopback() });
    assert_eq!(sent(&mut fixture, "https://a.test/"), [false]);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn no_answer_says_nothing_about_what_arrived() {
    let server = TestServer::start(|_| Reply::default().close());
    assert_eq!(sent(&mut Fixture::to(&server), &server.url("/")), [true]);
    let server = TestServer::start(|_| Reply::default().wait(Duration::from_secs(5)));
    let mut fixture = Fixture::to(&server);
    fixture.timeout = Duration::from_millis(200);
    assert_eq!(sent(&mut fixture, &server.url("/")), [true]);
}

#[test]
fn a_redirect_to_nowhere_is_told_apart_from_what_led_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let location = format!("{nowhere}/");
    let server = TestServer::start(move |_| Reply::redirect(307, &location));
    let mut fixture = Fixture::new(&[&server.url(""), &nowhere]);
    assert_eq!(sent(&mut fixture, &server.url("/")), [true, false]);
}

#[test]
fn what_left_with_a_first_attempt_has_left() {
    // The second request's connection is closed without a word, and then nobody listens any more.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").unwrap();
        assert!(stream.read(&mut buffer).unwrap() > 0);
    });
    let mut fixture = Fixture::new(&[&url]);
    fixture.get(&format!("{url}/")).unwrap();
    let error = fixture.get(&format!("{url}/")).unwrap_err();
    thread.join().unwrap();
    assert!(error.to_string().contains("connection refused"), "{error}");
    assert!(!error.never_left());
    assert_eq!(fixture.exchanges.iter().map(|exchange| exchange.sent).collect::<Vec<_>>(), [true, true]);
}
