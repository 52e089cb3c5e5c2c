//! The structure of a zip, read strictly: its end record, its directory, and the header before each entry's data.
//!
//! Readers of zip files differ in what they make of an archive that contradicts itself, and most allocate by what
//! it claims. So an archive is checked here, in place, before another reader sees it: one end record at the very end,
//! the directory right before it, as many records as claimed, local headers that agree, no byte used twice.
//! Offsets follow PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.

use super::error::shorten;
use super::{MAX_ENTRIES, PackageError};

const END_SIGNATURE: &[u8] = b"PK\x05\x06";
const END_LEN: usize = 22;
const ZIP64_LOCATOR_SIGNATURE: &[u8] = b"PK\x06\x07";
const ZIP64_LOCATOR_LEN: usize = 20;
const CENTRAL_SIGNATURE: &[u8] = b"PK\x01\x02";
const CENTRAL_LEN: usize = 46;
const LOCAL_SIGNATURE: &[u8] = b"PK\x03\x04";
const LOCAL_LEN: usize = 30;
/// The longest comment that an end record can have, in bytes.
const MAX_COMMENT_LEN: usize = 0xffff;
/// The most extra data that a directory's record may have, in bytes. Tools write under a hundred; a reader that
/// keeps each field as an object would turn the 64 KiB that the format allows into many times that.
const MAX_EXTRA_LEN: usize = 512;
/// Stands in a 32-bit field whose value is in a zip64 record.
const ZIP64_MARK: u32 = u32::MAX;

/// Bits 0, 6 and 13: encrypted, strongly encrypted, with a masked header.
const ENCRYPTION_FLAGS: u16 = 1 | 1 << 6 | 1 << 13;
/// Bit 3: sizes and checksum follow the data, so the local header may hold zeros.
const STREAMED_FLAG: u16 = 1 << 3;
/// The Windows attribute of links and mount points.
const REPARSE_POINT: u32 = 0x400;

/// One entry, as the directory and the entry's own header agree on it.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// The name; a folder's ends in `/`.
    pub(super) name: &'a str,
    /// The size of the data when unpacked, as claimed, in bytes.
    pub(super) size: usize,
    /// The size of the data in the zip, in bytes.
    pub(super) compressed_size: usize,
    /// Where the entry's own header begins.
    pub(super) header_start: usize,
    /// Where the entry's data begins.
    pub(super) data_start: usize,
}

/// Reads and checks the whole structure; nothing is unpacked.
pub(super) fn read(zip: &[u8]) -> Result<Vec<Record<'_>>, PackageError> {
    let end = End::find(zip)?;
    let (data, directory) = (&zip[..end.directory_start], &zip[end.directory_start..end.start]);
    let mut rest = directory;
    let mut records = Vec::with_capacity(end.n_entries);
    for _ in 0..end.n_entries {
        let (central, after) = Central::split(rest)?;
        records.push(central.check(data)?);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(malformed("its directory holds more than its end record says"));
    }
    check_ranges(&records, data.len())?;
    Ok(records)
}

/// The end record: where the directory is, and how many entries it lists.
struct End {
    start: usize,
    directory_start: usize,
    n_entries: usize,
}

impl End {
    fn find(zip: &[u8]) -> Result<Self, PackageError> {
        let window = zip.len().saturating_sub(END_LEN + MAX_COMMENT_LEN);
        let found = zip[window..].windows(END_SIGNATURE.len()).rposition(|bytes| bytes == END_SIGNATURE);
        let Some(start) = found.map(|at| window + at) else {
            return Err(if zip.starts_with(LOCAL_SIGNATURE) {
                PackageError::Truncated
            } else {
                PackageError::NotAZip
            });
        };
        let Some(record) = zip[start..].get(..END_LEN) else { return Err(PackageError::Truncated) };
        if start + END_LEN + usize::from(u16_at(record, 20)) != zip.len() {
            return Err(malformed(
                "it doesn't end where its end record says (something is missing or appended)",
            ));
        }
        Self::check(zip, start, record)
    }

