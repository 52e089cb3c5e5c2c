//! Names of entries: which are safe to take, and which two would be one file on some system.

use std::collections::HashMap;

use super::PackageError;
use super::error::shorten;

/// The longest name of an entry, in bytes.
const MAX_NAME_BYTES: usize = 512;
/// The most components of a name: the folders around a file, and the file.
const MAX_COMPONENTS: usize = 8;

/// Checks that every name is safe on its own, and that no two stand for one file. A name that ends in `/` is a
/// folder's.
pub(super) fn check_all<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), PackageError> {
    let mut taken = Taken::default();
    for name in names {
        check(name)?;
        taken.add_with_folders(name)?;
    }
    Ok(())
}

fn check(name: &str) -> Result<(), PackageError> {
    let entry = || shorten(name);
    let path = name.strip_suffix('/').unwrap_or(name);
    if name.len() > MAX_NAME_BYTES {
        return Err(PackageError::bad_name(name, "it is longer than 512 bytes"));
    }
    if is_absolute(name) {
        return Err(PackageError::AbsolutePath { entry: entry() });
    }
    if path.split(['/', '\\']).any(|component| component == "..") {
        return Err(PackageError::Traversal { entry: entry() });
    }
    if name.contains(char::is_control) {
        return Err(PackageError::bad_name(name, "it holds a control character"));
    }
    if name.contains('\\') {
        return Err(PackageError::bad_name(
            name,
            "it holds a backslash; folders in a zip are separated by `/`",
        ));
    }
    if path.split('/').any(|component| component.is_empty() || component == ".") {
        return Err(PackageError::bad_name(name, "a part of its path is empty or `.`"));
    }
    if path.split('/').count() > MAX_COMPONENTS {
        return Err(PackageError::bad_name(name, "its folders are nested more than 7 deep"));
    }
    Ok(())
}

/// Begins at a root (`/x`, `\x`, `\\server`) or at a drive (`C:\x`, `C:x`).
fn is_absolute(name: &str) -> bool {
    name.starts_with(['/', '\\'])
        || matches!(name.as_bytes(), [drive, b':', ..] if drive.is_ascii_alphabetic())
}

/// The paths so far, by what a system that ignores case would make of them.
#[derive(Default)]
struct Taken<'a> {
    by_folded: HashMap<String, (&'a str, Kind)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    /// A folder with an entry of its own.
    Folder,
    /// A folder that an entry stands in.
    Around,
}

impl<'a> Taken<'a> {
    fn add_with_folders(&mut self, name: &'a str) -> Result<(), PackageError> {
        let (path, kind) = match name.strip_suffix('/') {
            Some(path) => (path, Kind::Folder),
            None => (name, Kind::File),
        };
        for (end, _) in path.match_indices('/') {
            self.add(&path[..end], Kind::Around)?;
        }
        self.add(path, kind)
    }

    fn add(&mut self, path: &'a str, kind: Kind) -> Result<(), PackageError> {
        let Some(&(spelled, before)) = self.by_folded.get(&fold(path)) else {
            self.by_folded.insert(fold(path), (path, kind));
            return Ok(());
        };
        if spelled != path {
            return Err(PackageError::CaseCollision { first: shorten(spelled), second: shorten(path) });
        }
        match (before, kind) {
            (Kind::Around | Kind::Folder, Kind::Around) => Ok(()),
            (Kind::Around, Kind::Folder) => {
                self.by_folded.insert(fold(path), (path, kind));
                Ok(())
            }
            _ => Err(PackageError::Duplicate { entry: shorten(path) }),
        }
    }
}

/// Upper case first, so that letters which only meet there (`ſ` and `s`, `ß` and `ss`) meet.
fn fold(path: &str) -> String {
    path.to_uppercase().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_all(names: &[&str]) -> Result<(), PackageError> {
        super::check_all(names.iter().copied())
    }

    #[test]
    fn ordinary_names_pass() {
        let deep = "a/b/c/d/e/f/g/h";
        let long = "x".repeat(MAX_NAME_BYTES);
        check_all(&["config.json", "cases/", "cases/ä b.json", "..a", "a..", "xx:y", deep, &long]).unwrap();
    }

    #[test]
    fn names_that_leave_the_package_are_refused() {
        for name in ["..", "../x", "a/../b", "a/..", "a/../", "..\\x", "a\\..\\b"] {
            assert!(matches!(check(name), Err(PackageError::Traversal { .. })), "{name:?} passed");
        }
        for name in ["/", "/x", "//x", "\\x", "\\\\server\\x", "C:\\x", "c:x", "C:/x", "/../x"] {
            assert!(matches!(check(name), Err(PackageError::AbsolutePath { .. })), "{name:?} passed");
        }
    }

    #[test]
    fn names_that_systems_read_differently_are_refused() {
        let deep = "a/b/c/d/e/f/g/h/i";
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for name in
            ["", "a//b", "a//", "./a", "a/./b", "a\\b", "a\0", "a\nb", "a\u{7f}", "a\u{85}", deep, &long]
        {
            assert!(matches!(check(name), Err(PackageError::BadName { .. })), "{name:?} passed");
        }
    }

    #[test]
    fn a_name_stands_for_one_file_only() {
        for names in [["a", "a"], ["a/", "a/"], ["a", "a/"], ["a", "a/b"], ["a/b", "a"]] {
            assert!(matches!(check_all(&names), Err(PackageError::Duplicate { .. })), "{names:?} passed");
        }
        check_all(&["a/", "a/b", "a/c"]).unwrap();
        check_all(&["a/b", "a/", "a/c"]).unwrap();
    }

    #[test]
    fn names_that_differ_in_case_collide() {
        // The last three: the Kelvin sign, the long s and the sharp s fold to ASCII letters.
        for names in [["a", "A"], ["x/a", "X/b"], ["é", "É"], ["k", "\u{212a}"], ["s", "ſ"], ["ss", "ß"]]
        {
            assert!(matches!(check_all(&names), Err(PackageError::CaseCollision { .. })), "{names:?} passed");
        }
    }
}
