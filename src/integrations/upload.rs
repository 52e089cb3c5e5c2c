//! What a person uploads: a zip, or files one by one.

use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::{Package, PackageError};

/// An upload as it arrived.
#[derive(Debug)]
pub(crate) enum Upload {
    /// A zip; its slug is its top folder's name unless one is given.
    Zip {
        /// The archive.
        bytes: Vec<u8>,
        /// The slug, where the uploader names one.
        slug: Option<Slug>,
    },
    /// Files by name.
    Files {
        /// The slug; required here.
        slug: Slug,
        /// Names and contents.
        files: Vec<(String, Vec<u8>)>,
    },
}

impl Upload {
    /// The package that it is.
    pub(crate) fn package(self) -> Result<Package, PackageError> {
        match self {
            Self::Zip { bytes, slug } => Package::from_zip(&bytes, slug),
            Self::Files { slug, files } => Package::from_files(slug, files),
        }
    }
}
