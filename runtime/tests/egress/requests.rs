//! What is sent: methods, headers, bodies.

use portcullis_runtime::egress::{Body, EgressErrorKind, FormField, Method, Request};

use crate::support::server::{Recorded, Reply, TestServer};
use crate::{Fixture, message};

/// What a server gets when `change` made the request.
fn sent(method: Method, change: impl FnOnce(Request) -> Request) -> Recorded {
    let server = TestServer::start(|_| Reply::ok("fine"));
    let request = change(Request::new(method, server.url("/path?a=b%20c&d")));
    assert_eq!(Fixture::to(&server).send(&request).unwrap().text(), "fine");
    server.request()
}

const USER_AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

#[test]
fn a_plain_get_is_exactly_this() {
    let server = TestServer::start(|_| Reply::ok(""));
    Fixture::to(&server).get(&server.url("/a/b?c=d#fragment")).unwrap();
    let request = server.request();
    assert_eq!(request.line(), "GET /a/b?c=d HTTP/1.1");
    let mut headers: Vec<&str> = request.head.lines().skip(1).collect();
    headers.sort_unstable();
    let host = format!("host: 127.0.0.1:{}", server.port());
    let user_agent = format!("user-agent: {USER_AGENT}");
    assert_eq!(headers, ["accept-encoding: gzip, br", "accept: */*", &host, &user_agent]);
    assert_eq!(request.raw_body, b"");
}

#[test]
fn each_method_is_sent_with_a_body_of_its_own() {
    for method in [Method::Post, Method::Put, Method::Patch, Method::Delete] {
        let request = sent(method, |request| request.json_body("{\"ü\":1}"));
        assert_eq!(request.line(), format!("{method} /path?a=b%20c&d HTTP/1.1"));
        assert_eq!(request.header("content-type"), Some("application/json"), "{method}");
        assert_eq!(request.header("content-length"), Some("8"), "{method}");
        assert_eq!(request.header("transfer-encoding"), None);
        assert_eq!(request.body, "{\"ü\":1}".as_bytes());
    }
}

#[test]
fn a_write_without_a_body_has_length_zero_and_a_delete_none() {
    for method in [Method::Post, Method::Put, Method::Patch] {
        let request = sent(method, |request| request);
        assert_eq!(request.header("content-length"), Some("0"), "{method}");
        assert_eq!(request.header("content-type"), None);
    }
    let request = sent(Method::Delete, |request| request);
    assert_eq!(request.header("content-length"), None);
    let request = sent(Method::Delete, |request| request.json_body(""));
    assert_eq!(request.header("content-length"), Some("0"));
}

#[test]
fn the_callers_content_type_wins_however_it_is_spelled() {
    for name in ["Content-Type", "content-type", "CONTENT-TYPE"] {
        let request = sent(Method::Post, |request| request.json_body("a=b").header(name, "text/x; y=z"));
        assert_eq!(request.header("content-type"), Some("text/x; y=z"));
    }
}

#[test]
fn bytes_are_sent_as_they_are_without_a_content_type() {
    let bytes: Vec<u8> = (0..=255).collect();
    let body = Body::Bytes(bytes.clone());
    let request = sent(Method::Put, |request| Request { body, ..request });
    assert_eq!(request.body, bytes);
    assert_eq!(request.header("content-type"), None);
}

#[test]
fn a_large_body_arrives_whole() {
    let bytes: Vec<u8> =
        (0..5_000_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let body = Body::Bytes(bytes.clone());
    let request = sent(Method::Post, |request| Request { body, ..request });
    assert!(request.body == bytes);
}

#[test]
fn a_form_has_our_boundary_whatever_the_caller_says() {
    let fields = vec![
        FormField::text("name\"\r\n", "value"),
        FormField {
            name: "file".to_owned(),
            value: vec![0, 255],
            file_name: Some("a \"b\".bin".to_owned()),
            content_type: Some("image/png".to_owned()),
        },
    ];
    let body = Body::Multipart(fields);
    let request = sent(Method::Post, |request| {
        Request { body, ..request }.header("content-type", "multipart/form-data; boundary=theirs")
    });
    let boundary =
        request.header("content-type").unwrap().strip_prefix("multipart/form-data; boundary=").unwrap();
    assert!(boundary.starts_with("----portcullis"), "{boundary}");
    let mut expected = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"name%22%0D%0A\"\r\n\r\nvalue\r\n--{boundary}\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"a %22b%22.bin\"\r\nContent-Type: image/png\r\n\r\n"
    )
    .into_bytes();
    expected.extend([0, 255]);
    expected.extend(format!("\r\n--{boundary}--\r\n").bytes());
    assert_eq!(request.body, expected);
    assert_eq!(request.header("content-length").unwrap(), expected.len().to_string());
}

