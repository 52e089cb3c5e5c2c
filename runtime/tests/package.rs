//! Packages: every refusal with a real archive, and the same package from a folder, a zip and loose files.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod hostile_zip;

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use hostile_zip::{Entry, PNG, Zip, good_entries, local, refusals};
use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::package::{
    IconFormat, Language, MAX_CODE_BYTES, MAX_ICON_BYTES, MAX_PACKAGE_BYTES, Package, PackageError,
};
use proptest::prelude::*;
use tempfile::TempDir;

#[test]
fn every_hostile_zip_is_refused_with_its_message() {
    let mut wrong = Vec::new();
    for refusal in refusals() {
        let message = message(&Package::from_zip(&refusal.zip, Some(slug())));
        if message != refusal.message {
            wrong.push(format!("expected {}\n   found {message}", refusal.message));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_zip_that_is_cut_anywhere_is_refused() {
    let zip = Zip::of(&good_entries()).bytes;
    Package::from_zip(&zip, Some(slug())).unwrap();
    for n_bytes in 0..zip.len() {
        assert!(Package::from_zip(&zip[..n_bytes], Some(slug())).is_err(), "{n_bytes} bytes passed");
    }
}

#[test]
fn a_changed_byte_never_panics_and_never_changes_the_contents_unseen() {
    let zip = Zip::of(&good_entries()).bytes;
    let package = Package::from_zip(&zip, Some(slug())).unwrap();
    for at in 0..zip.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, zip[at] ^ 1, zip[at] ^ 0x20] {
            let mut changed = zip.clone();
            changed[at] = value;
            if let Ok(other) = Package::from_zip(&changed, Some(slug())) {
                // A file may lose its name, and with it its part in the package; what it holds is checksummed.
                assert_eq!(other.manifest(), package.manifest(), "byte {at} to {value}");
                assert!(other.code().is_none() || other.code() == package.code(), "byte {at} to {value}");
            }
        }
    }
}

#[test]
fn the_slug_is_the_callers_else_the_top_folders_else_the_files() {
    let named = |name: &str| Slug::parse(name).unwrap();
    let at_root = Zip::of(&good_entries()).bytes;
    let foldered = Zip::of(&in_folder("from-folder", good_entries())).bytes;
    let oddly_foldered = Zip::of(&in_folder("From Folder", good_entries())).bytes;
    let dir = TempDir::new().unwrap();
    let (root_path, folder_path) = (dir.path().join("from-file.zip"), dir.path().join("other.zip"));
    fs::write(&root_path, &at_root).unwrap();
    fs::write(&folder_path, &foldered).unwrap();

    let slug_of = |read: Result<Package, PackageError>| read.unwrap().slug().to_string();
    assert_eq!(slug_of(Package::from_zip(&oddly_foldered, Some(named("mine")))), "mine");
    assert_eq!(slug_of(Package::from_zip(&foldered, Some(named("mine")))), "mine");
    assert_eq!(slug_of(Package::from_zip(&foldered, None)), "from-folder");
    assert_eq!(slug_of(Package::read(&folder_path)), "from-folder");
    assert_eq!(slug_of(Package::read(&root_path)), "from-file");
    assert_eq!(
        message(&Package::from_zip(&at_root, None)),
        "nothing names the connector: its files stand at the zip's root; give a slug, or zip the folder itself"
    );
    assert_eq!(
        message(&Package::from_zip(&oddly_foldered, None)),
        "the name of the zip's top folder can't be the connector's slug: \"From Folder\" is not a slug: use 1 to 40 \
         lower-case letters and digits, with single `_` or `-` between them"
    );
}

#[test]
fn a_folder_is_read_by_path_by_link_and_by_dot() {
    let dir = TempDir::new().unwrap();
    let folder = write_folder(dir.path(), "gh", &[("config.json", b"{}")]);
    symlink(&folder, dir.path().join("linked")).unwrap();
    let slug_of = |path: PathBuf| Package::read(path).unwrap().slug().to_string();
    assert_eq!(slug_of(folder.clone()), "gh");
    assert_eq!(slug_of(folder.join("")), "gh");
    assert_eq!(slug_of(folder.join("..").join("gh").join(".")), "gh");
    assert_eq!(slug_of(dir.path().join("linked")), "linked");
    fs::create_dir(folder.join("cases")).unwrap();
    assert_eq!(slug_of(folder.join("cases").join("..")), "gh");
}

#[test]
fn typescript_wins_and_other_files_are_no_part_of_the_package() {
    let files: [(&str, &[u8]); 7] = [
        ("connector.js", b""),
        ("config.json", b"\xef\xbb\xbf{}"),
        ("connector.ts", b"\xef\xbb\xbflet a;"),
        ("icon.png", PNG),
        ("README.md", b"\xff\0"),
        ("connector.d.ts", b""),
        ("cases/a.json", b"{}"),
    ];
    let package = Package::from_files(slug(), files).unwrap();
    assert_eq!(package.manifest(), "{}");
    let code = package.code().unwrap();
    assert_eq!(
        (code.language(), code.file_name(), code.text()),
        (Language::TypeScript, "connector.ts", "let a;")
    );
    let icon = package.icon().unwrap();
    assert_eq!((icon.format(), icon.media_type(), icon.bytes()), (IconFormat::Png, "image/png", PNG));

    let dir = TempDir::new().unwrap();
    assert_eq!(Package::read(write_folder(dir.path(), "gh", &files)).unwrap(), package);
    let bare: [(&str, &[u8]); 3] = [("config.json", b"{}"), ("connector.ts", b"let a;"), ("icon.png", PNG)];
    assert_eq!(Package::from_files(slug(), bare).unwrap().digest(), package.digest());
}

#[test]
fn the_digest_depends_on_contents_and_not_on_the_slug() {
    let package = |slug: &str, files: &[(&str, &[u8])]| {
        Package::from_files(Slug::parse(slug).unwrap(), files.iter().copied()).unwrap().digest()
    };
    let base = package("a", &[("config.json", b"{}"), ("connector.ts", b"1")]);
    assert_eq!(base.len(), 64);
    assert_eq!(base, package("b", &[("connector.ts", b"1"), ("config.json", b"{}")]));
    assert_ne!(base, package("a", &[("config.json", b"{}"), ("connector.js", b"1")]));
    assert_ne!(base, package("a", &[("config.json", b"{}1"), ("connector.ts", b"1")]));
    assert_ne!(base, package("a", &[("config.json", b"{}"), ("connector.ts", b"1"), ("icon.svg", b"")]));
    // Pinned: caches and approvals outlive a release.
    assert_eq!(base, "c91f88306c4b0b5a8becdb43c479669333739746968dbbc19599e8efac1ceed3");
}

#[test]
fn files_just_at_their_caps_pass() {
    let code = vec![b';'; MAX_CODE_BYTES];
    let icon = vec![b'<'; MAX_ICON_BYTES];
    let manifest = vec![b' '; MAX_PACKAGE_BYTES - MAX_CODE_BYTES - MAX_ICON_BYTES];
    let files = [("config.json", &manifest), ("connector.js", &code), ("icon.svg", &icon)];
    let package = Package::from_files(slug(), files).unwrap();
    assert_eq!(Package::from_zip(&package.to_zip(), None).unwrap(), package);

    let dir = TempDir::new().unwrap();
    let files = files.map(|(name, bytes)| (name, bytes.as_slice()));
    let folder = write_folder(dir.path(), "gh", &files);
    assert_eq!(Package::read(&folder).unwrap(), package);
    File::options().append(true).open(folder.join("config.json")).unwrap().set_len(300_000).unwrap();
    assert_eq!(
        message(&Package::read(&folder)),
        "with \"icon.svg\" the package's files take more than 1048576 bytes: leave out what the connector doesn't need"
    );
}

#[test]
fn a_folders_files_are_read_only_where_they_are_regular() {
    type Make = fn(&Path);
    let cases: [(&str, &str, Make); 5] = [
        ("connector.ts", "a symbolic link", |path| symlink("/etc/passwd", path).unwrap()),
        ("icon.png", "a symbolic link", |path| symlink("nowhere", path).unwrap()),
        ("connector.js", "a pipe", |path| rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).unwrap()),
        ("icon.svg", "a folder", |path| fs::create_dir(path).unwrap()),
        ("icon.jpg", "a socket", |path| drop(UnixListener::bind(path).unwrap())),
    ];
    for (name, found, make) in cases {
        let dir = TempDir::new().unwrap();
        let folder = write_folder(dir.path(), "gh", &[("config.json", b"{}")]);
        make(&folder.join(name));
        assert_eq!(
            message(&Package::read(&folder)),
            format!("{name:?} is {found}: a package holds files and folders only; put the file itself there")
        );
    }
}

