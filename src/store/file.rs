//! The file of a SQLite database: made for its owner alone, and found again only if it is still the same.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;

use super::StoreError;

const OPERATION: &str = "open its database file";

/// A database file, and which one it was when it was opened.
pub(super) struct DatabaseFile {
    /// Absolute.
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl DatabaseFile {
    /// The file of this path, made empty with mode 0600 where it is missing. SQLite gives its journals the same mode.
    pub(super) fn open_or_create(path: &Path) -> Result<Self, StoreError> {
        let path = absolute(path).map_err(|error| failed(path, &error))?;
        create(&path).map_err(|error| failed(&path, &error.into()))?;
        let found = fs::metadata(&path).map_err(|error| failed(&path, &error))?;
        Ok(Self { path, device: found.dev(), inode: found.ino() })
    }

    /// The URL that sqlx finds the file by: all but letters, digits and `-._` escaped, so that nothing in a path can be taken
    /// for a part of the URL.
    pub(super) fn url(&self) -> String {
        let escaped: String = self
            .path
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(*byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        format!("sqlite:{escaped}?mode=rw")
    }

    /// Whether the file that was opened still stands at its path. SQLite itself would go on with one that was deleted.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let found = fs::metadata(&self.path).map_err(|error| failed(&self.path, &error))?;
        if (found.dev(), found.ino()) == (self.device, self.inode) {
            return Ok(());
        }
        let source = format!("{} is another file by now: restart Portcullis", self.path.display());
        Err(StoreError::Unavailable { operation: OPERATION, source: source.into() })
    }
}

/// The path with its folder resolved, so that it stays the same file wherever the process goes.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    let name = path.file_name().ok_or(std::io::ErrorKind::IsADirectory)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok(fs::canonicalize(folder.unwrap_or(Path::new(".")))?.join(name))
}

/// Makes the file without ever opening it: closing it would drop the locks that this process has on it through SQLite.
fn create(path: &Path) -> Result<(), Errno> {
    match mknodat(CWD, path, FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable { operation: OPERATION, source: format!("{}: {error}", path.display()).into() }
}
