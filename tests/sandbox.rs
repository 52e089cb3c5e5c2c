//! Attacks on the sandbox: its limits, its processes, what reads from them, and what compiles foreign code.

#[path = "sandbox/bench.rs"]
mod bench;
#[path = "sandbox/cache.rs"]
mod cache;
#[path = "sandbox/compile.rs"]
mod compile;
#[path = "sandbox/early.rs"]
mod early;
#[path = "sandbox/endurance.rs"]
mod endurance;
#[path = "sandbox/hostile_peer.rs"]
mod hostile_peer;
#[path = "sandbox/limits.rs"]
mod limits;
#[path = "sandbox/processes.rs"]
mod processes;
#[path = "sandbox/uninterruptible.rs"]
mod uninterruptible;
#[path = "sandbox/upstream.rs"]
mod upstream;
