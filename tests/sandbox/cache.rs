//! The bytecode cache from outside: an entry saves the compile, and one that was tampered with is compiled anew, never run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use portcullis_runtime::{BytecodeCache, CacheError, Connector, Engine, EngineConfig, Limits, LoadError};
use serde_json::json;

use crate::bench::{alone, code_of_cases, config, load, package, run, value_of};

const CODE: &[(&str, &str)] = &[("say", "return 'the genuine text'")];

fn engine_with(cache: &Path) -> Engine {
    let cache = BytecodeCache::in_folder(cache).expect("a cache");
    Engine::new(EngineConfig { cache: Some(cache), ..config(Limits::default()) })
}

/// An engine that can compile nothing: its executable is no sandbox.
fn engine_that_only_reads(cache: &Path) -> Engine {
    let cache = BytecodeCache::in_folder(cache).expect("a cache");
    let executable = Some(PathBuf::from("/bin/false"));
    Engine::new(EngineConfig { cache: Some(cache), executable, ..config(Limits::default()) })
}

fn say(connector: &Connector) -> String {
    value_of(&run(connector, "say")).as_str().expect("a text").to_owned()
}

/// The cache's entries, its key apart.
fn entries(cache: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(cache).expect("the cache").map(|entry| entry.expect("an entry").path());
    all.filter(|path| path.file_name().is_some_and(|name| name != "key")).collect()
}

#[test]
fn an_entry_saves_the_compile_and_runs() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let package = package(&code_of_cases(CODE.iter().copied()), &[]);
    assert!(
        matches!(engine_that_only_reads(&cache).load(&package), Err(LoadError::Sandbox(_))),
        "nothing is cached yet"
    );
    assert_eq!(say(&load(&engine_with(&cache), &package)), "the genuine text");
    assert_eq!(entries(&cache).len(), 1);
    load(&engine_that_only_reads(&cache), &package);
    assert_eq!(say(&load(&engine_with(&cache), &package)), "the genuine text");
}

#[test]
fn a_tampered_entry_is_compiled_anew() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let package = package(&code_of_cases(CODE.iter().copied()), &[]);
    load(&engine_with(&cache), &package);
    let entry = entries(&cache).remove(0);
    let genuine = fs::read(&entry).expect("the entry");
    let text = genuine.windows(7).position(|bytes| bytes == b"genuine").expect("the text in the bytecode");
    let mut forged = genuine.clone();
    forged[text..text + 7].copy_from_slice(b"altered");
    let last = genuine.len() - 1;
    let variants = [
        ("another text", forged),
        ("another MAC", flipped(&genuine, 0)),
        ("another kind", flipped(&genuine, 32)),
        ("another length", flipped(&genuine, 33)),
        ("another position", flipped(&genuine, last)),
        ("truncated", genuine[..last].to_vec()),
        ("longer", [genuine.as_slice(), b"x"].concat()),
        ("empty", Vec::new()),
    ];
    for (name, bytes) in variants {
        fs::write(&entry, &bytes).expect("the entry is altered");
        assert!(
            matches!(engine_that_only_reads(&cache).load(&package), Err(LoadError::Sandbox(_))),
            "{name} was taken"
        );
        assert_eq!(say(&load(&engine_with(&cache), &package)), "the genuine text", "{name}");
        assert_ne!(fs::read(&entry).expect("the entry"), bytes, "{name} was replaced");
        load(&engine_that_only_reads(&cache), &package);
    }
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn an_entry_of_other_code_or_under_another_key_is_not_taken() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, elsewhere) = (folder.path().join("cache"), folder.path().join("elsewhere"));
    let wanted = package(&code_of_cases(CODE.iter().copied()), &[]);
    let other = package(&code_of_cases([("say", "return 'something else'")]), &[]);
    load(&engine_with(&cache), &wanted);
    let entry = entries(&cache).remove(0);
    // The same name, as an entry made by another engine or for other code would have to be given.
    load(&engine_with(&elsewhere), &other);
    fs::copy(entries(&elsewhere).remove(0), &entry).expect("a copy");
    assert_eq!(say(&load(&engine_with(&cache), &wanted)), "the genuine text");
    // The same code, made under another folder's key.
    fs::remove_dir_all(&elsewhere).expect("removed");
    load(&engine_with(&elsewhere), &wanted);
    fs::copy(entries(&elsewhere).remove(0), &entry).expect("a copy");
    assert!(matches!(engine_that_only_reads(&cache).load(&wanted), Err(LoadError::Sandbox(_))));
    assert_eq!(say(&load(&engine_with(&cache), &wanted)), "the genuine text");
}

#[test]
fn a_cache_that_others_can_enter_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for mode in [0o750, 0o701, 0o770, 0o777, 0o710] {
        let cache = folder.path().join(format!("{mode:o}"));
        BytecodeCache::in_folder(&cache).expect("a private folder");
        fs::set_permissions(&cache, fs::Permissions::from_mode(mode)).expect("opened");
        assert!(matches!(BytecodeCache::in_folder(&cache), Err(CacheError::NotPrivate { .. })), "{mode:o}");
    }
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    BytecodeCache::in_folder(&real).expect("a private folder");
    symlink(&real, &link).expect("a link");
    assert!(BytecodeCache::in_folder(&link).is_err(), "a link may be turned elsewhere");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    assert!(BytecodeCache::in_folder(&file).is_err());
}

#[test]
fn everything_in_the_cache_is_private() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let connector = load(&engine_with(&cache), &package(&code_of_cases(CODE.iter().copied()), &[]));
    assert_eq!(*value_of(&run(&connector, "say")), json!("the genuine text"));
    for path in entries(&cache).into_iter().chain([cache.join("key")]) {
        let mode = fs::metadata(&path).expect("an entry").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}
