//! The files of a package while they are read: each within its cap, all within theirs, then checked and put together.

use std::io::{self, Read};

use super::error::shorten;
use super::layout::{Member, Role};
use super::{
    Code, Icon, IconFormat, Language, MANIFEST_FILE, MAX_CASES_BYTES, MAX_PACKAGE_BYTES, Package,
    PackageError,
};
use crate::manifest::name::Slug;

/// What was read so far. It never holds more than the caps allow, whatever the sources claim.
#[derive(Default)]
pub(super) struct Contents {
    members: Vec<(Member, Vec<u8>)>,
    n_package_bytes: usize,
    n_case_bytes: usize,
    /// An entry that looks like a manifest but isn't where one belongs.
    misplaced_manifest: Option<String>,
}

impl Contents {
    /// Reads one entry to its end, and keeps it where it is part of the package. Gives its length in bytes.
    pub(super) fn add(
        &mut self,
        entry: &str,
        role: Role,
        reader: &mut dyn Read,
    ) -> Result<usize, PackageError> {
        let n_bytes = match role {
            Role::Ignored => 0,
            Role::Bytecode => return Err(PackageError::Bytecode { entry: shorten(entry) }),
            Role::Member(member) => self.add_member(entry, member, reader)?,
            Role::Case => {
                let left = MAX_CASES_BYTES - self.n_case_bytes;
                let n_bytes = skip(entry, reader, left, MAX_CASES_BYTES)?;
                self.n_case_bytes += n_bytes;
                n_bytes
            }
            Role::Other => {
                self.note_misplaced_manifest(entry);
                let n_bytes = skip(entry, reader, self.n_bytes_left(), MAX_PACKAGE_BYTES)?;
                self.n_package_bytes += n_bytes;
                n_bytes
            }
        };
        Ok(n_bytes)
    }

    /// Checks what each file holds, and makes the package of them.
    pub(super) fn into_package(self, slug: Slug) -> Result<Package, PackageError> {
        let (mut manifest, mut codes, mut icons) = (None, Vec::new(), Vec::new());
        for (member, bytes) in self.members {
            match member {
                Member::Manifest => manifest = Some(bytes),
                Member::Code(language) => codes.push((language, bytes)),
                Member::Icon(format) => icons.push((format, bytes)),
            }
        }
        let Some(manifest) = manifest else {
            return Err(match self.misplaced_manifest {
                Some(found) => PackageError::MisplacedManifest { found },
                None => PackageError::MissingManifest,
            });
        };
        let manifest = text(manifest)
            .map_err(|offset| PackageError::NotUtf8 { entry: MANIFEST_FILE.to_owned(), offset })?;
        Ok(Package { slug, manifest, code: code(codes)?, icon: icon(icons)? })
    }

    fn add_member(
        &mut self,
        entry: &str,
        member: Member,
        reader: &mut dyn Read,
    ) -> Result<usize, PackageError> {
        let left = self.n_bytes_left();
        let bytes = read_capped(reader, left.min(member.max_bytes()))
            .map_err(|source| PackageError::unreadable(entry, source))?;
        let Some(bytes) = bytes else {
            return Err(if member.max_bytes() <= left {
                let (what, max) = (member.what(), member.max_bytes());
                PackageError::FileTooLarge { entry: shorten(entry), what, max }
            } else {
                PackageError::total_too_large(entry, MAX_PACKAGE_BYTES)
            });
        };
        let n_bytes = bytes.len();
        self.n_package_bytes += n_bytes;
        self.members.push((member, bytes));
        Ok(n_bytes)
    }

    fn n_bytes_left(&self) -> usize {
        MAX_PACKAGE_BYTES - self.n_package_bytes
    }

    fn note_misplaced_manifest(&mut self, entry: &str) {
        let file_name = entry.rsplit_once('/').map_or(entry, |(_, file_name)| file_name);
        if file_name.eq_ignore_ascii_case(MANIFEST_FILE) {
            self.misplaced_manifest = Some(shorten(entry));
        }
    }
}

