//! Packages: a connector's manifest, code and icon, read from a folder, a zip or loose files, within fixed caps.

mod archive;
mod contents;
mod directory;
mod entry_name;
mod error;
mod fingerprint;
mod folder;
mod layout;

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::manifest::name::Slug;
use contents::{Contents, read_capped};
use layout::Layout;

pub use error::PackageError;
pub use fingerprint::Fingerprint;

/// The largest package, in bytes: of the zip itself, of what the zip unpacks to, and of the sum of single files.
pub const MAX_PACKAGE_BYTES: usize = 1024 * 1024;
/// The largest code file, in bytes.
pub const MAX_CODE_BYTES: usize = 512 * 1024;
/// The largest icon, in bytes: an icon stays under 256 KiB.
pub const MAX_ICON_BYTES: usize = 256 * 1024 - 1;
/// The largest sum of the files under `cases/`, in bytes: they are no part of the package, and have their own cap.
pub const MAX_CASES_BYTES: usize = 4 * 1024 * 1024;
/// The most entries (files and folders) of a zip, and the most loose files.
pub const MAX_ENTRIES: usize = 64;

/// The name of the manifest's file.
pub const MANIFEST_FILE: &str = "config.json";

/// One connector as it was handed in: checked for size, names and encodings, not yet parsed.
///
/// The same files give the same `Package` whether they come as a folder, a zip or one by one. A byte order mark at
/// the beginning of the manifest or the code is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Package {
    slug: Slug,
    manifest: String,
    code: Option<Code>,
    icon: Option<Icon>,
}

/// A connector's code: UTF-8 text without NUL characters, and not blank.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    language: Language,
    text: String,
}

/// The language that a code file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// `connector.ts`, which wins where both exist.
    TypeScript,
    /// `connector.js`.
    JavaScript,
}

/// A connector's icon. The bytes of a raster image begin as its format does; an SVG is not looked into.
#[derive(Clone, PartialEq, Eq)]
pub struct Icon {
    format: IconFormat,
    bytes: Vec<u8>,
}

/// The image formats that an icon may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IconFormat {
    /// `icon.svg`.
    Svg,
    /// `icon.png`.
    Png,
    /// `icon.jpg`.
    Jpeg,
    /// `icon.webp`.
    Webp,
}

impl Package {
    /// Reads the folder or the zip at `path`, whichever is there; `path` itself may be a symbolic link.
    ///
    /// The slug is the folder's name, or for a zip the name of its single top folder, else the file's name without
    /// its extension.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, PackageError> {
        let path = path.as_ref();
        match folder::open(path)? {
            folder::Opened::Folder(folder) => folder::read(&folder, folder::slug_of(path)?),
            folder::Opened::File(mut file) => {
                let bytes = read_capped(&mut file, MAX_PACKAGE_BYTES)
                    .map_err(|source| PackageError::io("read", path, source))?
                    .ok_or(PackageError::ZipTooLarge { max: MAX_PACKAGE_BYTES })?;
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                Self::unpack(&bytes, None, Some(&stem))
            }
        }
    }

    /// Reads the folder at `path`, whose name is the slug. Only the files that make up a package are opened; links
    /// and anything else that is no regular file are refused in their place.
    pub fn from_folder(path: impl AsRef<Path>) -> Result<Self, PackageError> {
        let path = path.as_ref();
        match folder::open(path)? {
            folder::Opened::Folder(folder) => folder::read(&folder, folder::slug_of(path)?),
            folder::Opened::File(_) => Err(PackageError::NotAFolder { path: path.to_owned() }),
        }
    }

    /// Reads a zip whose files stand at its root or in one top folder. A `slug` from the caller wins over the top
    /// folder's name; where there is neither, that is an error.
    pub fn from_zip(bytes: &[u8], slug: Option<Slug>) -> Result<Self, PackageError> {
        Self::unpack(bytes, slug, None)
    }

    /// Puts a package together from single files, each a name and its bytes. They obey the rules of a zip's entries:
    /// the same names, caps and count.
    pub fn from_files<N, B>(slug: Slug, files: impl IntoIterator<Item = (N, B)>) -> Result<Self, PackageError>
    where
        N: AsRef<str>,
        B: AsRef<[u8]>,
    {
        let files = collect_capped(files)?;
        let layout = Layout::of(files.iter().map(|(name, _)| name.as_ref()))?;
        let mut contents = Contents::default();
        for (name, bytes) in &files {
            contents.add(name.as_ref(), layout.role(name.as_ref()), &mut bytes.as_ref())?;
        }
        contents.into_package(slug)
    }

    /// The connector's slug.
    pub fn slug(&self) -> &Slug {
        &self.slug
    }

    /// The text of config.json.
    pub fn manifest(&self) -> &str {
        &self.manifest
    }

    /// The connector's code; SQL connectors have none.
    pub fn code(&self) -> Option<&Code> {
        self.code.as_ref()
    }

    /// The connector's icon.
    pub fn icon(&self) -> Option<&Icon> {
        self.icon.as_ref()
    }

    /// The package as a zip with one top folder, named by the slug. The same package gives the same bytes, and
    /// `Package::from_zip` gives the same package back.
    pub fn to_zip(&self) -> Vec<u8> {
        let files: Vec<_> =
            self.files().map(|(name, bytes)| (format!("{}/{name}", self.slug), bytes)).collect();
        archive::pack(&files)
    }

    /// SHA-256 of the contents in lower-case hex. Each file's name and bytes go in with their lengths (8 bytes,
    /// big-endian) before them. The slug doesn't count, nor does how the package came.
    pub fn digest(&self) -> String {
        let mut sha256 = Sha256::new();
        for (name, bytes) in self.files() {
            for field in [name.as_bytes(), bytes] {
                sha256.update((field.len() as u64).to_be_bytes());
                sha256.update(field);
            }
        }
        sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The package's files in a fixed order: manifest, code, icon.
    fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let manifest = (MANIFEST_FILE, self.manifest.as_bytes());
        let code = self.code.iter().map(|code| (code.file_name(), code.text.as_bytes()));
        let icon = self.icon.iter().map(|icon| (icon.file_name(), icon.bytes.as_slice()));
        std::iter::once(manifest).chain(code).chain(icon)
    }

    fn unpack(zip: &[u8], given: Option<Slug>, file_stem: Option<&str>) -> Result<Self, PackageError> {
        let unpacked = archive::unpack(zip)?;
        let slug = match (given, unpacked.top_folder, file_stem) {
            (Some(slug), _, _) => slug,
            (None, Some(top), _) => parse_slug(&top, "the name of the zip's top folder")?,
            (None, None, Some(stem)) => parse_slug(stem, "the name of the zip")?,
            (None, None, None) => return Err(PackageError::NoSlug),
        };
        unpacked.contents.into_package(slug)
    }
}

