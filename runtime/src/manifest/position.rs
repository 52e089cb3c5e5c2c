//! From the text of a config.json to its JSON value, and from a JSON pointer back to a place in the text.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::Value;

use super::diagnostics::{Diagnostics, Finding, Sink};
use super::words::{pointer_segments, push_segment, quote};

/// The deepest nesting of objects and arrays that a config.json may have. Both parsers recurse, so the text is
/// measured before either sees it.
pub const MAX_DEPTH: usize = 127;

/// Which end of a property a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Value,
    Key,
}

/// The text of a file, and where each of its values stands.
pub(crate) struct Source<'a> {
    text: &'a str,
    root: Span<'a>,
    duplicates: Vec<Duplicate>,
}

/// Where a value stands, and those inside it. Offsets are bytes from the start of the text.
#[derive(Default)]
struct Span<'a> {
    value: usize,
    key: usize,
    properties: HashMap<std::borrow::Cow<'a, str>, Span<'a>>,
    elements: Vec<Span<'a>>,
}

struct Duplicate {
    pointer: String,
    key: String,
    first: usize,
    second: usize,
}

impl<'a> Source<'a> {
    /// Parses the text's structure. The text must have passed [`parse_value`], which reports what JSON doesn't allow.
    #[cfg(test)]
    pub(crate) fn parse(text: &'a str) -> Result<Self, Diagnostics> {
        read(text).map(|(source, _)| source)
    }

    fn bare(text: &'a str) -> Self {
        Self { text, root: Span::default(), duplicates: Vec::new() }
    }

    /// The offset of the value (or its key) that the pointer names, or of the nearest value around it.
    pub(crate) fn offset(&self, pointer: &str, anchor: Anchor) -> usize {
        let mut span = &self.root;
        for segment in pointer_segments(pointer) {
            let inner = span
                .properties
                .get(segment.as_ref())
                .or_else(|| segment.parse::<usize>().ok().and_then(|index| span.elements.get(index)));
            match inner {
                Some(inner) => span = inner,
                None => return span.value,
            }
        }
        if anchor == Anchor::Key { span.key } else { span.value }
    }

    /// The offset of a character inside the string that the pointer names: of the one that stands, or of the escape that
    /// gives one, `index` bytes into the string's value.
    pub(crate) fn offset_inside(&self, pointer: &str, index: usize) -> usize {
        let start = self.offset(pointer, Anchor::Value);
        let Some(inside) = self.text.get(start..).and_then(|text| text.strip_prefix('"')) else {
            return start;
        };
        let (mut written, mut n_read) = (0, 0);
        while let Some((length, n_bytes)) = string_piece(&inside[written..])
            && n_read + n_bytes <= index
        {
            written += length;
            n_read += n_bytes;
        }
        start + 1 + written
    }

    /// Turns offsets into lines and columns; cheap when asked in rising order.
    pub(crate) fn places(&self) -> Places<'a> {
        Places { text: self.text, offset: 0, line: 1, column: 1 }
    }

    /// One finding per key that an object names twice.
    pub(crate) fn report_duplicates(&self, sink: &mut Sink<'_>) {
        for duplicate in &self.duplicates {
            let (line, column) = self.places().at(duplicate.first);
            let message =
                format!("the key {} stands here twice, first at {line}:{column}", quote(&duplicate.key));
            sink.push_at(
                duplicate.second,
                Finding::error(duplicate.pointer.clone(), message).help("keep one of them"),
            );
        }
    }
}

/// The first character of the rest of a JSON string as written: its length there, and that of the UTF-8 it stands for.
/// None at the end of the string.
fn string_piece(rest: &str) -> Option<(usize, usize)> {
    let unit = |escape: &str| u16::from_str_radix(escape.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let first = rest.chars().next().filter(|first| *first != '"')?;
    if first != '\\' {
        return Some((first.len_utf8(), first.len_utf8()));
    }
    let Some(high) = unit(rest) else { return Some((2.min(rest.len()), 1)) };
    let pair = [high, rest.get(6..).and_then(unit).unwrap_or_default()];
    match char::decode_utf16(pair).next()? {
        Ok(character) => Some((6 * character.len_utf16(), character.len_utf8())),
        // The text was parsed, so there's no half of a pair in it.
        Err(_) => Some((6, 3)),
    }
}

/// A cursor that counts lines and columns.
pub(crate) struct Places<'a> {
    text: &'a str,
    offset: usize,
    line: u32,
    column: u32,
}

