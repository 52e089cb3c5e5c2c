//! Uploads: multipart forms of a zip or of files.

use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_runtime::{Package, manifest::name::Slug};
use serde_json::Value;

use super::client::Body;

/// A multipart form.
pub(crate) struct Form {
    boundary: String,
    bytes: Vec<u8>,
}

impl Form {
    pub(crate) fn new() -> Self {
        static N_FORMS: AtomicUsize = AtomicUsize::new(0);
        Self { boundary: format!("----form{}", N_FORMS.fetch_add(1, Ordering::Relaxed)), bytes: Vec::new() }
    }

    /// A form with a zip as `package`.
    pub(crate) fn of_zip(zip: &[u8]) -> Self {
        Self::new().file("package", "package.zip", zip)
    }

    /// A form with the files of an integration, and its slug.
    pub(crate) fn of_files(slug: &str, files: &[(&str, &[u8])]) -> Self {
        files
            .iter()
            .fold(Self::new().field("slug", slug), |form, (name, bytes)| form.file("files", name, bytes))
    }

    /// Adds a field.
    pub(crate) fn field(self, name: &str, value: &str) -> Self {
        self.part(&format!("name=\"{name}\""), value.as_bytes())
    }

    /// Adds a file.
    pub(crate) fn file(self, name: &str, file_name: &str, bytes: &[u8]) -> Self {
        self.part(&format!("name=\"{name}\"; filename=\"{file_name}\""), bytes)
    }

    fn part(mut self, disposition: &str, bytes: &[u8]) -> Self {
        let head = format!("--{}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n", self.boundary);
        self.bytes.extend(head.into_bytes());
        self.bytes.extend(bytes);
        self.bytes.extend(b"\r\n");
        self
    }

    /// The form as a request's body.
    pub(crate) fn body(self) -> Body {
        let Self { boundary, mut bytes } = self;
        bytes.extend(format!("--{boundary}--\r\n").into_bytes());
        Body::Bytes { content_type: format!("multipart/form-data; boundary={boundary}"), bytes }
    }
}

/// A zip of an integration, in a top folder of its slug.
pub(crate) fn zip(slug: &str, connector: &(Value, String)) -> Vec<u8> {
    zip_with(slug, connector, &[])
}

/// The same with more files.
pub(crate) fn zip_with(slug: &str, (manifest, code): &(Value, String), more: &[(&str, &[u8])]) -> Vec<u8> {
    let manifest = format!("{manifest:#}");
    let mut files = vec![("config.json", manifest.as_bytes()), ("connector.ts", code.as_bytes())];
    files.extend(more);
    package(slug, &files).to_zip()
}

/// What the runtime reads from files.
pub(crate) fn package(slug: &str, files: &[(&str, &[u8])]) -> Package {
    Package::from_files(Slug::parse(slug).unwrap(), files.iter().map(|(name, bytes)| (*name, *bytes)))
        .unwrap()
}
