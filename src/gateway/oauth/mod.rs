//! OAuth2 connections: the apps that they are made with, the consents that they begin with, and their tokens' later life.

pub(in crate::gateway) mod client;
