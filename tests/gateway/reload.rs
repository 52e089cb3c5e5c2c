//! Live reload: every way in which people change a folder shows, and what was served goes on until something better is there.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::connectors::{connector, numbered};
use crate::support::{Client, Place, Reply, TestServer, eventually, within};

/// The contract's bound is a second; a busy machine may take a little more.
const BOUND: Duration = Duration::from_secs(5);

/// The number that an integration's `go` gives back now; none if there is no such tool.
fn number(client: &Client, slug: &str) -> Option<u64> {
    client.call(&format!("{slug}__go"), json!({})).content().as_u64()
}

#[track_caller]
fn serves(client: &Client, slug: &str, expected: impl Into<Option<u64>>) {
    let expected = expected.into();
    within(BOUND, &format!("{slug} serves {expected:?}"), || number(client, slug) == expected);
}

fn code(number: u64) -> String {
    numbered(number).1
}

#[track_caller]
fn error_of(client: &Client, slug: &str) -> Value {
    client.get(&format!("/api/integrations/{slug}")).is(200).json()["error"].clone()
}

#[test]
fn each_way_of_editing_shows() {
    let place = Place::sqlite();
    let server = place.start();
    let admin = server.admin();
    place.install("edited", &numbered(1));
    serves(&admin, "edited", 1);
    let file = place.integration("edited").join("connector.ts");
    // Written in place.
    fs::write(&file, code(2)).unwrap();
    serves(&admin, "edited", 2);
    // A new file renamed over it, as vim and most editors do.
    let next = place.integration("edited").join(".connector.ts.swp");
    fs::write(&next, code(3)).unwrap();
    fs::rename(&next, &file).unwrap();
    serves(&admin, "edited", 3);
    // The old one moved aside and the new one written, as emacs does.
    fs::rename(&file, place.integration("edited").join("connector.ts~")).unwrap();
    fs::write(&file, code(4)).unwrap();
    serves(&admin, "edited", 4);
    // The whole folder swapped.
    write(&place.path("elsewhere/edited"), &numbered(5));
    fs::rename(place.integration("edited"), place.path("elsewhere/old")).unwrap();
    fs::rename(place.path("elsewhere/edited"), place.integration("edited")).unwrap();
    serves(&admin, "edited", 5);
    fs::write(place.integration("edited").join("connector.ts"), code(6)).unwrap();
    serves(&admin, "edited", 6);
    // Renamed, and gone.
    fs::rename(place.integration("edited"), place.integration("renamed")).unwrap();
    serves(&admin, "renamed", 6);
    serves(&admin, "edited", None);
    fs::remove_dir_all(place.integration("renamed")).unwrap();
    serves(&admin, "renamed", None);
    assert_eq!(admin.get("/api/integrations").is(200).json()["count"], 0);
}

#[test]
fn the_last_good_version_serves_on_beside_a_broken_edit() {
    let place = Place::sqlite();
    place.install("broken", &numbered(1));
    let server = place.start();
    let admin = server.admin();
    let breakages: [(&str, &str); 3] = [
        ("connector.ts", "function execute( {"),
        ("config.json", "{\"title\": "),
        ("config.json", "{\"title\": 7}"),
    ];
    for (file, text) in breakages {
        let path = place.integration("broken").join(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, text).unwrap();
        within(BOUND, "the error shows", || !error_of(&admin, "broken").is_null());
        assert_eq!(number(&admin, "broken"), Some(1), "{text}");
        let error = error_of(&admin, "broken");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error:#}");
        fs::write(&path, good).unwrap();
        within(BOUND, "the error is gone", || error_of(&admin, "broken").is_null());
    }
    fs::remove_file(place.integration("broken").join("config.json")).unwrap();
    within(BOUND, "half of a folder is no removal", || !error_of(&admin, "broken").is_null());
    assert_eq!(number(&admin, "broken"), Some(1));
}

