//! The zip reader and writer, on top of the zip crate, which nothing else names.

use std::io::{Cursor, Write};

use zip::read::{ArchiveOffset, Config};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipArchive, ZipWriter};

use super::contents::Contents;
use super::directory::{self, Record};
use super::error::shorten;
use super::layout::{Layout, Role};
use super::{MAX_PACKAGE_BYTES, PackageError};

/// What a zip held.
pub(super) struct Unpacked {
    pub(super) contents: Contents,
    /// The folder that the files stood in, where they weren't at the root.
    pub(super) top_folder: Option<String>,
}

/// Checks the zip's structure and names, then unpacks each entry within the caps. Entries that aren't part of the
/// package are unpacked too, to nowhere, so that no bomb is ever handed on.
pub(super) fn unpack(zip: &[u8]) -> Result<Unpacked, PackageError> {
    if zip.len() > MAX_PACKAGE_BYTES {
        return Err(PackageError::ZipTooLarge { max: MAX_PACKAGE_BYTES });
    }
    let records = directory::read(zip)?;
    let layout = Layout::of(records.iter().map(|record| record.name))?;
    let mut archive = open(zip, &records)?;
    let mut contents = Contents::default();
    for (index, record) in records.iter().enumerate() {
        unpack_entry(&mut archive, index, record, layout.role(record.name), &mut contents)?;
    }
    Ok(Unpacked { contents, top_folder: layout.into_top_folder() })
}

/// Writes a zip of the files, in their order; the same files give the same bytes.
pub(super) fn pack(files: &[(String, &[u8])]) -> Vec<u8> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::DEFAULT)
        .system(System::Unix)
        .unix_permissions(0o644);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    // Neither can fail: memory takes every write, and a package's names and sizes fit a zip.
    for (name, bytes) in files {
        writer.start_file(name.as_str(), options).expect("a package's file names fit a zip");
        writer.write_all(bytes).expect("memory takes every write");
    }
    writer.finish().expect("a package fits a zip").into_inner()
}

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// Opens the zip in the zip crate, and checks that it sees the entries which were checked.
fn open<'a>(zip: &'a [u8], records: &[Record<'_>]) -> Result<Archive<'a>, PackageError> {
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let archive = ZipArchive::with_config(config, Cursor::new(zip))
        .map_err(|_| PackageError::Malformed { reason: "its directory can't be read" })?;
    if archive.len() != records.len() {
        return Err(PackageError::Malformed { reason: "its directory can be read in two ways" });
    }
    Ok(archive)
}

fn unpack_entry(
    archive: &mut Archive<'_>,
    index: usize,
    record: &Record<'_>,
    role: Role,
    contents: &mut Contents,
) -> Result<(), PackageError> {
    let mut file = archive.by_index(index).map_err(|error| PackageError::unreadable(record.name, error))?;
    if file.name_raw() != record.name.as_bytes() {
        let (entry, second) = (shorten(record.name), shorten(&String::from_utf8_lossy(file.name_raw())));
        return Err(PackageError::TwoNames { entry, second });
    }
    let seen =
        [Some(file.header_start()), file.data_start(), Some(file.compressed_size()), Some(file.size())];
    let checked = [record.header_start, record.data_start, record.compressed_size, record.size];
    if seen != checked.map(|number| u64::try_from(number).ok()) {
        return Err(PackageError::malformed_entry(record.name, "its place or size can be read in two ways"));
    }
    let n_bytes = contents.add(record.name, role, &mut file)?;
    if role != Role::Ignored && n_bytes != record.size {
        return Err(PackageError::malformed_entry(record.name, "it unpacks to less than it claims"));
    }
    Ok(())
}
