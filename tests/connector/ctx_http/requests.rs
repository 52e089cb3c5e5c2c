//! What leaves: methods, headers, bodies.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::{all_bytes, catching, sent, thrown};
use crate::support::{Case, wire};
use crate::upstream::server::Reply;

const USER_AGENT: &str = concat!("user-agent: portcullis/", env!("CARGO_PKG_VERSION"));

/// A request's text with the headers that each one has.
fn plain(line: &str, own_headers: &[&str], body: &str) -> String {
    let name = |header: &str| header.split(':').next().unwrap().to_owned();
    let mut headers = vec!["accept-encoding: gzip, br", "accept: */*", "host: api.test", USER_AGENT];
    headers.retain(|default| own_headers.iter().all(|own| name(own) != name(default)));
    headers.extend(own_headers);
    headers.sort_unstable();
    format!("{line} HTTP/1.1\n{}\n\n{body}", headers.join("\n"))
}

#[track_caller]
fn is_sent(code: &str, line: &str, own_headers: &[&str], body: &str) {
    assert_eq!(wire(&sent(code)), plain(line, own_headers, body));
}

#[test]
fn a_get_is_exactly_this() {
    is_sent("return ctx.http.get('http://api.test/a/b?c=d%20e&f#g').status", "GET /a/b?c=d%20e&f", &[], "");
}

#[test]
fn a_get_sends_its_headers_and_no_content_type() {
    is_sent(
        "return ctx.http.get('http://api.test/', { headers: { 'X-Api-Key': 'k', Accept: 'text/csv' } }).status",
        "GET /",
        &["accept: text/csv", "x-api-key: k"],
        "",
    );
}

#[test]
fn each_method_sends_its_body_as_json() {
    for method in ["post", "put", "patch", "delete"] {
        is_sent(
            &format!(
                "return ctx.http.{method}('http://api.test/x', {{ body: JSON.stringify({{ ü: [1] }}) }}).status"
            ),
            &format!("{} /x", method.to_uppercase()),
            &["content-length: 10", "content-type: application/json"],
            "{\"ü\":[1]}",
        );
    }
}

#[test]
fn each_method_without_a_body_says_json_all_the_same() {
    for method in ["post", "put", "patch"] {
        is_sent(
            &format!("return ctx.http.{method}('http://api.test/x').status"),
            &format!("{} /x", method.to_uppercase()),
            &["content-length: 0", "content-type: application/json"],
            "",
        );
    }
    is_sent(
        "return ctx.http.delete('http://api.test/x').status",
        "DELETE /x",
        &["content-type: application/json"],
        "",
    );
}

#[test]
fn an_empty_body_is_a_body() {
    for method in ["post", "delete"] {
        is_sent(
            &format!("return ctx.http.{method}('http://api.test/x', {{ body: '' }}).status"),
            &format!("{} /x", method.to_uppercase()),
            &["content-length: 0", "content-type: application/json"],
            "",
        );
    }
}

#[test]
fn a_body_that_is_no_json_is_sent_as_it_is() {
    is_sent(
        "return ctx.http.post('http://api.test/', { body: 'a=b&c=%20', headers: { 'Content-Type': 'application/x-www-form-urlencoded' } }).status",
        "POST /",
        &["content-length: 9", "content-type: application/x-www-form-urlencoded"],
        "a=b&c=%20",
    );
    is_sent(
        "return ctx.http.put('http://api.test/', { body: 'not { json\\n', headers: { 'CONTENT-type': 'text/plain; charset=utf-8' } }).status",
        "PUT /",
        &["content-length: 11", "content-type: text/plain; charset=utf-8"],
        "not { json\n",
    );
    is_sent(
        "return ctx.http.post('http://api.test/', { body: '\\ud83d\\ude00 \\ud800' }).status",
        "POST /",
        &["content-length: 8", "content-type: application/json"],
        "😀 \u{fffd}",
    );
}

