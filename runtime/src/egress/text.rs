//! Bytes of a response as text: its media type, its charset, its byte order mark.

use encoding_rs::{Encoding, UTF_8};

/// Decodes `body` as a browser would: a byte order mark decides, then the charset that `content_type` names, then
/// UTF-8. What the charset can't read becomes U+FFFD.
pub(super) fn decode(body: &[u8], content_type: Option<&str>) -> String {
    let encoding = content_type.and_then(charset).unwrap_or(UTF_8);
    encoding.decode(body).0.into_owned()
}

/// Whether `content_type` is JSON: `application/json`, `text/json`, or a type that ends in `+json`.
pub(super) fn is_json(content_type: Option<&str>) -> bool {
    let media_type = content_type.unwrap_or_default().split([';', ',']).next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    matches!(media_type.as_str(), "application/json" | "text/json")
        || media_type.split_once('/').is_some_and(|(_, subtype)| subtype.ends_with("+json"))
}

fn charset(content_type: &str) -> Option<&'static Encoding> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        is_charset.then(|| Encoding::for_label(value.trim().trim_matches(['"', '\'']).as_bytes()))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charset_is_followed() {
        for (body, content_type, text) in [
            (&b"gr\xfc\xdfe"[..], "text/plain; charset=ISO-8859-1", "grüße"),
            (b"gr\xfc\xdfe", "text/plain;Charset=\"latin1\"", "grüße"),
            (b"\x80", "text/plain; charset=iso-8859-1", "€"),
            (b"\x93\xfa\x96{", "text/plain; charset=Shift_JIS", "日本"),
            (b"a\0\xfc\0", "text/plain; charset=utf-16le", "aü"),
            (b"\0a\0\xfc", "text/plain; charset=utf-16be", "aü"),
            ("grüße".as_bytes(), "text/plain; charset=utf-8", "grüße"),
            ("grüße".as_bytes(), "text/plain", "grüße"),
            ("grüße".as_bytes(), "text/plain; charset=nonsense", "grüße"),
        ] {
            assert_eq!(decode(body, Some(content_type)), text, "{content_type}");
        }
    }

    #[test]
    fn a_byte_order_mark_decides_and_is_dropped() {
        assert_eq!(decode(b"\xef\xbb\xbfa", None), "a");
        assert_eq!(decode(b"\xff\xfea\0", Some("text/plain; charset=utf-8")), "a");
        assert_eq!(decode(b"\xfe\xff\0a", None), "a");
    }

    #[test]
    fn what_is_no_utf8_becomes_the_replacement_character() {
        assert_eq!(decode(b"a\xffb\xc3", None), "a\u{fffd}b\u{fffd}");
        assert_eq!(decode(b"\xff", Some("application/octet-stream")), "\u{fffd}");
    }

    #[test]
    fn json_is_told_by_its_media_type() {
        for yes in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "text/json",
            "application/problem+json",
            "a/b+json;x",
        ] {
            assert!(is_json(Some(yes)), "{yes}");
        }
        for no in ["text/plain", "application/jsonp", "application/json-seq", "json", ""] {
            assert!(!is_json(Some(no)), "{no}");
        }
        assert!(!is_json(None));
    }
}
