//! OAuth2 connections: connected by consent, kept by refreshes, and taken away, at providers of the tests' own.

mod apps;
mod bound;
mod browser;
mod canary;
mod connect;
mod disconnect;
mod identity;
mod lost;
mod machine;
mod network;
mod refresh;
mod rotation;
mod scopes;
mod stage;
mod store;
mod storm;
