//! Connections: reuse, servers that close them, and the operator's proxy.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_runtime::egress::{EgressErrorKind, Method, Request};

use crate::support::server::{Reply, TestServer};
use crate::support::tls::TestCa;
use crate::{Fixture, loopback, message};

#[test]
fn connections_are_reused_across_requests_and_clones() {
    let server = TestServer::start(|_| Reply::ok("x"));
    let mut one = Fixture::to(&server);
    let mut two = Fixture::to(&server);
    two.client = one.client.clone();
    for _ in 0..5 {
        one.get(&server.url("/")).unwrap();
        two.send(&Request::new(Method::Post, server.url("/")).json_body("{}")).unwrap();
        two.send(&Request::new(Method::Delete, server.url("/"))).unwrap();
    }
    assert_eq!(server.n_connections(), 1);
    assert_eq!(server.requests().len(), 15);
}

#[test]
fn a_body_that_was_not_read_costs_its_connection() {
    let server = TestServer::start(|_| Reply::ok(vec![b'x'; 100_000]));
    let mut fixture = Fixture::to(&server);
    fixture.max_body_bytes = 10;
    fixture.get(&server.url("/")).unwrap_err();
    fixture.max_body_bytes = 1 << 20;
    assert_eq!(fixture.get(&server.url("/")).unwrap().body.len(), 100_000);
    assert_eq!(server.n_connections(), 2);
}

#[test]
fn a_server_that_closes_after_each_answer_fails_nothing() {
    let server = TestServer::start(|_| Reply::ok("x").close());
    let mut fixture = Fixture::to(&server);
    for method in [Method::Get, Method::Post, Method::Get, Method::Put, Method::Patch, Method::Delete] {
        // Time for the close to arrive, so that it's seen before the connection is used again.
        std::thread::sleep(Duration::from_millis(30));
        fixture.send(&Request::new(method, server.url("/"))).unwrap();
    }
    assert_eq!(server.requests().len(), 6);
}

/// A server that answers the first request of a connection, and closes on the second without a word: what a close that
/// crosses a request looks like.
fn closes_on_reuse() -> TestServer {
    let seen: Mutex<Vec<usize>> = Mutex::default();
    TestServer::start(move |request| {
        let mut seen = seen.lock().unwrap();
        if seen.contains(&request.connection) {
            return Reply::default().close();
        }
        seen.push(request.connection);
        Reply::ok("x")
    })
}

#[test]
fn a_read_on_a_dead_connection_is_sent_again() {
    let server = closes_on_reuse();
    let mut fixture = Fixture::to(&server);
    for _ in 0..3 {
        assert_eq!(fixture.get(&server.url("/")).unwrap().text(), "x");
    }
    assert_eq!(server.n_connections(), 3);
    assert_eq!(server.requests().len(), 5);
    assert_eq!(fixture.exchanges.len(), 3);
}

#[test]
fn a_write_on_a_dead_connection_is_sent_once() {
    for method in [Method::Post, Method::Put, Method::Patch, Method::Delete] {
        let server = closes_on_reuse();
        let mut fixture = Fixture::to(&server);
        fixture.get(&server.url("/")).unwrap();
        let error = fixture.send(&Request::new(method, server.url("/")).json_body("{}")).unwrap_err();
        assert_eq!(error.kind(), EgressErrorKind::Protocol);
        assert!(!error.never_left());
        assert!(error.to_string().contains("closed the connection before it answered"), "{error}");
        assert_eq!(server.requests().len(), 2, "{method}");
    }
}

#[test]
fn a_read_on_a_new_connection_is_sent_once() {
    let server = TestServer::start(|_| Reply::default().close());
    Fixture::to(&server).get(&server.url("/")).unwrap_err();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_write_takes_no_connection_that_idled() {
    let server = TestServer::start(|_| Reply::ok("x"));
    let mut fixture = Fixture::to(&server);
    fixture.get(&server.url("/")).unwrap();
    std::thread::sleep(Duration::from_millis(2_100));
    fixture.get(&server.url("/")).unwrap();
    assert_eq!(server.n_connections(), 1);
    std::thread::sleep(Duration::from_millis(2_100));
    fixture.send(&Request::new(Method::Post, server.url("/"))).unwrap();
    assert_eq!(server.n_connections(), 2);
}

/// A proxy that knows CONNECT alone, leads everything to `target`, and keeps what it was asked.
fn start_proxy(target: std::net::SocketAddr) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let is_denied = head.contains("denied.test");
            log.lock().unwrap().push(head);
            if is_denied {
                client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap();
                continue;
            }
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let server = TcpStream::connect(target).unwrap();
            pump(client.try_clone().unwrap(), server.try_clone().unwrap());
            pump(server, client);
        }
    });
    (format!("http://user:pass@{address}"), asked)
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(std::net::Shutdown::Both));
    });
}

#[test]
fn everything_goes_through_the_proxy_and_is_reused_there() {
    let ca = TestCa::new();
    let server = TestServer::start_tls(ca.issue(&["a.test"]), |_| Reply::ok("through"));
    let (proxy, asked) = start_proxy(server.address());
    let mut config = loopback();
    config.allow_networks.clear();
    config.extra_roots_pem = vec![ca.pem()];
    config.proxy = Some(proxy);
    let mut fixture = Fixture::with_config(&["a.test", "denied.test", "10.0.0.1"], &config);
    for _ in 0..2 {
        assert_eq!(fixture.get("https://a.test/").unwrap().text(), "through");
    }
    let asked_for = asked.lock().unwrap().clone();
    assert_eq!(asked_for.len(), 1, "{asked_for:?}");
    assert!(asked_for[0].starts_with("CONNECT a.test:443 HTTP/1.1\r\n"), "{asked_for:?}");
    assert!(asked_for[0].contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{asked_for:?}");
    assert!(!server.requests()[0].head.to_lowercase().contains("proxy-"));

    let error = fixture.get("https://10.0.0.1/").unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::AddressRefused);
    assert_eq!(asked.lock().unwrap().len(), 1);

    let error = fixture.send(&Request::new(Method::Post, "https://denied.test/")).unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::Connect);
    assert!(error.never_left());
    assert!(error.to_string().contains("the egress proxy refused"), "{error}");
}

#[test]
fn many_threads_share_a_client() {
    let server = TestServer::start(|request| Reply::ok(request.target()));
    let n_done = AtomicUsize::new(0);
    let fixture = Fixture::to(&server);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (fixture, server, n_done) = (&fixture, &server, &n_done);
            scope.spawn(move || {
                for number in 0..20 {
                    let path = format!("/{thread}/{number}");
                    let request = Request::new(Method::Get, server.url(&path));
                    let response = fixture
                        .client
                        .send(&request, &fixture.allowed, fixture.budget(), &mut |_| {})
                        .unwrap();
                    assert_eq!(response.text(), path);
                    n_done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(n_done.load(Ordering::SeqCst), 320);
    assert!(server.n_connections() <= 32, "{}", server.n_connections());
}

#[test]
fn the_proxys_url_must_be_one() {
    let mut config = loopback();
    config.proxy = Some("socks5://127.0.0.1:1".to_owned());
    assert!(portcullis_runtime::egress::Client::new(&config).is_err());
    assert!(message(Fixture::new(&[]).get("https://a.test/")).contains("blocked"));
}
