//! A call's process that was taken over can send anything: its supervisor ends the call in time, with an error or a result,
//! and holds no more memory than the limits allow.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_runtime::sandbox::fuzz_supervise;
use portcullis_runtime::sandbox::wire::{
    Exit, Failure, FailureKind, FileDownload, FileStore as StoreRequest, HttpRequest, Kind, Log, LogLevel,
    encode,
};
use portcullis_runtime::{CallError, Client, EgressConfig, ErrorCode, FileStore, KIB, LogLine};
use proptest::prelude::*;
use serde_json::json;

const DEADLINE: Duration = Duration::from_millis(300);

/// Every kind that a process can put on the wire, those of the other direction too.
const KINDS: [Kind; 15] = [
    Kind::Born,
    Kind::Exited,
    Kind::HttpRequest,
    Kind::FileDownload,
    Kind::FileStore,
    Kind::Log,
    Kind::Result,
    Kind::Failure,
    Kind::Compiled,
    Kind::CompileErrors,
    Kind::Call,
    Kind::HttpResponse,
    Kind::FileReference,
    Kind::Refusal,
    Kind::Compile,
];

fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| Client::new(&EgressConfig::default()).expect("a client"))
}

/// What a supervisor makes of a peer, and checks that it is done soon after the deadline.
#[track_caller]
fn supervised(
    peer: impl FnOnce(UnixStream) + Send,
    files: Option<&FileStore>,
) -> (Result<String, CallError>, Vec<LogLine>) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let hold = ours.try_clone().expect("a clone");
    thread::scope(|scope| {
        scope.spawn(move || peer(theirs));
        let started = Instant::now();
        let ended = fuzz_supervise(ours, DEADLINE, client(), files);
        // A pidfd would have killed a real process; this one hears that nobody listens any more.
        let _ = hold.shutdown(Shutdown::Both);
        assert!(started.elapsed() < DEADLINE + Duration::from_secs(2), "it took {:?}", started.elapsed());
        ended
    })
}

/// The error that a peer ends in.
#[track_caller]
fn error(peer: impl FnOnce(UnixStream) + Send) -> CallError {
    match supervised(peer, None).0 {
        Ok(result) => panic!("it ended in {result}"),
        Err(error) => error,
    }
}

#[track_caller]
fn check_crash(peer: impl FnOnce(UnixStream) + Send) {
    let error = error(peer);
    assert_eq!(error.code, ErrorCode::SandboxCrashed, "{error:?}");
}

#[track_caller]
fn check_limit(peer: impl FnOnce(UnixStream) + Send, limit: &str, value: u64) {
    let error = error(peer);
    assert_eq!(error.details, Some(json!({"limit": limit, "value": value})), "{error:?}");
}

/// Writes until nobody listens.
fn endlessly(mut stream: UnixStream, bytes: &[u8]) {
    while stream.write_all(bytes).is_ok() {}
}

