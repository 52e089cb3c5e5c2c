//! Retries: reads come again, writes are never sent twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::connectors::relay;
use crate::support::{Place, Reply, TestServer};

/// An upstream that answers so for the first `n_failures` requests, and then well.
fn failing(n_failures: usize, failure: impl Fn() -> Reply + Send + Sync + 'static) -> TestServer {
    let n_requests = AtomicUsize::new(0);
    TestServer::start(move |_| {
        if n_requests.fetch_add(1, Ordering::SeqCst) < n_failures { failure() } else { Reply::ok("fine") }
    })
}

fn unavailable() -> Reply {
    Reply::status("503 Service Unavailable", &[], "x")
}

/// Calls an operation of a relay to the upstream: the error's code, and how many requests arrived.
#[track_caller]
fn call(operation: &str, upstream: &TestServer, code: Option<&str>, n_requests: usize) {
    let place = Place::sqlite();
    place.install("relay", &relay(&upstream.url("")));
    let server = place.start();
    let called = server.admin().call(&format!("relay__{operation}"), json!({}));
    match code {
        None => assert_eq!(called.result()["body"], "fine"),
        Some(code) => drop(called.error(code)),
    }
    assert_eq!(upstream.requests().len(), n_requests, "{operation}");
}

#[test]
fn a_read_comes_again_up_to_three_times() {
    call("read", &failing(3, unavailable), None, 4);
    call("read", &failing(9, unavailable), Some("PROVIDER_UNAVAILABLE"), 4);
    call("read", &failing(1, || Reply::default().close()), None, 2);
    call("read", &failing(1, || Reply::status("404 Not Found", &[], "x")), Some("PROVIDER_ERROR"), 1);
}

#[test]
fn a_read_comes_again_after_what_retry_after_says() {
    let upstream = failing(1, || Reply::status("429 Too Many Requests", &[("Retry-After", "1")], "x"));
    let started = Instant::now();
    call("read", &upstream, None, 2);
    assert!(started.elapsed() >= Duration::from_secs(1), "it came too soon");
    // More than anyone waits for: told at once.
    let patient = failing(1, || Reply::status("429 Too Many Requests", &[("Retry-After", "3600")], "x"));
    call("read", &patient, Some("PROVIDER_RATE_LIMITED"), 1);
}

#[test]
fn a_write_is_never_sent_twice() {
    call("write", &failing(1, || Reply::default().close()), Some("PROVIDER_UNAVAILABLE"), 1);
    call("write", &failing(1, unavailable), Some("PROVIDER_UNAVAILABLE"), 1);
    call(
        "write",
        &failing(1, || Reply::status("429 Too Many Requests", &[("Retry-After", "0")], "x")),
        Some("PROVIDER_RATE_LIMITED"),
        1,
    );
    call(
        "write",
        &failing(1, || Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").close()),
        Some("PROVIDER_UNAVAILABLE"),
        1,
    );
}

#[test]
fn a_write_that_never_left_comes_again() {
    // Nobody listens yet; the socket is taken while the call waits for its second try.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let place = Place::sqlite();
    place.install("relay", &relay(&format!("http://{address}")));
    let server = place.start();
    let error = server.admin().error("PROVIDER_UNAVAILABLE", "relay__write", json!({}));
    assert_eq!(error["retryable"], true, "{error:#}");
    let record = server.admin().get("/api/executions").is(200).json()["executions"][0].clone();
    assert_eq!(record["attempts"], 4, "{record:#}");
}
