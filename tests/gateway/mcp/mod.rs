//! MCP over HTTP: the same tools and rules as the API's, sessions, and what clients are told by themselves.

mod agents;
mod approvals;
mod changes;
mod client;
mod guard;
mod many;
mod sdk;
mod tools;
