//! OAuth2 connections: the apps that they are made with, the consents that they begin with, and their tokens' later life.

pub(in crate::gateway) mod background;
pub(in crate::gateway) mod client;
mod due;
mod exchange;
mod flights;
pub(in crate::gateway) mod refresh;
pub(in crate::gateway) mod renew;
pub(crate) mod revoke;

#[cfg(test)]
mod tests;
