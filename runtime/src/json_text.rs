//! JSON as JavaScript writes it, read into values: lone surrogates and depth are the two differences.

use std::borrow::Cow;

use serde_json::Value;

/// Reads the output of JSON.stringify. A lone surrogate, which no UTF-8 text can hold, becomes U+FFFD; more than 128
/// levels of nesting are an error.
pub(crate) fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(&without_lone_surrogates(text)).map_err(|error| {
        if error.to_string().starts_with("recursion limit") {
            "it is nested more than 128 levels deep".to_owned()
        } else {
            error.to_string()
        }
    })
}

/// Replaces escapes of surrogates that are not half of a pair.
fn without_lone_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        kept.push_str(before);
        let (taken, replaced) = match (surrogate(escape), escape.get(6..).and_then(surrogate)) {
            (Some(Half::High), Some(Half::Low)) => (12, None),
            (Some(_), _) => (6, Some("\\ufffd")),
            // An escape of two characters, of which the second may be a backslash.
            (None, _) => (1 + escape[1..].chars().next().map_or(0, char::len_utf8), None),
        };
        kept.push_str(replaced.unwrap_or(&escape[..taken]));
        rest = &escape[taken..];
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

enum Half {
    High,
    Low,
}

/// Whether an escape of a surrogate stands here.
fn surrogate(escape: &str) -> Option<Half> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    match u32::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(Half::High),
        0xdc00..=0xdfff => Some(Half::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        for (json, text) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""a\udc00b""#, "a\u{fffd}b"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\\ud800""#, "\\ud800"),
            (r#""\\\ud800""#, "\\\u{fffd}"),
            (r#""\n\u00e9""#, "\né"),
        ] {
            assert_eq!(parse_json(json), Ok(Value::from(text)), "{json}");
        }
    }

    #[test]
    fn depth_is_refused_in_words() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(parse_json(&deep), Err("it is nested more than 128 levels deep".to_owned()));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,20}|(\\\\u[d-eD-E][0-9a-f]{3}|\\\\|\"|a|é){0,12}") {
            let _ = parse_json(&text);
        }
    }
}
