//! `ctx.files`: downloads that stream to storage, and files that the code makes.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_runtime::ErrorCode::{HostBlocked, LimitExceeded, ProviderError, ProviderUnavailable};
use portcullis_runtime::{FileReference, KIB, MIB};
use serde_json::{Value, json};
use url::Url;

use crate::support::{Case, Ran};
use crate::upstream::server::Reply;

/// The bytes of a stored file, which stands in the test's own folder.
#[track_caller]
fn stored(ran: &Ran, file: &FileReference) -> Vec<u8> {
    let path: PathBuf = Url::parse(&file.url).unwrap().to_file_path().unwrap();
    assert!(path.starts_with(fs::canonicalize(ran.folder()).unwrap()), "{}", path.display());
    assert_eq!(path.file_name().unwrap().to_str().unwrap(), file.file_name);
    fs::read(path).unwrap()
}

/// The only file that the call stored, and its bytes. The result is its reference.
#[track_caller]
fn only_file(ran: &Ran) -> (FileReference, Vec<u8>) {
    let value = ran.value();
    assert_eq!(ran.file_references.len(), 1);
    let file = ran.file_references[0].clone();
    assert_eq!(*value, json!(file));
    let bytes = stored(ran, &file);
    assert_eq!(file.size, bytes.len() as u64);
    (file, bytes)
}

/// How many files and folders there are in the store.
fn n_entries(ran: &Ran) -> usize {
    fs::read_dir(ran.folder()).unwrap().count()
}

fn all_bytes() -> Vec<u8> {
    (0..=255).collect()
}

#[test]
fn files_are_absent_without_storage() {
    Case::execute("return ['files' in ctx, ctx.files === undefined]").gives(json!([false, true]));
}

#[test]
fn a_download_goes_to_storage_byte_for_byte() {
    let bytes = all_bytes().repeat(40);
    let body = bytes.clone();
    let ran = Case::execute("return ctx.files.download('http://api.test/a/b?c', { headers: { 'X-Api-Key': 'k' }, fileName: 'all.bin' })")
        .storing_files()
        .serve(move |_| Reply::status("200 OK", &[("Content-Type", "image/png; x=y")], &body))
        .run();
    let (file, stored) = only_file(&ran);
    assert!(stored == bytes);
    assert_eq!((file.file_name.as_str(), file.content_type.as_str()), ("all.bin", "image/png; x=y"));
    assert!(!file.file_id.is_empty());
    let request = ran.request();
    assert_eq!((request.line(), request.header("x-api-key")), ("GET /a/b?c HTTP/1.1", Some("k")));
    assert_eq!(ran.http[0].bytes, 10_240);
}

#[test]
fn a_reference_has_these_members() {
    let ran = Case::execute("return Object.entries(ctx.files.download('http://api.test/x.txt', { fileName: 'x' })).map(([name, value]) => name + ': ' + typeof value).sort()")
        .storing_files()
        .serve(|_| Reply::ok("x"))
        .run();
    assert_eq!(
        ran.value(),
        &json!(["contentType: string", "fileId: string", "fileName: string", "size: number", "url: string"])
    );
}

#[test]
fn a_download_larger_than_the_isolate_streams() {
    let ran = Case::execute("return ctx.files.download('http://api.test/', { fileName: 'large' })")
        .storing_files()
        .limits(|limits| {
            limits.memory = 4 * MIB;
            limits.response_body = MIB;
        })
        .serve(|_| Reply::ok(vec![7; 24 << 20]))
        .run();
    let (file, bytes) = only_file(&ran);
    assert_eq!(file.size, 24 * MIB);
    assert!(bytes.iter().all(|byte| *byte == 7));
}

#[test]
fn a_download_of_nothing_is_an_empty_file() {
    let ran = Case::execute("return ctx.files.download('http://api.test/', { fileName: 'empty' })")
        .storing_files()
        .serve(|_| Reply::ok(""))
        .run();
    assert_eq!(only_file(&ran).1, b"");
}