impl Places<'_> {
    /// The line and column of the character at `offset`, both from 1, columns in characters.
    pub(crate) fn at(&mut self, offset: usize) -> (u32, u32) {
        if offset < self.offset {
            (self.offset, self.line, self.column) = (0, 1, 1);
        }
        let end = self.text.floor_char_boundary(offset);
        for character in self.text[self.offset..end].chars() {
            if character == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.offset = end;
        (self.line, self.column)
    }

    pub(crate) fn last(&mut self) -> (u32, u32) {
        self.at(self.text.len())
    }
}

/// Reads a file: its value, and where everything stands. Refuses what strict JSON refuses, and nesting past
/// [`MAX_DEPTH`]. A byte order mark at the start is skipped, as editors on Windows write one.
pub(crate) fn read(text: &str) -> Result<(Source<'_>, Value), Diagnostics> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let refuse = |offset, finding| {
        let bare = Source::bare(text);
        let mut sink = Sink::new(&bare);
        sink.push_at(offset, finding);
        Err(sink.finish())
    };
    if let Some(offset) = too_deep(text) {
        let message = format!("objects and arrays nest more than {MAX_DEPTH} deep here");
        return refuse(offset, Finding::error("", message));
    }
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            let offset = syntax_error_offset(text, &error);
            return refuse(offset, syntax_error(text, offset, &error));
        }
    };
    let options = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    match parse_to_ast(text, &CollectOptions::default(), &options) {
        Ok(ast) => Ok((locate(text, ast.value), value)),
        Err(error) => refuse(error.range().start, Finding::error("", format!("not JSON: {}", error.kind()))),
    }
}

/// Where the text first nests past the limit, if it does. Brackets in strings don't count.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(offset);
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// serde_json counts columns in bytes, and stands on the last byte that it read.
fn syntax_error_offset(text: &str, error: &serde_json::Error) -> usize {
    let line_start: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let offset = (line_start + error.column().saturating_sub(1)).min(text.len());
    text.floor_char_boundary(offset)
}

fn syntax_error(text: &str, offset: usize, error: &serde_json::Error) -> Finding {
    let full = error.to_string();
    let reason = full.rsplit_once(" at line ").map_or(full.as_str(), |(reason, _)| reason);
    let finding = Finding::error("", format!("not JSON: {reason}"));
    let rest = &text[offset..];
    let help = if text.trim().is_empty() {
        "the file is empty; begin with { \"title\": …, \"authMethod\": … }"
    } else if rest.starts_with("//") || rest.starts_with("/*") {
        "JSON has no comments"
    } else if rest.starts_with('\'') {
        "strings and keys stand in double quotes"
    } else if error.is_eof() {
        "the file ends too early: a closing bracket or quote is missing"
    } else {
        return finding;
    };
    finding.help(help)
}

fn locate<'a>(text: &'a str, value: Option<ast::Value<'a>>) -> Source<'a> {
    let mut duplicates = Vec::new();
    let mut pointer = String::new();
    let root = value.map_or_else(Span::default, |value| span(value, &mut pointer, &mut duplicates));
    Source { text, root: Span { key: root.value, ..root }, duplicates }
}

/// Recursion is bounded by [`MAX_DEPTH`].
fn span<'a>(value: ast::Value<'a>, pointer: &mut String, duplicates: &mut Vec<Duplicate>) -> Span<'a> {
    let mut outer = Span { value: value.start(), ..Span::default() };
    match value {
        ast::Value::Object(object) => {
            for property in object.properties {
                let key = property.name.start();
                let length = pointer.len();
                push_segment(pointer, property.name.as_str());
                let inner = Span { key, ..span(property.value, pointer, duplicates) };
                insert(&mut outer, name_of(property.name), inner, pointer, duplicates);
                pointer.truncate(length);
            }
        }
        ast::Value::Array(array) => {
            for (index, element) in array.elements.into_iter().enumerate() {
                let length = pointer.len();
                push_segment(pointer, &index.to_string());
                let inner = span(element, pointer, duplicates);
                outer.elements.push(Span { key: inner.value, ..inner });
                pointer.truncate(length);
            }
        }
        _ => {}
    }
    outer
}

