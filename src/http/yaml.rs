//! YAML bodies as JSON values: YAML 1.2's core schema, without anchors, aliases, tags and keys that aren't texts.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Number, Value};

use super::error::ApiError;

/// How deep values may stand in one another: as deep as JSON's.
const MAX_DEPTH: usize = 128;

/// The one document of a text.
pub(super) fn parse(text: &str) -> Result<Value, ApiError> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    reader.document().map_err(|Fault { what, at }| {
        let (line, column) = (at.line(), at.col() + 1);
        ApiError::invalid(format!(
            "the body is not YAML that is taken here: {what} at line {line} column {column}"
        ))
    })
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
}

/// What is wrong, and where.
struct Fault {
    what: String,
    at: Marker,
}

impl From<ScanError> for Fault {
    fn from(error: ScanError) -> Self {
        Self { what: error.info().to_owned(), at: *error.marker() }
    }
}

fn fault<T>(what: &str, at: Span) -> Result<T, Fault> {
    Err(Fault { what: what.to_owned(), at: at.start })
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Value, Fault> {
        let mut value = None;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(value.unwrap_or(Value::Null)),
                Event::DocumentStart(_) if value.is_some() => return fault("there is a second document", at),
                Event::DocumentStart(_) => {
                    let first = self.next()?;
                    value = Some(self.value(first, 0)?);
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Fault> {
        match self.parser.next_event() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The value that this event begins. As deep as `MAX_DEPTH` at most, so that the stack holds.
    fn value(&mut self, (event, at): (Event<'t>, Span), depth: usize) -> Result<Value, Fault> {
        if depth > MAX_DEPTH {
            return fault("values stand too deep in one another", at);
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                check(anchor, tag.as_deref(), at)?;
                Ok(if style == ScalarStyle::Plain { plain(&text) } else { Value::from(text.into_owned()) })
            }
            Event::SequenceStart(anchor, tag) => {
                check(anchor, tag.as_deref(), at)?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                        item => items.push(self.value(item, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, tag) => {
                check(anchor, tag.as_deref(), at)?;
                let mut members = Map::new();
                loop {
                    let (event, at) = self.next()?;
                    if event == Event::MappingEnd {
                        return Ok(Value::Object(members));
                    }
                    let Event::Scalar(key, _, anchor, tag) = event else {
                        return fault("a key is no text", at);
                    };
                    check(anchor, tag.as_deref(), at)?;
                    let value = self.next()?;
                    let value = self.value(value, depth + 1)?;
                    if members.insert(key.into_owned(), value).is_some() {
                        return fault("a key stands twice", at);
                    }
                }
            }
            Event::Alias(_) => fault("aliases aren't taken: write the value out", at),
            _ => fault("a value is missing", at),
        }
    }
}

/// Refuses what JSON has nothing like.
fn check(anchor: usize, tag: Option<&Tag>, at: Span) -> Result<(), Fault> {
    match (anchor, tag) {
        (0, None) => Ok(()),
        (0, Some(_)) => fault("tags aren't taken", at),
        _ => fault("anchors aren't taken: write values out where they are used", at),
    }
}

/// A plain scalar by the core schema (YAML 1.2.2, 10.3.2). Numbers that JSON can't write stay texts.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::from(text), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0o") {
        return u64::from_str_radix(digits, 8).ok().map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(Number::from);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if !is_number {
        return None;
    }
    let whole = text.strip_prefix('+').unwrap_or(text);
    whole
        .parse::<i64>()
        .map(Number::from)
        .ok()
        .or_else(|| whole.parse::<f64>().ok().and_then(Number::from_f64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused(text: &str, part: &str) {
        let error = parse(text).expect_err(text);
        assert!(error.message.contains(part), "{text:?}: {}", error.message);
    }

    #[test]
    fn a_document_is_read_as_the_json_that_it_means() {
        let text = "# an agent\nname: support\nconnections:\n  - type: gmail\n    tools: [list, 'send']\n  - {type: \"x\"}\n";
        let expected = json!({"name": "support", "connections": [{"type": "gmail", "tools": ["list", "send"]}, {"type": "x"}]});
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("--- a\n...\n").unwrap(), json!("a"));
        for empty in ["", "---\n", "# nothing\n"] {
            assert_eq!(parse(empty).unwrap(), Value::Null, "{empty:?}");
        }
        assert_eq!(
            parse("a: |\n  one\n  two\nb: >\n  one\n  two\n").unwrap(),
            json!({"a": "one\ntwo\n", "b": "one two\n"})
        );
        assert_eq!(
            parse(r#"{"a": [1, {"b": null}]}"#).unwrap(),
            json!({"a": [1, {"b": null}]}),
            "JSON is YAML"
        );
    }

    #[test]
    fn scalars_are_those_of_the_core_schema() {
        for (text, value) in [
            ("no", json!("no")),
            ("on", json!("on")),
            ("True", json!(true)),
            ("~", Value::Null),
            ("7", json!(7)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("1.5e3", json!(1500.0)),
            (".5", json!(0.5)),
            ("1.2.3", json!("1.2.3")),
            ("2024-01-01", json!("2024-01-01")),
            ("1_000", json!("1_000")),
            (".inf", json!(".inf")),
            ("'7'", json!("7")),
            ("\"true\"", json!("true")),
            ("99999999999999999999", json!(1e20)),
        ] {
            assert_eq!(parse(text).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn what_json_has_nothing_like_is_refused_with_its_place() {
        refused(
            "a: &x 1\nb: *x",
            "anchors aren't taken: write values out where they are used at line 1 column",
        );
        refused("a: !!str 1", "tags aren't taken");
        refused("a: 1\na: 2", "a key stands twice at line 2 column 1");
        refused("? [a]\n: 1", "a key is no text");
        refused("a\n---\nb", "a second document at line 2");
        refused("a: [1", "line 2");
        refused("a: 1\n b: 2", "line 2");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC{0,60}", like_yaml in "[-:?,&*#!|>'\"%@~{}\\[\\] \\n\\tab01.]{0,80}") {
            for text in [text, like_yaml] {
                let read = parse(&text);
                if let Ok(value) = read {
                    let written = value.to_string();
                    prop_assert_eq!(parse(&written).map_err(|error| error.message), Ok(value), "{}", written);
                }
            }
        }
    }

    #[test]
    fn depth_is_bounded() {
        refused(&"[".repeat(100_000), "");
        refused(&format!("{}1{}", "[".repeat(200), "]".repeat(200)), "too deep");
        refused(&"- ".repeat(50_000), "too deep");
        refused(&"{a: ".repeat(50_000), "");
    }
}