#[test]
fn headers_keep_their_spelling_order_and_bytes() {
    let request = sent(Method::Get, |request| {
        request
            .header("X-Api-KEY", "a: b")
            .header("x-many", "1")
            .header("X-Many", "2")
            .header("X-Latin", "grüße")
    });
    assert!(request.head.contains("\r\nX-Api-KEY: a: b"), "{}", request.head);
    assert_eq!(request.headers("x-many"), ["1", "2"]);
    assert_eq!(request.header("x-latin"), Some("grüße"));
}

#[test]
fn the_callers_user_agent_and_accept_replace_ours() {
    let request =
        sent(Method::Get, |request| request.header("User-Agent", "me").header("ACCEPT", "text/csv"));
    assert_eq!(request.header("user-agent"), Some("me"));
    assert_eq!(request.header("accept"), Some("text/csv"));
}

#[test]
fn headers_that_change_nothing_are_left_out() {
    let request = sent(Method::Post, |request| {
        request
            .json_body("abc")
            .header("Connection", "close")
            .header("Content-Length", "3")
            .header("Accept-Encoding", "x")
    });
    assert_eq!(request.header("connection"), None);
    assert_eq!(request.header("content-length"), Some("3"));
    assert_eq!(request.header("accept-encoding"), Some("gzip, br"));
}

#[test]
fn an_invalid_request_is_never_sent() {
    let server = TestServer::start(|_| Reply::ok(""));
    let mut fixture = Fixture::to(&server);
    let url = server.url("/");
    for (request, needle) in [
        (Request::new(Method::Get, &url).header("X-A", "a\r\nX-B: c"), "the header \"X-A\" has a line break"),
        (Request::new(Method::Get, &url).header("X\r\nY", "a"), "the header \"X\\r\\nY\" is no header name"),
        (Request::new(Method::Get, &url).header("Host", "evil.com"), "the header \"Host\" would differ"),
        (
            Request::new(Method::Post, &url).header("Transfer-Encoding", "chunked"),
            "the header \"Transfer-Encoding\"",
        ),
        (Request::new(Method::Get, format!("{url}\r\nX: y")), "control character"),
        (Request::new(Method::Get, url.replace("http://", "http://me:secret@")), "Authorization header"),
        (Request::new(Method::Get, url.replace("http://", "gopher://")), "scheme \"gopher\""),
    ] {
        let error = fixture.send(&request).unwrap_err();
        assert_eq!(error.kind(), EgressErrorKind::Invalid);
        assert!(error.never_left());
        assert!(error.to_string().contains(needle), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert_eq!(server.n_connections(), 0);
    assert_eq!(fixture.exchanges, []);
}

#[test]
fn a_blocked_host_is_never_looked_up() {
    let mut fixture = Fixture::new(&["a.com", "b.com"]);
    let outcome = fixture.get("https://evil.com/?secret");
    assert!(outcome.as_ref().unwrap_err().never_left());
    assert_eq!(
        message(outcome),
        "HTTP request to \"evil.com\" blocked: host not in allowedHosts [a.com, b.com]"
    );
    assert_eq!(fixture.exchanges, []);
}

#[test]
fn odd_characters_in_a_url_are_encoded_as_the_url_standard_says() {
    let server = TestServer::start(|_| Reply::ok(""));
    let mut fixture = Fixture::to(&server);
    for (path, target) in [
        ("/a b?c d", "/a%20b?c%20d"),
        ("/ü?ü", "/%C3%BC?%C3%BC"),
        ("/{a}|\"<>`^?{a}|`^'", "/%7Ba%7D|%22%3C%3E%60^?{a}|`^%27"),
        ("/a/../b/./c", "/b/c"),
        ("?x", "/?x"),
        ("", "/"),
        ("/%zz%2e%00", "/%zz%2e%00"),
    ] {
        fixture.get(&server.url(path)).unwrap();
        assert_eq!(server.requests().last().unwrap().target(), target, "{path}");
    }
}

#[test]
fn connection_bound_credentials_close_their_connection() {
    let server = TestServer::start(|_| Reply::ok(""));
    let mut fixture = Fixture::to(&server);
    fixture.send(&Request::new(Method::Get, server.url("/")).header("Authorization", "NTLM abc")).unwrap();
    fixture.get(&server.url("/")).unwrap();
    assert_eq!(server.n_connections(), 2);
    assert_eq!(server.requests()[0].header("connection"), Some("close"));
}