/// Writes once, then listens to the end, as one would who waits for answers.
fn once(mut stream: UnixStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Writes once and goes.
fn and_goes(mut stream: UnixStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

fn log(message: &[u8]) -> Vec<u8> {
    encode(Kind::Log, &Log { level: LogLevel::Info }, message)
}

fn http_request(url: &str) -> Vec<u8> {
    encode(
        Kind::HttpRequest,
        &HttpRequest { method: "GET".to_owned(), url: url.to_owned(), ..HttpRequest::default() },
        b"",
    )
}

#[test]
fn a_result_is_taken_from_an_honest_peer() {
    let honest = |stream| once(stream, &[log(b"hello"), encode(Kind::Result, &(), b"{}")].concat());
    let (result, logs) = supervised(honest, None);
    assert_eq!((result, logs.len()), (Ok("{}".to_owned()), 1));
}

#[test]
fn silence_lasts_until_the_deadline() {
    check_limit(|stream| once(stream, b""), "deadline", 300);
    for whole in [log(b"hello"), http_request("https://a.com/")] {
        for len in 1..whole.len() {
            if len % 7 == 1 {
                check_limit(|stream| once(stream, &whole[..len]), "deadline", 300);
            }
        }
    }
}

#[test]
fn a_peer_that_goes_has_crashed() {
    check_crash(|stream| and_goes(stream, b""));
    let whole = log(b"hello");
    for len in 0..=whole.len() {
        check_crash(|stream| and_goes(stream, &whole[..len]));
    }
}

#[test]
fn bytes_that_trickle_do_not_move_the_deadline() {
    let trickle = |mut stream: UnixStream| {
        let whole = log(&[b'x'; 3000]);
        for byte in whole.iter().cycle() {
            thread::sleep(Duration::from_millis(1));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    };
    check_limit(trickle, "deadline", 300);
}

#[test]
fn an_announced_length_is_refused_before_it_is_read() {
    for kind in KINDS {
        for len in [0x0020_0000u32, 0x7fff_ffff, u32::MAX] {
            let mut bytes = len.to_le_bytes().to_vec();
            bytes.push(kind as u8);
            bytes.extend([0; 4]);
            // It keeps the socket open: only the length can end the call before its deadline.
            let started = Instant::now();
            let error = error(|stream| once(stream, &bytes));
            let is_known = [ErrorCode::SandboxCrashed, ErrorCode::LimitExceeded].contains(&error.code);
            assert!(is_known && started.elapsed() < DEADLINE, "{kind:?} of {len}: {error:?}");
        }
    }
    // A head longer than its frame, a frame shorter than its own fields, a kind that isn't one.
    for bytes in
        [[9, 0, 0, 0, 13, 255, 255, 255, 255], [4, 0, 0, 0, 13, 0, 0, 0, 0], [5, 0, 0, 0, 99, 0, 0, 0, 0]]
    {
        check_crash(|stream| once(stream, &bytes));
    }
}

#[test]
fn frames_that_no_process_may_send_end_the_call() {
    for kind in KINDS {
        let from_a_process =
            [Kind::HttpRequest, Kind::FileDownload, Kind::FileStore, Kind::Log, Kind::Result, Kind::Failure];
        if !from_a_process.contains(&kind) {
            check_crash(|stream| once(stream, &encode(kind, &json!({}), b"")));
            check_crash(|stream| once(stream, &encode(kind, &json!({}), &[0; 900])));
        }
    }
}

#[test]
fn heads_that_are_not_what_they_should_be_end_the_call() {
    let heads = [
        "",
        "null",
        "[]",
        "{}",
        "{",
        "0",
        "\"a\"",
        "{\"level\":\"loud\"}",
        "\u{0}",
        "{\"method\":1}",
        "{\"method\":\"GET\"}",
    ];
    let deep = "[".repeat(100_000);
    for kind in [Kind::HttpRequest, Kind::FileDownload, Kind::FileStore, Kind::Log, Kind::Failure] {
        for head in heads.iter().copied().chain([deep.as_str()]) {
            let error = error(|stream| once(stream, &raw(kind, head.as_bytes(), b"")));
            let limits = error.code == ErrorCode::LimitExceeded && head.len() > 1000;
            assert!(error.code == ErrorCode::SandboxCrashed || limits, "{kind:?} {head:.20}: {error:?}");
        }
    }
}

/// A frame whose head is any bytes.
fn raw(kind: Kind, head: &[u8], payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(5 + head.len() + payload.len()).expect("a length");
    let head_len = u32::try_from(head.len()).expect("a length");
    [&len.to_le_bytes(), &[kind as u8][..], &head_len.to_le_bytes(), head, payload].concat()
}

#[test]
fn endless_logs_end_the_call() {
    for message in [&b""[..], b"a", &[b'x'; 1000], &[0xff; 100]] {
        let (result, logs) = supervised(|stream| endlessly(stream, &log(message)), None);
        let error = result.expect_err("an endless log");
        assert_eq!(error.details, Some(json!({"limit": "logs", "value": 4 * KIB})), "{error:?}");
        assert!(logs.len() <= 4096, "{} lines", logs.len());
    }
    check_limit(|stream| once(stream, &log(&[b'x'; 5000])), "logs", 4 * KIB);
}

#[test]
fn endless_requests_end_the_call() {
    for url in ["https://a.com/", "", "http://127.0.0.1/", "file:///etc/passwd", "https://a.com/\r\nHost: b"]
    {
        check_limit(|stream| endlessly(stream, &http_request(url)), "http_requests", 20);
    }
    let download = encode(
        Kind::FileDownload,
        &FileDownload { url: "https://a.com/".to_owned(), ..FileDownload::default() },
        b"",
    );
    let folder = tempfile::tempdir().expect("a folder");
    let files = FileStore::in_folder(folder.path()).expect("a store");
    let error =
        supervised(|stream| endlessly(stream, &download), Some(&files)).0.expect_err("endless downloads");
    assert_eq!(error.details, Some(json!({"limit": "http_requests", "value": 20})), "{error:?}");
    let left = std::fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(left, 0, "files of refused downloads are left");
}

#[test]
fn a_peer_that_never_reads_its_answers_ends_at_its_deadline() {
    // The answer quotes the URL: a few of them fill the socket.
    let url = format!("https://{}/", "a".repeat(60_000));
    let request = http_request(&url);
    let error = error(|stream| endlessly(stream, &request));
    assert_eq!(error.code, ErrorCode::LimitExceeded, "{error:?}");
    let store = StoreRequest { base64: true, content_type: "a/b".to_owned(), file_name: "a".to_owned() };
    let store = encode(Kind::FileStore, &store, b"QUFB");
    check_limit(|stream| endlessly(stream, &store), "deadline", 300);
}

#[test]
fn a_stored_file_stays_in_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("files");
    let files = FileStore::in_folder(&root).expect("a store");
    for name in
        ["../../up", "/etc/passwd", "..", ".", "", "a/b", "a\0b", "\u{202e}gnp.exe", &"x".repeat(5000)]
    {
        for content_type in ["text/plain", "", "a\r\nb"] {
            let head = StoreRequest {
                base64: false,
                content_type: content_type.to_owned(),
                file_name: name.to_owned(),
            };
            let store = encode(Kind::FileStore, &head, b"data");
            let frames = [store, encode(Kind::Result, &(), b"1")].concat();
            let (result, _) = supervised(|stream| once(stream, &frames), Some(&files));
            assert_eq!(result, Ok("1".to_owned()), "{name:?}");
        }
    }
    let beside: Vec<_> =
        std::fs::read_dir(folder.path()).expect("the folder").flatten().map(|entry| entry.path()).collect();
    assert_eq!(beside, [root]);
}

#[test]
fn a_forged_end_is_only_ones_own_end() {
    for (signal, status) in
        [(None, None), (None, Some(0)), (Some(9), None), (Some(31), None), (Some(i32::MIN), Some(i32::MAX))]
    {
        check_crash(|stream| once(stream, &encode(Kind::Exited, &Exit { signal, status }, b"")));
    }
    check_limit(
        |stream| once(stream, &encode(Kind::Exited, &Exit { signal: Some(24), status: None }, b"")),
        "cpu",
        5000,
    );
    check_crash(|stream| once(stream, &encode(Kind::Born, &1, b"")));
}

#[test]
fn what_comes_after_the_end_is_not_read() {
    let frames =
        [encode(Kind::Result, &(), b"1"), http_request("https://a.com/"), vec![0xff; 100_000]].concat();
    let (result, _) = supervised(|stream| once(stream, &frames), None);
    assert_eq!(result, Ok("1".to_owned()));
}

#[test]
fn texts_are_made_text() {
    let frames =
        [log(&[0xff, b'a', 0xed, 0xa0, 0x80]), encode(Kind::Result, &(), &[b'"', 0xff, b'"'])].concat();
    let (result, logs) = supervised(|stream| once(stream, &frames), None);
    assert_eq!(result, Ok("\"\u{fffd}\"".to_owned()));
    assert!(logs[0].message.starts_with("\u{fffd}a"), "{logs:?}");
}

#[test]
fn a_failure_says_at_most_what_is_read() {
    let failure = |len: usize| Failure {
        kind: FailureKind::Thrown,
        message: "m".repeat(len),
        stack: Some("s".repeat(len)),
    };
    let said = error(|stream| once(stream, &encode(Kind::Failure, &failure(1000), b"")));
    assert_eq!((said.code, said.message.len()), (ErrorCode::ProviderError, 1000));
    let too_much = encode(Kind::Failure, &failure(2_000_000), b"");
    check_crash(|stream| once(stream, &too_much));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_end_in_an_error_or_a_result(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = supervised(|stream| and_goes(stream, &bytes), None);
    }

    #[test]
    fn any_frames_end_in_an_error_or_a_result(
        frames in proptest::collection::vec((0..KINDS.len(), "(\\{\\}|null|\\{\"level\":\"log\"\\}|.{0,20})", ".{0,40}"), 0..20)
    ) {
        let frames: Vec<u8> =
            frames.iter().flat_map(|(kind, head, payload)| raw(KINDS[*kind], head.as_bytes(), payload.as_bytes())).collect();
        let _ = supervised(|stream| and_goes(stream, &frames), None);
    }
}
