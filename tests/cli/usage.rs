//! Command lines that are wrong: exit status 2, words that help, and nothing repeated that may be a secret.

use serde_json::json;

use crate::workspace::{Ran, Workspace, example};

#[track_caller]
fn refused(arguments: &[&str]) -> Ran {
    let hello = example("hello");
    let arguments: Vec<&str> =
        arguments.iter().map(|argument| if *argument == "hello" { &hello } else { *argument }).collect();
    let ran = Workspace::new().run(&arguments).exits(2);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("hunter2"), "{ran:#?}");
    ran
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    for wrong in [
        &["--secret", "hunter2"] as &[&str],
        &["--secret", "=hunter2"],
        &["--secret", "a key=hunter2"],
        &["--secret", "apiToken=", "hunter2"],
        &["--secret", "apiToken", "hunter2"],
        &["--secrt", "apiToken=hunter2"],
        &["--secrt=apiToken=hunter2"],
        &["--secret=hunter2"],
        &["apiToken=hunter2"],
        &["-shunter2"],
        &["--json=hunter2"],
        &["--no-cache=hunter2"],
        &["--secrets-file", "apiToken=hunter2"],
        &["--secrets-file=apiToken=hunter2"],
        &["--config", "hunter2"],
        &["--secrets", "hunter2"],
        &["--egress-proxy", "socks5://ada:hunter2@127.0.0.1:1"],
        &["--", "hunter2"],
    ] {
        for command in [&["run", "hello", "greet"] as &[&str], &["test", "hello"]] {
            if command[0] == "test" && wrong == ["--", "hunter2"] {
                continue;
            }
            let arguments = [command, wrong].concat();
            let ran = refused(&arguments);
            assert!(ran.stderr.starts_with("error: ") && ran.stdout.is_empty(), "{ran:#?}");
            let json = refused(&[command, &["--json"], wrong].concat());
            if wrong[0].starts_with("--json=") {
                continue;
            }
            assert_eq!(json.report()["error"]["code"], "INVALID_USAGE", "{json:#?}");
        }
    }
}

#[test]
fn the_first_malformed_secret_is_told_by_its_number() {
    refused(&["run", "hello", "greet", "--secret", "a=b", "--secret", "hunter2"])
        .says("--secret number 2 is not written KEY=VALUE");
    refused(&["run", "hello", "greet", "--config", "hunter2"]).says("--config is not written KEY=VALUE");
}

#[test]
fn wrong_settings_say_what_is_right() {
    for (wrong, needle) in [
        (
            ["--allow-network", "nowhere"],
            "--allow-network \"nowhere\" is no network: write it like 127.0.0.0/8",
        ),
        (["--allow-network", "127.0.0.1/99"], "is no network"),
        (["--egress-map", "a.com"], "it is written HOST[:PORT]=ADDRESS:PORT"),
        (["--ca-file", "missing.pem"], "--ca-file: can't read missing.pem: No such file"),
        (["--ca-file", "/dev/null"], "--ca-file /dev/null: no certificate in it"),
        (["--egress-proxy", "ftp://x"], "the egress proxy must be written http://"),
        (["--files", "/dev/null/x"], "--files: can't use the folder /dev/null/x"),
        (["--secrets-file", "missing.env"], "--secrets-file: can't read missing.env: No such file"),
        (["--deadline-ms", "0"], "invalid value '0'"),
        (["--deadline-ms", "soon"], "invalid value 'soon'"),
        (["--memory-mib", "-1"], "unexpected argument"),
        (["--http-requests", "99999999999"], "invalid value"),
    ] {
        let arguments =
            [&["run", "hello", "greet", "--params", "{\"name\": \"Ada\"}"] as &[&str], &wrong].concat();
        let ran = refused(&arguments);
        let is_shown =
            ran.stderr.contains(needle) || needle == "unexpected argument" && ran.stderr.contains("error:");
        assert!(is_shown, "no {needle:?} in {ran:#?}");
        let json = refused(&[arguments.as_slice(), &["--json"]].concat()).report();
        assert_eq!(json["error"]["code"], "INVALID_USAGE");
    }
}

#[test]
fn an_egress_map_and_a_proxy_exclude_each_other() {
    let flags = ["--egress-map", "*=127.0.0.1:1", "--egress-proxy", "http://127.0.0.1:2"];
    refused(&[&["run", "hello", "greet"] as &[&str], &flags].concat())
        .says("has no effect behind an egress proxy");
}

#[test]
fn missing_and_unknown_commands_and_arguments() {
    refused(&["runn"]).says("a similar subcommand exists: 'run'");
    refused(&["run"]).says("<OPERATION>");
    refused(&["run", "hello"]).says("<OPERATION>");
    refused(&["test"]).says("<DIR|ZIP>");
    refused(&["check"]).says("<DIR|ZIP>");
    refused(&["new"]).says("<SLUG>");
    refused(&["new", "x", "--type", "soap"]).says("[possible values: rest_api, sql]");
    refused(&["completions", "csh"]).says("[possible values: bash");
}

#[test]
fn usage_errors_of_run_are_json_where_that_was_asked_for() {
    let report = refused(&["run", "--json"]).report();
    assert_eq!(report["error"]["code"], "INVALID_USAGE");
    assert_eq!(report["logs"], json!([]));
    assert_eq!(report["durationMs"], 0);
}

#[test]
fn a_package_that_is_not_there_is_told_with_the_place() {
    refused(&["run", "helo", "greet"])
        .says("error: helo: there is nothing here (from [folder]): name a connector's folder");
    refused(&["test", "/nowhere/at/all"]).says("error: /nowhere/at/all: there is nothing here: name");
    let report = refused(&["run", "helo", "greet", "--json"]).report();
    assert_eq!(report["error"]["code"], "INVALID_PACKAGE");
    assert_eq!(report["error"]["details"]["diagnostics"].as_array().unwrap().len(), 1);
}