impl Code {
    /// The language, as the file's extension says.
    pub fn language(&self) -> Language {
        self.language
    }

    /// `connector.ts` or `connector.js`.
    pub fn file_name(&self) -> &'static str {
        self.language.file_name()
    }

    /// The source text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Language {
    /// `connector.ts` or `connector.js`.
    pub fn file_name(self) -> &'static str {
        match self {
            Language::TypeScript => "connector.ts",
            Language::JavaScript => "connector.js",
        }
    }
}

impl Icon {
    /// The image's format, as the file's extension says.
    pub fn format(&self) -> IconFormat {
        self.format
    }

    /// `icon.svg`, `icon.png`, `icon.jpg` or `icon.webp`.
    pub fn file_name(&self) -> &'static str {
        self.format.file_name()
    }

    /// The media type to serve the image with.
    pub fn media_type(&self) -> &'static str {
        self.format.media_type()
    }

    /// The image as it stands in its file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl IconFormat {
    /// `icon.svg`, `icon.png`, `icon.jpg` or `icon.webp`.
    pub fn file_name(self) -> &'static str {
        match self {
            IconFormat::Svg => "icon.svg",
            IconFormat::Png => "icon.png",
            IconFormat::Jpeg => "icon.jpg",
            IconFormat::Webp => "icon.webp",
        }
    }

    /// The format's media type, for example `image/png`.
    pub fn media_type(self) -> &'static str {
        match self {
            IconFormat::Svg => "image/svg+xml",
            IconFormat::Png => "image/png",
            IconFormat::Jpeg => "image/jpeg",
            IconFormat::Webp => "image/webp",
        }
    }

    /// Whether `bytes` begin as this format does. Every SVG passes: XML has no fixed beginning.
    fn matches(self, bytes: &[u8]) -> bool {
        match self {
            IconFormat::Svg => true,
            IconFormat::Png => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
            IconFormat::Jpeg => bytes.starts_with(b"\xff\xd8\xff"),
            IconFormat::Webp => bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"),
        }
    }
}

impl fmt::Debug for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Package")
            .field("slug", &self.slug.as_str())
            .field("manifest_bytes", &self.manifest.len())
            .field("code", &self.code)
            .field("icon", &self.icon)
            .finish()
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.file_name(), self.text.len())
    }
}

impl fmt::Debug for Icon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.file_name(), self.bytes.len())
    }
}

/// Holds the files of an iterator, which may make them as it goes, no further than the caps.
fn collect_capped<N: AsRef<str>, B: AsRef<[u8]>>(
    files: impl IntoIterator<Item = (N, B)>,
) -> Result<Vec<(N, B)>, PackageError> {
    const MAX: usize = MAX_PACKAGE_BYTES + MAX_CASES_BYTES;
    let mut held = Vec::new();
    let mut n_bytes = 0;
    for (name, bytes) in files {
        n_bytes += bytes.as_ref().len();
        if held.len() == MAX_ENTRIES {
            return Err(PackageError::TooManyEntries { max: MAX_ENTRIES });
        }
        if n_bytes > MAX {
            return Err(PackageError::total_too_large(name.as_ref(), MAX));
        }
        held.push((name, bytes));
    }
    Ok(held)
}

fn parse_slug(text: &str, origin: &'static str) -> Result<Slug, PackageError> {
    Slug::parse(text).map_err(|source| PackageError::BadSlug { origin, source })
}