#[test]
fn a_download_past_the_limit_ends_the_call_and_leaves_nothing() {
    let download = |n_bytes: usize| {
        Case::execute("try { return ctx.files.download('http://api.test/', { fileName: 'x' }).size } catch { return 'caught' }")
            .storing_files()
            .limits(|limits| limits.file = 64 * KIB)
            .serve(move |_| Reply::ok(vec![1; n_bytes]))
    };
    download(65_536).gives(json!(65_536));
    let ran = download(65_537).fails(LimitExceeded, "a file is larger than the limit of 64 KiB");
    assert_eq!(
        (ran.error().details.clone(), n_entries(&ran)),
        (Some(json!({"limit": "file", "value": 65_536})), 0)
    );
    assert_eq!(ran.file_references, []);
}

#[test]
fn a_download_without_a_length_is_held_to_the_limit_too() {
    let ran = Case::execute("return ctx.files.download('http://api.test/', { fileName: 'x' })")
        .storing_files()
        .limits(|limits| limits.file = 64 * KIB)
        .serve(|_| {
            let head = Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            (0..100).fold(head, |reply, _| reply.then("1000\r\n").then(vec![1; 4096]).then("\r\n"))
        })
        .fails(LimitExceeded, "a file is larger than the limit of 64 KiB");
    assert_eq!(n_entries(&ran), 0);
}

#[test]
fn a_status_other_than_2xx_throws_and_leaves_nothing() {
    for (status, code) in [
        ("404 Not Found", ProviderError),
        ("500 Oops", ProviderUnavailable),
        ("304 Not Modified", ProviderError),
    ] {
        let ran = Case::execute("return ctx.files.download('http://api.test/f?x', { fileName: 'x' })")
            .storing_files()
            .serve(move |_| {
                Reply::status(status, &[], if status.starts_with("304") { "" } else { "no such file" })
            })
            .fails(
                code,
                &format!("download of \"http://api.test/f?x\" failed: the server answered {status}"),
            );
        assert_eq!((n_entries(&ran), ran.http.len()), (0, 1));
    }
}

#[test]
fn every_2xx_is_a_file() {
    for status in ["200 OK", "201 Created", "203 Non-Authoritative", "206 Partial Content"] {
        Case::execute("return ctx.files.download('http://api.test/', { fileName: 'x' }).size")
            .storing_files()
            .serve(move |_| Reply::status(status, &[], "12345"))
            .gives(json!(5));
    }
}

#[test]
fn a_download_that_breaks_off_throws_and_leaves_nothing() {
    let ran = Case::execute("return ctx.files.download('http://api.test/', { fileName: 'x' })")
        .storing_files()
        .serve(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart").close())
        .run();
    assert!(ran.result.is_err());
    assert_eq!((n_entries(&ran), ran.file_references.len()), (0, 0));
}

#[test]
fn a_download_is_held_to_allowed_hosts() {
    let ran = Case::execute("return ctx.files.download('https://evil.test/', { fileName: 'x' })")
        .storing_files()
        .fails(
            HostBlocked,
            "HTTP request to \"evil.test\" blocked: host not in allowedHosts [http://api.test, api.test]",
        );
    assert_eq!(n_entries(&ran), 0);
}

#[test]
fn a_download_follows_redirects() {
    let ran = Case::execute("return ctx.files.download('http://api.test/', { fileName: 'x' })")
        .storing_files()
        .serve(|request| match request.target() {
            "/" => Reply::redirect(302, "/real"),
            _ => Reply::ok("real"),
        })
        .run();
    assert_eq!(only_file(&ran).1, b"real");
}

#[test]
fn a_compressed_download_is_stored_as_what_it_holds() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"plain").unwrap();
    let gzip = encoder.finish().unwrap();
    let ran = Case::execute("return ctx.files.download('http://api.test/', { fileName: 'x' })")
        .storing_files()
        .serve(move |_| Reply::status("200 OK", &[("Content-Encoding", "gzip")], &gzip))
        .run();
    assert_eq!(only_file(&ran).1, b"plain");
}

