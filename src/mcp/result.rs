//! Answers as MCP clients get them: marked as text from outside, in a size that a conversation can bear.
//!
//! The envelope is the result's `_meta`: `portcullis/untrusted` is true, `portcullis/integration` and
//! `portcullis/connection` say whose words these are. A text that was cut has `portcullis/truncated` and
//! `portcullis/cursor` besides.

use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ContentBlock, MetaObject};
use serde_json::{Value, json};

use super::pages::{KEPT, Pages};

/// The built-in tool that reads on.
pub(super) const READ_MORE: &str = "read_more";

/// Whose words a result is.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    pub(super) integration: Option<String>,
    pub(super) connection: Option<String>,
}

/// How results are written for one caller.
pub(super) struct Writer<'w> {
    pub(super) pages: &'w Pages,
    pub(super) owner: &'w str,
    /// Characters of text in one answer.
    pub(super) max_chars: usize,
}

/// A stretch of a text.
struct Cut<'t> {
    text: &'t str,
    /// The byte at which the rest begins; none if there is none.
    rest: Option<usize>,
}

impl Writer<'_> {
    /// What a call gave. A failure's message is a result too: the model reads it and can do better.
    pub(super) fn outcome(&self, outcome: Result<Value, Value>, source: Source) -> CallToolResult {
        match outcome {
            Ok(value) => self.value(value, source, false),
            Err(message) => self.value(message, source, true),
        }
    }

    /// What a pending call's caller is told; it is our own text.
    pub(super) fn pending(&self, shown: Value) -> CallToolResult {
        let mut result = CallToolResult::success(vec![ContentBlock::text(shown.to_string())]);
        result.structured_content = Some(shown);
        result
    }

    fn value(&self, value: Value, source: Source, is_error: bool) -> CallToolResult {
        let text = value.to_string();
        let cut = cut(&text, 0, self.max_chars);
        let Some(rest) = cut.rest else {
            let mut result = result(vec![ContentBlock::text(text)], is_error);
            result.structured_content = value.is_object().then_some(value);
            return result.with_meta(Some(envelope(&source)));
        };
        let shown = cut.text.to_owned();
        let n_chars = text.chars().count();
        let id = self.pages.keep(self.owner, text, source.clone());
        let told =
            Told { from: 0, until: self.max_chars, n_chars, cursor: Some(cursor(&id, rest, self.max_chars)) };
        told.result(shown, &source, is_error)
    }

    /// The stretch of a kept result that the cursor leads to.
    pub(super) fn more(&self, given: &str) -> Result<CallToolResult, ErrorData> {
        let gone = || {
            let message = format!(
                "there is nothing at this cursor: take it from the answer that was cut, within {} minutes of it",
                KEPT.as_secs() / 60
            );
            ErrorData::invalid_params(message, None)
        };
        let (id, byte, from) = parse_cursor(given).ok_or_else(gone)?;
        let kept = self.pages.get(self.owner, id).ok_or_else(gone)?;
        if !kept.text.is_char_boundary(byte) || byte >= kept.text.len() {
            return Err(gone());
        }
        let cut = cut(&kept.text, byte, self.max_chars);
        let until = from + cut.text.chars().count();
        let n_chars = kept.text.chars().count();
        let cursor = cut.rest.map(|rest| cursor(id, rest, until));
        Ok(Told { from, until, n_chars, cursor }.result(cut.text.to_owned(), &kept.source, false))
    }
}

/// What is said of a stretch.
struct Told {
    /// Characters before it, and up to its end.
    from: usize,
    until: usize,
    n_chars: usize,
    /// Where the rest is; none at the end.
    cursor: Option<String>,
}

impl Told {
    fn result(self, text: String, source: &Source, is_error: bool) -> CallToolResult {
        let Self { from, until, n_chars, cursor } = self;
        let mut meta = envelope(source);
        let mut content = vec![ContentBlock::text(text)];
        let structured = match cursor {
            Some(cursor) => {
                content.push(ContentBlock::text(format!(
                    "[Truncated: these are characters {from} to {until} of {n_chars}. For the rest call {READ_MORE} with \
                     {{\"cursor\": \"{cursor}\"}}, within {} minutes.]",
                    KEPT.as_secs() / 60
                )));
                meta.0.insert("portcullis/truncated".to_owned(), true.into());
                meta.0.insert("portcullis/cursor".to_owned(), cursor.as_str().into());
                json!({"truncated": true, "from": from, "until": until, "characters": n_chars, "cursor": cursor})
            }
            None => json!({"truncated": false, "from": from, "until": until, "characters": n_chars}),
        };
        let mut result = result(content, is_error);
        result.structured_content = Some(structured);
        result.with_meta(Some(meta))
    }
}

