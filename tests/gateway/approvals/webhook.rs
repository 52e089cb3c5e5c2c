//! A project's webhook: told of what waits and of what was decided, signed, again until it listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{approve, ask, mail_connection, reject, with_mailer, yes};
use crate::loopback::server::Recorded;
use crate::support::{Place, Reply, TestServer, eventually, on_each_store};

on_each_store!(a_webhook_is_told_of_what_waits_and_what_was_decided);

fn a_webhook_is_told_of_what_waits_and_what_was_decided(place: &Place) {
    let upstream = yes();
    // Doesn't listen at first.
    let n_requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&n_requests);
    let ear = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status("500 Internal Server Error", &[], "no"),
        1 => Reply::default().close(),
        _ => Reply::status("204 No Content", &[], ""),
    });
    let server = with_mailer(place, &upstream);
    let (admin, ada) = (server.admin(), server.user("ada"));
    ada.connect(mail_connection("Post"));
    admin
        .patch("/api/project", json!({"approval_webhook": {"url": "http://hooks.example.com/"}}))
        .refuses(422, "INVALID_WEBHOOK");
    let url = ear.url("/hook");
    let made = admin.patch("/api/project", json!({"approval_webhook": {"url": url}})).is(200).json();
    let secret = made["approval_webhook"]["secret"].as_str().unwrap().to_owned();
    let shown = admin.get("/api/project").is(200).json();
    assert_eq!(
        (&shown["approval_webhook"]["url"], shown["approval_webhook"].get("secret")),
        (&json!(url), None)
    );

    let id = ask(&ada, "post__send", json!({"to": "bob", "text": "private"}));
    eventually("it was told in the end", || n_requests.load(Ordering::SeqCst) >= 3);
    let [first, second, third] = &ear.requests()[..3] else { panic!("three attempts") };
    for attempt in [first, second, third] {
        let told = verified(attempt, &secret);
        assert_eq!((&told["type"], &told["data"]["id"]), (&json!("approval.created"), &json!(id)));
        assert_eq!((&told["data"]["status"], &told["data"]["user"]), (&json!("PENDING"), &json!("ada")));
        assert!(!told.to_string().contains("private"), "{told}");
    }
    assert_eq!(first.header("webhook-id"), third.header("webhook-id"), "it is the same message each time");
    approve(&ada, &id).is(200);
    let other = ask(&ada, "post__send", json!({"to": "eve"}));
    reject(&admin, &other, "no").is(200);
    eventually("all was told", || n_requests.load(Ordering::SeqCst) >= 6);
    let told: Vec<Value> = ear.requests()[3..].iter().map(|request| verified(request, &secret)).collect();
    let find = |kind: &str, id: &str| {
        told.iter()
            .find(|one| one["type"] == kind && one["data"]["id"] == id)
            .unwrap_or_else(|| panic!("{told:#?}"))
    };
    assert_eq!(find("approval.decided", &id)["data"]["status"], "DONE");
    assert_eq!(find("approval.created", &other)["data"]["status"], "PENDING");
    let rejected = find("approval.decided", &other);
    assert_eq!(
        (&rejected["data"]["status"], &rejected["data"]["reason"]),
        (&json!("REJECTED"), &json!("no"))
    );

    place.prints(&["keys", "rotate-master"]);
    let anew =
        place.prints(&["projects", "set", "default", "--approval-webhook", &ear.url("/other"), "--json"]);
    let anew: Value = serde_json::from_str(&anew).unwrap();
    let new_secret = anew["approval_webhook"]["secret"].as_str().unwrap();
    assert_ne!(new_secret, secret);
    let last = ask(&ada, "post__send", json!({"to": "last"}));
    eventually("it was told", || ear.requests().len() >= 7);
    let told = &ear.requests()[6];
    assert_eq!((told.target(), &verified(told, new_secret)["data"]["id"]), ("/other", &json!(last)));
    let none = admin.patch("/api/project", json!({"approval_webhook": null})).is(200).json();
    assert_eq!(none["approval_webhook"], Value::Null);
    ask(&ada, "post__send", json!({"to": "unheard"}));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(ear.requests().len(), 7);
}

/// What a delivery says, if its signature is right.
#[track_caller]
fn verified(request: &Recorded, secret: &str) -> Value {
    let header = |name| request.header(name).unwrap_or_else(|| panic!("no {name}: {}", request.head));
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&request.body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header("webhook-signature"), expected);
    assert_eq!(header("content-type"), "application/json");
    serde_json::from_slice(&request.body).unwrap()
}
