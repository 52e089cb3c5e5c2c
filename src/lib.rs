//! The product around the engine: what the binary `portcullis` is made of.

pub mod cli;
mod config;
mod error;