/// Reads to the end, or gives `None` once there are more than `max` bytes. What is allocated follows what was read.
pub(super) fn read_capped(reader: &mut dyn Read, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let n_bytes = each_chunk(reader, max, |chunk| bytes.extend_from_slice(chunk))?;
    Ok(n_bytes.map(|_| bytes))
}

/// Reads to the end and keeps nothing.
fn skip(entry: &str, reader: &mut dyn Read, left: usize, max: usize) -> Result<usize, PackageError> {
    each_chunk(reader, left, |_| ())
        .map_err(|source| PackageError::unreadable(entry, source))?
        .ok_or_else(|| PackageError::total_too_large(entry, max))
}

/// Hands on what is read, piece by piece, and gives its length; or `None` before handing on more than `max` bytes.
fn each_chunk(reader: &mut dyn Read, max: usize, mut take: impl FnMut(&[u8])) -> io::Result<Option<usize>> {
    let mut buffer = [0; 8 * 1024];
    let mut n_bytes = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(Some(n_bytes)),
            Ok(n) if n > max - n_bytes => return Ok(None),
            Ok(n) => {
                take(&buffer[..n]);
                n_bytes += n;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The one code file that counts: TypeScript where there is any.
fn code(mut codes: Vec<(Language, Vec<u8>)>) -> Result<Option<Code>, PackageError> {
    codes.sort_by_key(|(language, _)| *language != Language::TypeScript);
    let Some((language, bytes)) = codes.into_iter().next() else { return Ok(None) };
    let entry = language.file_name();
    let text = text(bytes)
        .and_then(|text| match text.find('\0') {
            None => Ok(text),
            Some(offset) => Err(offset),
        })
        .map_err(|offset| PackageError::CodeNotText { entry: entry.to_owned(), offset })?;
    if text.trim().is_empty() {
        return Err(PackageError::EmptyCode { entry: entry.to_owned() });
    }
    Ok(Some(Code { language, text }))
}

fn icon(icons: Vec<(IconFormat, Vec<u8>)>) -> Result<Option<Icon>, PackageError> {
    if let [(first, _), (second, _), ..] = icons.as_slice() {
        let (first, second) = (first.file_name().to_owned(), second.file_name().to_owned());
        return Err(PackageError::TwoIcons { first, second });
    }
    let Some((format, bytes)) = icons.into_iter().next() else { return Ok(None) };
    if !format.matches(&bytes) {
        let (entry, media_type) = (format.file_name().to_owned(), format.media_type());
        return Err(PackageError::IconFormat { entry, media_type });
    }
    Ok(Some(Icon { format, bytes }))
}

/// UTF-8 text without its byte order mark; or how many bytes from the beginning are well-formed.
fn text(bytes: Vec<u8>) -> Result<String, usize> {
    const BYTE_ORDER_MARK: char = '\u{feff}';
    let mut text = String::from_utf8(bytes).map_err(|error| error.utf8_error().valid_up_to())?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_at_the_cap() {
        assert_eq!(read_capped(&mut &b"12345"[..], 5).unwrap().as_deref(), Some(&b"12345"[..]));
        assert_eq!(read_capped(&mut &b"123456"[..], 5).unwrap(), None);
        assert_eq!(read_capped(&mut io::repeat(0), 100_000).unwrap(), None);
        assert_eq!(read_capped(&mut io::empty(), 0).unwrap().as_deref(), Some(&b""[..]));
    }

    #[test]
    fn other_files_count_towards_the_total_and_cases_towards_their_own() {
        let mut contents = Contents::default();
        let half = vec![b' '; MAX_PACKAGE_BYTES / 2 + 1];
        contents.add("a.md", Role::Other, &mut half.as_slice()).unwrap();
        for _ in 0..7 {
            contents.add("cases/a.json", Role::Case, &mut half.as_slice()).unwrap();
        }
        for (entry, role) in [("b.md", Role::Other), ("cases/b.json", Role::Case)] {
            let refused = contents.add(entry, role, &mut half.as_slice());
            assert!(matches!(refused, Err(PackageError::TotalTooLarge { .. })), "{entry}: {refused:?}");
        }
    }
}
