//! Asked, shown, decided: by whom, once, and what is kept of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{approve, ask, get, mail_connection, n_requests, reject, with_mailer, yes};
use crate::support::connectors::relay;
use crate::support::{Place, Reply, TestServer, column, on_each_store};

on_each_store!(
    a_call_waits_and_runs_once_when_it_is_approved,
    a_rejected_call_never_runs,
    the_same_call_is_the_same_approval_while_it_waits,
    who_sees_and_decides,
    what_waits_survives_a_restart_and_a_rotation,
    a_thousand_approvals_of_one_run_it_once,
);

fn a_call_waits_and_runs_once_when_it_is_approved(place: &Place) {
    let upstream = yes();
    let server = with_mailer(place, &upstream);
    let ada = server.user("ada");
    let connection = ada.connect(mail_connection("Post"));
    let arguments = json!({"to": "bob", "text": "say s3cret-key-of-mail", "password": "hunter2"});
    let called = ada.call("post__send", arguments);
    let content = called.content();
    for (field, expected) in [
        ("status", json!("approval_required")),
        ("tool", json!("tools.gateway.connector.mailer.send")),
        ("connection", json!("post")),
        ("account", Value::Null),
    ] {
        assert_eq!(content[field], expected, "{content:#}");
    }
    assert!(content["message"].as_str().unwrap().contains("approve") && content["expires_at"].is_string());
    let mut listed = called.answer["approvals"][0].clone();
    assert_eq!(listed.as_object_mut().unwrap().remove("tool_call_id"), Some(json!("c1")));
    assert_eq!((listed, &called.answer["errors"]), (content.clone(), &json!([])));
    assert_eq!(upstream.n_connections(), 0);

    let id = content["approval_id"].as_str().unwrap();
    let shown = get(&ada, id);
    let redacted = json!({"to": "bob", "text": "say [redacted]", "password": "[redacted]"});
    for (field, expected) in [
        ("status", json!("PENDING")),
        ("integration", json!("mailer")),
        ("operation", json!("send")),
        ("operation_type", json!("write")),
        ("connection_id", connection["id"].clone()),
        ("connection_slug", json!("post")),
        ("connector_version", json!(1)),
        ("arguments", redacted.clone()),
        ("user", json!("ada")),
        ("decision", Value::Null),
    ] {
        assert_eq!(shown[field], expected, "{field} in {shown:#}");
    }
    let done = ada.post(&format!("/api/approvals/{id}/approve"), json!({"reason": "go on"})).is(200).json();
    assert_eq!(done["result"], json!({"sent": "bob", "said": "yes"}), "{done:#}");
    assert_eq!((&done["status"], &done["arguments"]), (&json!("DONE"), &redacted));
    assert_eq!((&done["decision"]["user"], &done["decision"]["reason"]), (&json!("ada"), &json!("go on")));
    // What was sent is what was asked for, and not what was shown.
    let request = upstream.request();
    assert_eq!(request.header("x-key"), Some("s3cret-key-of-mail"));
    assert!(String::from_utf8_lossy(&request.body).contains("hunter2"));

    let again = approve(&ada, id).refuses(409, "APPROVAL_NOT_PENDING");
    assert_eq!(again["details"]["status"], "DONE");
    reject(&ada, id, "too late").refuses(409, "APPROVAL_NOT_PENDING");
    assert_eq!(get(&ada, id), done);
    assert_eq!(upstream.requests().len(), 1);
    let executions = ada.get("/api/executions").is(200).json();
    assert_eq!(column(&executions["executions"], "outcome"), ["ok", "approval_required"]);
    assert_eq!(column(&executions["executions"], "approval_id"), [id, id]);
    assert_eq!(executions["executions"][0]["id"], done["execution_id"]);
    let metrics = server.anyone().get("/metrics").is(200).text();
    for status in ["PENDING", "DONE"] {
        assert!(
            metrics.contains(&format!("portcullis_approvals_total{{status=\"{status}\"}} 1")),
            "{metrics}"
        );
    }
}

