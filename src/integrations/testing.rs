//! What tests of integrations share: SQL connectors, which need no process to load, and an engine for them.

use std::fs;
use std::path::Path;

use portcullis_runtime::{Client, EgressConfig, Engine, EngineConfig, Package};
use serde_json::{Value, json};

/// An engine that loads connectors without code.
pub(crate) fn engine() -> Engine {
    let client = Client::new(&EgressConfig::default()).unwrap();
    Engine::new(EngineConfig { n_ready: 0, ..EngineConfig::new(client) })
}

/// The manifest of a SQLite connector with these operations.
pub(crate) fn manifest(version: u64, operations: Value) -> String {
    json!({
        "title": "Rows",
        "version": version,
        "type": "sql",
        "authMethod": "none",
        "sqlConnectionConfig": {"engine": "sqlite", "readOnly": false},
        "sqlOperations": operations,
    })
    .to_string()
}

/// The manifest of a SQLite connector with one operation, which answers `answer`.
pub(crate) fn answering(version: u64, answer: u64) -> String {
    manifest(version, json!([{"name": "ask", "query": format!("SELECT {answer}")}]))
}

/// A package of this manifest alone.
pub(crate) fn package(slug: &str, manifest: &str) -> Package {
    Package::from_files(slug.parse().unwrap(), [("config.json", manifest)]).unwrap()
}

/// Writes `root/slug/config.json`.
pub(crate) fn write(root: &Path, slug: &str, manifest: &str) {
    fs::create_dir_all(root.join(slug)).unwrap();
    fs::write(root.join(slug).join("config.json"), manifest).unwrap();
}
