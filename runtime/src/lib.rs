//! The engine of Portcullis: connector packages, their manifests, the sandbox that runs them and the network they reach.

pub mod manifest;
pub mod package;
pub mod compile;
pub mod egress;