fn a_rejected_call_never_runs(place: &Place) {
    let upstream = yes();
    let server = with_mailer(place, &upstream);
    let ada = server.user("ada");
    ada.connect(mail_connection("Post"));
    let id = ask(&ada, "post__send", json!({"to": "bob"}));
    let rejected = reject(&ada, &id, "not him").is(200).json();
    assert_eq!(
        (&rejected["status"], &rejected["error"]["code"]),
        (&json!("REJECTED"), &json!("APPROVAL_REJECTED"))
    );
    assert_eq!(rejected["decision"]["reason"], "not him");
    let late = approve(&server.admin(), &id).refuses(409, "APPROVAL_NOT_PENDING");
    assert_eq!(late["details"]["status"], "REJECTED");
    assert_eq!(upstream.n_connections(), 0);
    // A read that its manifest puts under approval waits as well, and a failure is one of the call.
    let peek = ask(&ada, "post__peek", json!({}));
    assert_eq!(approve(&ada, &peek).is(200).json()["status"], "DONE");
}

fn the_same_call_is_the_same_approval_while_it_waits(place: &Place) {
    let upstream = yes();
    let server = with_mailer(place, &upstream);
    let ada = server.user("ada");
    let mut shared = mail_connection("Post");
    shared["visibility"] = json!("project");
    ada.connect(shared);
    let first = ask(&ada, "post__send", json!({"to": "bob", "text": "x"}));
    let same = ask(&ada, "tools.gateway.connector.mailer.send", json!({"text": "x", "to": "bob"}));
    assert_eq!(first, same, "neither the order of arguments nor the tool's name matters");
    let others = [
        ask(&ada, "post__send", json!({"to": "bob", "text": "y"})),
        ask(&server.user("bob"), "post__send", json!({"to": "bob", "text": "x"})),
        ask(&server.admin().acting_for("ada"), "post__send", json!({"to": "bob", "text": "x"})),
    ];
    assert!(others.iter().all(|other| *other != first), "{others:?}");
    reject(&ada, &first, "").is(200);
    let anew = ask(&ada, "post__send", json!({"to": "bob", "text": "x"}));
    assert_ne!(anew, first, "what was decided is over");
    let list = server.admin().get("/api/approvals?status=PENDING&limit=2").is(200).json();
    assert_eq!(list["count"], 2);
    let next = list["next_cursor"].as_str().unwrap();
    let rest = server.admin().get(&format!("/api/approvals?status=PENDING&cursor={next}")).is(200).json();
    assert_eq!((&rest["count"], rest.get("next_cursor")), (&json!(2), None));
    assert_eq!(list["approvals"][0]["id"], json!(anew));
    let of_bob = server.admin().get("/api/approvals?user=bob").is(200).json();
    assert_eq!(column(&of_bob["approvals"], "user"), ["bob"]);
}

fn who_sees_and_decides(place: &Place) {
    let upstream = yes();
    let server = with_mailer(place, &upstream);
    let (admin, ada, bob) = (server.admin(), server.user("ada"), server.user("bob"));
    let (service, other_service) = (server.service(), server.service());
    ada.connect(mail_connection("Post"));
    let by_service = ask(&service.acting_for("ada"), "post__send", json!({"to": "by-service"}));
    for (client, sees) in [
        (&admin, true),
        (&ada, true),
        (&bob, false),
        (&service, false),
        (&service.acting_for("ada"), true),
        (&service.acting_for("bob"), false),
        (&other_service.acting_for("ada"), false),
    ] {
        let status = if sees { 200 } else { 404 };
        client.get(&format!("/api/approvals/{by_service}")).is(status);
        let listed = client.get("/api/approvals").is(200).json();
        assert_eq!(listed["count"], json!(u8::from(sees)), "{listed:#}");
    }
    approve(&bob, &by_service).refuses(404, "NOT_FOUND");
    approve(&service.acting_for("ada"), &by_service).refuses(403, "FORBIDDEN");
    reject(&service.acting_for("ada"), &by_service, "").refuses(403, "FORBIDDEN");

    ada.get("/api/project").refuses(403, "FORBIDDEN");
    assert_eq!(admin.get("/api/project").is(200).json()["approve_own_calls"], true);
    admin.patch("/api/project", json!({"approve_own_calls": false})).is(200);
    approve(&ada, &by_service).refuses(403, "FORBIDDEN");
    assert_eq!(approve(&admin, &by_service).is(200).json()["status"], "DONE");
    let own = ask(&ada, "post__send", json!({"to": "own"}));
    approve(&ada, &own).refuses(403, "FORBIDDEN");
    assert_eq!(reject(&ada, &own, "").is(200).json()["status"], "REJECTED");
    place.prints(&["projects", "set", "default", "--approve-own-calls", "true"]);
    let own = ask(&ada, "post__send", json!({"to": "own"}));
    assert_eq!(approve(&ada, &own).is(200).json()["status"], "DONE");
    assert_eq!((n_requests(&upstream, "/by-service"), n_requests(&upstream, "/own")), (1, 1));
}

