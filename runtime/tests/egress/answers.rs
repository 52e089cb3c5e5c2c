//! What is made of answers: statuses, headers, bodies in every framing and coding, and broken ones.

use std::io::Write;

use portcullis_runtime::egress::{EgressErrorKind, Method, Request};

use crate::support::server::{Reply, TestServer};
use crate::{Fixture, answer, message};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut compressed, 4096, 5, 22);
    writer.write_all(bytes).unwrap();
    drop(writer);
    compressed
}

#[test]
fn any_status_is_a_response() {
    for status in [200, 201, 202, 300, 304, 400, 401, 404, 418, 429, 500, 503, 599] {
        let response = answer(Reply::status(&format!("{status} In My Words"), &[], "x")).unwrap();
        assert_eq!((response.status, response.status_text.as_str()), (status, "In My Words"));
        assert_eq!(response.text(), if status == 304 { "" } else { "x" });
    }
}

#[test]
fn a_missing_reason_phrase_is_the_standard_one() {
    let response = answer(Reply::raw("HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n")).unwrap();
    assert_eq!(response.status_text, "Not Found");
}

#[test]
fn a_204_has_no_body() {
    let response = answer(Reply::raw("HTTP/1.1 204 No Content\r\n\r\n")).unwrap();
    assert_eq!((response.status, response.body), (204, vec![]));
}

#[test]
fn header_names_are_lower_case_and_repeated_ones_joined() {
    let headers =
        [("Set-Cookie", "a=1; Path=/"), ("X-One", " x "), ("set-cookie", "b=2"), ("X-L", "gr\u{fc}n")];
    let response = answer(Reply::status("200 OK", &headers, "")).unwrap();
    assert_eq!(response.header("set-cookie"), Some("a=1; Path=/, b=2"));
    assert_eq!(response.header("x-one"), Some("x"));
    assert_eq!(response.header("x-l"), Some("g\u{72}\u{c3}\u{bc}n"));
    assert_eq!(response.header("content-length"), Some("0"));
}

#[test]
fn all_byte_values_come_back() {
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(answer(Reply::ok(&bytes)).unwrap().body, bytes);
}

#[test]
fn chunks_are_joined() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let response =
        answer(Reply::raw(head).then("5\r\nhello\r\n").then("6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n"));
    assert_eq!(response.unwrap().text(), "hello world");
}

#[test]
fn a_body_may_end_with_the_connection() {
    let response = answer(Reply::raw("HTTP/1.1 200 OK\r\n\r\nuntil").then(" the end").close());
    assert_eq!(response.unwrap().text(), "until the end");
    let response = answer(Reply::raw("HTTP/1.0 200 OK\r\n\r\nold").close());
    assert_eq!(response.unwrap().text(), "old");
}

#[test]
fn informational_responses_are_passed_over() {
    let informed = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let response =
        answer(Reply::raw(informed).then("HTTP/1.1 200 Really\r\nContent-Length: 2\r\n\r\nok")).unwrap();
    assert_eq!(
        (response.status, response.status_text.as_str(), response.text().as_str()),
        (200, "Really", "ok")
    );
}

#[test]
fn compressed_bodies_are_decoded_and_their_headers_dropped() {
    let text = "hello ".repeat(1000);
    for (coding, bytes) in [("gzip", gzip(text.as_bytes())), ("br", brotli(text.as_bytes()))] {
        let response = answer(Reply::status("200 OK", &[("Content-Encoding", coding)], bytes)).unwrap();
        assert!(response.text() == text, "{coding}");
        assert_eq!(response.header("content-encoding"), None);
        assert_eq!(response.header("content-length"), None);
    }
}