fn name_of(name: ast::ObjectPropName<'_>) -> std::borrow::Cow<'_, str> {
    match name {
        ast::ObjectPropName::String(literal) => literal.value,
        ast::ObjectPropName::Word(literal) => literal.value.into(),
    }
}

/// The last value of a key wins, as it does for serde_json.
fn insert<'a>(
    outer: &mut Span<'a>,
    name: std::borrow::Cow<'a, str>,
    inner: Span<'a>,
    pointer: &str,
    duplicates: &mut Vec<Duplicate>,
) {
    match outer.properties.entry(name) {
        Entry::Vacant(vacant) => drop(vacant.insert(inner)),
        Entry::Occupied(mut occupied) => {
            // Their count is bounded so that pointers of many duplicates can't fill the memory.
            if duplicates.len() < super::diagnostics::MAX_DIAGNOSTICS {
                duplicates.push(Duplicate {
                    pointer: pointer.to_owned(),
                    key: occupied.key().to_string(),
                    first: occupied.get().key,
                    second: inner.key,
                });
            }
            occupied.insert(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, pointer: &str, anchor: Anchor, expected: (u32, u32)) {
        let source = Source::parse(text).unwrap();
        assert_eq!(source.places().at(source.offset(pointer, anchor)), expected);
    }

    #[track_caller]
    fn refused(text: &str) -> String {
        read(text).err().expect("it passed").to_string()
    }

    #[test]
    fn pointers_lead_to_lines_and_columns_in_characters() {
        let text = "{\n  \"é\": 1, \"a/b\": [\"ü\", {\"c~d\": true}]\r\n}";
        check(text, "", Anchor::Value, (1, 1));
        check(text, "/é", Anchor::Key, (2, 3));
        check(text, "/é", Anchor::Value, (2, 8));
        check(text, "/a~1b/1/c~0d", Anchor::Value, (2, 32));
        check(text, "/a~1b/1/c~0d", Anchor::Key, (2, 25));
    }

    #[test]
    fn a_missing_value_is_placed_at_the_nearest_one_around_it() {
        check("{\"a\": {\"b\": 1}}", "/a/x/y", Anchor::Value, (1, 7));
        check("{\"a\": [1]}", "/a/7", Anchor::Value, (1, 7));
    }

    #[test]
    fn characters_of_strings_are_found_behind_escapes() {
        let text = r#"{"q": "a\n\"\u00e9é\ud83d\ude00😀\\z"}"#;
        let source = Source::parse(text).unwrap();
        let value = "a\n\"éé😀😀\\z";
        let places: Vec<_> =
            value.char_indices().map(|(index, _)| source.offset_inside("/q", index)).collect();
        let written: Vec<_> = places
            .iter()
            .zip(places[1..].iter().chain([&(text.len() - 2)]))
            .map(|(start, end)| &text[*start..*end])
            .collect();
        assert_eq!(written, ["a", "\\n", "\\\"", "\\u00e9", "é", "\\ud83d\\ude00", "😀", "\\\\", "z"]);
        assert_eq!(source.offset_inside("/q", 1_000), text.len() - 2, "past the end: the closing quote");
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        check("\u{feff}{\"a\": 1}", "/a", Anchor::Value, (1, 7));
    }

    #[test]
    fn strict_json_only() {
        for text in [
            "",
            " ",
            "{",
            "{\"a\":1,}",
            "[1,]",
            "{a:1}",
            "{'a':1}",
            "// x\n{}",
            "{}/* */",
            "{} {}",
            "[1 2]",
            "[0x1]",
            "[+1]",
            "[.5]",
            "[NaN]",
            "[01]",
            "[1e999]",
            "\"\\x41\"",
            "\"\n\"",
            "\"\\ud800\"",
            "{\"a\" 1}",
            "[\u{a0}1]",
        ] {
            assert!(refused(text).starts_with("config.json:"), "{text:?}");
        }
    }

    #[test]
    fn syntax_errors_have_the_place_in_characters() {
        assert_eq!(
            refused("{\n  \"é\": 1 // one\n}"),
            "config.json:2:10: error: not JSON: expected `,` or `}`\n  help: JSON has no comments"
        );
    }

    #[test]
    fn nesting_never_overflows_the_stack() {
        for text in [
            "[".repeat(1 << 20),
            "{\"a\":".repeat(200_000),
            format!("{}{}", "[".repeat(128), "]".repeat(128)),
        ] {
            assert!(refused(&text).contains("nest more than 127 deep"), "{}", refused(&text));
        }
        assert!(read(&format!("{}{}", "[".repeat(127), "]".repeat(127))).is_ok());
        assert!(read(&format!("{}1{}", "{\"a\":".repeat(127), "}".repeat(127))).is_ok());
        assert!(read("\"[[[[\\\"[[\"").is_ok());
        assert!(read(&format!("\"{}\"", "[".repeat(1000))).is_ok());
    }
}
