//! Fuzzes the wire protocol from a hostile call process: whatever it sends, its supervisor ends the call in time, with an
//! error or a result, and keeps no more logs than the limit allows.
//!
//! The first byte chooses: the rest is what goes on the wire, or a recipe for frames that are well formed outside.

#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use portcullis_runtime::sandbox::fuzz_supervise;
use portcullis_runtime::{Client, EgressConfig, FileStore};

/// The longest input that is used, in bytes.
const MAX_INPUT: usize = 16 * 1024;
const DEADLINE: Duration = Duration::from_millis(200);
/// The limit on logs, and on the result, that `fuzz_supervise` sets, in bytes. As text it can be three times that: a byte
/// that is no UTF-8 becomes U+FFFD.
const MAX_LOGS: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(MAX_INPUT)];
    let Some((&recipe, bytes)) = bytes.split_first() else { return };
    let sent = if recipe % 2 == 0 { bytes.to_vec() } else { frames(bytes) };
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    let started = Instant::now();
    // An input is far smaller than a socket's buffer: it is all on the wire before anybody reads. No answer is ever read.
    theirs.write_all(&sent).expect("room in the buffer");
    theirs.shutdown(Shutdown::Write).expect("the writing half is closed");
    let (result, logs) = fuzz_supervise(ours, DEADLINE, client(), files());
    assert!(started.elapsed() < DEADLINE + Duration::from_secs(5), "it took {:?}", started.elapsed());
    assert!(logs.iter().map(|line| line.message.len()).sum::<usize>() <= 3 * MAX_LOGS, "too much was logged");
    assert!(logs.len() <= MAX_LOGS, "{} lines were logged", logs.len());
    assert!(result.map_or_else(|error| !error.message.is_empty(), |json| json.len() <= 3 * MAX_LOGS));
});

/// Frames from `kind, head length, payload length, head, payload` again and again.
fn frames(mut recipe: &[u8]) -> Vec<u8> {
    const KINDS: [u8; 15] = [13, 10, 12, 11, 14, 15, 1, 2, 16, 17, 64, 65, 66, 67, 68];
    let mut frames = Vec::new();
    while let Some((&[kind, head_len, payload_len], rest)) = recipe.split_first_chunk::<3>() {
        let head_len = usize::from(head_len).min(rest.len());
        let (head, rest) = rest.split_at(head_len);
        let (payload, rest) = rest.split_at(usize::from(payload_len).min(rest.len()));
        let len = 5 + head.len() + payload.len();
        frames.extend(u32::try_from(len).expect("at most 515").to_le_bytes());
        frames.push(KINDS[usize::from(kind) % KINDS.len()]);
        frames.extend(u32::try_from(head.len()).expect("at most 255").to_le_bytes());
        frames.extend_from_slice(head);
        frames.extend_from_slice(payload);
        recipe = rest;
    }
    frames
}

/// A client that may reach nothing: the call allows no host.
fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| Client::new(&EgressConfig::default()).expect("a client"))
}

/// Storage in memory's file system, where there is one.
fn files() -> Option<&'static FileStore> {
    static FILES: OnceLock<Option<FileStore>> = OnceLock::new();
    let folder =
        || FileStore::in_folder(format!("/dev/shm/portcullis-fuzz-wire-{}", std::process::id())).ok();
    FILES.get_or_init(folder).as_ref()
}
