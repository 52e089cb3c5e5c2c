//! The headers of a request: what a connector may set, what it may not, and what a redirect takes away.

use url::Url;

use super::error::EgressFailure;
use super::wire::OUTPUT_BUFFER;

/// A header that may be sent: a checked name in the caller's spelling, and a value in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) value: Vec<u8>,
}

impl Header {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The caller's headers, checked, without those that the transport sets itself.
///
/// `Connection`, `Keep-Alive` and `Accept-Encoding` are left out silently, since clients everywhere set them and they
/// change nothing that a connector could see. `Host` and `Content-Length` are left out where they say what is sent
/// anyway. Other headers that govern the connection or the message's framing are refused.
pub(super) fn check(
    headers: &[(String, String)],
    url: &Url,
    body_length: usize,
) -> Result<Vec<Header>, EgressFailure> {
    let mut checked = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let header = Header { name: parse_name(name)?, value: parse_value(name, value)? };
        if header.name.len() + header.value.len() + LINE_OVERHEAD > OUTPUT_BUFFER {
            return Err(refuse(name, &format!("is longer than {} bytes", OUTPUT_BUFFER - LINE_OVERHEAD)));
        }
        if !is_left_out(&header, url, body_length)? {
            checked.push(header);
        }
    }
    Ok(checked)
}

/// Takes away what the connector set but `Accept`, `Accept-Language`, `Content-Type` and `User-Agent`.
pub(super) fn strip_across_origins(headers: &mut Vec<Header>) {
    const SURVIVORS: [&str; 4] = ["accept", "accept-language", "content-type", "user-agent"];
    headers.retain(|header| SURVIVORS.iter().any(|survivor| header.is(survivor)));
}

/// Takes away what describes a body, when a redirect drops the body.
pub(super) fn strip_body_headers(headers: &mut Vec<Header>) {
    const OF_BODIES: [&str; 4] = ["content-type", "content-encoding", "content-language", "content-location"];
    headers.retain(|header| !OF_BODIES.iter().any(|name| header.is(name)));
}

/// The colon, the space, and two line breaks.
const LINE_OVERHEAD: usize = 8;

fn is_left_out(header: &Header, url: &Url, body_length: usize) -> Result<bool, EgressFailure> {
    let name = header.name.to_ascii_lowercase();
    match name.as_str() {
        "connection" | "keep-alive" | "accept-encoding" => Ok(true),
        "host" if header.value.eq_ignore_ascii_case(host_with_port(url).as_bytes()) => Ok(true),
        "host" => Err(refuse(
            &header.name,
            &format!("would differ from the URL's host, \"{}\"", host_with_port(url)),
        )),
        "content-length" if header.value == body_length.to_string().as_bytes() => Ok(true),
        "content-length" => {
            Err(refuse(&header.name, &format!("would differ from the body's length, {body_length}")))
        }
        "transfer-encoding" | "upgrade" | "te" | "trailer" | "expect" | "http2-settings" => {
            Err(refuse(&header.name, "belongs to the connection and can't be set by a connector"))
        }
        _ if name.starts_with("proxy-") => {
            Err(refuse(&header.name, "belongs to the connection and can't be set by a connector"))
        }
        _ => Ok(false),
    }
}

/// The host as `Host` names it: with its port where that isn't the scheme's own.
pub(super) fn host_with_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn parse_name(name: &str) -> Result<String, EgressFailure> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_token) {
        return Ok(name.to_owned());
    }
    Err(refuse(name, "is no header name; names are letters, digits and \"-\""))
}

/// A value in bytes, one per character as `fetch` has it, without white space at its ends.
fn parse_value(name: &str, value: &str) -> Result<Vec<u8>, EgressFailure> {
    let value = value.trim_matches([' ', '\t']);
    let mut bytes = Vec::with_capacity(value.len());
    for character in value.chars() {
        match u8::try_from(u32::from(character)) {
            Ok(b'\r' | b'\n') => return Err(refuse(name, "has a line break in its value")),
            Ok(byte) if (byte < b' ' && byte != b'\t') || byte == 0x7f => {
                return Err(refuse(name, "has a control character in its value"));
            }
            Ok(byte) => bytes.push(byte),
            Err(_) => {
                let problem =
                    format!("has \"{character}\" in its value, which no header can carry; encode it first");
                return Err(refuse(name, &problem));
            }
        }
    }
    Ok(bytes)
}

fn refuse(name: &str, problem: &str) -> EgressFailure {
    EgressFailure::Invalid { message: format!("the header \"{}\" {problem}", name.escape_debug()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, value: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let url = Url::parse("https://a.com:8443/").expect("URL");
        check(&[(name.to_owned(), value.to_owned())], &url, 5)
            .map(|headers| headers.into_iter().map(|header| (header.name, header.value)).collect())
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn ordinary_headers_pass_as_written() {
        assert_eq!(checked("X-Api-Key", " a b\t"), Ok(vec![("X-Api-Key".to_owned(), b"a b".to_vec())]));
        assert_eq!(checked("x", "ü"), Ok(vec![("x".to_owned(), vec![0xfc])]));
        assert_eq!(checked("x", ""), Ok(vec![("x".to_owned(), vec![])]));
    }

    #[test]
    fn what_is_sent_anyway_is_left_out() {
        for (name, value) in [
            ("Connection", "close"),
            ("Keep-Alive", "x"),
            ("accept-encoding", "br"),
            ("Host", "A.com:8443"),
            ("Content-Length", "5"),
        ] {
            assert_eq!(checked(name, value), Ok(vec![]), "{name}");
        }
    }

    #[test]
    fn framing_and_connection_headers_are_refused_by_name() {
        for (name, value) in [
            ("Host", "b.com"),
            ("Host", "a.com"),
            ("Content-Length", "6"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "websocket"),
            ("Proxy-Authorization", "x"),
            ("TE", "trailers"),
            ("Trailer", "x"),
            ("Expect", "100-continue"),
        ] {
            let error = checked(name, value).expect_err(name);
            assert!(error.contains(&format!("the header \"{name}\"")), "{error}");
        }
    }

    #[test]
    fn what_would_break_the_message_is_refused() {
        for (name, value, needle) in [
            ("X-A", "a\r\nX-B: c", "line break"),
            ("X-A", "a\nb", "line break"),
            ("X-A", "a\rb", "line break"),
            ("X-A", "a\0b", "control character"),
            ("X-A", "a\u{7f}", "control character"),
            ("X-A", "日", "no header can carry"),
            ("X-A\r\nX-B", "c", "the header \"X-A\\r\\nX-B\" is no header name"),
            ("X A", "c", "no header name"),
            ("X:A", "c", "no header name"),
            ("", "c", "no header name"),
            ("Ü", "c", "no header name"),
        ] {
            let error = checked(name, value).expect_err(value);
            assert!(error.contains(needle), "{error}");
        }
        assert!(checked("X-A", &"a".repeat(OUTPUT_BUFFER)).is_err());
    }
}
