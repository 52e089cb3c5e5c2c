//! The gateway from outside: `portcullis serve` as it is built, asked over HTTP, on either store.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "gateway/agents/mod.rs"]
mod agents;
#[path = "gateway/approvals/mod.rs"]
mod approvals;
#[path = "gateway/canary.rs"]
mod canary;
#[path = "gateway/catalog.rs"]
mod catalog;
#[path = "gateway/connections.rs"]
mod connections;
#[path = "gateway/crash.rs"]
mod crash;
#[path = "gateway/executions.rs"]
mod executions;
#[path = "gateway/fairness.rs"]
mod fairness;
#[path = "gateway/first_run.rs"]
mod first_run;
#[path = "gateway/integrations.rs"]
mod integrations;
#[path = "../runtime/tests/support/mod.rs"]
mod loopback;
#[path = "gateway/matrix.rs"]
mod matrix;
#[path = "gateway/mcp/mod.rs"]
mod mcp;
#[path = "gateway/oauth/mod.rs"]
mod oauth;
#[path = "gateway/operations.rs"]
mod operations;
#[path = "gateway/reload.rs"]
mod reload;
#[path = "gateway/retries.rs"]
mod retries;
#[path = "gateway/rotation.rs"]
mod rotation;
#[path = "gateway/run.rs"]
mod run;
#[path = "gateway/schemathesis.rs"]
mod schemathesis;
#[path = "gateway/secrets.rs"]
mod secrets;
#[path = "gateway/sql.rs"]
mod sql;
#[path = "gateway/support/mod.rs"]
mod support;
