//! What comes back: status, headers, `body`, `json()` and `text()`.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{all_bytes, received};
use crate::support::Case;
use crate::upstream::server::Reply;

/// An answer of this content type and body.
fn typed(content_type: &str, body: impl AsRef<[u8]>) -> Reply {
    Reply::status("200 OK", &[("Content-Type", content_type)], body)
}

/// What `body`, `json()` and `text()` are, for an answer.
#[track_caller]
fn reads(reply: Reply, body: Value, parsed: Value, text: &str) {
    received(reply, "[response.body, response.json(), response.text()]", json!([body, parsed, text]));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn brotli(text: &str) -> Vec<u8> {
    let mut compressed = Vec::new();
    let params = brotli::enc::BrotliEncoderParams::default();
    brotli::BrotliCompress(&mut text.as_bytes(), &mut compressed, &params).unwrap();
    compressed
}

#[test]
fn a_response_has_these_members_and_no_more() {
    received(
        typed("text/plain", "x"),
        "Object.entries(response).map(([name, value]) => name + ': ' + typeof value)",
        json!([
            "status: number",
            "statusText: string",
            "headers: object",
            "body: string",
            "text: function",
            "json: function"
        ]),
    );
}

#[test]
fn json_is_parsed_where_the_content_type_says_so() {
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
        "text/json",
        "application/problem+json",
        "application/vnd.api+json; version=1",
    ] {
        reads(
            typed(content_type, "{\"a\":[1,\"ü\"]}"),
            json!({"a": [1, "ü"]}),
            json!({"a": [1, "ü"]}),
            "{\"a\":[1,\"ü\"]}",
        );
    }
}

#[test]
fn every_json_value_is_a_body() {
    for (text, value) in [
        ("null", json!(null)),
        ("true", json!(true)),
        (" 1e2 ", json!(100)),
        ("\"text\"", json!("text")),
        ("[]", json!([])),
        ("{}", json!({})),
    ] {
        reads(typed("application/json", text), value.clone(), value, text);
    }
}

#[test]
fn json_that_does_not_parse_is_text() {
    for text in ["", "{", "{'a': 1}", "<html>", "NaN", "{\"a\":1}\n{\"a\":2}"] {
        reads(typed("application/json", text), json!(text), json!(text), text);
    }
}

#[test]
fn other_types_are_text() {
    for content_type in ["text/html", "application/jsonp", "application/octet-stream", "application/json-seq"]
    {
        received(
            typed(content_type, "{\"a\":1}"),
            "[response.body, response.text()]",
            json!(["{\"a\":1}", "{\"a\":1}"]),
        );
    }
    reads(Reply::ok("no type"), json!("no type"), json!("no type"), "no type");
}

#[test]
fn json_parses_what_is_json_by_another_name() {
    reads(typed("text/plain", "{\"a\":1}"), json!("{\"a\":1}"), json!({"a": 1}), "{\"a\":1}");
}

#[test]
fn json_gives_the_very_value_of_body() {
    received(typed("application/json", "{}"), "(response.body.seen = 1, response.json().seen)", json!(1));
}

