//! What a package reader holds at most: measured by a counting allocator for every hostile archive.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod hostile_zip;

use std::fs::{self, File};

use peak_alloc::PeakAlloc;
use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::package::{MAX_CODE_BYTES, MAX_PACKAGE_BYTES, Package, PackageError};

/// The most that reading one package may hold at once beside the input: twice the package's cap for its contents
/// while they grow, and half a cap for decompression, names and messages.
const MAX_HELD_BYTES: usize = 5 * MAX_PACKAGE_BYTES / 2;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// One test, so that no other thread allocates while it measures.
#[test]
fn no_package_makes_the_reader_hold_more_than_its_caps() {
    let slug = Slug::parse("gh").unwrap();
    let mut archives: Vec<_> = hostile_zip::refusals().into_iter().map(|it| (it.message, it.zip)).collect();
    archives.extend([
        ("extra fields", extra_fields()),
        ("deep names", deep_names()),
        ("the largest", largest()),
    ]);
    for (what, zip) in &archives {
        let peak = peak_of(|| Package::from_zip(zip, Some(slug.clone())));
        assert!(peak <= MAX_HELD_BYTES, "{peak} bytes held: {what}");
    }

    let dir = tempfile::TempDir::new().unwrap();
    let folder = dir.path().join("gh");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.json"), "{}").unwrap();
    (0..5_000).for_each(|n| drop(File::create(folder.join(format!("{n}.md"))).unwrap()));
    assert!(peak_of(|| Package::read(&folder)) < 100_000, "a folder's other files are never listed");
    for name in ["connector.ts", "icon.svg", "config.json"] {
        let file = File::create(folder.join(name)).unwrap();
        file.set_len(1 << 40).unwrap();
        let peak = peak_of(|| Package::read(&folder));
        assert!(peak <= MAX_HELD_BYTES, "{peak} bytes held: a terabyte of {name}");
    }
    let zip = dir.path().join("huge.zip");
    File::create(&zip).unwrap().set_len(1 << 40).unwrap();
    assert!(peak_of(|| Package::read(&zip)) <= MAX_HELD_BYTES, "a terabyte of zip");
}

/// How many bytes are held at most while `read` runs, beyond those held before.
fn peak_of(read: impl FnOnce() -> Result<Package, PackageError>) -> usize {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let package = read();
    let peak = ALLOCATOR.peak_usage() - before;
    drop(package);
    peak
}

/// As many extra fields as are let through: a zip reader may make an object of each.
fn extra_fields() -> Vec<u8> {
    let entries: Vec<_> = (0..64)
        .map(|n| hostile_zip::Entry {
            extra: [[0xfe, 0xca, 0, 0]; 128].concat(),
            ..hostile_zip::Entry::stored(format!("{n}.md"), "")
        })
        .collect();
    hostile_zip::Zip::of(&entries).bytes
}

/// Names as long and as deep as are let through, of letters that take more bytes in the other case.
fn deep_names() -> Vec<u8> {
    let part = "ΐ".repeat(31);
    let names = (0..64).map(|n| format!("{n}/{}", [part.as_str(); 7].join("/")));
    let entries: Vec<_> = names.map(|name| hostile_zip::Entry::stored(name, "")).collect();
    hostile_zip::Zip::of(&entries).bytes
}

/// A package at its caps.
fn largest() -> Vec<u8> {
    let (code, manifest) = (vec![b';'; MAX_CODE_BYTES], vec![b' '; MAX_PACKAGE_BYTES - MAX_CODE_BYTES]);
    let slug = Slug::parse("gh").unwrap();
    Package::from_files(slug, [("connector.ts", code), ("config.json", manifest)]).unwrap().to_zip()
}
