//! SQL connectors end to end: called through the engine and by the built program, on SQLite and on real servers.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "sql/bounds.rs"]
mod bounds;
#[path = "sql/case.rs"]
mod case;
#[path = "sql/down.rs"]
mod down;
#[path = "sql/hotel.rs"]
mod hotel;
#[path = "sql/introspect.rs"]
mod introspect;
#[path = "sql/loading.rs"]
mod loading;
#[path = "sql/mssql.rs"]
mod mssql;
#[path = "sql/network.rs"]
mod network;
#[path = "sql/pool.rs"]
mod pool;
#[path = "sql/reads.rs"]
mod reads;
#[path = "sql/redaction.rs"]
mod redaction;
#[path = "sql/sqlite.rs"]
mod sqlite;
#[path = "sql/sqlite_client.rs"]
mod sqlite_client;
#[path = "sql/statements.rs"]
mod statements;
#[path = "sql/support.rs"]
mod support;
#[path = "sql/values/mod.rs"]
mod values;
#[allow(dead_code, reason = "the command line's own tests use the rest of it")]
#[path = "cli/workspace.rs"]
mod workspace;