fn result(content: Vec<ContentBlock>, is_error: bool) -> CallToolResult {
    if is_error { CallToolResult::error(content) } else { CallToolResult::success(content) }
}

fn envelope(source: &Source) -> MetaObject {
    let mut meta = MetaObject::new();
    meta.0.insert("portcullis/untrusted".to_owned(), true.into());
    if let Some(integration) = &source.integration {
        meta.0.insert("portcullis/integration".to_owned(), integration.as_str().into());
    }
    if let Some(connection) = &source.connection {
        meta.0.insert("portcullis/connection".to_owned(), connection.as_str().into());
    }
    meta
}

/// At most so many characters of the text, from this byte on.
fn cut(text: &str, from: usize, max_chars: usize) -> Cut<'_> {
    let text = &text[from..];
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => Cut { text: &text[..end], rest: Some(from + end) },
        None => Cut { text, rest: None },
    }
}

/// The kept result's id, the byte to read on from, and the characters before it.
fn cursor(id: &str, byte: usize, n_chars: usize) -> String {
    format!("{id}.{byte}.{n_chars}")
}

fn parse_cursor(cursor: &str) -> Option<(&str, usize, usize)> {
    let mut parts = cursor.split('.');
    let parsed = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(result: &CallToolResult) -> Vec<&str> {
        result.content.iter().filter_map(|block| block.as_text().map(|text| text.text.as_str())).collect()
    }

    fn source() -> Source {
        Source { integration: Some("desk".to_owned()), connection: Some("desk-2".to_owned()) }
    }

    #[test]
    fn an_object_is_structured_and_the_same_as_text() {
        let pages = Pages::default();
        let writer = Writer { pages: &pages, owner: "ada", max_chars: 100 };
        let result = writer.outcome(Ok(json!({"a": 1})), source());
        assert_eq!(texts(&result), [r#"{"a":1}"#]);
        assert_eq!(result.structured_content, Some(json!({"a": 1})));
        assert_eq!(result.is_error, Some(false));
        let meta = serde_json::to_value(&result.meta).unwrap();
        let expected = json!({"portcullis/untrusted": true, "portcullis/integration": "desk", "portcullis/connection": "desk-2"});
        assert_eq!(meta, expected);
        let list = writer.outcome(Ok(json!(["a"])), source());
        assert_eq!((texts(&list), list.structured_content.as_ref()), (vec![r#"["a"]"#], None));
    }

    #[test]
    fn an_error_is_a_result_that_a_model_can_read() {
        let pages = Pages::default();
        let writer = Writer { pages: &pages, owner: "ada", max_chars: 1000 };
        let message = json!({"error": {"code": "INVALID_ARGUMENTS"}});
        let result = writer.outcome(Err(message.clone()), source());
        assert_eq!((result.is_error, result.structured_content), (Some(true), Some(message)));
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_read_on_to_its_end() {
        let pages = Pages::default();
        let writer = Writer { pages: &pages, owner: "ada", max_chars: 4 };
        let first = writer.outcome(Ok(json!("äöüßxyz")), source());
        assert_eq!(texts(&first)[0], "\"äöü");
        assert!(texts(&first)[1].contains("characters 0 to 4 of 9"), "{:?}", texts(&first));
        let mut cursor = first.structured_content.unwrap()["cursor"].as_str().unwrap().to_owned();
        let mut whole = "\"äöü".to_owned();
        loop {
            let next = writer.more(&cursor).unwrap();
            whole += texts(&next)[0];
            let structured = next.structured_content.unwrap();
            match structured["cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break assert_eq!(structured["until"], 9),
            }
        }
        assert_eq!(whole, "\"äöüßxyz\"");
        let eve = Writer { owner: "eve", ..writer };
        for bad in [cursor.as_str(), "", "a.b.c", "0.0.0", "x.1.2.3"] {
            assert!(eve.more(bad).is_err(), "{bad}");
        }
    }
}