#[test]
fn a_broken_folder_at_the_start_breaks_only_itself() {
    let place = Place::sqlite();
    place.install("good", &numbered(1));
    place.install("bad", &numbered(2));
    place.write("integrations/bad/connector.ts", "syntax error here");
    place.write("integrations/Not A Slug/config.json", "{}");
    place.write("integrations/README.md", "no integration");
    let server = place.start();
    let admin = server.admin();
    assert_eq!(number(&admin, "good"), Some(1));
    assert_eq!(admin.get("/api/integrations/bad").is(200).json()["status"], "broken");
    admin.error("TOOL_NOT_FOUND", "bad__go", json!({}));
    place.install("bad", &numbered(3));
    serves(&admin, "bad", 3);
}

#[test]
fn a_folder_half_copied_is_served_once_it_is_whole() {
    let place = Place::sqlite();
    let server = place.start();
    let admin = server.admin();
    let (manifest, code) = numbered(8);
    place.write("integrations/slow/config.json", manifest.to_string());
    thread::sleep(Duration::from_millis(700));
    place.write("integrations/slow/connector.ts", &code[..code.len() / 2]);
    thread::sleep(Duration::from_millis(700));
    assert_eq!(number(&admin, "slow"), None);
    place.write("integrations/slow/connector.ts", &code);
    serves(&admin, "slow", 8);
}

#[test]
fn drift_of_an_edit_is_a_warning() {
    let place = Place::sqlite();
    place.install("drifter", &numbered(1));
    let server = place.start();
    let admin = server.admin();
    let other = connector(json!({"operations": [{"name": "go"}, {"name": "more"}]}), "return 2;");
    place.install("drifter", &other);
    serves(&admin, "drifter", 2);
    let shown = admin.get("/api/integrations/drifter").is(200).json();
    assert!(shown["warnings"].to_string().contains("version"), "{shown:#}");
}

#[test]
fn a_call_in_flight_ends_on_its_version() {
    let upstream = TestServer::start(|_| {
        Reply::default()
            .wait(Duration::from_millis(1500))
            .then("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let place = Place::sqlite();
    let slow = |number: u64| {
        let execute = format!("ctx.http.get('{}'); return {number};", upstream.url("/"));
        connector(json!({"allowedHosts": [upstream.url("")]}), &execute)
    };
    place.install("flying", &slow(1));
    let server = place.start();
    let admin = server.admin();
    thread::scope(|scope| {
        let call = scope.spawn(|| number(&admin, "flying"));
        eventually("the call is under way", || !upstream.requests().is_empty());
        place.install("flying", &numbered(2));
        serves(&admin, "flying", 2);
        assert_eq!(call.join().unwrap(), Some(1));
    });
}

#[test]
fn two_hundred_folders_are_all_served() {
    let place = Place::sqlite();
    for number in 0..100 {
        place.install(&format!("many-{number}"), &numbered(number));
    }
    let server = place.start();
    let admin = server.admin();
    for number in 100..200 {
        place.install(&format!("many-{number}"), &numbered(number));
    }
    within(Duration::from_secs(60), "two hundred are active", || {
        let list = admin.get("/api/integrations").is(200).json();
        list["integrations"].as_array().unwrap().iter().filter(|one| one["status"] == "active").count() == 200
    });
    for at in [0, 99, 100, 199] {
        assert_eq!(number(&admin, &format!("many-{at}")), Some(at));
    }
}

#[test]
fn a_thousand_folders_show_and_one_edit_among_them() {
    let place = Place::sqlite();
    let server = place.start();
    let admin = server.admin();
    for number in 0..1000 {
        place.install(&format!("many-{number}"), &numbered(number));
    }
    within(Duration::from_secs(100), "a thousand are listed", || {
        admin.get("/api/integrations").is(200).json()["count"] == 1000
    });
    serves(&admin, "many-500", 500);
    place.install("many-500", &numbered(12345));
    serves(&admin, "many-500", 12345);
}

fn write(folder: &Path, (manifest, code): &(Value, String)) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), manifest.to_string()).unwrap();
    fs::write(folder.join("connector.ts"), code).unwrap();
}
