//! What the tests share: a scripted HTTP server on loopback, and certificates for it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses a part of it")]

pub mod server;
pub mod tls;
