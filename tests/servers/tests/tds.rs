//! The TDS server of the tests against two clients that weren't made for it, FreeTDS's programs and tiberius.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "tds/freetds.rs"]
mod freetds;
#[path = "tds/raw.rs"]
mod raw;
#[path = "tds/support.rs"]
mod support;
#[path = "tds/tiberius.rs"]
mod tiberius_client;
#[path = "tds/tiberius_login.rs"]
mod tiberius_login;
#[path = "tds/tiberius_requests.rs"]
mod tiberius_requests;
#[path = "tds/tiberius_transactions.rs"]
mod tiberius_transactions;
#[path = "tds/tiberius_values.rs"]
mod tiberius_values;
#[path = "tds/values.rs"]
mod values;