    fn check(zip: &[u8], start: usize, record: &[u8]) -> Result<Self, PackageError> {
        let (size, offset) = (u32_at(record, 12), u32_at(record, 16));
        let locator = start.checked_sub(ZIP64_LOCATOR_LEN).map(|at| &zip[at..]);
        if locator.is_some_and(|bytes| bytes.starts_with(ZIP64_LOCATOR_SIGNATURE))
            || size == ZIP64_MARK
            || offset == ZIP64_MARK
        {
            return Err(PackageError::Zip64);
        }
        let n_entries = usize::from(u16_at(record, 10));
        if n_entries > MAX_ENTRIES {
            return Err(PackageError::TooManyEntries { max: MAX_ENTRIES });
        }
        if u16_at(record, 4) != 0 || u16_at(record, 6) != 0 || u16_at(record, 8) != u16_at(record, 10) {
            return Err(malformed("it is one part of several"));
        }
        let directory_start = to_usize(offset);
        if directory_start.checked_add(to_usize(size)) != Some(start) {
            return Err(malformed("its directory is not where its end record says"));
        }
        Ok(Self { start, directory_start, n_entries })
    }
}

/// One record of the directory.
struct Central<'a> {
    record: &'a [u8],
    name: &'a str,
    extra: &'a [u8],
}

impl<'a> Central<'a> {
    /// Takes one record off the front of the directory.
    fn split(directory: &'a [u8]) -> Result<(Self, &'a [u8]), PackageError> {
        let cut = || malformed("its directory holds less than its end record says");
        let (record, rest) = directory.split_at_checked(CENTRAL_LEN).ok_or_else(cut)?;
        if !record.starts_with(CENTRAL_SIGNATURE) {
            return Err(malformed("its directory holds something that is no entry"));
        }
        let (name, rest) = rest.split_at_checked(usize::from(u16_at(record, 28))).ok_or_else(cut)?;
        let (extra, rest) = rest.split_at_checked(usize::from(u16_at(record, 30))).ok_or_else(cut)?;
        let (_comment, rest) = rest.split_at_checked(usize::from(u16_at(record, 32))).ok_or_else(cut)?;
        let name = str::from_utf8(name).map_err(|_| {
            PackageError::bad_name(
                &String::from_utf8_lossy(name),
                "it is not UTF-8; use letters without accents",
            )
        })?;
        Ok((Self { record, name, extra }, rest))
    }