#[test]
fn a_folders_javascript_is_not_opened_beside_typescript() {
    let dir = TempDir::new().unwrap();
    let folder = write_folder(dir.path(), "gh", &[("config.json", b"{}"), ("connector.ts", b"let a;")]);
    File::create(folder.join("connector.js")).unwrap().set_len(1 << 30).unwrap();
    assert_eq!(Package::read(&folder).unwrap().code().unwrap().file_name(), "connector.ts");
}

#[test]
fn a_folders_refusals_name_the_file() {
    let refused = |files: &[(&str, &[u8])], expected: &str| {
        let dir = TempDir::new().unwrap();
        assert_eq!(message(&Package::read(write_folder(dir.path(), "gh", files))), expected);
        assert_eq!(message(&Package::from_files(slug(), files.iter().copied())), expected);
    };
    let manifest: (&str, &[u8]) = ("config.json", b"{}");
    refused(&[], "the package has no config.json: every connector needs one, beside its code");
    refused(
        &[manifest, ("connector.bin", b"")],
        "\"connector.bin\" is compiled code: code is UTF-8 text, in connector.ts or connector.js; bytecode is never accepted",
    );
    refused(
        &[manifest, ("connector.ts", b"")],
        "\"connector.ts\" is empty: write the connector's code into it, or remove it from an SQL connector",
    );
    refused(
        &[manifest, ("icon.svg", b"<svg/>"), ("icon.webp", b"RIFF\0\0\0\0WEBP")],
        "the package has two icons, \"icon.svg\" and \"icon.webp\": keep one",
    );
    refused(
        &[manifest, ("connector.ts", &[b' '; MAX_CODE_BYTES + 1])],
        "\"connector.ts\" is larger than 524288 bytes, the most that code may have",
    );
}