#[test]
fn a_key_called_proto_is_a_key() {
    received(
        typed("application/json", r#"{"__proto__": {"admin": true}, "constructor": 1}"#),
        "[Object.keys(response.body), response.body.admin, Object.getPrototypeOf(response.body) === Object.prototype]",
        json!([["__proto__", "constructor"], null, true]),
    );
}

#[test]
fn header_names_are_lower_case_and_repeated_ones_are_joined() {
    let reply = Reply::status(
        "200 OK",
        &[
            ("X-One", "1"),
            ("SET-COOKIE", "a=1; Path=/"),
            ("set-Cookie", "b=2"),
            ("X-Latin", "\u{fc}"),
            ("x-empty", ""),
        ],
        "",
    );
    received(
        reply,
        "Object.fromEntries(Object.entries(response.headers).filter(([name]) => name !== 'x-latin'))",
        json!({"x-one": "1", "set-cookie": "a=1; Path=/, b=2", "x-empty": "", "content-length": "0"}),
    );
}

#[test]
fn a_header_called_proto_is_a_header() {
    received(
        Reply::status("200 OK", &[("__proto__", "x"), ("constructor", "y")], ""),
        "[Object.keys(response.headers), response.headers['__proto__'], response.headers.constructor, response.headers.toString === Object.prototype.toString]",
        json!([["__proto__", "constructor", "content-length"], "x", "y", true]),
    );
}

#[test]
fn any_status_is_returned() {
    for (line, status, text) in [
        ("200 OK", 200, "OK"),
        ("201 Created", 201, "Created"),
        ("299 Odd", 299, "Odd"),
        ("300 Multiple Choices", 300, "Multiple Choices"),
        ("304 Not Modified", 304, "Not Modified"),
        ("400 Bad Request", 400, "Bad Request"),
        ("401 Unauthorized", 401, "Unauthorized"),
        ("404 Nowhere To Be Seen", 404, "Nowhere To Be Seen"),
        ("418 I'm a teapot", 418, "I'm a teapot"),
        ("429 Too Many Requests", 429, "Too Many Requests"),
        ("500 Internal Server Error", 500, "Internal Server Error"),
        ("599 Network Connect Timeout Error", 599, "Network Connect Timeout Error"),
    ] {
        let reply = match status {
            304 => Reply::raw("HTTP/1.1 304 Not Modified\r\n\r\n"),
            _ => Reply::status(line, &[], "body"),
        };
        received(reply, "[response.status, response.statusText]", json!([status, text]));
    }
}

#[test]
fn a_status_without_a_phrase_has_the_standard_one() {
    let reply = Reply::raw("HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n");
    received(reply, "[response.status, response.statusText]", json!([404, "Not Found"]));
}

#[test]
fn no_content_is_empty_text() {
    let no_content = || Reply::raw("HTTP/1.1 204 No Content\r\nContent-Type: application/json\r\n\r\n");
    received(
        no_content(),
        "[response.status, response.body, response.json(), response.text()]",
        json!([204, "", "", ""]),
    );
    received(Reply::ok(""), "[response.status, response.body, response.text()]", json!([200, "", ""]));
}

#[test]
fn compressed_bodies_are_read() {
    let text = format!("{{\"a\":\"{}\"}}", "ü".repeat(5000));
    for (coding, bytes) in [("gzip", gzip(&text)), ("br", brotli(&text))] {
        let reply = Reply::status(
            "200 OK",
            &[("Content-Type", "application/json"), ("Content-Encoding", coding)],
            bytes,
        );
        received(reply, "[response.body.a.length, response.text().length]", json!([5000, 5008]));
    }
}

#[test]
fn chunked_bodies_are_read() {
    let reply = Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .then("3\r\n\"\u{e9}\r\n5;x=y\r\n")
        .then(" abc\"\r\n0\r\nTrailer: t\r\n\r\n");
    received(reply, "[response.body, response.json()]", json!(["\"é abc\"", "é abc"]));
}

#[test]
fn a_body_that_ends_with_its_connection_is_read() {
    let reply = Reply::raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end").close();
    received(reply, "response.text()", json!("to the end"));
}

#[test]
fn charsets_are_followed() {
    for (content_type, bytes, text) in [
        ("text/plain; charset=utf-8", "grüße €".as_bytes(), "grüße €"),
        ("text/plain", "grüße €".as_bytes(), "grüße €"),
        ("text/plain; charset=ISO-8859-1", b"gr\xfc\xdfe", "grüße"),
        ("text/plain; charset=\"windows-1252\"", b"\x80", "€"),
        ("text/plain; charset=Shift_JIS", b"\x93\xfa\x96{", "日本"),
        ("text/plain; charset=utf-16le", b"a\0\xfc\0", "aü"),
        ("text/plain", b"\xef\xbb\xbfbom", "bom"),
        ("text/plain", b"a\xff\xfeb", "a\u{fffd}\u{fffd}b"),
    ] {
        received(typed(content_type, bytes), "response.text()", json!(text));
    }
    received(
        typed("application/json; charset=latin1", b"{\"a\":\"\xfc\"}"),
        "response.body",
        json!({"a": "ü"}),
    );
}

#[test]
fn base64_carries_every_byte() {
    let bytes = all_bytes();
    for content_type in ["application/octet-stream", "application/json", "text/plain; charset=utf-16"] {
        let reply = typed(content_type, &bytes);
        Case::execute(
            "const { body, text } = ctx.http.get('http://api.test/', { responseType: 'base64' }); return [body, text()];",
        )
        .serve(move |_| reply.clone())
        .gives(json!([STANDARD.encode(&bytes), STANDARD.encode(&bytes)]));
    }
}

#[test]
fn base64_of_what_was_compressed_is_of_the_bytes_within() {
    let reply = Reply::status("200 OK", &[("Content-Encoding", "gzip")], gzip("plain"));
    for method in ["get", "post", "put", "patch", "delete"] {
        let reply = reply.clone();
        Case::execute(&format!(
            "return ctx.http.{method}('http://api.test/', {{ responseType: 'base64' }}).body"
        ))
        .serve(move |_| reply.clone())
        .gives(json!("cGxhaW4="));
    }
}

#[test]
fn base64_of_nothing_is_empty() {
    Case::execute("return ctx.http.get('http://api.test/', { responseType: 'base64' }).body")
        .serve(|_| Reply::ok(""))
        .gives(json!(""));
}

#[test]
fn a_response_of_megabytes_arrives_whole() {
    let text = "é0123456789".repeat(400_000);
    let n_units = text.encode_utf16().count();
    received(
        typed("text/plain", &text),
        "[response.body.length, response.body.slice(-11)]",
        json!([n_units, "é0123456789"]),
    );
}
