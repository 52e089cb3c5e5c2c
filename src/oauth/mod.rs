//! OAuth2 as a client: what is said to authorization servers, and how their answers are read. Who may say it, and when,
//! is the gateway's affair.

mod answer;
pub(crate) mod endpoint;
pub(crate) mod identity;
pub(crate) mod pkce;
pub(crate) mod state;
