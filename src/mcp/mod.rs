//! The Model Context Protocol: the same tools as the API's, for clients that speak MCP, over HTTP or on standard input.
//!
//! A [`toolbox::Toolbox`] knows the tools and calls them: the gateway's ([`gateway`]) or a folder's
//! ([`folder`]). [`server`]
//! is the protocol in between, the same for both; [`http`] is Streamable HTTP, with its sessions.

mod call;
mod changes;
pub(crate) mod folder;
mod gateway;
pub(crate) mod hosts;
pub(crate) mod http;
mod pages;
mod result;
mod search;
mod server;
mod sessions;
pub(crate) mod stdio;
pub(crate) mod toolbox;

pub(crate) use gateway::GatewayCaller;
pub(crate) use server::McpSettings;
