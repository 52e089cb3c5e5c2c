//! What the tests share: the built server in a folder of its own, a client, connectors and uploads.

pub(crate) mod client;
pub(crate) mod connectors;
pub(crate) mod outage;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod upload;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use crate::loopback::server::{Reply, TestServer};
pub(crate) use client::{Client, Response};
pub(crate) use place::{Place, StoreKind, on_each_store};
pub(crate) use process::Server;

/// How long something that comes "soon" may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(SOON, what, holds);
}

/// Waits so long for something to hold.
#[track_caller]
pub(crate) fn within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "after {} s still not so: {what}", patience.as_secs());
        thread::sleep(Duration::from_millis(20));
    }
}

/// The values of a field in a list, in the list's order.
#[track_caller]
pub(crate) fn column<'v>(list: &'v Value, field: &str) -> Vec<&'v str> {
    let rows = list.as_array().unwrap_or_else(|| panic!("no list: {list:#}"));
    rows.iter()
        .map(|row| row[field].as_str().unwrap_or_else(|| panic!("no text {field:?} in {row:#}")))
        .collect()
}

/// A number below `bound`, another at each call: tests of crashes choose their moments by it.
pub(crate) fn random(bound: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() % bound
}
