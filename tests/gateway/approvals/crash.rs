//! `kill -9` at any moment between approve and result: a call was sent once at most, and says so.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{approve, ask, get, n_requests};
use crate::support::client::Body;
use crate::support::connectors::relay;
use crate::support::{Place, Reply, TestServer, on_each_store, random};

const ROUNDS: usize = 12;
/// Calls that are approved at once in each round.
const CALLS: usize = 6;

on_each_store!(a_killed_server_has_sent_each_call_once_at_most);

fn a_killed_server_has_sent_each_call_once_at_most(place: &Place) {
    let upstream = TestServer::start(|_| {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        Reply::default().wait(Duration::from_millis(random(40))).then(answer)
    });
    place.install("relay", &relay(&upstream.url("")));
    let (mut asked, mut acknowledged) = (Vec::new(), BTreeMap::new());
    for round in 0..ROUNDS {
        let server = place.start();
        let admin = server.admin();
        let new: Vec<(String, String)> = (0..CALLS)
            .map(|n| {
                let path = format!("/{round}-{n}");
                (ask(&admin, "relay__careful", json!({"path": path})), path)
            })
            .collect();
        thread::scope(|scope| {
            let approving: Vec<_> = new
                .iter()
                .map(|(id, _)| {
                    let (admin, target) = (&admin, format!("/api/approvals/{id}/approve"));
                    scope.spawn(move || admin.try_send("POST", &target, Body::None).ok())
                })
                .collect();
            thread::sleep(Duration::from_millis(random(150)));
            server.kill();
            for ((id, _), approving) in new.iter().zip(approving) {
                if let Some(answer) = approving.join().unwrap() {
                    acknowledged.insert(id.clone(), answer.is(200).json()["status"].clone());
                }
            }
        });
        asked.extend(new);
    }
    let server = place.start();
    let admin = server.admin();
    if let Some(database) = place.database() {
        // There may be other gateways on it, so that this one waits until nobody has said for a minute that a call runs.
        database.execute("UPDATE approvals SET running_until = 0 WHERE status = 'RUNNING'");
    }
    let mut n_by_status: BTreeMap<String, usize> = BTreeMap::new();
    for (id, path) in &asked {
        let approval = get(&admin, id);
        let status = approval["status"].as_str().unwrap();
        *n_by_status.entry(status.to_owned()).or_default() += 1;
        let n_sent = n_requests(&upstream, path);
        match status {
            "PENDING" => {
                assert_eq!(n_sent, 0, "{approval:#}");
                assert!(!acknowledged.contains_key(id), "what was acknowledged is forgotten: {approval:#}");
                assert_eq!(approve(&admin, id).is(200).json()["status"], "DONE");
                assert_eq!(n_requests(&upstream, path), 1);
            }
            "DONE" => assert_eq!(n_sent, 1, "{approval:#}"),
            "UNKNOWN" => {
                assert!(n_sent <= 1, "{approval:#}");
                assert_eq!(approval["error"]["code"], "APPROVAL_OUTCOME_UNKNOWN");
            }
            _ => panic!("{approval:#}"),
        }
        if let Some(said) = acknowledged.get(id) {
            assert_eq!(said, status, "{approval:#}");
        }
        approve(&admin, id).refuses(409, "APPROVAL_NOT_PENDING");
        assert!(n_requests(&upstream, path) <= 1);
    }
    assert!(n_by_status.len() > 1, "the moments were all alike: {n_by_status:?}");
}
