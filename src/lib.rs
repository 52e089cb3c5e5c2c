//! The product around the engine: what the binary `portcullis` is made of.

mod api_key;
pub mod cli;
mod config;
mod error;
mod gateway;
mod http;
mod identity;
mod integrations;
mod mcp;
mod oauth;
mod reload;
mod store;
mod telemetry;
mod time;
mod vault;
