//! Secrets and configuration: how they are given, what the code reads, and what is said of those that are missing.

use serde_json::{Value, json};

use crate::workspace::Workspace;

/// Returns the lengths and reversed texts of what the code reads, since secrets themselves would be redacted.
const REVERSED: &str = "
  const read = (key: string) => ctx.secrets.get(key)?.split('').reverse().join('') ?? null;
  return Object.fromEntries(ctx.params.keys.map((key: string) => [key, read(key)]));";

fn reader() -> Workspace {
    let here = Workspace::new();
    let manifest = json!({
        "authMethod": "api_key",
        "secretBindings": ["apiToken", "region"],
        "connectionConfig": {"region": "north", "timeout": 5000},
    });
    here.connector("reader", manifest, REVERSED);
    here
}

#[track_caller]
fn read(here: &Workspace, keys: &[&str], flags: &[&str]) -> Value {
    let params = json!({"keys": keys}).to_string();
    here.run(&[&["run", "reader", "go", "--params", &params] as &[&str], flags].concat()).exits(0).json()
}

#[test]
fn secrets_come_from_flags_and_from_a_file() {
    let here = reader();
    here.write("secrets.env", "# the team's\r\n\r\napiToken=abc=def==\r\nother= spaced \r\n");
    assert_eq!(read(&here, &["apiToken"], &["--secret", "apiToken=k=v=12"]), json!({"apiToken": "21=v=k"}));
    let from_file = ["--secrets-file", "secrets.env"];
    assert_eq!(
        read(&here, &["apiToken", "other"], &from_file),
        json!({"apiToken": "==fed=cba", "other": " decaps "})
    );
    let both = ["--secrets-file", "secrets.env", "--secret", "apiToken=xyz1", "--secret", "third=-dash"];
    assert_eq!(
        read(&here, &["apiToken", "other", "third"], &both),
        json!({"apiToken": "1zyx", "other": " decaps ", "third": "hsad-"})
    );
    let params = json!({"keys": ["apiToken"]}).to_string();
    let ran = here
        .run_with_env(
            &["run", "reader", "go", "--params", &params],
            &[("PORTCULLIS_SECRETS_FILE", "secrets.env")],
        )
        .exits(0);
    assert_eq!(ran.json(), json!({"apiToken": "==fed=cba"}));
}

#[test]
fn config_goes_over_the_manifests_and_secrets_over_both() {
    let here = reader();
    let token = ["--secret", "apiToken=abcd"];
    assert_eq!(read(&here, &["region"], &token), json!({"region": "htron"}));
    let config = [&token as &[&str], &["--config", "region=south=1"]].concat();
    assert_eq!(read(&here, &["region"], &config), json!({"region": "1=htuos"}));
    let secret = [config.as_slice(), &["--secret", "region=west"]].concat();
    assert_eq!(read(&here, &["region"], &secret), json!({"region": "tsew"}));
}

#[test]
fn the_first_binding_and_access_token_stand_in_for_each_other() {
    let here = reader();
    let keys = ["apiToken", "accessToken"];
    let expected = json!({"apiToken": "dcba", "accessToken": "dcba"});
    assert_eq!(read(&here, &keys, &["--secret", "accessToken=abcd"]), expected);
    assert_eq!(read(&here, &keys, &["--secret", "apiToken=abcd"]), expected);
}

#[test]
fn a_line_of_the_secrets_file_that_is_wrong_is_told_by_its_number() {
    let here = reader();
    here.write("secrets.env", "apiToken=abc\nhunter2\n");
    let ran = here.run(&["run", "reader", "go", "--secrets-file", "secrets.env"]).exits(2);
    ran.is_golden("secrets-file-bad-line");
    here.write("secrets.env", b"apiToken=abc\nb=\xff\n");
    here.run(&["run", "reader", "go", "--secrets-file", "secrets.env"])
        .exits(2)
        .says("secrets.env:2: the secrets file is not UTF-8");
}

#[test]
fn missing_credentials_are_named() {
    let here = reader();
    let params = "{\"keys\": []}";
    let missing = here.run(&["run", "reader", "go", "--params", params]).exits(0);
    missing.says("warning: no value for apiToken: give --secret apiToken=…").is_golden("missing-secret");
    let json = here.run(&["test", "reader", "--json"]).exits(0);
    json.report();
    json.says("no value for apiToken");
    for flags in [["--secret", "apiToken=x"], ["--secret", "accessToken=x"], ["--config", "apiToken=x"]] {
        let ran =
            here.run(&[&["run", "reader", "go", "--params", params] as &[&str], &flags].concat()).exits(0);
        assert_eq!(ran.stderr, "", "{flags:?}");
    }
    here.connector("open", json!({"authMethod": "none", "secretBindings": ["apiToken"]}), "return 1;");
    assert_eq!(here.run(&["run", "open", "go"]).exits(0).stderr, "", "a call needs no connection");
}
