//! `portcullis check`: every diagnostic with its place, summaries, `--json` and `--strict`.

use serde_json::json;

use crate::workspace::{Workspace, example};

fn broken() -> Workspace {
    let here = Workspace::new();
    let manifest = "{\n  \"title\": \"T\",\n  \"authMethod\": \"apikey\",\n  \"operatons\": [],\n  \"allowedHosts\": [\"a b\"]\n}\n";
    here.write("broken/config.json", manifest);
    here.write("broken/connector.ts", "function execute(ctx) {\n  return 1 +;\n}\n");
    here.connector("good", json!({}), "return 1;");
    here.connector("warned", json!({"colour": "red"}), "return 1;");
    here
}

#[test]
fn every_diagnostic_has_its_place_and_every_package_a_summary() {
    let here = broken();
    here.run(&["check", "good", "broken", "warned", "missing"]).exits(2).is_golden("check");
    here.run(&["check", "good", "warned"]).exits(0).is_golden("check-warned");
}

#[test]
fn strict_counts_warnings_as_errors() {
    let here = broken();
    here.run(&["check", "--strict", "good"]).exits(0);
    let ran = here.run(&["check", "--strict", "warned"]).exits(2);
    assert!(ran.stdout.contains(": error: /colour: "), "{ran:#?}");
    let json = here.run(&["check", "--strict", "--json", "warned"]).exits(2).json();
    assert_eq!((&json[0]["valid"], &json[0]["diagnostics"][0]["severity"]), (&json!(false), &json!("error")));
}

#[test]
fn json_has_an_object_for_each_package() {
    let here = broken();
    let ran = here.run(&["check", "--json", "good", "broken", "missing"]).exits(2);
    assert_eq!(ran.stderr, "");
    let json = ran.json();
    assert_eq!(json[0], json!({"path": "good", "slug": "good", "valid": true, "diagnostics": []}));
    assert_eq!((&json[1]["slug"], &json[1]["valid"]), (&json!("broken"), &json!(false)));
    let found = json[1]["diagnostics"].as_array().unwrap();
    let method = found.iter().find(|found| found["pointer"] == "/authMethod").unwrap();
    assert_eq!((&method["severity"], &method["file"]), (&json!("error"), &json!("config.json")));
    assert_eq!((&method["line"], &method["column"]), (&json!(3), &json!(17)));
    assert!(found.iter().any(|found| found["file"] == "connector.ts" && found["line"] == 2), "{json:#}");
    assert_eq!((&json[2]["slug"], &json[2]["valid"]), (&json!(null), &json!(false)));
    assert!(json[2]["diagnostics"][0]["message"].as_str().unwrap().contains("there is nothing here"));
    let single = here.run(&["check", "--json", "good"]).exits(0).json();
    assert_eq!(single.as_array().unwrap().len(), 1);
}

#[test]
fn the_examples_are_without_fault() {
    let examples: Vec<String> = ["hello", "pagination", "files", "self_hosted"].map(example).into();
    let arguments: Vec<&str> =
        ["check", "--strict"].into_iter().chain(examples.iter().map(String::as_str)).collect();
    Workspace::new().run(&arguments).exits(0);
}

#[test]
fn what_is_no_package_is_refused_with_the_reason() {
    let here = Workspace::new();
    here.write("text.zip", "not a zip");
    here.write("empty/README.md", "");
    here.write("Bad Name/config.json", "{}");
    for (path, reason) in [
        ("text.zip", "this is not a zip"),
        ("empty", "the package has no config.json"),
        ("Bad Name", "is not a slug"),
        ("/dev/null", "is neither a folder nor a zip"),
    ] {
        let ran = here.run(&["check", path]).exits(2);
        assert!(
            ran.stdout.starts_with(&format!("{path}: error: ")) && ran.stdout.contains(reason),
            "{ran:#?}"
        );
    }
}