#[test]
fn a_compressed_body_may_come_in_chunks() {
    let compressed = gzip(b"hello");
    let (first, second) = compressed.split_at(7);
    let mut bytes =
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in [first, second, b""] {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    assert_eq!(answer(Reply::raw(bytes)).unwrap().text(), "hello");
}

#[test]
fn an_empty_body_may_claim_compression() {
    for coding in ["gzip", "br"] {
        let coding = [("Content-Encoding", coding)];
        assert_eq!(answer(Reply::status("200 OK", &coding, "")).unwrap().body, b"");
        let head = format!("HTTP/1.1 204 No Content\r\nContent-Encoding: {}\r\n\r\n", coding[0].1);
        assert_eq!(answer(Reply::raw(head)).unwrap().body, b"");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
            coding[0].1
        );
        assert_eq!(answer(Reply::raw(head).then("0\r\n\r\n")).unwrap().body, b"");
    }
}

#[test]
fn a_broken_compressed_body_is_an_error() {
    for (coding, bytes) in [("gzip", gzip(b"hello hello")), ("br", brotli(b"hello hello"))] {
        let cut = &bytes[..bytes.len() / 2];
        for bytes in [cut, b"this is not compressed"] {
            let error = answer(Reply::status("200 OK", &[("Content-Encoding", coding)], bytes)).unwrap_err();
            assert_eq!(error.kind(), EgressErrorKind::Protocol, "{error}");
            assert!(error.to_string().contains("is no valid"), "{error}");
        }
    }
}

#[test]
fn an_unknown_coding_is_left_to_the_caller() {
    let response = answer(Reply::status("200 OK", &[("Content-Encoding", "zstd")], "bytes")).unwrap();
    assert_eq!(response.header("content-encoding"), Some("zstd"));
    assert_eq!(response.body, b"bytes");
}

#[test]
fn the_limit_counts_decoded_bytes() {
    let exact = vec![b'x'; 100_000];
    let over = vec![b'x'; 100_001];
    let chunked = |body: &[u8]| {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        bytes.extend(format!("{:x}\r\n", body.len()).bytes());
        bytes.extend(body);
        Reply::raw(bytes).then("\r\n0\r\n\r\n")
    };
    let replies = |body: &[u8]| {
        [
            Reply::ok(body),
            chunked(body),
            Reply::status("200 OK", &[("Content-Encoding", "gzip")], gzip(body)),
            Reply::status("200 OK", &[("Content-Encoding", "br")], brotli(body)),
        ]
    };
    for (reply, larger) in replies(&exact).into_iter().zip(replies(&over)) {
        let server = TestServer::start(
            move |request| if request.target() == "/" { reply.clone() } else { larger.clone() },
        );
        let mut fixture = Fixture::to(&server);
        fixture.max_body_bytes = 100_000;
        assert_eq!(fixture.get(&server.url("/")).unwrap().body.len(), 100_000);
        let error = fixture.get(&server.url("/over")).unwrap_err();
        assert_eq!(error.kind(), EgressErrorKind::TooLarge);
        assert!(!error.never_left());
        assert!(error.to_string().contains("larger than the limit of 100000 bytes"), "{error}");
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let bomb = gzip(&vec![0; 200_000_000]);
    assert!(bomb.len() < 300_000);
    let error = answer(Reply::status("200 OK", &[("Content-Encoding", "gzip")], bomb)).unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::TooLarge);
}

#[test]
fn text_follows_the_charset() {
    let text = |content_type: &str, body: &[u8]| {
        answer(Reply::status("200 OK", &[("Content-Type", content_type)], body)).unwrap().text()
    };
    assert_eq!(text("text/plain; charset=ISO-8859-1", b"gr\xfcn"), "grün");
    assert_eq!(text("text/html;charset=\"shift_jis\"", b"\x93\xfa\x96{"), "日本");
    assert_eq!(text("text/plain; charset=utf-16", b"a\0\xfc\0"), "aü");
    assert_eq!(text("text/plain", b"\xef\xbb\xbfgr\xc3\xbcn"), "grün");
    assert_eq!(text("text/plain", b"gr\xfcn"), "gr\u{fffd}n");
}

#[test]
fn json_is_told_by_its_content_type() {
    let is_json = |content_type: &str| {
        answer(Reply::status("200 OK", &[("Content-Type", content_type)], "{}")).unwrap().is_json()
    };
    assert!(is_json("application/json; charset=utf-8"));
    assert!(is_json("application/vnd.api+json"));
    assert!(!is_json("text/plain"));
    assert!(!answer(Reply::ok("{}")).unwrap().is_json());
}

