//! Fingerprints of packages' folders: what tells that a file was changed, without reading any.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::layout::{BYTECODE_FILES, Member};

/// How the files of a package's folder look from outside. Two that differ have a change between them; two that are equal
/// don't, unless a file was changed within one tick of the file system's clock and kept its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    files: Vec<(&'static str, Stamp)>,
}

/// How one file looks from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stamp {
    /// What stands there, be it a file or something else.
    Found {
        mode: u32,
        device: u64,
        inode: u64,
        n_bytes: u64,
        /// Seconds and nanoseconds. Anybody can set it.
        modified: (i64, i64),
        /// Seconds and nanoseconds. Only the system sets it, at each change of the contents or the file's name.
        changed: (i64, i64),
    },
    /// The system doesn't tell.
    Hidden(io::ErrorKind),
}

impl Fingerprint {
    /// The fingerprint of the folder at `path`: of the files that `Package::from_folder` would look at. Nothing is
    /// opened, and what else lies in the folder doesn't count. A folder that isn't there has no files.
    pub fn of_folder(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let names = Member::ALL.into_iter().map(Member::file_name).chain(BYTECODE_FILES);
        Self { files: names.filter_map(|name| Some((name, Stamp::of(&path.join(name))?))).collect() }
    }

    /// Whether there is any file that a package is made of.
    pub fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// When a file of the folder was changed last; none if there is none.
    pub fn changed_at(&self) -> Option<SystemTime> {
        self.files.iter().filter_map(|(_, stamp)| stamp.changed_at()).max()
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        match path.symlink_metadata() {
            Ok(found) => Some(Self::Found {
                mode: found.mode(),
                device: found.dev(),
                inode: found.ino(),
                n_bytes: found.size(),
                modified: (found.mtime(), found.mtime_nsec()),
                changed: (found.ctime(), found.ctime_nsec()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(Self::Hidden(error.kind())),
        }
    }

    fn changed_at(&self) -> Option<SystemTime> {
        let Self::Found { changed: (seconds, nanoseconds), .. } = self else { return None };
        let since =
            Duration::new(u64::try_from(*seconds).ok()?, u32::try_from(*nanoseconds).unwrap_or_default());
        SystemTime::UNIX_EPOCH.checked_add(since)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_packages_files_count() {
        let folder = tempfile::tempdir().unwrap();
        let fingerprint = || Fingerprint::of_folder(folder.path());
        assert!(!fingerprint().has_files());
        for other in ["README.md", ".config.json.swp", "config.json~", "4913"] {
            fs::write(folder.path().join(other), "x").unwrap();
        }
        assert_eq!(fingerprint(), Fingerprint::default());
        assert_eq!(fingerprint().changed_at(), None);

        let before = SystemTime::now() - Duration::from_secs(1);
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert!(fingerprint().has_files());
        assert!(fingerprint().changed_at().unwrap() > before);
        assert_eq!(Fingerprint::of_folder(folder.path().join("nothing")), Fingerprint::default());
    }

    #[test]
    fn each_way_to_change_a_file_shows() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("config.json"), "{}").unwrap();
        fs::write(at("old"), "{}").unwrap();
        let mut seen = vec![Fingerprint::of_folder(folder.path())];
        let mut must_differ = |how: &str| {
            let now = Fingerprint::of_folder(folder.path());
            assert!(!seen.contains(&now), "{how}");
            seen.push(now);
        };
        fs::write(at("config.json"), "{ }").unwrap();
        must_differ("written in place, with another size");
        fs::rename(at("old"), at("config.json")).unwrap();
        must_differ("another file renamed over it");
        fs::write(at("connector.ts"), "x").unwrap();
        must_differ("a file added");
        fs::write(at("connector.wasm"), "x").unwrap();
        must_differ("a file that makes the package refused");
        fs::remove_file(at("config.json")).unwrap();
        must_differ("a file removed");
        std::os::unix::fs::symlink("old", at("config.json")).unwrap();
        must_differ("a link in its place");
    }

    #[test]
    fn a_modification_time_that_was_put_back_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, "{}").unwrap();
        let (before, modified) =
            (Fingerprint::of_folder(folder.path()), path.metadata().unwrap().modified().unwrap());
        std::thread::sleep(Duration::from_millis(30));
        fs::write(&path, "[]").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_ne!(Fingerprint::of_folder(folder.path()), before);
    }
}
