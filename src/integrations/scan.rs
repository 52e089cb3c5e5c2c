//! The folder of integrations on disk: which folders it has, and one folder's package as it stood at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirEntry, read_dir};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::package::{Fingerprint, MANIFEST_FILE};
use portcullis_runtime::{Package, PackageError};

/// A change this recent may have another one behind it that no fingerprint tells apart: some file systems count time in
/// steps of two seconds.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// How often a folder that changes while it is read is read again, and the pause before.
const MAX_READS: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// What a folder of integrations holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The folders whose name is a slug.
    pub(super) folders: BTreeMap<Slug, Found>,
    /// Folders with a manifest whose name is no slug.
    pub(super) misnamed: BTreeSet<PathBuf>,
}

/// One folder.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) fingerprint: Fingerprint,
}

/// Looks at each folder in `root`, and reads none. Files, hidden folders and empty ones don't count; a link to a folder
/// is one. Where `root` isn't there, it holds nothing.
pub(super) fn list(root: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for (path, name) in folders(root)? {
        match Slug::parse(&name) {
            Ok(slug) => {
                let fingerprint = Fingerprint::of_folder(&path);
                if fingerprint.has_files() || !is_empty(&path) {
                    listing.folders.insert(slug, Found { path, fingerprint });
                }
            }
            Err(_) if path.join(MANIFEST_FILE).exists() => {
                listing.misnamed.insert(path);
            }
            Err(_) => {}
        }
    }
    Ok(listing)
}

/// The folders in `root` that aren't hidden, with their names. Where `root` isn't there, it has none.
pub(crate) fn folders(root: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let entries = match read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && is_folder(&entry) {
            folders.push((entry.path(), name));
        }
    }
    Ok(folders)
}

fn is_folder(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    }
}

/// Whether nothing but hidden files is in the folder. What can't be opened isn't said to be empty.
fn is_empty(folder: &Path) -> bool {
    let is_hidden = |entry: DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    match read_dir(folder) {
        Ok(mut entries) => entries.all(|entry| entry.is_ok_and(is_hidden)),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// A folder's package, read while nothing in the folder changed.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) package: Result<Package, PackageError>,
    /// The folder as it was read.
    pub(super) fingerprint: Fingerprint,
    /// Whether any later change gives another fingerprint. If not, the folder is to be read again in any case.
    pub(super) is_settled: bool,
}

/// Reads the folder's package, again if the folder changed meanwhile. Blocks.
pub(super) fn read(folder: &Path) -> Reading {
    let mut n_reads = 0;
    loop {
        let fingerprint = Fingerprint::of_folder(folder);
        let package = Package::from_folder(folder);
        let now = SystemTime::now();
        n_reads += 1;
        let is_still = Fingerprint::of_folder(folder) == fingerprint;
        if is_still || n_reads == MAX_READS {
            let has_settled = fingerprint.changed_at().is_none_or(|changed| has_settled(changed, now));
            return Reading { package, fingerprint, is_settled: is_still && has_settled };
        }
        sleep(PAUSE);
    }
}

/// A time to come is that of a clock that was put back: nothing is known then.
fn has_settled(changed: SystemTime, now: SystemTime) -> bool {
    now.duration_since(changed).is_ok_and(|age| age > SETTLED_AFTER)
}