    fn check(&self, data: &[u8]) -> Result<Record<'a>, PackageError> {
        let (flags, method) = (u16_at(self.record, 8), u16_at(self.record, 10));
        if flags & ENCRYPTION_FLAGS != 0 {
            return Err(PackageError::Encrypted { entry: shorten(self.name) });
        }
        if !matches!(method, 0 | 8) {
            return Err(PackageError::Compression { entry: shorten(self.name), method });
        }
        self.check_is_file_or_folder()?;
        let (compressed_size, size) = (u32_at(self.record, 20), u32_at(self.record, 24));
        let header_start = u32_at(self.record, 42);
        if [compressed_size, size, header_start].contains(&ZIP64_MARK) {
            return Err(PackageError::Zip64);
        }
        if self.extra.len() > MAX_EXTRA_LEN {
            return Err(PackageError::malformed_entry(self.name, "it has more than 512 bytes of extra data"));
        }
        if self.name.ends_with('/') && size != 0 {
            return Err(PackageError::malformed_entry(self.name, "it is a folder that holds data"));
        }
        let header_start = to_usize(header_start);
        let data_start = self.check_local_header(data, header_start)?;
        let (compressed_size, size) = (to_usize(compressed_size), to_usize(size));
        Ok(Record { name: self.name, size, compressed_size, header_start, data_start })
    }

    /// By the Unix mode, which stands in the upper half of the attributes whatever system wrote them, and by the
    /// Windows attributes in the lower half.
    fn check_is_file_or_folder(&self) -> Result<(), PackageError> {
        let attributes = u32_at(self.record, 38);
        let kind = match (attributes >> 16) & 0o170_000 {
            0 | 0o100_000 if attributes & REPARSE_POINT != 0 => "a link",
            0 | 0o100_000 => return Ok(()),
            0o040_000 if self.name.ends_with('/') => return Ok(()),
            0o040_000 => "a folder with a file's name",
            0o120_000 => "a symbolic link",
            0o010_000 => "a pipe",
            0o140_000 => "a socket",
            0o020_000 | 0o060_000 => "a device",
            _ => "a special file",
        };
        Err(PackageError::not_a_file(self.name, kind))
    }

    /// Compares the entry's own header with this record; gives the place where the data begins.
    fn check_local_header(&self, data: &[u8], header_start: usize) -> Result<usize, PackageError> {
        let missing =
            || PackageError::malformed_entry(self.name, "its own header is not where the directory says");
        let (local, rest) =
            data.get(header_start..).and_then(|rest| rest.split_at_checked(LOCAL_LEN)).ok_or_else(missing)?;
        if !local.starts_with(LOCAL_SIGNATURE) {
            return Err(missing());
        }
        let name_len = usize::from(u16_at(local, 26));
        if rest.get(..name_len).ok_or_else(missing)? != self.name.as_bytes() {
            return Err(PackageError::mismatch(self.name, "name"));
        }
        if u16_at(local, 8) != u16_at(self.record, 10) {
            return Err(PackageError::mismatch(self.name, "compression"));
        }
        if u16_at(local, 6) & ENCRYPTION_FLAGS != 0 {
            return Err(PackageError::mismatch(self.name, "encryption"));
        }
        self.check_local_sizes(local)?;
        Ok(header_start + LOCAL_LEN + name_len + usize::from(u16_at(local, 28)))
    }

    /// Tools that don't know the sizes beforehand write zeros, or the mark of zip64, into the local header.
    fn check_local_sizes(&self, local: &[u8]) -> Result<(), PackageError> {
        let streamed = u16_at(local, 6) & STREAMED_FLAG != 0;
        for (field, local_at, central_at, may_be_marked) in
            [("checksum", 14, 16, false), ("packed size", 18, 20, true), ("size", 22, 24, true)]
        {
            let (own, listed) = (u32_at(local, local_at), u32_at(self.record, central_at));
            let left_open = (streamed && own == 0) || (may_be_marked && own == ZIP64_MARK);
            if own != listed && !left_open {
                return Err(PackageError::mismatch(self.name, field));
            }
        }
        Ok(())
    }
}

/// Entries begin at the zip's first byte, end before the directory, and share no byte.
fn check_ranges(records: &[Record<'_>], data_len: usize) -> Result<(), PackageError> {
    let mut in_order: Vec<&Record<'_>> = records.iter().collect();
    in_order.sort_by_key(|record| record.header_start);
    let end_of = |record: &Record<'_>| record.data_start.saturating_add(record.compressed_size);
    for pair in in_order.windows(2) {
        if end_of(pair[0]) > pair[1].header_start {
            let (first, second) = (shorten(pair[0].name), shorten(pair[1].name));
            return Err(PackageError::Overlap { first, second });
        }
    }
    if let Some(last) = in_order.last().filter(|last| end_of(last) > data_len) {
        return Err(PackageError::malformed_entry(last.name, "its data runs into the zip's directory"));
    }
    if in_order.first().map_or(data_len, |first| first.header_start) != 0 {
        return Err(malformed("something stands before its first entry"));
    }
    Ok(())
}

fn malformed(reason: &'static str) -> PackageError {
    PackageError::Malformed { reason }
}

/// A little-endian number in a record of fixed length, at an offset that lies inside it.
fn u16_at(record: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([record[at], record[at + 1]])
}

/// A little-endian number in a record of fixed length, at an offset that lies inside it.
fn u32_at(record: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
