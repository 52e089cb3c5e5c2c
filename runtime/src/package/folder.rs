//! The folder reader: opens the files that make up a package, by name, and nothing else.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::contents::Contents;
use super::layout::{BYTECODE_FILES, Member, Role};
use super::{Language, Package, PackageError, parse_slug};
use crate::manifest::name::Slug;

/// What stood at a path.
pub(super) enum Opened {
    Folder(OwnedFd),
    File(File),
}

/// Opens what stands at `path` without ever waiting for it, as opening a pipe would.
pub(super) fn open(path: &Path) -> Result<Opened, PackageError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NXIO => PackageError::NotFolderOrFile { path: path.to_owned() },
        _ => PackageError::io("open", path, errno),
    })?;
    let stat = fstat(&fd).map_err(|errno| PackageError::io("open", path, errno))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(Opened::Folder(fd)),
        FileType::RegularFile => Ok(Opened::File(fd.into())),
        _ => Err(PackageError::NotFolderOrFile { path: path.to_owned() }),
    }
}

/// The slug that the folder's name is. A path such as `.` is resolved to find the name.
pub(super) fn slug_of(path: &Path) -> Result<Slug, PackageError> {
    let name = match path.file_name() {
        Some(name) => name.to_owned(),
        None => {
            let resolved = path.canonicalize().map_err(|source| PackageError::io("open", path, source))?;
            resolved.file_name().unwrap_or_default().to_owned()
        }
    };
    parse_slug(&name.to_string_lossy(), "the folder's name")
}

/// Reads the package's files. The folder is never listed, so what else lies in it costs nothing.
pub(super) fn read(folder: &OwnedFd, slug: Slug) -> Result<Package, PackageError> {
    refuse_bytecode(folder)?;
    let mut contents = Contents::default();
    let mut has_code = false;
    for member in Member::ALL {
        // connector.ts wins: a connector.js beside it is not even opened.
        if has_code && member == Member::Code(Language::JavaScript) {
            continue;
        }
        if let Some(mut file) = open_file(folder, member.file_name())? {
            contents.add(member.file_name(), Role::Member(member), &mut file)?;
            has_code |= matches!(member, Member::Code(_));
        }
    }
    contents.into_package(slug)
}

fn refuse_bytecode(folder: &OwnedFd) -> Result<(), PackageError> {
    for name in BYTECODE_FILES {
        if file_type(folder, name)?.is_some() {
            return Err(PackageError::Bytecode { entry: name.to_owned() });
        }
    }
    Ok(())
}

/// Opens a regular file of the folder; `None` where there is nothing of that name.
fn open_file(folder: &OwnedFd, name: &'static str) -> Result<Option<File>, PackageError> {
    let Some(found) = file_type(folder, name)? else { return Ok(None) };
    refuse_special(name, found)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = openat(folder.as_fd(), name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP => PackageError::not_a_file(name, describe(FileType::Symlink)),
        _ => PackageError::unreadable(name, errno),
    })?;
    // What was looked at may have been replaced before it was opened.
    let stat = fstat(&fd).map_err(|errno| PackageError::unreadable(name, errno))?;
    refuse_special(name, FileType::from_raw_mode(stat.st_mode))?;
    Ok(Some(fd.into()))
}

fn file_type(folder: &OwnedFd, name: &str) -> Result<Option<FileType>, PackageError> {
    match statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(PackageError::unreadable(name, io::Error::from(errno))),
    }
}

fn refuse_special(name: &str, found: FileType) -> Result<(), PackageError> {
    match found {
        FileType::RegularFile => Ok(()),
        special => Err(PackageError::not_a_file(name, describe(special))),
    }
}

fn describe(special: FileType) -> &'static str {
    match special {
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a folder",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "a special file",
    }
}