#[test]
fn what_is_no_folder_and_no_zip_is_refused_without_waiting() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
    let _listener = UnixListener::bind(at("socket")).unwrap();
    for special in ["pipe", "socket"] {
        assert_eq!(
            message(&Package::read(at(special))),
            format!(
                "{:?} is neither a folder nor a zip: name a connector's folder, or a zip of it",
                at(special)
            )
        );
    }
    assert_eq!(
        message(&Package::read(at("missing"))),
        format!("can't open {:?}: No such file or directory (os error 2)", at("missing"))
    );
    fs::write(at("file"), "{}").unwrap();
    assert_eq!(
        message(&Package::read(at("file"))),
        "this is not a zip: name a connector's folder, or a zip of it"
    );
    assert_eq!(
        message(&Package::from_folder(at("file"))),
        format!("{:?} is not a folder: name the folder that holds config.json", at("file"))
    );
    fs::create_dir(at("Not a slug")).unwrap();
    assert_eq!(
        message(&Package::read(at("Not a slug"))),
        "the folder's name can't be the connector's slug: \"Not a slug\" is not a slug: use 1 to 40 lower-case letters \
         and digits, with single `_` or `-` between them"
    );
}

#[test]
fn loose_files_obey_the_rules_of_entries() {
    let too_many = (0..65).map(|n| (format!("{n}.md"), ""));
    let endless = (0_u64..).map(|n| (n.to_string(), vec![0; 1_000_000]));
    assert!(matches!(Package::from_files(slug(), too_many), Err(PackageError::TooManyEntries { .. })));
    assert!(matches!(Package::from_files(slug(), endless), Err(PackageError::TotalTooLarge { .. })));
    let twice = Package::from_files(slug(), [("config.json", "{}"), ("config.json", "[]")]);
    assert_eq!(message(&twice), "entry \"config.json\" stands there twice: keep one");
    let outside = Package::from_files(slug(), [("config.json", "{}"), ("../x", "")]);
    assert_eq!(message(&outside), "entry \"../x\" leads out of the package: names must not hold `..`");
}

#[test]
fn a_zip_that_was_written_as_a_stream_is_read() {
    let open = |zip: Zip, entry| {
        let zip = zip.local(entry, local::FLAGS, [8]).local(entry, local::CHECKSUM, [0; 4]);
        zip.local(entry, local::PACKED_SIZE, [0; 4]).local(entry, local::SIZE, [0; 4])
    };
    let plain = Zip::of(&good_entries());
    let streamed = open(open(plain.clone(), 0), 1);
    let read = |zip: Zip| Package::from_zip(&zip.bytes, Some(slug())).unwrap();
    assert_eq!(read(streamed), read(plain));
}

