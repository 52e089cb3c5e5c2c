//! Crashes: the server killed at random moments under load, and everything that it acknowledged still there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Body;
use crate::support::connectors::{desk, desk_connection, numbered};
use crate::support::upload::{Form, zip};
use crate::support::{Client, Place, StoreKind, column, eventually, random};

/// Rounds of each test; four tests on each store make two hundred.
const ROUNDS: u64 = 50;

/// Tests that run side by side, on each store.
macro_rules! acknowledged_writes_survive {
    ($($name:ident $store:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            survives(&Place::new(StoreKind::$store));
        })+
    };
}

acknowledged_writes_survive!(
    sqlite_1 Sqlite, sqlite_2 Sqlite, sqlite_3 Sqlite, sqlite_4 Sqlite,
    postgres_1 Postgres, postgres_2 Postgres, postgres_3 Postgres, postgres_4 Postgres,
);

/// What the server said that it did.
#[derive(Default)]
struct Acknowledged {
    /// Connections' slugs by id.
    connections: BTreeMap<String, String>,
    /// Ids of connections whose removal was acknowledged.
    removed: BTreeSet<String>,
    /// Secrets' ends by name.
    secrets: BTreeMap<String, String>,
    keys: BTreeMap<String, String>,
    /// The version of the upload.
    version: u64,
}

impl Acknowledged {
    /// How many connections and secrets were acknowledged.
    fn n(&self) -> usize {
        self.connections.len() + self.removed.len() + self.secrets.len()
    }
}

fn survives(place: &Place) {
    place.install("desk", &desk());
    let (acknowledged, numbers) = (Mutex::new(Acknowledged::default()), AtomicU64::new(1));
    for _ in 0..ROUNDS {
        let server = place.start();
        holds(&server.admin(), &acknowledged.lock().unwrap());
        let n_before = acknowledged.lock().unwrap().n();
        let (admin, is_over) = (server.admin(), AtomicBool::new(false));
        thread::scope(|scope| {
            for write in [connection, secret, key, upload] {
                let (admin, acknowledged, numbers, is_over) = (&admin, &acknowledged, &numbers, &is_over);
                scope.spawn(move || {
                    while !is_over.load(Ordering::SeqCst) {
                        let number = numbers.fetch_add(1, Ordering::SeqCst);
                        if write(admin, number, acknowledged).is_none() {
                            return;
                        }
                    }
                });
            }
            // However slow the machine is, something was acknowledged in each round.
            eventually("something is acknowledged", || acknowledged.lock().unwrap().n() > n_before);
            thread::sleep(Duration::from_millis(random(180)));
            is_over.store(true, Ordering::SeqCst);
            server.kill();
        });
    }
    let server = place.start();
    let acknowledged = acknowledged.lock().unwrap();
    holds(&server.admin(), &acknowledged);
    opens(&server, &acknowledged);
}

/// The answer's JSON, if the server lived long enough to give a good one.
fn ask(admin: &Client, method: &str, target: &str, body: Body) -> Option<Value> {
    let answer = admin.try_send(method, target, body).ok()?;
    assert!(answer.status < 300, "{method} {target}: {} {}", answer.status, answer.text());
    Some(if answer.body.is_empty() { Value::Null } else { answer.json() })
}

fn connection(admin: &Client, number: u64, acknowledged: &Mutex<Acknowledged>) -> Option<()> {
    let body = desk_connection(&format!("c{number}"), &format!("key-{number}"));
    let made = ask(admin, "POST", "/api/tools/connections", Body::Json(body))?["connection"].clone();
    let id = made["id"].as_str().unwrap().to_owned();
    acknowledged
        .lock()
        .unwrap()
        .connections
        .insert(id.clone(), made["connection_slug"].as_str().unwrap().to_owned());
    if number.is_multiple_of(4) {
        // From here on it may be there or not; once that is answered, it isn't.
        acknowledged.lock().unwrap().connections.remove(&id);
        ask(admin, "DELETE", &format!("/api/tools/connections/{id}"), Body::None)?;
        acknowledged.lock().unwrap().removed.insert(id);
    }
    Some(())
}