fn what_waits_survives_a_restart_and_a_rotation(place: &Place) {
    let upstream = yes();
    let server = with_mailer(place, &upstream);
    let ada = server.user("ada");
    ada.connect(mail_connection("Post"));
    let done = ask(&ada, "post__send", json!({"to": "done"}));
    approve(&ada, &done).is(200);
    let waiting = ask(&ada, "post__send", json!({"to": "waiting"}));
    server.kill();
    place.prints(&["keys", "rotate-master"]);
    let server = place.start();
    let admin = server.admin();
    assert_eq!(get(&admin, &done)["result"]["sent"], "done");
    assert_eq!(approve(&admin, &waiting).is(200).json()["result"]["sent"], "waiting");
    assert_eq!(upstream.requests().len(), 2);
}

fn a_thousand_approvals_of_one_run_it_once(place: &Place) {
    let upstream = TestServer::start(|_| {
        Reply::default()
            .wait(Duration::from_millis(300))
            .then("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    });
    place.install("relay", &relay(&upstream.url("")));
    let server = place.start();
    let admin = server.admin();
    let id = ask(&admin, "relay__careful", json!({"path": "/once"}));
    let (n_ran, n_refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                for _ in 0..10 {
                    loop {
                        let answer = approve(&admin, &id);
                        match answer.status {
                            200 => n_ran.fetch_add(1, Ordering::SeqCst),
                            409 => n_refused.fetch_add(1, Ordering::SeqCst),
                            // A crowd that the store has no connections for is told to come again.
                            503 => {
                                thread::sleep(Duration::from_millis(100));
                                continue;
                            }
                            _ => panic!("{}: {}", answer.status, answer.text()),
                        };
                        break;
                    }
                }
            });
        }
    });
    assert_eq!((n_ran.into_inner(), n_refused.into_inner()), (1, 999));
    assert_eq!(n_requests(&upstream, "/once"), 1);
    assert_eq!(get(&admin, &id)["status"], "DONE");
}

#[test]
fn a_failed_call_is_not_made_again() {
    let upstream = TestServer::start(|_| Reply::status("503 Service Unavailable", &[], "no"));
    let place = Place::sqlite();
    let server = with_mailer(&place, &upstream);
    let ada = server.user("ada");
    ada.connect(mail_connection("Post"));
    for (tool, path) in [("post__send", "/bob"), ("post__peek", "/peek")] {
        let arguments = if path == "/bob" { json!({"to": "bob"}) } else { json!({}) };
        let id = ask(&ada, tool, arguments);
        let failed = approve(&ada, &id).is(200).json();
        assert_eq!((&failed["status"], &failed["code"]), (&json!("FAILED"), &json!("PROVIDER_UNAVAILABLE")));
        assert_eq!(failed["error"]["code"], "PROVIDER_UNAVAILABLE", "{failed:#}");
        assert_eq!(n_requests(&upstream, path), 1, "not even a read is tried again");
        assert_eq!(get(&ada, &id), failed);
    }
}

#[test]
fn what_is_wrong_with_a_call_is_told_before_anybody_is_asked() {
    let upstream = yes();
    let place = Place::sqlite();
    let server = with_mailer(&place, &upstream);
    let ada = server.user("ada");
    ada.error("CONNECTION_NOT_FOUND", "mailer__send", json!({"to": "bob"}));
    ada.connect(mail_connection("Post"));
    ada.error("INVALID_ARGUMENTS", "post__send", json!({}));
    let long = json!({"to": "bob", "text": "x".repeat(300_000)});
    let error = ada.error("LIMIT_EXCEEDED", "post__send", long);
    assert_eq!(error["details"]["limit"], "approval_arguments");
    assert_eq!(ada.get("/api/approvals").is(200).json()["count"], 0);
    // What a person is shown isn't cut.
    let text = "y".repeat(100_000);
    let id = ask(&ada, "post__send", json!({"to": "bob", "text": text}));
    assert_eq!(get(&ada, &id)["arguments"]["text"], json!(text));
}
