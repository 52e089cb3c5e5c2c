//! Storms: many calls in several processes find a token refused or expired at once, and one refresh serves them all.

use std::thread;
use std::time::{Duration, Instant};

use portcullis_test_servers::oauth::{Fault, Life};
use serde_json::Value;

use super::stage::{Stage, path, shown, tool};
use crate::support::client::run_body;
use crate::support::{Client, Place, StoreKind};

/// Calls at once in each process.
const CALLS: usize = 50;

/// Calls the tool so often at once; the errors.
#[track_caller]
fn storm(client: &Client, tool: &str) -> Vec<Value> {
    let ids: Vec<String> = (0..CALLS).map(|id| format!("c{id}")).collect();
    let calls: Vec<(&str, &str, &str)> = ids.iter().map(|id| (id.as_str(), tool, "{}")).collect();
    let answer = client.post("/api/tools/run", run_body(&calls)).is(200).json();
    assert_eq!(answer["tool_messages"].as_array().map(Vec::len), Some(CALLS), "{answer:#}");
    answer["errors"].as_array().unwrap().clone()
}

#[test]
fn fifty_calls_in_each_of_three_gateways_make_one_refresh() {
    let place = Place::new(StoreKind::Postgres);
    let stage = Stage::on(&place);
    let servers: Vec<_> = (0..3).map(|_| stage.start()).collect();
    let clients: Vec<Client> = servers.iter().map(|server| server.admin().acting_for("ada")).collect();
    let connection = stage.connect(&servers[0], &clients[0]);
    let tool = tool(&connection, "me");
    // What one process has made is soon known in the others.
    for client in &clients {
        crate::support::eventually("the connection is known", || {
            client.get(&path(&connection)).status == 200 && storm(client, &tool).is_empty()
        });
    }
    assert_eq!(stage.provider.n_refreshes(), 0);
    // Refused by the service, all at once.
    for round in 1..=3 {
        // What another process has stored is known a quarter of a second later.
        for client in &clients {
            crate::support::eventually("all have the same token", || {
                client.result(&tool, serde_json::json!({}));
                let asked = stage.provider.requests_for("/api/me");
                asked.last().and_then(portcullis_test_servers::oauth::Asked::bearer)
                    == Some(&stage.provider.last_access_token())
            });
        }
        stage.provider.void_access_tokens();
        stage.provider.next(Fault::Delay(Duration::from_millis(300)));
        let errors: Vec<Value> = thread::scope(|scope| {
            let storms: Vec<_> = clients.iter().map(|client| scope.spawn(|| storm(client, &tool))).collect();
            storms.into_iter().flat_map(|storm| storm.join().unwrap()).collect()
        });
        assert!(errors.is_empty(), "{} failed, the first with {:#}", errors.len(), errors[0]);
        assert_eq!(stage.provider.n_refreshes(), round, "refreshes after round {round}");
    }
    assert_eq!(stage.provider.n_reuses(), 0, "a refresh token was used twice");
    assert_eq!(shown(&clients[0], &connection)["status"], "ACTIVE");
}

#[test]
fn tokens_that_expire_under_load_are_replaced_once_each() {
    let place = Place::new(StoreKind::Postgres);
    let stage = Stage::on(&place);
    let servers: Vec<_> = (0..3).map(|_| stage.start()).collect();
    let clients: Vec<Client> = servers.iter().map(|server| server.admin().acting_for("ada")).collect();
    stage.provider.behave(|behaviour| {
        behaviour.life = Life::Seconds(3);
        // Calls may wait for room on a busy machine.
        behaviour.true_life = Some(Duration::from_secs(60));
    });
    let connection = stage.connect(&servers[0], &clients[0]);
    let tool = tool(&connection, "me");
    let begun = Instant::now();
    thread::scope(|scope| {
        for client in &clients {
            let tool = &tool;
            scope.spawn(move || {
                while begun.elapsed() < Duration::from_secs(10) {
                    let errors = storm(client, tool);
                    assert!(errors.is_empty(), "{} failed, the first with {:#}", errors.len(), errors[0]);
                }
            });
        }
    });
    let (n_refreshes, seconds) = (stage.provider.n_refreshes(), begun.elapsed().as_secs_f64());
    assert_eq!(stage.provider.n_reuses(), 0, "a refresh token was used twice");
    assert!(n_refreshes >= 2, "only {n_refreshes} in {seconds} s");
    // Ahead of the end by twice the margin at most, which is at most 0.45 s.
    assert!(n_refreshes as f64 <= seconds / (3.0 - 0.9) + 1.0, "{n_refreshes} in {seconds} s");
    assert_eq!(shown(&clients[0], &connection)["status"], "ACTIVE");
}

#[test]
fn fifty_calls_on_sqlite_make_one_refresh() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    stage.provider.void_access_tokens();
    stage.provider.next(Fault::Delay(Duration::from_millis(300)));
    let errors = storm(&ada, &tool(&connection, "me"));
    assert!(errors.is_empty(), "{} failed, the first with {:#}", errors.len(), errors[0]);
    assert_eq!((stage.provider.n_refreshes(), stage.provider.n_reuses()), (1, 0));
}
