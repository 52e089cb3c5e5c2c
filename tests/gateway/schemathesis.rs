//! schemathesis from PyPI: all its checks, on requests that it makes from `/openapi.json`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::Place;
use crate::support::connectors::{desk, desk_connection, echo};

/// The same as in xtask/src/schemathesis.rs.
const PACKAGE: &str = "schemathesis==4.32.5";
/// The folder of a Python environment that has it: `cargo xtask test` makes one and says so here.
const VARIABLE: &str = "PORTCULLIS_TEST_SCHEMATHESIS";

/// By default it takes 422 for the refusal of valid data. At these operations it is what the contract answers for what no
/// schema can tell: a file that isn't a connector, credentials that this integration doesn't read.
const SETTINGS: &str = r#"
[[operations]]
include-operation-id = [
    "upload_integration", "create_connection", "change_connection", "put_agent", "put_connection_tools", "run_agent_tools",
, "change_project"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429]
"#;

#[test]
fn all_its_checks_find_nothing() {
    let st = environment().join("bin/st");
    let place = Place::sqlite();
    place.install("desk", &desk());
    place.install("echo", &echo());
    let server = place.start();
    server.admin().connect(desk_connection("First", "k"));
    server.admin().result("echo__go", json!({}));
    server.admin().put("/api/agents/support", json!({"connections": []})).is(201);
    place.write("schemathesis.toml", SETTINGS);
    let key = place.admin_key.get().unwrap();
    let output = Command::new(&st)
        .args(["run", &format!("http://{}/openapi.json", server.address), "--checks", "all"])
        .args(["--max-examples", "20", "--seed", "4", "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {key}")])
        .args(["--continue-on-failure", "--generation-database", "none"])
        .current_dir(place.path("."))
        .env("HOME", place.path("home"))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", st.display()));
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    server.admin().get("/readyz").is(200);
}

/// The environment that the variable names, or one that is made here once.
fn environment() -> PathBuf {
    if let Some(folder) = env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        return PathBuf::from(folder);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE.replace("==", "-"));
    if !folder.join("bin/st").exists() {
        make(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        make(Command::new(folder.join("bin/pip")).args(["install", "--quiet", PACKAGE]));
    }
    folder
}

#[track_caller]
fn make(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}
