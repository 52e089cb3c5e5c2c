//! `portcullis new` and `pack`: what they make passes `check`, and runs.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::loopback::server::{Reply, TestServer};
use crate::loopback::tls::TestCa;
use crate::workspace::Workspace;

#[test]
fn a_new_connector_passes_check_runs_and_packs() {
    let here = Workspace::new();
    here.run(&["new", "help_desk"]).exits(0).is_golden("new-rest");
    here.run(&["check", "--strict", "help_desk"]).exits(0);
    let ran = here.run(&["run", "help_desk", "greet"]).exits(0);
    assert_eq!(ran.json(), json!({"greeting": "Hello, world!"}));
    assert_eq!(ran.stderr, "[log] greeting world\n");
    here.run(&["pack", "help_desk"]).exits(0);
    here.run(&["check", "--strict", "help_desk.zip"]).exits(0);
    assert_eq!(
        here.run(&["run", "help_desk.zip", "greet"]).exits(0).json(),
        json!({"greeting": "Hello, world!"})
    );
}

#[test]
fn a_new_sql_connector_passes_check_and_packs() {
    let here = Workspace::new();
    here.run(&["new", "crm", "--type", "sql"]).exits(0).is_golden("new-sql");
    here.run(&["check", "--strict", "crm"]).exits(0);
    here.run(&["pack", "crm"]).exits(0);
    here.run(&["check", "--strict", "crm.zip"]).exits(0);
    let manifest: Value = serde_json::from_slice(&fs::read(here.path("crm/config.json")).unwrap()).unwrap();
    for operation in manifest["sqlOperations"].as_array().unwrap() {
        let query = operation["query"].as_str().unwrap();
        for name in operation["parametersSchema"]["properties"].as_object().unwrap().keys() {
            assert!(query.contains(&format!("@{name}")), "{query}");
        }
    }
}

#[test]
fn the_new_connectors_files_are_what_editors_need() {
    let here = Workspace::new();
    here.run(&["new", "desk"]).exits(0);
    let text = |name: &str| fs::read_to_string(here.path(&format!("desk/{name}"))).unwrap();
    let json = |name: &str| serde_json::from_str::<Value>(&text(name)).unwrap();
    assert_eq!(text("connector.d.ts"), portcullis_runtime::connector_types());
    assert_eq!(json("config.schema.json"), portcullis_runtime::manifest_schema());
    assert_eq!(json("config.json")["$schema"], "./config.schema.json");
    assert_eq!(json("config.json")["title"], "Desk");
    assert_eq!(json("tsconfig.json")["compilerOptions"]["strict"], true);
    for name in ["config.json", "connector.ts", "README.md", "cases/get_repository.json"] {
        assert!(!text(name).contains("__"), "{name} has a placeholder left");
    }
}

/// Plays the recorded case: the connector sends what it says, and makes of the answer what it says.
#[test]
fn the_new_connectors_case_is_true() {
    let here = Workspace::new();
    here.run(&["new", "desk"]).exits(0);
    let case: Value =
        serde_json::from_slice(&fs::read(here.path("desk/cases/get_repository.json")).unwrap()).unwrap();
    let exchange = case["http"][0].clone();
    let response = exchange["response"].clone();
    let ca = TestCa::new();
    let server = TestServer::start_tls(ca.issue(&["api.github.com"]), move |_| {
        let content_type = response["headers"]["content-type"].as_str().unwrap();
        Reply::status("200 OK", &[("Content-Type", content_type)], response["body"].to_string())
    });
    here.write("ca.pem", ca.pem());
    let params = case["params"].to_string();
    let map = format!("*=127.0.0.1:{}", server.port());
    let network = ["--egress-map", &map, "--ca-file", "ca.pem", "--allow-network", "127.0.0.1"];
    let operation = case["operation"].as_str().unwrap();
    let run = ["run", "desk", operation, "--params", &params, "--secret", "accessToken=t0ken"];
    let ran = here.run(&[&run as &[&str], &network].concat()).exits(0);
    assert_eq!(ran.json(), case["result"]);
    let request = server.request();
    let expected = &exchange["request"];
    assert_eq!(request.method(), expected["method"].as_str().unwrap());
    assert_eq!(format!("https://api.github.com{}", request.target()), expected["url"].as_str().unwrap());
    for (name, value) in expected["headers"].as_object().unwrap() {
        let value = value.as_str().unwrap().replace("{{accessToken}}", "t0ken");
        assert_eq!(request.header(name), Some(value.as_str()));
    }
}

#[test]
fn new_overwrites_nothing_and_takes_slugs_only() {
    let here = Workspace::new();
    here.write("taken/notes.txt", "mine");
    here.run(&["new", "taken"]).exits(2).says("error: taken exists here already");
    assert_eq!(fs::read_dir(here.path("taken")).unwrap().count(), 1);
    for slug in ["Desk", "../desk", "a__b", "-", "", &"a".repeat(41)] {
        here.run(&["new", "--", slug]).exits(2).says("is not a slug");
    }
}

#[test]
fn pack_tells_path_size_and_digest() {
    let here = Workspace::new();
    here.connector("echo", json!({}), "return 1;");
    fs::create_dir(here.path("dist")).unwrap();
    for (flags, path) in [
        (&[] as &[&str], "echo.zip"),
        (&["-o", "dist/other.zip"], "dist/other.zip"),
        (&["--output", "dist"], "dist/echo.zip"),
    ] {
        let ran = here.run(&[&["pack", "echo", "--json"] as &[&str], flags].concat()).exits(0);
        let json = ran.json();
        assert_eq!((&json["path"], &json["slug"]), (&json!(path), &json!("echo")));
        let size = fs::metadata(here.path(path)).unwrap().len();
        assert_eq!(json["bytes"], size);
        let digest = json["digest"].as_str().unwrap();
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let plain = here.run(&[&["pack", "echo"] as &[&str], flags].concat()).exits(0);
        assert_eq!(
            plain.stdout,
            format!("{path}  {size} bytes  sha256:{digest}\n"),
            "packing again replaces the zip"
        );
    }
    let left: Vec<_> =
        fs::read_dir(here.path("dist")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn an_invalid_connector_is_not_packed() {
    let here = Workspace::new();
    here.write("broken/config.json", "{\"title\": \"T\"}");
    here.write("broken.zip", "the last good one");
    let ran = here.run(&["pack", "broken"]).exits(2).says("broken/config.json:1:1: error: ");
    assert_eq!(ran.stdout, "");
    assert_eq!(fs::read_to_string(here.path("broken.zip")).unwrap(), "the last good one");
    here.run(&["pack", "broken.zip"]).exits(2).says("is not a folder");
    here.connector("linked", json!({}), "return 1;");
    fs::remove_file(here.path("linked/connector.ts")).unwrap();
    symlink(here.path("broken.zip"), here.path("linked/connector.ts")).unwrap();
    here.run(&["pack", "linked"]).exits(2).says("is a symbolic link");
}

#[test]
fn a_zip_that_can_not_be_written_is_told() {
    let here = Workspace::new();
    here.connector("echo", json!({}), "return 1;");
    here.run(&["pack", "echo", "-o", "no/such/folder/x.zip"])
        .exits(1)
        .says("error: can't write no/such/folder/x.zip: No such file");
}
