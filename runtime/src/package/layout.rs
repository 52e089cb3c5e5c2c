//! Where a package's files stand among the entries of a zip, and what each entry is to the package.

use super::error::shorten;
use super::{IconFormat, Language, MANIFEST_FILE, MAX_CODE_BYTES, MAX_ICON_BYTES, MAX_PACKAGE_BYTES};
use super::{PackageError, entry_name};

/// A file that is part of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Manifest,
    Code(Language),
    Icon(IconFormat),
}

/// What an entry is to the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Member(Member),
    /// Code in a form that is never accepted.
    Bytecode,
    /// A recorded case: beside the package, with a cap of its own.
    Case,
    /// A file that is allowed to lie there, and counts towards the caps.
    Other,
    /// A folder, or a file that operating systems leave behind: never read.
    Ignored,
}

/// The folder that the package's files stand in: the root, or one top folder.
#[derive(Debug)]
pub(super) struct Layout {
    top_folder: Option<String>,
}

/// Bytecode by its usual names. The folder reader looks for each, so the list stays short.
pub(super) const BYTECODE_FILES: [&str; 6] =
    ["connector.qjs", "connector.qbc", "connector.bc", "connector.bin", "connector.jsc", "connector.wasm"];

impl Member {
    /// Every file that a package may have, TypeScript before JavaScript.
    pub(super) const ALL: [Member; 7] = [
        Member::Manifest,
        Member::Code(Language::TypeScript),
        Member::Code(Language::JavaScript),
        Member::Icon(IconFormat::Svg),
        Member::Icon(IconFormat::Png),
        Member::Icon(IconFormat::Jpeg),
        Member::Icon(IconFormat::Webp),
    ];

    pub(super) fn file_name(self) -> &'static str {
        match self {
            Member::Manifest => MANIFEST_FILE,
            Member::Code(language) => language.file_name(),
            Member::Icon(format) => format.file_name(),
        }
    }

    pub(super) fn max_bytes(self) -> usize {
        match self {
            Member::Manifest => MAX_PACKAGE_BYTES,
            Member::Code(_) => MAX_CODE_BYTES,
            Member::Icon(_) => MAX_ICON_BYTES,
        }
    }

    /// What the file is, for messages.
    pub(super) fn what(self) -> &'static str {
        match self {
            Member::Manifest => "a manifest",
            Member::Code(_) => "code",
            Member::Icon(_) => "an icon",
        }
    }

    fn named(file_name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|member| member.file_name() == file_name)
    }
}

impl Layout {
    /// Checks all names, and finds the folder that the package's files stand in.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<Self, PackageError> {
        entry_name::check_all(names.clone())?;
        let files = names.filter(|name| !name.ends_with('/') && !is_left_behind(name));
        let at_root = files.clone().find(|name| !name.contains('/'));
        let mut in_folders = files.filter_map(|name| Some((name, name.split_once('/')?)));
        match at_root {
            Some(at_root) => {
                let also =
                    in_folders.find(|&(_, (top, rest))| top != "cases" && Member::named(rest).is_some());
                match also {
                    None => Ok(Self { top_folder: None }),
                    Some((also, _)) => Err(PackageError::RootAndFolder {
                        at_root: shorten(at_root),
                        in_folder: shorten(also),
                    }),
                }
            }
            None => Self::of_one_folder(in_folders),
        }
    }

    fn of_one_folder<'a>(
        mut files: impl Iterator<Item = (&'a str, (&'a str, &'a str))>,
    ) -> Result<Self, PackageError> {
        let Some((first, (top, _))) = files.next() else {
            return Ok(Self { top_folder: None });
        };
        match files.find(|&(_, (other, _))| other != top) {
            None => Ok(Self { top_folder: Some(top.to_owned()) }),
            Some((second, _)) => {
                Err(PackageError::TwoTopFolders { first: shorten(first), second: shorten(second) })
            }
        }
    }

    /// What the entry is to the package.
    pub(super) fn role(&self, name: &str) -> Role {
        let inside = match &self.top_folder {
            None => Some(name),
            Some(top) => name.strip_prefix(top.as_str()).and_then(|rest| rest.strip_prefix('/')),
        };
        let Some(inside) = inside else { return Role::Ignored };
        if inside.ends_with('/') || inside.is_empty() || is_left_behind(name) {
            Role::Ignored
        } else if let Some(member) = Member::named(inside) {
            Role::Member(member)
        } else if BYTECODE_FILES.iter().any(|file| file.eq_ignore_ascii_case(inside)) {
            Role::Bytecode
        } else if inside.starts_with("cases/") {
            Role::Case
        } else {
            Role::Other
        }
    }

    /// The name of the top folder, where the files stand in one.
    pub(super) fn into_top_folder(self) -> Option<String> {
        self.top_folder
    }
}

/// What macOS and Windows put beside people's files.
fn is_left_behind(name: &str) -> bool {
    let file_name = name.rsplit_once('/').map_or(name, |(_, file_name)| file_name);
    name.starts_with("__MACOSX/")
        || file_name == ".DS_Store"
        || file_name == "Thumbs.db"
        || file_name.starts_with("._")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(names: &[&str]) -> Result<Layout, PackageError> {
        Layout::of(names.iter().copied())
    }

    #[test]
    fn files_stand_at_the_root_or_in_one_top_folder() {
        let root =
            ["config.json", "cases/a.json", "cases/config.json", "docs/notes.md", "__MACOSX/x/._config.json"];
        assert_eq!(layout(&root).unwrap().into_top_folder(), None);
        let folder = [
            "gh/",
            "gh/config.json",
            "gh/cases/a.json",
            ".DS_Store",
            "__MACOSX/gh/._config.json",
            "Thumbs.db",
        ];
        assert_eq!(layout(&folder).unwrap().into_top_folder().as_deref(), Some("gh"));
        assert_eq!(layout(&["empty/", ".DS_Store"]).unwrap().into_top_folder(), None);
    }

    #[test]
    fn package_files_in_two_places_are_refused() {
        let mixed = layout(&["README.md", "gh/config.json"]);
        assert!(matches!(mixed, Err(PackageError::RootAndFolder { .. })), "{mixed:?}");
        let two = layout(&["a/config.json", "b/notes.md"]);
        assert!(matches!(two, Err(PackageError::TwoTopFolders { .. })), "{two:?}");
    }

    #[test]
    fn each_entry_has_its_role() {
        let layout = layout(&["gh/config.json"]).unwrap();
        for (name, role) in [
            ("gh/config.json", Role::Member(Member::Manifest)),
            ("gh/connector.ts", Role::Member(Member::Code(Language::TypeScript))),
            ("gh/connector.js", Role::Member(Member::Code(Language::JavaScript))),
            ("gh/icon.webp", Role::Member(Member::Icon(IconFormat::Webp))),
            ("gh/connector.QJS", Role::Bytecode),
            ("gh/cases/config.json", Role::Case),
            ("gh/src/config.json", Role::Other),
            ("gh/connector.d.ts", Role::Other),
            ("gh/Config.json", Role::Other),
            ("gh/", Role::Ignored),
            ("gh/cases/", Role::Ignored),
            ("gh/cases/.DS_Store", Role::Ignored),
            ("__MACOSX/gh/._config.json", Role::Ignored),
            (".DS_Store", Role::Ignored),
        ] {
            assert_eq!(layout.role(name), role, "{name}");
        }
    }
}
