//! Words for messages: values shortened to a length that fits, kinds with an article, lists, and the nearest name.

use std::borrow::Cow;
use std::io;

use serde_json::Value;

/// The most characters of a value that a message shows.
const SHOWN: usize = 60;

/// The most names that a message lists.
const LISTED: usize = 20;

/// A value as JSON, cut to a length that fits a message.
pub(crate) fn show(value: &Value) -> String {
    let mut shown = Shown::default();
    // The writer fails on purpose once it has enough, so a huge value is never written whole.
    let _ = serde_json::to_writer(&mut shown, value);
    cut(&String::from_utf8_lossy(&shown.0))
}

/// Text in quotes, as JSON writes it, cut to a length that fits a message.
pub(crate) fn quote(text: &str) -> String {
    let inner = cut(text);
    serde_json::to_string(&inner).unwrap_or(inner)
}

/// What a value is, with its article and, for a scalar, the value: `the string "x"`, `an object`.
pub(crate) fn describe_value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(_) => format!("the number {}", show(value)),
        Value::String(text) => format!("the string {}", quote(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A JSON Schema type with its article: `an integer`.
pub(crate) fn with_article(kind: &str) -> String {
    match kind {
        "null" => "null".to_owned(),
        "boolean" => "true or false".to_owned(),
        "integer" | "array" | "object" => format!("an {kind}"),
        other => format!("a {other}"),
    }
}

/// `a, b or c`.
pub(crate) fn either(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// Names in quotes, separated by commas; past a number that fits a message, a count of the rest.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let mut listed: Vec<_> = names.by_ref().take(LISTED).map(quote).collect();
    let n_rest = names.count();
    if n_rest > 0 {
        listed.push(format!("and {n_rest} more"));
    }
    listed.join(", ")
}

/// The candidate that someone who wrote `name` probably meant: the same but for case and separators, or a few typing
/// errors away.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    let plain = plainly(name);
    if plain.is_empty() || plain.chars().count() > LONGEST {
        return None;
    }
    let n_typos = (plain.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST && *candidate != name)
        .map(|candidate| (strsim::damerau_levenshtein(&plain, &plainly(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= n_typos && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Appends `/segment` to a JSON pointer, escaped by RFC 6901.
pub(crate) fn push_segment(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for character in segment.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// The pointer to `segment` inside what `pointer` names.
pub(crate) fn join(pointer: &str, segment: &str) -> String {
    let mut joined = pointer.to_owned();
    push_segment(&mut joined, segment);
    joined
}

/// The segments of a JSON pointer, unescaped.
pub(crate) fn pointer_segments(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    pointer.split('/').skip(1).map(|segment| {
        if segment.contains('~') {
            Cow::Owned(segment.replace("~1", "/").replace("~0", "~"))
        } else {
            Cow::Borrowed(segment)
        }
    })
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

fn plainly(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.')).flat_map(char::to_lowercase).collect()
}

/// Takes a little more than a message shows, then fails.
#[derive(Default)]
struct Shown(Vec<u8>);

impl io::Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A character takes at most four bytes.
        let room = (SHOWN * 4 + 4).saturating_sub(self.0.len());
        if room == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let taken = &bytes[..bytes.len().min(room)];
        self.0.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_cut_at_a_character() {
        assert_eq!(show(&json!({"a": [1, null]})), r#"{"a":[1,null]}"#);
        let long = show(&json!("é".repeat(1_000_000)));
        assert_eq!(long.chars().count(), SHOWN + 1);
        assert_eq!(quote("a\"b\n"), r#""a\"b\n""#);
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["title", "authMethod", "supportedAuthMethods", "allowedHosts", "type"];
        for (found, meant) in [
            ("Title", Some("title")),
            ("auth_method", Some("authMethod")),
            ("allowedHost", Some("allowedHosts")),
            ("titel", Some("title")),
            ("tpye", Some("type")),
            ("slug", None),
            ("x", None),
            ("", None),
            ("category", None),
        ] {
            assert_eq!(nearest(found, known), meant, "{found:?}");
        }
    }

    #[test]
    fn pointers_escape_and_unescape() {
        assert_eq!(join("/a", "b/c~d"), "/a/b~1c~0d");
        assert_eq!(pointer_segments("/a/b~1c~0d/~01").collect::<Vec<_>>(), ["a", "b/c~d", "~1"]);
        assert_eq!(pointer_segments("").count(), 0);
        assert_eq!(pointer_segments("/").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn lists_are_bounded() {
        assert_eq!(list(["a", "b"]), r#""a", "b""#);
        let names: Vec<_> = (0..30).map(|n| n.to_string()).collect();
        assert!(list(names.iter().map(String::as_str)).ends_with("and 10 more"));
        assert_eq!(either(&["a".into(), "b".into(), "c".into()]), "a, b or c");
    }
}
