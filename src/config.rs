//! The operator's settings: one clap struct for each group of flags; each flag is an environment variable and, for `serve`,
//! a key of the settings file too.

mod cache;
mod data;
mod file;
mod limits;
mod lock;
mod network;
mod serve;
#[cfg(test)]
mod tests;

pub(crate) use cache::CacheFlags;
pub(crate) use data::StoreFlags;
pub(crate) use file::{named_in, read, without_empty_variables};
pub(crate) use limits::{LimitFlags, flag_of_limit};
pub(crate) use lock::DataLock;
pub(crate) use network::NetworkFlags;
pub(crate) use serve::ServeFlags;
