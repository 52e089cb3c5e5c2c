//! The bytecode cache: images by the content of their source, kept private and authenticated.
//!
//! The engine runs bytecode without verifying it. So an entry is written only by a process that has just compiled it, into
//! a folder that nobody else may read or write (0700), under a MAC keyed by a secret in that folder: an entry that was
//! altered, moved to another name, or made by another engine is not run but compiled anew.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::isolate::{Image, stamp};
use crate::package::{Code, Language};

/// The format of an entry; part of every key, so that another format is another entry.
const FORMAT: &str = "portcullis bytecode 2";
const KEY_FILE: &str = "key";
const MAC_LEN: usize = 32;
/// What follows an entry's MAC: flags and the length of its bytecode.
const HEADER_LEN: usize = 1 + 4;
/// The flag of a module.
const MODULE: u8 = 1;
/// The flag of [`Image::early`].
const EARLY: u8 = 2;
/// The largest entry that is read, in bytes.
const MAX_ENTRY: u64 = 32 * 1024 * 1024;

/// Why a folder can't hold the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Others may read or write the folder, or it is somebody else's.
    #[error(
        "the bytecode cache {path:?} must be a folder of yours that nobody else can enter: chmod 700 it, or remove it"
    )]
    NotPrivate {
        /// The folder.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("the bytecode cache {path:?} can't be used")]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A private folder of compiled images.
#[derive(Clone, Debug)]
pub struct BytecodeCache {
    folder: PathBuf,
    key: [u8; 32],
}

impl BytecodeCache {
    /// The cache in this folder, which is made (0700) where it isn't there.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let folder = folder.into();
        let failed = |source| CacheError::Io { path: folder.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let metadata = fs::symlink_metadata(&folder).map_err(failed)?;
        let is_private = metadata.is_dir()
            && metadata.permissions().mode().trailing_zeros() >= 6
            && metadata.uid() == rustix::process::geteuid().as_raw();
        if !is_private {
            return Err(CacheError::NotPrivate { path: folder });
        }
        let key = read_or_make_key(&folder).map_err(failed)?;
        Ok(Self { folder, key })
    }

    /// The image that was compiled from this code by this engine, where it is there and genuine.
    pub(crate) fn get(&self, code: &Code) -> Option<Image> {
        let name = entry_name(code);
        let mut bytes = Vec::new();
        File::open(self.folder.join(&name)).ok()?.take(MAX_ENTRY).read_to_end(&mut bytes).ok()?;
        let (mac, body) = bytes.split_at_checked(MAC_LEN)?;
        if self.mac(&name, body).verify_slice(mac).is_err() {
            tracing::warn!(entry = name, "a bytecode cache entry is not genuine; compiling anew");
            return None;
        }
        let (&[flags, a, b, c, d], rest) = body.split_first_chunk::<HEADER_LEN>()?;
        let bytecode_len = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
        let (bytecode, positions) = rest.split_at_checked(bytecode_len)?;
        Some(Image {
            language: code.language(),
            module: flags & MODULE != 0,
            bytecode: bytecode.to_vec(),
            positions: positions.to_vec(),
            early: flags & EARLY != 0,
        })
    }

    /// Keeps an image. A cache that can't be written slows the next start and breaks nothing.
    pub(crate) fn put(&self, code: &Code, image: &Image) {
        let name = entry_name(code);
        let mut entry = Vec::with_capacity(HEADER_LEN + image.bytecode.len() + image.positions.len());
        let Ok(bytecode_len) = u32::try_from(image.bytecode.len()) else { return };
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        entry.push(flag(image.module, MODULE) | flag(image.early, EARLY));
        entry.extend_from_slice(&bytecode_len.to_le_bytes());
        entry.extend_from_slice(&image.bytecode);
        entry.extend_from_slice(&image.positions);
        let mac = self.mac(&name, &entry).finalize().into_bytes();
        let written = write_private(&self.folder, &name, &[&mac, &entry]);
        if let Err(error) = written {
            tracing::warn!(%error, "the bytecode cache can't be written");
        }
    }

    fn mac(&self, name: &str, body: &[u8]) -> Hmac<Sha256> {
        // A key of any length is taken.
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        mac.update(name.as_bytes());
        mac.update(body);
        mac
    }
}

/// The name of the entry for this code: everything that its bytecode depends on.
fn entry_name(code: &Code) -> String {
    let mut hash = Sha256::new();
    let language = match code.language() {
        Language::TypeScript => "ts",
        Language::JavaScript => "js",
    };
    for part in [FORMAT, &stamp(), std::env::consts::ARCH, language] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(code.text().as_bytes());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_or_make_key(folder: &Path) -> io::Result<[u8; 32]> {
    let path = folder.join(KEY_FILE);
    for _ in 0..2 {
        let mut key = [0; 32];
        match File::open(&path) {
            Ok(mut file) => return file.read_exact(&mut key).map(|()| key),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
                // Of two processes that make it at once, one wins, and both read what it wrote.
                match write_new(folder, &path, &key) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Makes a file that appears whole or not at all, unless it is there already.
fn write_new(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = write_part(folder, &[bytes])?;
    let linked = fs::hard_link(&part, path);
    let removed = fs::remove_file(&part);
    linked.and(removed)
}

fn write_private(folder: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let part = write_part(folder, parts)?;
    fs::rename(part, folder.join(name))
}

fn write_part(folder: &Path, parts: &[&[u8]]) -> io::Result<PathBuf> {
    let path = folder.join(format!(".{}.part", uuid::Uuid::now_v7()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    for part in parts {
        file.write_all(part)?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Package;

    fn code(text: &str) -> Code {
        let files = [("config.json", "{}"), ("connector.ts", text)];
        let package = Package::from_files("a".parse().unwrap(), files).unwrap();
        package.code().unwrap().clone()
    }

    fn image() -> Image {
        Image {
            language: Language::TypeScript,
            module: true,
            bytecode: vec![1, 2, 3],
            positions: vec![9],
            early: true,
        }
    }

    #[test]
    fn an_image_comes_back_for_its_own_code_only() {
        let folder = tempfile::tempdir().unwrap();
        let cache = BytecodeCache::in_folder(folder.path().join("cache")).unwrap();
        cache.put(&code("a"), &image());
        assert_eq!(cache.get(&code("a")), Some(image()));
        assert_eq!(cache.get(&code("b")), None);
        let again = BytecodeCache::in_folder(folder.path().join("cache")).unwrap();
        assert_eq!(again.get(&code("a")), Some(image()), "a later process reads what an earlier one kept");
    }

    #[test]
    fn a_tampered_entry_is_not_returned() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("cache");
        let cache = BytecodeCache::in_folder(&folder).unwrap();
        cache.put(&code("a"), &image());
        let path = folder.join(entry_name(&code("a")));
        let genuine = fs::read(&path).unwrap();
        for at in 0..genuine.len() {
            let mut tampered = genuine.clone();
            tampered[at] ^= 1;
            fs::write(&path, tampered).unwrap();
            assert_eq!(cache.get(&code("a")), None, "byte {at}");
        }
        fs::write(folder.join(entry_name(&code("b"))), &genuine).unwrap();
        assert_eq!(cache.get(&code("b")), None, "an entry under another's name");
    }

    #[test]
    fn the_folder_is_private_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        BytecodeCache::in_folder(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(BytecodeCache::in_folder(&path), Err(CacheError::NotPrivate { .. })));
    }
}