#[test]
fn a_download_without_a_name_has_that_of_its_url() {
    for (url, name) in [
        ("http://api.test/a/report.pdf?x=/y#z", "report.pdf"),
        ("http://api.test/", "file"),
        ("http://api.test", "file"),
        ("http://api.test/a/..%2f..%2fetc", "..%2f..%2fetc"),
    ] {
        let ran = Case::execute(&format!("return ctx.files.download('{url}')"))
            .storing_files()
            .serve(|_| Reply::ok("x"))
            .run();
        assert_eq!(only_file(&ran).0.file_name, name, "{url}");
    }
}

#[test]
fn downloads_count_as_requests() {
    Case::execute("for (let i = 0; ; i++) ctx.files.download('http://api.test/', { fileName: 'x' + i })")
        .storing_files()
        .limits(|limits| limits.http_requests = 3)
        .serve(|_| Reply::ok("x"))
        .fails(LimitExceeded, "the call made more than its 3 HTTP requests");
}

#[test]
fn text_is_stored_as_utf8() {
    let ran = Case::execute("return ctx.files.store('Grüße 😀 \\ud800\\n', { encoding: 'utf-8', contentType: 'text/plain; charset=utf-8', fileName: 'grüße.txt' })")
        .storing_files()
        .run();
    let (file, bytes) = only_file(&ran);
    assert_eq!(bytes, "Grüße 😀 \u{fffd}\n".as_bytes());
    assert_eq!(
        (file.file_name.as_str(), file.content_type.as_str()),
        ("grüße.txt", "text/plain; charset=utf-8")
    );
}

#[test]
fn base64_is_stored_as_its_bytes() {
    for text in [STANDARD.encode(all_bytes()), URL_SAFE_NO_PAD.encode(all_bytes())] {
        let ran = Case::execute(&format!("return ctx.files.store('{text}', {{ encoding: 'base64', contentType: 'application/pdf', fileName: 'a.pdf' }})"))
            .storing_files()
            .run();
        assert!(only_file(&ran).1 == all_bytes());
    }
}

#[test]
fn text_that_looks_like_base64_is_text() {
    let ran = Case::execute(
        "return ctx.files.store('YQ==', { encoding: 'utf-8', contentType: 'text/plain', fileName: 'a' })",
    )
    .storing_files()
    .run();
    assert_eq!(only_file(&ran).1, b"YQ==");
}

#[test]
fn an_empty_file_is_a_file() {
    for encoding in ["utf-8", "base64"] {
        let ran = Case::execute(&format!("return ctx.files.store('', {{ encoding: '{encoding}', contentType: 'text/plain', fileName: 'a' }})"))
            .storing_files()
            .run();
        assert_eq!(only_file(&ran).1, b"");
    }
}

#[test]
fn a_stored_file_past_the_limit_ends_the_call() {
    for (expression, encoding) in [("'x'.repeat(n)", "utf-8"), ("ctx.base64Encode('x'.repeat(n))", "base64")]
    {
        let store = |n_bytes: usize| {
            Case::execute(&format!("const n = {n_bytes}; return ctx.files.store({expression}, {{ encoding: '{encoding}', contentType: 'text/plain', fileName: 'a' }}).size"))
                .storing_files()
                .limits(|limits| limits.file = 4 * KIB)
        };
        store(4096).gives(json!(4096));
        let ran = store(4097).fails(LimitExceeded, "a file is larger than the limit of 4 KiB");
        assert_eq!(n_entries(&ran), 0);
    }
}

