//! The ring of master keys, as its file holds it.
//!
//! ```json
//! {"version": 1, "keys": [{"id": "5f0c9a12", "key": "<base64 of 32 bytes>", "created_at": "2026-11-20T19:14:57.123Z"}]}
//! ```
//!
//! The newest key is the last. An id is the beginning of a hash of its key, so that a damaged key is told from a sound one.
//! The file is only ever replaced as a whole, by a rename: a reader sees the old ring or the new one.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, Gid, Uid, fchown, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{VaultError, random};
use crate::time::Timestamp;

const VERSION: u64 = 1;

/// Far more than any ring needs, in bytes.
const MAX_LENGTH: u64 = 1 << 20;

const REMARK: &str = "Portcullis master keys. Keep a copy in a safe place, apart from the database's: without this file \
                      nobody can open the stored credentials. Rotate with: portcullis keys rotate-master";

/// A master key, as it is in the file.
pub(super) struct RingKey {
    /// The first 8 hexadecimal digits of [`id_of`] it.
    pub(super) id: String,
    /// The key itself.
    pub(super) bytes: Zeroizing<[u8; 32]>,
    /// When it was made.
    created_at: Timestamp,
}

impl RingKey {
    /// A new key, from the system's random numbers.
    pub(super) fn generate() -> Self {
        let bytes = random::bytes();
        Self { id: id_of(&bytes), bytes, created_at: Timestamp::now() }
    }
}