#[test]
fn what_macos_and_windows_leave_behind_is_skipped() {
    let mut entries = in_folder("gh", good_entries());
    for name in [
        "__MACOSX/gh/._config.json",
        "._gh",
        ".DS_Store",
        "gh/.DS_Store",
        "gh/cases/Thumbs.db",
        "gh/._icon.png",
    ] {
        entries.push(Entry::stored(name, "\0"));
    }
    // Not even unpacked, so it can't cost anything.
    entries.push(Entry::bomb("__MACOSX/gh/._connector.ts", 2 << 20));
    let package = Package::from_zip(&Zip::of(&entries).bytes, None).unwrap();
    assert_eq!(package, Package::from_zip(&Zip::of(&good_entries()).bytes, Some(slug())).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn folder_zip_and_loose_files_give_the_same_package(files in package_files()) {
        let loose = Package::from_files(slug(), files.iter().map(|(name, bytes)| (name, bytes))).unwrap();
        let dir = TempDir::new().unwrap();
        let borrowed: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        prop_assert_eq!(&Package::read(write_folder(dir.path(), "gh", &borrowed)).unwrap(), &loose);

        let stored: Vec<_> = files.iter().map(|(name, bytes)| Entry::stored(name, bytes)).collect();
        let deflated: Vec<_> = files.iter().map(|(name, bytes)| Entry::deflated(name, bytes)).collect();
        for entries in [&stored, &deflated, &in_folder("gh", stored.clone()), &in_folder("gh", deflated.clone())] {
            let package = Package::from_zip(&Zip::of(entries).bytes, Some(slug())).unwrap();
            prop_assert_eq!(&package, &loose);
            prop_assert_eq!(package.digest(), loose.digest());
        }
        let zip = loose.to_zip();
        let reversed = Package::from_files(slug(), files.iter().rev().map(|(name, bytes)| (name, bytes))).unwrap();
        prop_assert_eq!(&zip, &reversed.to_zip());
        prop_assert_eq!(&Package::from_zip(&zip, None).unwrap(), &loose);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), with_end in any::<bool>()) {
        let end = Zip::of(&[]).bytes;
        let bytes = if with_end { [bytes, end].concat() } else { bytes };
        let _ = Package::from_zip(&bytes, None);
    }
}

/// The files of a package that is taken: text with and without byte order marks, and others beside it.
fn package_files() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let manifest = ("\u{feff}?\\PC*",).prop_map(|(text,)| ("config.json".to_owned(), text.into_bytes()));
    let code = ("connector\\.(ts|js)", "\u{feff}?a[^\0]*").prop_map(|(name, text)| (name, text.into_bytes()));
    let icon = (0..4, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(format, rest)| {
        let (name, magic): (_, &[u8]) = [
            ("icon.svg", b"".as_slice()),
            ("icon.png", PNG),
            ("icon.jpg", b"\xff\xd8\xff"),
            ("icon.webp", b"RIFF\0\0\0\0WEBP"),
        ][usize::try_from(format).unwrap()];
        (name.to_owned(), [magic, &rest].concat())
    });
    let other =
        ("(cases|docs)/[a-z]{1,8}\\.json|[A-Z]{3,8}\\.md", prop::collection::vec(any::<u8>(), 0..300));
    let others = prop::collection::btree_map(other.0, other.1, 0..4);
    (manifest, prop::option::of(code), prop::option::of(icon), others)
        .prop_map(|(manifest, code, icon, others)| {
            std::iter::once(manifest).chain(code).chain(icon).chain(others).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

fn slug() -> Slug {
    Slug::parse("gh").unwrap()
}

/// The same entries in a top folder, which has an entry of its own.
fn in_folder(folder: &str, entries: Vec<Entry>) -> Vec<Entry> {
    let moved = entries.into_iter().map(|entry| {
        let name = [folder.as_bytes(), b"/", &entry.name].concat();
        Entry { name, ..entry }
    });
    std::iter::once(Entry::stored(format!("{folder}/"), "")).chain(moved).collect()
}

fn write_folder(parent: &Path, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let folder = parent.join(name);
    fs::create_dir(&folder).unwrap();
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// The error with its causes, as a command line prints it.
#[track_caller]
fn message(read: &Result<Package, PackageError>) -> String {
    let error = match read {
        Ok(package) => return format!("(passed: {package:?})"),
        Err(error) => error,
    };
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}
