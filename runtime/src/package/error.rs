//! What can be wrong with a package, with the entry it stands in and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::manifest::name::NameError;

/// A package that was refused. Names of entries are cut to a length that fits a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// The folder or the zip can't be opened or read.
    #[error("can't {operation} {path:?}")]
    Io {
        /// What was tried: `open` or `read`.
        operation: &'static str,
        /// The folder or file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A pipe, device or socket stands where a package should.
    #[error("{path:?} is neither a folder nor a zip: name a connector's folder, or a zip of it")]
    NotFolderOrFile {
        /// What was named.
        path: PathBuf,
    },
    /// A file stands where a folder should.
    #[error("{path:?} is not a folder: name the folder that holds config.json")]
    NotAFolder {
        /// What was named.
        path: PathBuf,
    },

    /// Nothing names the connector.
    #[error(
        "nothing names the connector: its files stand at the zip's root; give a slug, or zip the folder itself"
    )]
    NoSlug,
    /// The name that the slug is taken from isn't one.
    #[error("{origin} can't be the connector's slug")]
    BadSlug {
        /// Where the name stood.
        origin: &'static str,
        /// What a slug looks like.
        source: NameError,
    },

    /// There is no manifest.
    #[error("the package has no config.json: every connector needs one, beside its code")]
    MissingManifest,
    /// There is a manifest, but not where it belongs.
    #[error(
        "the package has no config.json where it belongs, but {found:?}: put it, in lower case, into the connector's folder, and zip that folder alone"
    )]
    MisplacedManifest {
        /// The entry that looks like a manifest.
        found: String,
    },
    /// A manifest that isn't UTF-8.
    #[error("{entry:?} is not UTF-8 text (byte {offset} is wrong): save it as UTF-8")]
    NotUtf8 {
        /// The file.
        entry: String,
        /// How many bytes from the beginning are well-formed.
        offset: usize,
    },
    /// Code that isn't UTF-8, or holds a NUL character.
    #[error("{entry:?} is not text (byte {offset} is wrong): code is UTF-8 text; bytecode is never accepted")]
    CodeNotText {
        /// The file.
        entry: String,
        /// How many bytes from the beginning are text.
        offset: usize,
    },
    /// A file whose name says that it is bytecode.
    #[error(
        "{entry:?} is compiled code: code is UTF-8 text, in connector.ts or connector.js; bytecode is never accepted"
    )]
    Bytecode {
        /// The file.
        entry: String,
    },
    /// Code without anything in it.
    #[error("{entry:?} is empty: write the connector's code into it, or remove it from an SQL connector")]
    EmptyCode {
        /// The file.
        entry: String,
    },
    /// More than one icon.
    #[error("the package has two icons, {first:?} and {second:?}: keep one")]
    TwoIcons {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// An icon that isn't what its extension says.
    #[error("{entry:?} is not {media_type}: its first bytes are another format's; rename it or convert it")]
    IconFormat {
        /// The file.
        entry: String,
        /// The media type of its extension.
        media_type: &'static str,
    },

    /// The zip file is too large.
    #[error(
        "the zip is larger than {max} bytes, the most that a package may have: leave out what the connector doesn't need"
    )]
    ZipTooLarge {
        /// The cap, in bytes.
        max: usize,
    },
    /// One file is too large.
    #[error("{entry:?} is larger than {max} bytes, the most that {what} may have")]
    FileTooLarge {
        /// The file.
        entry: String,
        /// What the file is.
        what: &'static str,
        /// The cap, in bytes.
        max: usize,
    },
    /// The files are too large together.
    #[error(
        "with {entry:?} the package's files take more than {max} bytes: leave out what the connector doesn't need"
    )]
    TotalTooLarge {
        /// The file that goes past the cap.
        entry: String,
        /// The cap, in bytes.
        max: usize,
    },
    /// Too many files and folders.
    #[error("the package holds more than {max} files and folders: leave out what the connector doesn't need")]
    TooManyEntries {
        /// The cap.
        max: usize,
    },

    /// Not a zip at all.
    #[error("this is not a zip: name a connector's folder, or a zip of it")]
    NotAZip,
    /// The end of the zip is missing.
    #[error("the zip is cut short: its directory, at the end, is missing; copy or upload it again")]
    Truncated,
    /// The zip uses the format for archives past 4 GiB.
    #[error("the zip uses zip64, which is for archives past 4 GiB: zip the folder with plain zip")]
    Zip64,
    /// The zip's structure is wrong.
    #[error("the zip is damaged: {reason}; zip the folder again")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// The zip's record of one entry is wrong.
    #[error("entry {entry:?} is damaged: {reason}; zip the folder again")]
    MalformedEntry {
        /// The entry.
        entry: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The zip's directory and the header before the entry's data say different things.
    #[error(
        "entry {entry:?} has another {field} in its own header than in the zip's directory: zip the folder again"
    )]
    HeaderMismatch {
        /// The entry, as the directory names it.
        entry: String,
        /// What differs.
        field: &'static str,
    },
    /// Two entries share bytes.
    #[error("entries {first:?} and {second:?} overlap in the zip: zip the folder again")]
    Overlap {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// An entry that needs a password.
    #[error("entry {entry:?} is encrypted: make the zip without a password")]
    Encrypted {
        /// The entry.
        entry: String,
    },
    /// An entry in a compression that isn't read.
    #[error("entry {entry:?} uses compression method {method}: use deflate (8) or none (0)")]
    Compression {
        /// The entry.
        entry: String,
        /// The method's number in the zip format.
        method: u16,
    },
    /// A link, device, pipe or the like.
    #[error("{entry:?} is {kind}: a package holds files and folders only; put the file itself there")]
    NotAFile {
        /// The entry, or the folder's file.
        entry: String,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// An entry or file whose bytes can't be read or unpacked.
    #[error("can't read {entry:?}")]
    Unreadable {
        /// The entry, or the folder's file.
        entry: String,
        /// Why.
        source: io::Error,
    },

    /// A name that climbs out of its folder.
    #[error("entry {entry:?} leads out of the package: names must not hold `..`")]
    Traversal {
        /// The entry.
        entry: String,
    },
    /// A name that begins at a root or a drive.
    #[error("entry {entry:?} has an absolute path: names begin at the package's own folder")]
    AbsolutePath {
        /// The entry.
        entry: String,
    },
    /// A name that no tool would write, or that systems read differently.
    #[error("entry {entry:?} has a name that can't be used: {reason}")]
    BadName {
        /// The entry.
        entry: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The same name twice.
    #[error("entry {entry:?} stands there twice: keep one")]
    Duplicate {
        /// The entry.
        entry: String,
    },
    /// Two names that are one on systems that ignore case.
    #[error(
        "entries {first:?} and {second:?} differ in case alone, so some systems take them for one: rename one"
    )]
    CaseCollision {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// A name, and another one in an extra field that some tools prefer.
    #[error(
        "entry {entry:?} has a second name, {second:?}, which some tools would use: zip the folder again"
    )]
    TwoNames {
        /// The name in the zip's directory.
        entry: String,
        /// The name in the extra field.
        second: String,
    },
    /// Two top folders.
    #[error(
        "the zip has two top folders ({first:?} and {second:?} are in different ones): zip one connector's folder alone"
    )]
    TwoTopFolders {
        /// A file in the one.
        first: String,
        /// A file in the other.
        second: String,
    },
    /// Package files at the root and in a folder.
    #[error(
        "the package has files both at its root ({at_root:?}) and in a folder ({in_folder:?}): keep the files of one connector, in one place"
    )]
    RootAndFolder {
        /// A file at the root.
        at_root: String,
        /// A package file in a folder.
        in_folder: String,
    },
}