/// Says nothing about the key to whom doesn't have it: the key is 256 random bits.
fn id_of(key: &[u8; 32]) -> String {
    let hash = Sha256::new_with_prefix("portcullis master key id\0").chain_update(key).finalize();
    hash[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether there is such a file, or anything else in its place.
pub(super) fn exists(path: &Path) -> Result<bool, VaultError> {
    path.try_exists().map_err(|error| refusal(path, format!("can't be looked for: {error}")))
}

/// The keys of a ring: at least one.
pub(super) fn read(path: &Path) -> Result<Vec<RingKey>, VaultError> {
    let failed = |error: io::Error| refusal(path, format!("can't be read: {error}"));
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check_file(path, &metadata)?;
    // With room for all of it, so that no copy of a key is left behind by growing.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.read_to_end(&mut text).map_err(failed)?;
    parse(&text).map_err(|problem| {
        refusal(path, format!("{problem}. It is left as it is: restore it from a backup, for the stored credentials can't be opened without it"))
    })
}

/// Only a file that nobody else can read or change may hold keys.
fn check_file(path: &Path, metadata: &fs::Metadata) -> Result<(), VaultError> {
    if !metadata.is_file() {
        return Err(refusal(path, "is no regular file".to_owned()));
    }
    if metadata.len() > MAX_LENGTH {
        return Err(refusal(path, format!("is {} bytes long, far too much for keys", metadata.len())));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let command = format!("chmod 600 {}", path.display());
        return Err(refusal(
            path,
            format!("users other than its owner can read or change it (mode {mode:04o}): run {command}"),
        ));
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct RingFile {
    #[serde(default)]
    remark: String,
    version: u64,
    keys: Vec<KeyEntry>,
}

#[derive(Serialize, Deserialize)]
struct KeyEntry {
    id: String,
    key: Zeroizing<String>,
    created_at: String,
}

#[derive(Deserialize)]
struct VersionAlone {
    version: u64,
}

/// The ring of a text; otherwise what is wrong with it, without any of what it holds.
fn parse(text: &[u8]) -> Result<Vec<RingKey>, String> {
    // The version first: what else a later one may hold isn't known.
    let version = serde_json::from_slice::<VersionAlone>(text).map_err(|error| misread(&error))?.version;
    if version != VERSION {
        return Err(format!("has version {version}; this program knows version {VERSION}"));
    }
    let file: RingFile = serde_json::from_slice(text).map_err(|error| misread(&error))?;
    let keys = file.keys.iter().map(parse_key).collect::<Result<Vec<_>, _>>()?;
    match keys.iter().enumerate().find(|(index, key)| keys[..*index].iter().any(|other| other.id == key.id)) {
        Some((_, key)) => Err(format!("is damaged: key {:?} is in it twice", key.id)),
        None if keys.is_empty() => Err("is damaged: it holds no key".to_owned()),
        None => Ok(keys),
    }
}

/// Where the reader stopped. Its own message may quote what stands there, which may be a key.
fn misread(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Syntax => "it is not JSON",
        _ => "it doesn't hold what a ring of keys does",
    };
    format!("is damaged: {what} (line {}, column {})", error.line(), error.column())
}

fn parse_key(entry: &KeyEntry) -> Result<RingKey, String> {
    let damaged = |what: &str| format!("is damaged: key {:?} {what}", entry.id);
    let mut bytes = Zeroizing::new([0; 32]);
    let decoded = STANDARD.decode_slice(entry.key.as_bytes(), &mut *bytes);
    if !matches!(decoded, Ok(32)) {
        return Err(damaged("isn't 32 bytes in base64"));
    }
    if id_of(&bytes) != entry.id {
        return Err(damaged("isn't the one that was made under this id"));
    }
    let created_at: jiff::Timestamp =
        entry.created_at.parse().map_err(|_| damaged("has no RFC 3339 time in created_at"))?;
    Ok(RingKey { id: entry.id.clone(), bytes, created_at: Timestamp(created_at.as_millisecond()) })
}

fn write_out(keys: &[RingKey]) -> Zeroizing<Vec<u8>> {
    let keys: Vec<KeyEntry> = keys
        .iter()
        .map(|key| KeyEntry {
            id: key.id.clone(),
            key: Zeroizing::new(STANDARD.encode(key.bytes.as_slice())),
            created_at: key.created_at.to_string(),
        })
        .collect();
    // With room for all of it, so that no copy of a key is left behind by growing.
    let mut text = Zeroizing::new(Vec::with_capacity(1024 + 256 * keys.len()));
    let file = RingFile { remark: REMARK.to_owned(), version: VERSION, keys };
    serde_json::to_writer_pretty(&mut *text, &file).expect("strings and a number are JSON");
    text.push(b'\n');
    text
}

/// Makes a ring of one key, in a folder that only its owner can enter if there is none yet. Of several processes that do so
/// at once, one's ring stays, and all find it.
pub(super) fn create(path: &Path) -> Result<(), VaultError> {
    let failed = |error: io::Error| refusal(path, format!("can't be made: {error}"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder(path)).map_err(failed)?;
    let suffix: String = random::bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
    let draft = beside(path, &format!(".{suffix}.new"));
    let made = write_file(&draft, &write_out(&[RingKey::generate()]), None).and_then(|()| {
        // A link, unlike a rename, never takes the place of another's file.
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    });
    let removed = fs::remove_file(&draft);
    made.and(removed).and_then(|()| sync_folder(path)).map_err(failed)
}

/// Puts a ring in the place of the one that is there, durably, with the same owner. Only under [`lock`].
pub(super) fn replace(path: &Path, keys: &[RingKey]) -> Result<(), VaultError> {
    let failed = |error: io::Error| refusal(path, format!("can't be replaced: {error}"));
    // A link to the file stays a link.
    let path = &fs::canonicalize(path).map_err(failed)?;
    let metadata = fs::metadata(path).map_err(failed)?;
    let draft = beside(path, ".new");
    // From a rotation that was killed here.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    write_file(&draft, &write_out(keys), Some(&metadata))
        .and_then(|()| fs::rename(&draft, path))
        .and_then(|()| sync_folder(path))
        .map_err(failed)
}

/// Writes a new file that only its owner can read, to the disk itself. `like`: the file whose owner it is to have, so that a
/// rotation by root leaves a ring that the gateway's own user can read.
fn write_file(path: &Path, text: &[u8], like: Option<&fs::Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some(like) = like {
        fchown(&file, Some(Uid::from_raw(like.uid())), Some(Gid::from_raw(like.gid())))?;
    }
    file.write_all(text)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file's path with something behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Holds off other rotations of the same file until it is dropped, or its process ends.
pub(super) struct RingLock {
    _file: File,
}

/// Takes the ring for a rotation; none if another one has it.
pub(super) fn lock(path: &Path) -> Result<Option<RingLock>, VaultError> {
    let failed = |error: io::Error| refusal(path, format!("its lock file can't be opened: {error}"));
    let path = &fs::canonicalize(path).map_err(failed)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(path, ".lock"))
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(RingLock { _file: file })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}

fn refusal(path: &Path, problem: String) -> VaultError {
    VaultError::Ring { path: path.display().to_string(), problem }
}
