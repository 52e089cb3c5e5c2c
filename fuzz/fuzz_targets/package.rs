//! Fuzzes the package reader: no bytes make it panic, and what it takes stays within the caps.
//!
//! Run it with `-malloc_limit_mb=3`, which also fails on an allocation past the caps.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::package::{MAX_CODE_BYTES, MAX_ICON_BYTES, MAX_PACKAGE_BYTES, Package};

fuzz_target!(|bytes: &[u8]| {
    let slug = Slug::parse("fuzzed").expect("this is a slug");
    let Ok(package) = Package::from_zip(bytes, Some(slug)) else { return };
    let code = package.code().map_or(0, |code| code.text().len());
    let icon = package.icon().map_or(0, |icon| icon.bytes().len());
    assert!(code <= MAX_CODE_BYTES && icon <= MAX_ICON_BYTES);
    assert!(package.manifest().len() + code + icon <= MAX_PACKAGE_BYTES);
    let again = Package::from_zip(&package.to_zip(), None).expect("a written package can be read");
    assert_eq!(again, package);
    assert_eq!(again.digest(), package.digest());
});
