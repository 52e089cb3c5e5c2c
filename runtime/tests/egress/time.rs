//! The deadline: whatever the other side does or doesn't, a request ends when its time is up.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use portcullis_runtime::egress::{Body, Budget, EgressErrorKind, Method, Request};

use crate::support::server::{Reply, TestServer};
use crate::{Fixture, loopback};

const TIMEOUT: Duration = Duration::from_millis(400);
/// How much later than its deadline a request may end; generous, since tests share their processors.
const LATE: Duration = Duration::from_millis(150);

#[track_caller]
fn times_out(fixture: &mut Fixture, request: &Request, during: &str) {
    fixture.timeout = TIMEOUT;
    let started = Instant::now();
    let error = fixture.send(request).unwrap_err();
    let elapsed = started.elapsed();
    assert_eq!(error.kind(), EgressErrorKind::Timeout, "{error}");
    assert!(error.to_string().ends_with(&format!("timed out while {during}")), "{error}");
    let margin = Duration::from_millis(10);
    assert!(elapsed + margin > TIMEOUT && elapsed < TIMEOUT + LATE, "{elapsed:?}");
    assert_eq!(fixture.exchanges.len(), 1);
    let has_left =
        ["sending the request", "waiting for the response", "reading the response body"].contains(&during);
    assert_eq!(error.never_left(), !has_left);
}

/// A listener whose first connection is handed to `act`, and its URL.
fn raw_server(act: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || act(listener.accept().unwrap().0));
    url
}

#[test]
fn a_silent_server() {
    let server = TestServer::start(|_| Reply::default().wait(Duration::from_secs(5)));
    let request = Request::new(Method::Get, server.url("/"));
    times_out(&mut Fixture::to(&server), &request, "waiting for the response");
}

#[test]
fn a_head_that_trickles() {
    let server = TestServer::start(|_| {
        let head = "HTTP/1.1 200 OK\r\n".bytes().chain("X: y\r\n".bytes().cycle().take(300));
        head.fold(Reply::default(), |reply, byte| reply.then([byte]).wait(Duration::from_millis(20)))
    });
    let request = Request::new(Method::Get, server.url("/"));
    times_out(&mut Fixture::to(&server), &request, "waiting for the response");
}

#[test]
fn a_body_that_trickles() {
    let server = TestServer::start(|_| {
        let head = Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        (0..300).fold(head, |reply, _| reply.then("x").wait(Duration::from_millis(20)))
    });
    let request = Request::new(Method::Get, server.url("/"));
    times_out(&mut Fixture::to(&server), &request, "reading the response body");
}

#[test]
fn a_compressed_body_that_stops() {
    let server = TestServer::start(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 99\r\n\r\n\x1f")
            .wait(Duration::from_secs(5))
    });
    let request = Request::new(Method::Get, server.url("/"));
    times_out(&mut Fixture::to(&server), &request, "reading the response body");
}

#[test]
fn a_server_that_takes_no_body() {
    let url = raw_server(|stream| {
        std::thread::sleep(Duration::from_secs(5));
        drop(stream);
    });
    let body = Body::Bytes(vec![0; 50_000_000]);
    let request = Request { body, ..Request::new(Method::Post, &url) };
    times_out(&mut Fixture::new(&[&url]), &request, "sending the request");
}

#[test]
fn a_server_that_takes_a_body_slowly() {
    let url = raw_server(|mut stream| {
        let mut buffer = [0; 65_536];
        while stream.read(&mut buffer).is_ok_and(|n_bytes| n_bytes > 0) {
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    let body = Body::Bytes(vec![0; 100_000_000]);
    let request = Request { body, ..Request::new(Method::Post, &url) };
    times_out(&mut Fixture::new(&[&url]), &request, "sending the request");
}

#[test]
fn a_server_that_hangs_in_tls() {
    let url = raw_server(|stream| {
        std::thread::sleep(Duration::from_secs(5));
        drop(stream);
    });
    let url = url.replace("http://", "https://");
    times_out(&mut Fixture::new(&[&url]), &Request::new(Method::Get, &url), "negotiating TLS");
}

#[test]
fn a_server_that_trickles_in_tls() {
    let url = raw_server(|mut stream| {
        // A handshake record of 16,000 bytes, one at a time.
        for byte in [22, 3, 3, 0x3e, 0x80].into_iter().chain([0; 300]) {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let url = url.replace("http://", "https://");
    times_out(&mut Fixture::new(&[&url]), &Request::new(Method::Get, &url), "negotiating TLS");
}

#[test]
fn a_lookup_that_hangs() {
    let mut fixture = Fixture::with_lookup(&["a.test"], &loopback(), |_| {
        std::thread::sleep(Duration::from_secs(5));
        Vec::<IpAddr>::new()
    });
    times_out(&mut fixture, &Request::new(Method::Get, "https://a.test/"), "looking up the host");
}

#[test]
fn a_host_that_swallows_connections() {
    // A listener whose queue is full drops what else comes, as a firewall does.
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queued.push(stream);
        assert!(queued.len() < 100, "the queue doesn't fill");
    }
    let url = format!("http://{address}");
    times_out(&mut Fixture::new(&[&url]), &Request::new(Method::Get, &url), "connecting");
}

#[test]
fn redirects_share_one_deadline() {
    let server = TestServer::start(|_| {
        Reply::default()
            .wait(Duration::from_millis(150))
            .then("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
    });
    let mut fixture = Fixture::to(&server);
    fixture.timeout = TIMEOUT;
    let started = Instant::now();
    let error = fixture.get(&server.url("/")).unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::Timeout, "{error}");
    assert!(started.elapsed() < TIMEOUT + LATE);
    assert_eq!(fixture.exchanges.len(), 3);
}

#[test]
fn a_deadline_in_the_past_sends_nothing() {
    let server = TestServer::start(|_| Reply::ok(""));
    let fixture = Fixture::to(&server);
    let budget = Budget { deadline: Instant::now(), max_body_bytes: 10 };
    let request = Request::new(Method::Post, server.url("/"));
    let error = fixture.client.send(&request, &fixture.allowed, budget, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::Timeout);
    assert!(error.never_left());
    assert_eq!(server.n_connections(), 0);
}
