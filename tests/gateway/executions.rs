//! Executions: one record for each call, however it ended, and each for those who may see it.

use serde_json::{Value, json};

use crate::support::connectors::{connector, desk, desk_connection, echo, relay};
use crate::support::{Client, Place, Reply, TestServer, column, on_each_store};

#[track_caller]
fn records(client: &Client, query: &str) -> Vec<Value> {
    let list = client.get(&format!("/api/executions{query}")).is(200).json();
    list["executions"].as_array().unwrap().clone()
}

on_each_store!(
    each_call_leaves_one_record,
    paging_by_cursor_shows_each_once,
    records_are_seen_by_those_who_may
);

fn each_call_leaves_one_record(place: &Place) {
    let upstream = TestServer::start(|request| match request.target() {
        "/slow" => Reply::default().wait(std::time::Duration::from_secs(2)).close(),
        _ => Reply::ok("fine"),
    });
    place.install("relay", &relay(&upstream.url("")));
    place.install("thrower", &connector(json!({}), "console.log('about to'); throw new Error('no');"));
    place.install(
        "blocked",
        &connector(json!({"allowedHosts": ["a.com"]}), "return ctx.http.get('https://evil.com/').text();"),
    );
    let server = place.start_with(&["--deadline-ms", "500"]);
    let ada = server.user("ada");
    for (tool, arguments, outcome, code) in [
        ("relay__read", json!({"path": "/a?token=1"}), "ok", Value::Null),
        ("thrower__go", json!({}), "failed", json!("PROVIDER_ERROR")),
        ("blocked__go", json!({}), "blocked", json!("HOST_BLOCKED")),
        ("nowhere__go", json!({}), "denied", json!("TOOL_NOT_FOUND")),
        ("relay__read", json!({"path": "/slow"}), "timed_out", json!("LIMIT_EXCEEDED")),
        ("relay__careful", json!({}), "approval_required", Value::Null),
        ("relay__read", json!({"path": 7}), "failed", json!("INVALID_ARGUMENTS")),
    ] {
        let before = records(&ada, "").len();
        ada.call(tool, arguments.clone());
        let after = records(&ada, "");
        assert_eq!(after.len(), before + 1, "{tool}");
        let record = &after[0];
        assert_eq!((&record["outcome"], &record["tool"]), (&json!(outcome), &json!(tool)), "{record:#}");
        if outcome != "approval_required" {
            assert_eq!(record["code"], code, "{record:#}");
        }
        assert_eq!((&record["user"], &record["arguments"]), (&json!("ada"), &arguments), "{record:#}");
        assert_eq!(
            &ada.get(&format!("/api/executions/{}", record["id"].as_str().unwrap())).is(200).json(),
            record
        );
    }
    let ok = &records(&ada, "?outcome=ok")[0];
    assert_eq!(
        (&ok["integration"], &ok["operation"], &ok["connector_version"]),
        (&json!("relay"), &json!("read"), &json!(1))
    );
    assert_eq!((&ok["attempts"], &ok["agent"]), (&json!(1), &Value::Null));
    assert!(ok["duration_ms"].is_u64() && ok["request_id"].is_string(), "{ok:#}");
    let exchange = &ok["http"][0];
    assert_eq!(
        (&exchange["method"], &exchange["status"], &exchange["bytes"]),
        (&json!("GET"), &json!(200), &json!(4))
    );
    assert!(exchange["path"].as_str().unwrap().starts_with("/a"), "{exchange:#}");
    assert!(exchange["host"].as_str().unwrap().starts_with("127.0.0.1"), "{exchange:#}");
    assert!(exchange.get("body").is_none(), "{exchange:#}");
    let failed = &records(&ada, "?code=PROVIDER_ERROR")[0];
    assert_eq!(failed["logs"][0]["message"], "about to", "{failed:#}");
}

fn paging_by_cursor_shows_each_once(place: &Place) {
    place.install("echo", &echo());
    let server = place.start();
    let admin = server.admin();
    for n in 0..25 {
        admin.result("echo__go", json!({"n": n}));
    }
    let mut seen = Vec::new();
    let mut target = "/api/executions?limit=10".to_owned();
    for page in 0.. {
        assert!(page < 5, "it goes on for ever");
        let list = admin.get(&target).is(200).json();
        let rows = list["executions"].as_array().unwrap();
        assert!(rows.len() <= 10);
        seen.extend(rows.iter().map(|row| row["arguments"]["n"].as_u64().unwrap()));
        // One more between two pages moves none of the older ones.
        admin.result("echo__go", json!({"n": 1000}));
        match list["next_cursor"].as_str() {
            Some(cursor) => target = format!("/api/executions?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, (0..25).rev().collect::<Vec<u64>>());
    admin.get("/api/executions?limit=0").is(400);
    admin.get("/api/executions?cursor=nonsense").is(400);
    admin.get("/api/executions?outcome=nonsense").is(400);
}

fn records_are_seen_by_those_who_may(place: &Place) {
    place.install("desk", &desk());
    let server = place.start();
    let (ada, bob, agents) = (server.user("ada"), server.user("bob"), server.service());
    ada.connect(desk_connection("Ada's", "k"));
    ada.result("desk__whoami", json!({}));
    bob.error("CONNECTION_NOT_FOUND", "desk__whoami", json!({}));
    agents.error("CONNECTION_NOT_FOUND", "desk__whoami", json!({}));
    let of_ada = records(&ada, "");
    assert_eq!((of_ada.len(), &of_ada[0]["connection_slug"]), (1, &json!("ada-s")));
    let id = of_ada[0]["id"].as_str().unwrap();
    bob.get(&format!("/api/executions/{id}")).refuses(404, "NOT_FOUND");
    assert_eq!(column(&json!(records(&bob, "")), "outcome"), ["denied"]);
    assert_eq!(records(&bob, "?user=ada").len(), 1, "a user's filter for another shows nothing of theirs");
    assert_eq!(records(&bob, "?user=ada")[0]["user"], "bob");
    assert_eq!(records(&server.admin(), "").len(), 3);
    assert_eq!(records(&server.admin(), "?user=ada").len(), 1);
    assert_eq!(records(&agents.acting_for("ada"), "").len(), 1);
}
