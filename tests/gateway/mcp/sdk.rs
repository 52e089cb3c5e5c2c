//! The Python SDK from PyPI as a client, with sessions and without.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::connectors::{echo, relay};
use crate::support::{Place, Reply, StoreKind, TestServer};

/// The same as in xtask/src/python.rs.
const PACKAGE: &str = "mcp==2.3.0";
/// The folder of a Python environment that has it: `cargo xtask test` makes one and says so here.
const VARIABLE: &str = "PORTCULLIS_TEST_MCP";
const SCRIPT: &str = include_str!("sdk.py");

#[test]
fn the_python_sdk_does_all_that_it_can() {
    let python = environment().join("bin/python");
    let place = Place::new(StoreKind::Sqlite);
    let upstream = TestServer::start(|_| Reply::ok("{\"sent\": true}"));
    place.install("echo", &echo());
    place.install("relay", &relay(&upstream.url("")));
    let server = place.start();
    let script = place.write("sdk.py", SCRIPT);
    let mut child = Command::new(&python)
        .arg(script)
        .args([&format!("http://{}/mcp", server.address), place.admin_key.get().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", python.display()));
    let mut said = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if line == "listening" {
            place.install(&format!("more-{}", said.len()), &echo());
        }
        said.push(line);
    }
    let output = child.wait_with_output().unwrap();
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said:#?}\n{problems}");
    assert_eq!(said.last().map(String::as_str), Some("done"), "{said:#?}\n{problems}");
    assert_eq!(said.iter().filter(|line| *line == "told").count(), 2, "{said:#?}");
    assert!(said.iter().any(|line| line.starts_with("connected auto 2026")), "{said:#?}");
    assert_eq!(upstream.requests().len(), 2);
}

/// The environment that the variable names, or one that is made here once.
fn environment() -> PathBuf {
    if let Some(folder) = env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        return PathBuf::from(folder);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE.replace("==", "-"));
    if !folder.join("bin/mcp").exists() {
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