#[test]
fn binary_bodies_carry_every_byte() {
    let bytes = all_bytes();
    let spaced = format!(" {}\\n{}", &STANDARD.encode(&bytes)[..40], &STANDARD.encode(&bytes)[40..]);
    for base64 in [STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes), spaced] {
        for method in ["post", "put", "patch", "delete"] {
            let request = sent(&format!(
                "return ctx.http.{method}('http://api.test/', {{ binaryBody: '{base64}' }}).status"
            ));
            assert!(request.raw_body == bytes, "{method} {base64}: {:?}", request.raw_body);
            assert_eq!(request.header("content-length"), Some("256"));
            assert_eq!(request.header("content-type"), None);
        }
    }
}

#[test]
fn a_binary_body_has_the_type_that_the_headers_name() {
    let request = sent(
        "return ctx.http.put('http://api.test/', { binaryBody: '', headers: { 'content-type': 'image/png' } }).status",
    );
    assert_eq!(request.header("content-type"), Some("image/png"));
    assert_eq!(request.header("content-length"), Some("0"));
}

#[test]
fn form_fields_are_multipart() {
    let request = sent(
        r#"return ctx.http.post('http://api.test/', { formFields: [
            { name: 'title', value: 'Grüße\r\n2' },
            { name: 'say "a"\r\n', value: '1', contentType: 'application/json' },
            { name: 'text', value: 'YQ==', fileName: 'a "b".txt', contentType: 'text/plain; charset=utf-8' },
            { name: 'bytes', value: 'AP__gA', fileName: 'ü.bin', isBase64: true },
            { name: 'n', value: 7 },
        ] }).status"#,
    );
    let content_type = request.header("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
    assert!(boundary.len() >= 32 && boundary.len() <= 70, "{boundary}");
    let mut expected = Vec::new();
    for (head, value) in [
        ("name=\"title\"", "Grüße\r\n2".as_bytes()),
        ("name=\"say %22a%22%0D%0A\"\r\nContent-Type: application/json", b"1"),
        ("name=\"text\"; filename=\"a %22b%22.txt\"\r\nContent-Type: text/plain; charset=utf-8", b"YQ=="),
        ("name=\"bytes\"; filename=\"ü.bin\"\r\nContent-Type: application/octet-stream", b"\0\xff\xff\x80"),
        ("name=\"n\"", b"7"),
    ] {
        expected
            .extend(format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n").into_bytes());
        expected.extend(value);
        expected.extend(b"\r\n");
    }
    expected.extend(format!("--{boundary}--\r\n").into_bytes());
    assert_eq!(String::from_utf8_lossy(&request.raw_body), String::from_utf8_lossy(&expected));
    assert!(request.raw_body == expected);
}

#[test]
fn every_method_with_bodies_sends_forms_of_every_byte() {
    let bytes = all_bytes();
    let base64 = STANDARD.encode(&bytes);
    for method in ["post", "put", "patch", "delete"] {
        let request = sent(&format!(
            "return ctx.http.{method}('http://api.test/', {{ formFields: [{{ name: 'f', value: '{base64}', isBase64: true }}] }}).status"
        ));
        assert_eq!(request.method(), method.to_uppercase());
        assert!(request.raw_body.windows(256).any(|window| window == bytes), "{method}");
    }
}

#[test]
fn a_form_keeps_its_boundary_whatever_the_headers_say() {
    let request = sent(
        "return ctx.http.post('http://api.test/', {\n\
         headers: { 'Content-Type': 'multipart/form-data; boundary=mine' }, formFields: [{ name: 'a', value: 'b' }] }).status",
    );
    let content_type = request.header("content-type").unwrap();
    assert!(content_type.starts_with("multipart/form-data; boundary=") && !content_type.contains("mine"));
}

#[test]
fn a_form_without_fields_is_an_empty_form() {
    let request = sent("return ctx.http.post('http://api.test/', { formFields: [] }).status");
    let boundary = request.header("content-type").unwrap().rsplit('=').next().unwrap().to_owned();
    assert_eq!(String::from_utf8_lossy(&request.raw_body), format!("--{boundary}--\r\n"));
}

#[test]
fn header_values_are_text_and_absent_ones_are_left_out() {
    is_sent(
        "return ctx.http.get('http://api.test/', { headers: { 'X-N': 1, 'X-B': true, 'X-U': undefined, 'X-0': null, 'X-E': '', 'X-L': 'ü' } }).status",
        "GET /",
        &["x-b: true", "x-e: ", "x-l: ü", "x-n: 1"],
        "",
    );
}

#[test]
fn repeated_requests_share_a_connection() {
    let ran = Case::execute("for (let i = 0; i < 3; i++) ctx.http.get('http://api.test/' + i); return null;")
        .serve(|_| Reply::ok("fine"))
        .gives(json!(null));
    let targets: Vec<String> = ran.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/0", "/1", "/2"]);
    assert_eq!(ran.server().n_connections(), 1);
    let http: Vec<_> =
        ran.http.iter().map(|exchange| (exchange.method, exchange.url.as_str(), exchange.status)).collect();
    assert_eq!(http[2], ("GET", "http://api.test/2", Some(200)));
    assert_eq!(ran.http[0].bytes, 4);
}

#[test]
fn https_is_the_same() {
    let ran = Case::execute("return ctx.http.post('https://api.test/x?y', { body: '[]' }).text();")
        .serve_tls(|_| Reply::ok("secure"))
        .gives(json!("secure"));
    assert_eq!(
        wire(&ran.request()),
        plain("POST /x?y", &["content-length: 2", "content-type: application/json"], "[]")
    );
}

#[test]
fn options_may_be_anything_that_has_the_members() {
    is_sent(
        r"
        class Options { get headers() { return { 'X-A': 'class' }; } }
        const options = Object.create(new Options(), { body: { get: () => 'from a getter' } });
        return ctx.http.post('http://api.test/', options).status;",
        "POST /",
        &["content-length: 13", "content-type: application/json", "x-a: class"],
        "from a getter",
    );
    is_sent(
        "return ctx.http.post('http://api.test/', new Proxy({}, { get: (_, key) => key === 'body' ? 'p' : undefined })).status",
        "POST /",
        &["content-length: 1", "content-type: application/json"],
        "p",
    );
    for absent in ["", ", undefined", ", null", ", {}", ", { headers: null, responseType: undefined }"] {
        is_sent(&format!("return ctx.http.get('http://api.test/'{absent}).status"), "GET /", &[], "");
    }
}

#[test]
fn absent_body_options_are_no_body() {
    is_sent(
        "return ctx.http.post('http://api.test/', { body: undefined, binaryBody: null, formFields: undefined }).status",
        "POST /",
        &["content-length: 0", "content-type: application/json"],
        "",
    );
}

#[test]
fn http_functions_need_no_receiver() {
    is_sent("const { get } = ctx.http; return get('http://api.test/').status", "GET /", &[], "");
}

#[test]
fn what_a_connector_does_to_its_globals_changes_no_request() {
    is_sent(
        r"
        JSON.stringify = () => 'hijacked'; JSON.parse = () => 'hijacked';
        Object.keys = () => ['hijacked']; Array.isArray = () => false;
        Array.prototype.push = Array.prototype.join = () => 'hijacked';
        String.prototype.toWellFormed = () => 'hijacked'; String = () => 'hijacked';
        Object.defineProperty(Object.prototype, 'url', { set() { throw new Error('seen'); }, configurable: true });
        return ctx.http.post('http://api.test/', { headers: { 'X-A': 'b' }, body: '1' }).status;",
        "POST /",
        &["content-length: 1", "content-type: application/json", "x-a: b"],
        "1",
    );
}

#[test]
fn wrong_options_are_told_and_nothing_is_sent() {
    for (statement, message) in [
        ("ctx.http.get()", "ctx.http.get needs a URL"),
        ("ctx.http.get('http://api.test/', 'x')", "the options of an HTTP request must be an object"),
        ("ctx.http.get('http://api.test/', { body: 'x' })", "a GET request takes no body"),
        (
            "ctx.http.get('http://api.test/', { headers: 'a: b' })",
            "options.headers must be an object of names and values",
        ),
        (
            "ctx.http.get('http://api.test/', { responseType: 'blob' })",
            "options.responseType must be \"base64\", or absent for text and JSON",
        ),
        (
            "ctx.http.post('http://api.test/', { body: { a: 1 } })",
            "options.body must be a string: use JSON.stringify for an object",
        ),
        ("ctx.http.post('http://api.test/', { body: 7 })", "options.body must be a string, not a number"),
        (
            "ctx.http.post('http://api.test/', { binaryBody: [1] })",
            "options.binaryBody must be a string: use JSON.stringify for an object",
        ),
        (
            "ctx.http.post('http://api.test/', { binaryBody: 'a*' })",
            "options.binaryBody is not base64: it has a character that is in neither alphabet",
        ),
        (
            "ctx.http.post('http://api.test/', { formFields: {} })",
            "options.formFields must be an array of {name, value}",
        ),
        (
            "ctx.http.post('http://api.test/', { formFields: [{ name: 'a' }] })",
            "options.formFields[0] needs a name and a value",
        ),
        (
            "ctx.http.post('http://api.test/', { formFields: [{ name: 'a', value: '*', isBase64: true }] })",
            "options.formFields[0].value is not base64: it has a character that is in neither alphabet",
        ),
        (
            "ctx.http.post('http://api.test/', { body: '', formFields: [] })",
            "give one of options.body, options.binaryBody and options.formFields, not several",
        ),
    ] {
        let ran = thrown(Case::execute(&catching(statement)).serve(|_| Reply::ok("")));
        assert_eq!(ran.value()["message"], json!(message), "{statement}");
        assert_eq!(ran.requests().len(), 0, "{statement}");
    }
}

#[test]
fn headers_that_would_break_a_request_are_told_and_nothing_is_sent() {
    for (headers, message) in [
        (r"{ 'X-A': 'b\r\nX-C: d' }", "the header \"X-A\" has a line break in its value"),
        (r"{ 'X-A\r\nX-C': 'd' }", "the header \"X-A\\r\\nX-C\" is no header name"),
        ("{ 'X-A': '日' }", "the header \"X-A\" has \"日\" in its value"),
        ("{ Host: 'evil.test' }", "the header \"Host\" would differ from the URL's host"),
        ("{ 'Transfer-Encoding': 'chunked' }", "the header \"Transfer-Encoding\" belongs to the connection"),
        ("{ 'Content-Length': '7' }", "the header \"Content-Length\" would differ from the body's length, 0"),
    ] {
        let statement = format!("ctx.http.get('http://api.test/', {{ headers: {headers} }})");
        let ran = thrown(Case::execute(&catching(&statement)).serve(|_| Reply::ok("")));
        let said = ran.value()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{said}");
        assert_eq!(ran.requests().len(), 0, "{headers}");
    }
}

#[test]
fn strange_urls_are_told_and_nothing_is_sent() {
    for (url, message) in [
        ("", "is no absolute URL"),
        ("/path", "is no absolute URL"),
        ("ftp://api.test/", "has the scheme \"ftp\""),
        ("file:///etc/passwd", "has the scheme \"file\""),
        ("http://user:pass@api.test/", "contains a user name or password"),
        ("http://api.test/\\r\\nX: y", "contains a control character"),
    ] {
        let ran =
            thrown(Case::execute(&catching(&format!("ctx.http.get('{url}')"))).serve(|_| Reply::ok("")));
        let said = ran.value()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{url}: {said}");
        assert_eq!(ran.requests().len(), 0, "{url}");
    }
}

#[test]
fn a_url_may_be_anything_that_is_one_as_text() {
    is_sent("return ctx.http.get({ toString: () => 'http://api.test/ü' }).status", "GET /%C3%BC", &[], "");
}
