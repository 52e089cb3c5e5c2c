//! Rotation of the master key, killed at random moments beside a server that goes on writing.

use std::fs;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::connectors::{desk, desk_connection};
use crate::support::{Client, Place, column, on_each_store, random};

const ROUNDS: u64 = 30;

on_each_store!(an_interrupted_rotation_goes_on);

fn an_interrupted_rotation_goes_on(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let admin = server.admin();
    let first = ring(place);
    for number in 0..40 {
        admin
            .put(&format!("/api/secrets/before-{number}"), json!({"value": format!("value {number}")}))
            .is(201);
    }
    let (written, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| write_until(&is_over, &admin, &written));
        for _ in 0..ROUNDS {
            let mut rotation = place
                .command(&["keys", "rotate-master"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            thread::sleep(Duration::from_millis(random(120)));
            let _ = rotation.kill();
            rotation.wait().unwrap();
        }
        place.prints(&["keys", "rotate-master"]);
        is_over.store(true, Ordering::SeqCst);
    });
    let written = written.lock().unwrap();
    assert!(written.len() > 3, "{written:?}");
    all_open(&admin, &written);
    let last = ring(place);
    assert_eq!(last.len(), 1, "one key is left");
    assert_ne!(first, last);
    server.kill();
    all_open(&place.start().admin(), &written);
}

/// The ids of the master keys.
fn ring(place: &Place) -> Vec<String> {
    let ring: Value = serde_json::from_slice(&fs::read(place.data().join("master.key")).unwrap()).unwrap();
    column(&ring["keys"], "id").into_iter().map(str::to_owned).collect()
}

/// Makes connections, each of which must be made.
fn write_until(is_over: &AtomicBool, admin: &Client, written: &Mutex<Vec<String>>) {
    for number in 0.. {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let made = admin.connect(desk_connection(&format!("w{number}"), &format!("key-{number}")));
        written.lock().unwrap().push(made["connection_slug"].as_str().unwrap().to_owned());
        admin.put(&format!("/api/secrets/beside-{number}"), json!({"value": "value"})).is(201);
        thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn all_open(admin: &Client, slugs: &[String]) {
    for slug in slugs {
        let expected: String = slug.replace('w', "key-").chars().rev().collect();
        assert_eq!(admin.result(&format!("{slug}__whoami"), json!({})), json!(expected));
    }
}
