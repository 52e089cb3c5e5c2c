//! The ring's file is made once, kept from others' eyes, and never overwritten where it is damaged.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Barrier;

use super::*;
use crate::vault::Vault;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn ids(path: &Path) -> Vec<String> {
    read(path).unwrap().into_iter().map(|key| key.id).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn problem<T>(result: Result<T, VaultError>) -> String {
    match result {
        Err(VaultError::Ring { problem, .. }) => problem,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn a_new_ring_is_its_owners_alone() {
    let folder = folder();
    let path = folder.path().join("a/b/master.key");
    create(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&folder.path().join("a")), 0o700);
    assert_eq!(mode(&folder.path().join("a/b")), 0o700);
    assert_eq!(names(path.parent().unwrap()), ["master.key"]);
    assert_eq!(read(&path).unwrap().len(), 1);
}

#[test]
fn a_ring_that_is_there_is_kept() {
    let folder = folder();
    let path = folder.path().join("master.key");
    create(&path).unwrap();
    let before = fs::read(&path).unwrap();
    create(&path).unwrap();
    let vault = Vault::open_or_create(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(vec![vault.active_key()], ids(&path));
}

#[test]
fn of_many_who_make_a_ring_at_once_all_get_the_same() {
    for _ in 0..20 {
        let folder = folder();
        let path = folder.path().join("master.key");
        let start = Barrier::new(8);
        let keys: Vec<String> = std::thread::scope(|scope| {
            let open = || {
                start.wait();
                Vault::open_or_create(&path).unwrap().active_key()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(keys, vec![ids(&path)[0].clone(); 8]);
        assert_eq!(names(folder.path()), ["master.key"]);
    }
}

#[test]
fn a_ring_that_others_can_read_is_refused() {
    let folder = folder();
    let path = folder.path().join("master.key");
    create(&path).unwrap();
    for open in [0o640, 0o604, 0o660, 0o644, 0o620, 0o602, 0o610] {
        set_mode(&path, open);
        let problem = problem(read(&path));
        assert!(problem.contains(&format!("chmod 600 {}", path.display())), "{problem}");
        assert!(problem.contains(&format!("{open:04o}")), "{problem}");
    }
    for closed in [0o600, 0o400] {
        set_mode(&path, closed);
        read(&path).unwrap();
    }
}

#[test]
fn a_damaged_ring_is_refused_and_left_as_it_is() {
    let folder = folder();
    let path = folder.path().join("master.key");
    create(&path).unwrap();
    let sound = fs::read_to_string(&path).unwrap();
    let entry = &read(&path).unwrap()[0];
    let key = STANDARD.encode(entry.bytes.as_slice());
    let other_key = STANDARD.encode([7; 32]);
    let repeated = format!(r#"{{"version": 1, "keys": [{0}, {0}]}}"#, entry_json(entry));
    let cases = [
        (String::new(), "ends too early"),
        (sound[..sound.len() / 2].to_owned(), "ends too early"),
        ("hunter2".to_owned(), "not JSON"),
        (r#"{"keys": ["hunter2"]}"#.to_owned(), "doesn't hold what a ring"),
        (r#"{"version": 1, "keys": ["hunter2"]}"#.to_owned(), "doesn't hold what a ring"),
        (r#"{"version": 1, "keys": []}"#.to_owned(), "no key"),
        (sound.replace("\"version\": 1", "\"version\": 2"), "version 2"),
        (sound.replace(&key, &key[..40]), "32 bytes"),
        (sound.replace(&key, &other_key), "isn't the one"),
        (sound.replace(&entry.id, "00000000"), "isn't the one"),
        (sound.replace(&entry.created_at.to_string(), "hunter2"), "RFC 3339"),
        (repeated, "twice"),
    ];
    for (text, expected) in cases {
        fs::write(&path, &text).unwrap();
        let problem = problem(Vault::open_or_create(&path));
        assert!(problem.contains(expected), "{text}: {problem}");
        assert!(!problem.contains("hunter2") && !problem.contains(&key[..40]), "{problem}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    assert_eq!(names(folder.path()), ["master.key"]);
}

fn entry_json(key: &RingKey) -> String {
    serde_json::json!({"id": key.id, "key": STANDARD.encode(key.bytes.as_slice()), "created_at": key.created_at})
        .to_string()
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = folder();
    assert!(problem(Vault::open_or_create(folder.path())).contains("no regular file"));
    let dangling = folder.path().join("link");
    symlink(folder.path().join("nothing"), &dangling).unwrap();
    assert!(problem(Vault::open_or_create(&dangling)).contains("can't be read"));
    let large = folder.path().join("large");
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&large).unwrap();
    file.set_len(MAX_LENGTH + 1).unwrap();
    assert!(problem(read(&large)).contains("far too much"));
}

#[test]
fn a_replaced_ring_keeps_its_owner_its_mode_and_its_links() {
    let folder = folder();
    let path = folder.path().join("master.key");
    create(&path).unwrap();
    let owner = (Uid::from_raw(4321), Gid::from_raw(8765));
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        rustix::fs::chown(&path, Some(owner.0), Some(owner.1)).unwrap();
    }
    let link = folder.path().join("link");
    symlink("master.key", &link).unwrap();
    // As a killed rotation leaves it.
    fs::write(folder.path().join("master.key.new"), "half").unwrap();
    let before = fs::metadata(&path).unwrap();

    let mut keys = read(&link).unwrap();
    keys.push(RingKey::generate());
    replace(&link, &keys).unwrap();

    assert_eq!(ids(&path), keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.uid(), after.gid(), mode(&path)), (before.uid(), before.gid(), 0o600));
    assert_eq!(names(folder.path()), ["link", "master.key"]);
}

#[test]
fn a_written_ring_reads_the_same() {
    let folder = folder();
    let path = folder.path().join("master.key");
    create(&path).unwrap();
    let keys: Vec<RingKey> = (0..5).map(|_| RingKey::generate()).collect();
    replace(&path, &keys).unwrap();
    let read = read(&path).unwrap();
    assert_eq!(read.len(), 5);
    for (read, key) in read.iter().zip(&keys) {
        assert_eq!((&read.id, *read.bytes, read.created_at), (&key.id, *key.bytes, key.created_at));
    }
    let text = write_out(&keys);
    assert!(text.len() < 1024 + 256 * keys.len(), "it grew: a copy of the keys is left in memory");
}

#[test]
fn a_lock_is_one_holders_at_a_time() {
    let folder = folder();
    let path = folder.path().join("master.key");
    create(&path).unwrap();
    let held = lock(&path).unwrap();
    assert!(held.is_some());
    assert!(lock(&path).unwrap().is_none());
    drop(held);
    assert!(lock(&path).unwrap().is_some());
    assert_eq!(mode(&folder.path().join("master.key.lock")), 0o600);
}
