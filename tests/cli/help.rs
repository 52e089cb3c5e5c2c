//! What the program says of itself: help, version, completions, types and schema.

use serde_json::Value;

use crate::workspace::Workspace;

#[test]
fn help_is_as_agreed() {
    let here = Workspace::new();
    here.run(&["--help"]).exits(0).is_golden("help");
    for command in [
        "serve",
        "keys",
        "projects",
        "run",
        "test",
        "check",
        "new",
        "pack",
        "types",
        "schema",
        "mcp",
        "completions",
    ] {
        here.run(&[command, "--help"]).exits(0).is_golden(&format!("help-{command}"));
    }
}

#[test]
fn help_shows_no_value_of_the_environment() {
    let variables =
        [("PORTCULLIS_EGRESS_PROXY", "http://ada:hunter2@proxy"), ("PORTCULLIS_FILES", "hunter2")];
    let ran = Workspace::new().run_with_env(&["run", "--help"], &variables).exits(0);
    assert!(ran.stdout.contains("PORTCULLIS_EGRESS_PROXY") && !ran.stdout.contains("hunter2"), "{ran:#?}");
}

#[test]
fn a_command_line_without_a_command_is_told_which_there_are() {
    let ran = Workspace::new().run::<&str>(&[]).exits(2).says("Commands:");
    assert_eq!(ran.stdout, "");
}

#[test]
fn the_version_is_the_packages() {
    let ran = Workspace::new().run(&["--version"]).exits(0);
    assert_eq!(ran.stdout, format!("portcullis {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_shell_gets_a_completion_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = Workspace::new().run(&["completions", shell]).exits(0);
        assert!(ran.stdout.contains("--egress-map") || ran.stdout.contains("egress-map"), "{shell}");
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn types_and_schema_are_the_runtimes() {
    let here = Workspace::new();
    let types = here.run(&["types"]).exits(0);
    assert_eq!(types.stdout, portcullis_runtime::connector_types());
    let schema: Value = here.run(&["schema"]).exits(0).json();
    assert_eq!(schema, portcullis_runtime::manifest_schema());
}
