//! Storage for files that connectors download or make.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

/// The longest file name that is kept, in bytes.
const MAX_FILE_NAME: usize = 200;

/// A file in storage, as the connector and the caller see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileReference {
    /// The file's id in this storage.
    pub file_id: String,
    /// Where it can be had.
    pub url: String,
    /// Its name.
    pub file_name: String,
    /// Its media type.
    pub content_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A folder of stored files: `<folder>/<file id>/<file name>`.
#[derive(Clone, Debug)]
pub struct FileStore {
    folder: PathBuf,
}

impl FileStore {
    /// A store in this folder, which is made where it isn't there.
    pub fn in_folder(folder: impl AsRef<Path>) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder: fs::canonicalize(folder)? })
    }

    /// Begins a file; nothing of it is seen before it is finished.
    pub(crate) fn create(&self, file_name: &str) -> io::Result<NewFile> {
        let file_name = safe_name(file_name);
        let file_id = Uuid::now_v7().to_string();
        let part = self.folder.join(format!(".{file_id}.part"));
        let file = File::options().write(true).create_new(true).open(&part)?;
        Ok(NewFile { folder: self.folder.join(&file_id), part, file, file_id, file_name, size: 0 })
    }
}

/// A file that is being written; dropped unfinished, it is gone.
#[derive(Debug)]
pub(crate) struct NewFile {
    folder: PathBuf,
    part: PathBuf,
    file: File,
    file_id: String,
    file_name: String,
    size: u64,
}

impl NewFile {
    /// Puts the file in its place.
    pub(crate) fn finish(self, content_type: &str) -> io::Result<FileReference> {
        fs::create_dir(&self.folder)?;
        let path = self.folder.join(&self.file_name);
        fs::rename(&self.part, &path)?;
        let url = Url::from_file_path(&path).map_err(|()| io::Error::from(io::ErrorKind::InvalidFilename))?;
        Ok(FileReference {
            file_id: self.file_id.clone(),
            url: url.into(),
            file_name: self.file_name.clone(),
            content_type: content_type.to_owned(),
            size: self.size,
        })
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_written = self.file.write(bytes)?;
        self.size += n_written as u64;
        Ok(n_written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After `finish` the part has moved, and there is nothing to remove.
        let _ = fs::remove_file(&self.part);
    }
}

/// A name that stays within its folder and shows as it is: the last path segment, without control characters.
fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut kept: String =
        last.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect::<String>().trim().to_owned();
    while kept.len() > MAX_FILE_NAME {
        kept.pop();
    }
    if kept.trim_matches('.').is_empty() { "file".to_owned() } else { kept }
}

/// Characters that reorder or hide text: a name with them is not the name that a person sees.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::in_folder(folder.path().join("files")).unwrap();
        let mut file = store.create("report.pdf").unwrap();
        file.write_all(b"%PDF").unwrap();
        let reference = file.finish("application/pdf").unwrap();
        assert_eq!((reference.size, reference.file_name.as_str()), (4, "report.pdf"));
        let path = Url::parse(&reference.url).unwrap().to_file_path().unwrap();
        assert_eq!(fs::read(path).unwrap(), b"%PDF");
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::in_folder(folder.path()).unwrap();
        store.create("x").unwrap().write_all(b"x").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn names_stay_in_their_folder() {
        for (name, kept) in [
            ("../../etc/passwd", "passwd"),
            ("a\\b.txt", "b.txt"),
            ("..", "file"),
            ("", "file"),
            ("a\u{0}b\nc", "abc"),
            ("exe\u{202e}gpj", "exegpj"),
        ] {
            assert_eq!(safe_name(name), kept, "{name:?}");
        }
        assert!(safe_name(&"ä".repeat(500)).len() <= MAX_FILE_NAME);
    }
}