#[test]
fn answers_that_break_off_or_are_no_http_are_errors() {
    for (reply, needle) in [
        (Reply::raw("").close(), "the server closed the connection before it answered"),
        (
            Reply::raw("HTTP/1.1 200 OK\r\nContent-").close(),
            "the server closed the connection before it answered",
        ),
        (
            Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort").close(),
            "inside the response body",
        ),
        (
            Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel").close(),
            "inside the response body",
        ),
        (Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"), "no valid HTTP"),
        (Reply::raw("SSH-2.0-OpenSSH_9.6\r\n\r\n"), "no valid HTTP"),
        (Reply::raw(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000))), "headers are larger"),
    ] {
        let error = answer(reply).unwrap_err();
        assert_eq!(error.kind(), EgressErrorKind::Protocol, "{error}");
        assert!(error.to_string().contains(needle), "{error}");
        assert!(error.to_string().contains("http://127.0.0.1:"), "{error}");
        assert!(!error.never_left());
    }
}

#[test]
fn an_early_answer_to_a_large_body_is_read() {
    let server = TestServer::start(|_| Reply::status("413 Too Large", &[], "no").close());
    let request = Request::new(Method::Post, server.url("/"))
        .json_body(vec![b'x'; 20_000_000])
        .header("X-Dont-Read-Body", "1");
    let response = Fixture::to(&server).send(&request).unwrap();
    assert_eq!((response.status, response.text().as_str()), (413, "no"));
}

#[test]
fn exchanges_tell_what_was_on_the_wire() {
    let server = TestServer::start(|request| match request.target() {
        "/a" => Reply::redirect(302, "/b?c"),
        _ => Reply::status("404 Not Found", &[], "gone"),
    });
    let mut fixture = Fixture::to(&server);
    fixture.send(&Request::new(Method::Post, server.url("/a")).json_body("x")).unwrap();
    let seen: Vec<_> =
        fixture.exchanges.iter().map(|e| (e.method, e.url.clone(), e.status, e.bytes)).collect();
    assert_eq!(seen, [("POST", server.url("/a"), Some(302), 0), ("GET", server.url("/b?c"), Some(404), 4)]);
    assert!(fixture.exchanges.iter().all(|exchange| exchange.error.is_none() && exchange.ms < 5_000));
}

#[test]
fn a_download_goes_to_its_sink() {
    let server = TestServer::start(|request| match request.target() {
        "/missing" => Reply::status("404 Not Here", &[], "an error page"),
        _ => Reply::status(
            "200 OK",
            &[("Content-Type", "image/png"), ("Content-Encoding", "gzip")],
            gzip(&[7; 500_000]),
        ),
    });
    let mut fixture = Fixture::to(&server);
    let mut download = |path: &str, limit: u64, sink: &mut dyn Write| {
        fixture.max_body_bytes = limit;
        let request = Request::new(Method::Get, server.url(path));
        fixture.client.download(&request, &fixture.allowed, fixture.budget(), &mut |_| {}, sink)
    };
    let mut file = Vec::new();
    let head = download("/", 500_000, &mut file).unwrap();
    assert_eq!((head.status, head.header("content-type")), (200, Some("image/png")));
    assert!(file == [7; 500_000]);

    let error = download("/", 499_999, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::TooLarge);

    let mut nothing = Vec::new();
    let error = download("/missing", 1000, &mut nothing).unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::Status);
    assert!(error.to_string().ends_with("the server answered 404 Not Here"), "{error}");
    assert_eq!(nothing, b"");

    let error = download("/", 500_000, &mut &mut [0_u8; 10][..]).unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::Sink);
}

#[test]
fn a_reset_inside_a_body_without_length_is_an_error() {
    use std::io::Read;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Leaves bytes of the request unread, so that closing resets the connection.
        stream.read_exact(&mut [0; 10]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\npart").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
    });
    let url = format!("http://{address}");
    let error = message(Fixture::new(&[&url]).get(&url));
    assert!(error.contains("reset the connection inside the response body"), "{error}");
}
