//! Holds both servers until its input ends: what the tests of this crate kill. People use `cargo xtask servers`.

use portcullis_test_servers::{Engine, hold};

fn main() -> anyhow::Result<()> {
    hold(&Engine::ALL)
}
