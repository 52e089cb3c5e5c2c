//! The command line from outside: each command, flag and exit status of the built program, run as a person would run it.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "cli/canary.rs"]
mod canary;
#[path = "cli/check.rs"]
mod check;
#[path = "cli/connection.rs"]
mod connection;
#[path = "cli/examples.rs"]
mod examples;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/limits.rs"]
mod limits;
#[path = "../runtime/tests/support/mod.rs"]
mod loopback;
#[path = "cli/mcp.rs"]
mod mcp;
#[path = "cli/network.rs"]
mod network;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/scaffold.rs"]
mod scaffold;
#[path = "cli/serve.rs"]
mod serve;
#[path = "cli/test.rs"]
mod test;
#[path = "cli/usage.rs"]
mod usage;
#[path = "cli/workspace.rs"]
mod workspace;
