//! OAuth2 connections: connected by consent, kept by refreshes, and taken away, at providers of the tests' own.

mod apps;
mod bound;
mod connect;
mod identity;
mod lost;
mod refresh;
mod scopes;
mod stage;
mod store;
mod storm;
