//! Integrations: connectors from the folder `integrations/` and from uploads, served the same way.

mod drift;
mod folders;
mod install;
mod loader;
mod problem;
pub(crate) mod registry;
pub(crate) mod scan;
mod serving;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod upload;

pub(crate) use registry::Registry;

use std::path::PathBuf;
use std::sync::Arc;

use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::{Connector, Diagnostic, Package};

use crate::time::Timestamp;

/// Where an integration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A folder under `integrations/`, the same for every project.
    Folder(PathBuf),
    /// An upload, of one project.
    Upload,
}

/// What is wrong with an integration's newest version, though an older one may still be served.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Problem {
    /// In a sentence: what is wrong, and what to do.
    pub(crate) message: String,
    /// Each error of the manifest and the code, with its place.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// What is served: a package and the connector made of it.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) package: Package,
    pub(crate) connector: Connector,
}

/// An integration as one project sees it. A snapshot: a call keeps the one that it began with.
#[derive(Clone, Debug)]
pub(crate) struct Integration {
    pub(crate) slug: Slug,
    pub(crate) source: Source,
    /// The last good version; none if there never was one.
    pub(crate) served: Option<Arc<Served>>,
    /// What keeps the newest version from being served, or what it clashes with.
    pub(crate) problem: Option<Problem>,
    /// What was found and is no error; drift of a live reload among it.
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) updated_at: Timestamp,
}
