//! Connectors' code end to end: compiled, run in jailed processes of the built binary, against servers on loopback.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "connector/ctx_http/mod.rs"]
mod ctx_http;
#[path = "connector/ctx_other.rs"]
mod ctx_other;
#[path = "connector/errors.rs"]
mod errors;
#[path = "connector/examples.rs"]
mod examples;
#[path = "connector/files.rs"]
mod files;
#[path = "connector/isolation.rs"]
mod isolation;
#[path = "connector/positions.rs"]
mod positions;
#[path = "connector/redaction.rs"]
mod redaction;
#[path = "connector/results.rs"]
mod results;
#[path = "connector/shapes.rs"]
mod shapes;
#[path = "connector/support.rs"]
mod support;
#[path = "../runtime/tests/support/mod.rs"]
mod upstream;
