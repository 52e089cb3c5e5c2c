//! Fairness: one project's calls and one connection's rate don't take the room of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::connectors::{connector, relay};
use crate::support::{Place, Reply, TestServer, eventually};

/// An upstream that answers nothing until it is let go.
fn held() -> (TestServer, Arc<AtomicBool>) {
    let is_free = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_free);
    let upstream = TestServer::start(move |_| {
        while !seen.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        Reply::ok("x")
    });
    (upstream, is_free)
}

#[test]
fn one_projects_calls_leave_room_for_anothers() {
    let (upstream, is_free) = held();
    let place = Place::sqlite();
    place.install("relay", &relay(&upstream.url("")));
    place.install("quick", &connector(json!({}), "return 1;"));
    let server = place.start_with(&["--max-calls-per-project", "1"]);
    let other = crate::support::process::key_in(&{
        place.prints(&["projects", "create", "other"]);
        place.prints(&["keys", "create", "--project", "other", "--role", "admin", "--name", "its first"])
    });
    let other = server.anyone().with_key(&other.unwrap());
    let admin = server.admin();
    thread::scope(|scope| {
        let slow = scope.spawn(|| admin.result("relay__read", json!({})));
        eventually("the first is under way", || upstream.requests().len() == 1);
        let waiting = scope.spawn(|| admin.result("quick__go", json!({})));
        assert_eq!(other.result("quick__go", json!({})), 1);
        assert!(!waiting.is_finished(), "two calls of a project ran where one may");
        is_free.store(true, Ordering::SeqCst);
        slow.join().unwrap();
        assert_eq!(waiting.join().unwrap(), 1);
    });
}

#[test]
fn a_connector_is_called_no_more_often_than_it_says() {
    let upstream = TestServer::start(|_| Reply::ok("x"));
    let place = Place::sqlite();
    let mut limited = relay(&upstream.url(""));
    limited.0["connectionConfig"] = json!({"rateLimit": 1});
    place.install("limited", &limited);
    place.install("free", &relay(&upstream.url("")));
    let server = place.start_with(&["--max-queue-ms", "100"]);
    let admin = server.admin();
    admin.result("limited__read", json!({}));
    for _ in 0..3 {
        let error = admin.error("PROVIDER_RATE_LIMITED", "limited__read", json!({}));
        assert_eq!((&error["retryable"], &error["details"]["limit"]), (&json!(true), &json!("rateLimit")));
        assert!(error["details"]["retry_after"].as_u64().is_some_and(|seconds| (1..=61).contains(&seconds)));
    }
    assert_eq!(upstream.requests().len(), 1);
    admin.result("free__read", json!({}));
}