fn secret(admin: &Client, number: u64, acknowledged: &Mutex<Acknowledged>) -> Option<()> {
    let (name, end) = (format!("s{number}"), format!("{:04}", number % 10_000));
    ask(
        admin,
        "PUT",
        &format!("/api/secrets/{name}"),
        Body::Json(json!({"value": format!("a long enough value {end}")})),
    )?;
    acknowledged.lock().unwrap().secrets.insert(name, end);
    Some(())
}

fn key(admin: &Client, number: u64, acknowledged: &Mutex<Acknowledged>) -> Option<()> {
    let body = json!({"role": "user", "user": format!("u{number}"), "name": "x"});
    let made = ask(admin, "POST", "/api/keys", Body::Json(body))?;
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    acknowledged.lock().unwrap().keys.insert(id.to_owned(), key.to_owned());
    // Enough of them: a key costs no time, and each start reads them all.
    thread::sleep(Duration::from_millis(15));
    Some(())
}

fn upload(admin: &Client, number: u64, acknowledged: &Mutex<Acknowledged>) -> Option<()> {
    let mut connector = numbered(number);
    connector.0["version"] = json!(number);
    ask(admin, "POST", "/api/integrations", Form::of_zip(&zip("uploaded", &connector)).body())?;
    acknowledged.lock().unwrap().version = number;
    Some(())
}

/// All that was acknowledged is listed.
#[track_caller]
fn holds(admin: &Client, acknowledged: &Acknowledged) {
    let list = admin.get("/api/tools/connections").is(200).json();
    let ids: BTreeSet<&str> = column(&list["connections"], "id").into_iter().collect();
    for id in acknowledged.connections.keys() {
        assert!(ids.contains(id.as_str()), "the connection {id} is gone");
    }
    for id in &acknowledged.removed {
        assert!(!ids.contains(id.as_str()), "the connection {id} is back");
    }
    let list = admin.get("/api/secrets").is(200).json();
    let names = column(&list["secrets"], "name");
    let masks: BTreeMap<_, _> = names.into_iter().zip(column(&list["secrets"], "mask")).collect();
    for (name, end) in &acknowledged.secrets {
        assert!(
            masks.get(name.as_str()).is_some_and(|mask| mask.ends_with(end)),
            "the secret {name} is gone"
        );
    }
    let list = admin.get("/api/keys").is(200).json();
    let ids: BTreeSet<&str> = column(&list["keys"], "id").into_iter().collect();
    for id in acknowledged.keys.keys() {
        assert!(ids.contains(id.as_str()), "the key {id} is gone");
    }
    if acknowledged.version > 0 {
        let version = admin.get("/api/integrations/uploaded").is(200).json()["version"].as_u64().unwrap();
        assert!(
            version >= acknowledged.version,
            "version {version} is served, {} was taken",
            acknowledged.version
        );
        assert_eq!(admin.result("uploaded__go", json!({})), json!(version), "the code is another's");
    }
}

/// Credentials open, and keys let in.
#[track_caller]
fn opens(server: &crate::support::Server<'_>, acknowledged: &Acknowledged) {
    let admin = server.admin();
    for (id, slug) in acknowledged.connections.iter().rev().take(40) {
        let connection = admin.get(&format!("/api/tools/connections/{id}")).is(200).json();
        let key = connection["name"].as_str().unwrap().replace('c', "key-");
        let reversed: String = key.chars().rev().collect();
        assert_eq!(admin.result(&format!("{slug}__whoami"), json!({})), json!(reversed));
    }
    for key in acknowledged.keys.values().rev().take(20) {
        server.anyone().with_key(key).get("/api/integrations").is(200);
    }
}
