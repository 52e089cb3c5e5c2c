//! `Prefer: wait=N`: whoever waits is answered as if the call had run at once.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{approve, mail_connection, reject, with_mailer, yes};
use crate::support::client::run_body;
use crate::support::{Client, Place, Response, eventually, on_each_store};

on_each_store!(who_waits_is_answered_with_the_decision);

/// Calls, and waits so long.
fn run(client: &Client, wait: u64, calls: &[(&str, &str, &str)]) -> Response {
    client.with_header("Prefer", &format!("wait={wait}")).post("/api/tools/run", run_body(calls)).is(200)
}

/// The only pending approval, once there is one.
fn pending(client: &Client) -> String {
    let mut id = None;
    eventually("a call waits", || {
        let list = client.get("/api/approvals?status=PENDING").is(200).json();
        id = list["approvals"][0]["id"].as_str().map(str::to_owned);
        id.is_some()
    });
    id.unwrap()
}

fn content(answer: &Value, index: usize) -> Value {
    serde_json::from_str(answer["tool_messages"][index]["content"].as_str().unwrap()).unwrap()
}

fn who_waits_is_answered_with_the_decision(place: &Place) {
    let upstream = yes();
    let server = with_mailer(place, &upstream);
    let ada = server.user("ada");
    ada.connect(mail_connection("Post"));
    let call = [("c1", "post__send", "{\"to\": \"bob\"}"), ("c2", "post__nope", "{}")];
    thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&ada, 30, &call));
        approve(&ada, &pending(&ada)).is(200);
        let answer = waiting.join().unwrap();
        assert_eq!(answer.header("preference-applied"), Some("wait=30"));
        let answer = answer.json();
        assert_eq!(content(&answer, 0), json!({"sent": "bob", "said": "yes"}));
        assert_eq!((&answer["approvals"], answer["errors"].as_array().unwrap().len()), (&json!([]), 1));
    });
    thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&ada, 30, &call[..1]));
        reject(&ada, &pending(&ada), "not again").is(200);
        let answer = waiting.join().unwrap().json();
        let error = &answer["errors"][0];
        assert_eq!((&error["code"], &error["tool_call_id"]), (&json!("APPROVAL_REJECTED"), &json!("c1")));
        assert!(error["message"].as_str().unwrap().contains("not again"), "{error:#}");
    });
    let started = Instant::now();
    let answer = run(&ada, 1, &call[..1]);
    assert!((1..10).contains(&started.elapsed().as_secs()));
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    let answer = answer.json();
    assert_eq!(
        (&content(&answer, 0)["status"], answer["approvals"].as_array().unwrap().len()),
        (&json!("approval_required"), 1)
    );
    // Nothing needs a person here: nobody waits.
    let started = Instant::now();
    run(&ada, 60, &call[1..]);
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(ada.post("/api/tools/run", run_body(&call[1..])).header("preference-applied"), None);
}

#[test]
fn a_server_that_goes_down_lets_nobody_wait() {
    let upstream = yes();
    let place = Place::sqlite();
    let server = with_mailer(&place, &upstream);
    let ada = server.user("ada");
    ada.connect(mail_connection("Post"));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&ada, 60, &[("c1", "post__send", "{\"to\": \"bob\"}")]));
        pending(&ada);
        server.signal(Signal::SIGTERM);
        let started = Instant::now();
        let answer = waiting.join().unwrap().json();
        assert_eq!(content(&answer, 0)["status"], "approval_required");
        assert!(started.elapsed() < Duration::from_secs(20));
    });
    assert!(server.wait().success());
}