impl PackageError {
    pub(super) fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { operation, path: path.to_owned(), source: source.into() }
    }

    pub(super) fn total_too_large(entry: &str, max: usize) -> Self {
        Self::TotalTooLarge { entry: shorten(entry), max }
    }

    pub(super) fn malformed_entry(entry: &str, reason: &'static str) -> Self {
        Self::MalformedEntry { entry: shorten(entry), reason }
    }

    pub(super) fn bad_name(entry: &str, reason: &'static str) -> Self {
        Self::BadName { entry: shorten(entry), reason }
    }

    pub(super) fn mismatch(entry: &str, field: &'static str) -> Self {
        Self::HeaderMismatch { entry: shorten(entry), field }
    }

    pub(super) fn not_a_file(entry: &str, kind: &'static str) -> Self {
        Self::NotAFile { entry: shorten(entry), kind }
    }

    pub(super) fn unreadable(entry: &str, source: impl Into<io::Error>) -> Self {
        Self::Unreadable { entry: shorten(entry), source: source.into() }
    }
}

/// A name as messages show it: whole where it is short, else its beginning and its end.
pub(super) fn shorten(name: &str) -> String {
    const HEAD: usize = 40;
    const TAIL: usize = 20;
    let n_chars = name.chars().count();
    if n_chars <= HEAD + TAIL {
        return name.to_owned();
    }
    let head = name.chars().take(HEAD);
    let tail = name.chars().skip(n_chars - TAIL);
    head.chain(std::iter::once('…')).chain(tail).collect()
}
