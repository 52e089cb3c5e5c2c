//! OAuth2 as a client speaks it: what is sent to authorization servers, and what their answers mean.
//!
//! Nothing here knows of connections or of the store; `gateway::oauth` puts the two together.

pub(crate) mod identity;
pub(crate) mod pkce;
pub(crate) mod state;