#[test]
fn names_stay_inside_the_store() {
    for (name, kept) in [
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\\\..\\\\x.txt", "x.txt"),
        ("..", "file"),
        (".", "file"),
        ("", "file"),
        ("a/", "file"),
        ("a\\u0000b\\nc", "abc"),
        ("a b?#%20.txt", "a b?#%20.txt"),
        ("gpj\\u202eexe", "gpjexe"),
    ] {
        let options = format!("{{ encoding: 'utf-8', contentType: 'text/plain', fileName: '{name}' }}");
        let ran = Case::execute(&format!("return ctx.files.store('x', {options})")).storing_files().run();
        assert_eq!(only_file(&ran).0.file_name, kept, "{name}");
        let download = format!("return ctx.files.download('http://api.test/', {{ fileName: '{name}' }})");
        let ran = Case::execute(&download).storing_files().serve(|_| Reply::ok("x")).run();
        assert_eq!(only_file(&ran).0.file_name, kept, "{name}");
    }
}

#[test]
fn files_of_the_same_name_are_two() {
    let ran = Case::execute(
        "const options = { encoding: 'utf-8', contentType: 'text/plain', fileName: 'same' };\n\
         return [ctx.files.store('1', options), ctx.files.store('2', options)].map((file) => file.fileId)",
    )
    .storing_files()
    .run();
    assert_eq!(ran.file_references.len(), 2);
    assert_ne!(ran.file_references[0].file_id, ran.file_references[1].file_id);
    let contents: Vec<_> = ran.file_references.iter().map(|file| stored(&ran, file)).collect();
    assert_eq!(contents, [b"1", b"2"]);
}

#[test]
fn a_file_is_kept_when_the_call_fails_later() {
    let ran = Case::execute("ctx.files.store('1', { encoding: 'utf-8', contentType: 'text/plain', fileName: 'a' }); throw new Error('later')")
        .storing_files()
        .fails(ProviderError, "later");
    assert_eq!(stored(&ran, &ran.file_references[0]), b"1");
}

#[test]
fn wrong_options_are_told_and_nothing_is_stored() {
    for (statement, message) in [
        (
            "ctx.files.store({}, { encoding: 'utf-8', contentType: 'a/b', fileName: 'a' })",
            "ctx.files.store takes the data as a string: text, or base64",
        ),
        (
            "ctx.files.store('x', { encoding: 'hex', contentType: 'a/b', fileName: 'a' })",
            "options.encoding must be \"base64\" or \"utf-8\"",
        ),
        ("ctx.files.store('x')", "options.encoding must be \"base64\" or \"utf-8\""),
        (
            "ctx.files.store('*', { encoding: 'base64', contentType: 'a/b', fileName: 'a' })",
            "ctx.files.store: the data is not base64: it has a character that is in neither alphabet",
        ),
        (
            "ctx.files.store('x', { encoding: 'utf-8', contentType: 7, fileName: 'a' })",
            "options.contentType must be a string, not a number",
        ),
        ("ctx.files.download()", "ctx.files.download needs a URL"),
        (
            "ctx.files.download('http://api.test/', { fileName: {} })",
            "options.fileName must be a string: use JSON.stringify for an object",
        ),
        (
            "ctx.files.download('nonsense', { fileName: 'x' })",
            "HTTP request not sent: \"nonsense\" is no absolute URL: relative URL without a base",
        ),
    ] {
        let ran = Case::execute(&format!(
            "try {{ {statement} }} catch (error) {{ return [error instanceof Error, error.message] }}"
        ))
        .storing_files()
        .gives(json!([true, message]));
        assert_eq!(n_entries(&ran), 0, "{statement}");
    }
}

#[test]
fn test_connection_has_files_as_well() {
    let ran = Case::test_connection(
        "return ctx.files.store('x', { encoding: 'utf-8', contentType: 'text/plain', fileName: 'a' })",
    )
    .storing_files()
    .run();
    assert_eq!(only_file(&ran).1, b"x");
    assert_eq!(ran.value()["fileName"], Value::from("a"));
}
