//! OAuth2 connections: the apps that they are made with, the consents that they begin with, and their tokens' later life.

pub(crate) mod apps;
pub(in crate::gateway) mod background;
pub(crate) mod callback;
pub(in crate::gateway) mod client;
mod client_credentials;
pub(crate) mod confirm;
pub(in crate::gateway) mod connect;
pub(in crate::gateway) mod consent;
pub(crate) mod device;
mod due;
mod exchange;
mod flights;
pub(in crate::gateway) mod lapse;
mod reconnect;
pub(in crate::gateway) mod refresh;
pub(in crate::gateway) mod renew;
pub(crate) mod revoke;

#[cfg(test)]
mod tests;
