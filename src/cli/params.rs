//! `--params`: JSON from the command line, a file or standard input, and where it is wrong.

use std::fs;
use std::io::Read;

use portcullis_runtime::Redactor;
use serde_json::{Map, Value};

use crate::error::{Failure, FailureKind};

/// How much of a line is shown on either side of an error, in characters.
const SHOWN: usize = 30;

/// The operation's arguments; an empty object where the flag wasn't given.
pub(super) fn read(flag: Option<&str>, redactor: &Redactor) -> Result<Value, Failure> {
    let Some(flag) = flag else { return Ok(Value::Object(Map::new())) };
    let (text, source) = match flag.strip_prefix('@') {
        None => (flag.to_owned(), "--params".to_owned()),
        Some("-") => (from_stdin()?, "standard input (--params @-)".to_owned()),
        Some(path) => (from_file(path)?, path.to_owned()),
    };
    parse(&text, &source, redactor).map_err(|message| Failure::new(FailureKind::Arguments, message))
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    match std::io::stdin().lock().read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::usage(format!("--params @-: can't read standard input: {error}"))),
    }
}

fn from_file(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::usage(format!("--params: can't read {path}: {error}")))
}

fn parse(text: &str, source: &str, redactor: &Redactor) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|error| {
        if text.trim().is_empty() {
            return format!("{source} holds no JSON, but nothing at all: write {{}} for no arguments");
        }
        let excerpt = excerpt(text, error.line(), error.column(), redactor);
        let hint = match (source, text.trim_start().starts_with(['{', '['])) {
            ("--params", true) => {
                "\nhint: put the JSON in single quotes, or into a file: --params @file.json"
            }
            ("--params", false) => "\nhint: JSON begins with {; for a file, write --params @file.json",
            _ => "",
        };
        format!("{source} is not JSON: {error}{excerpt}{hint}")
    })
}

/// The line with the error, and a mark below its place; nothing where a secret stands in the text, since a part of one
/// could not be told from other text.
fn excerpt(text: &str, line: usize, column: usize, redactor: &Redactor) -> String {
    let Some(line) = line.checked_sub(1).and_then(|index| text.lines().nth(index)) else {
        return String::new();
    };
    if redactor.text(text) != text {
        return String::new();
    }
    // Serde counts bytes; its column is the last byte that it read.
    let place = column.saturating_sub(1).min(line.len());
    let (before, after) = line.split_at(line.floor_char_boundary(place));
    let skipped = before.chars().count().saturating_sub(SHOWN);
    let before: String = before.chars().skip(skipped).map(visible).collect();
    let after: String = after.chars().take(SHOWN).map(visible).collect();
    format!("\n  {before}{after}\n  {:width$}^", "", width = before.chars().count())
}

/// One character for one character, whatever it does to a terminal.
fn visible(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, secrets: &[&str]) -> String {
        parse(text, "params.json", &Redactor::new(secrets.iter().copied())).unwrap_err()
    }

    #[test]
    fn an_error_is_marked_at_its_place() {
        assert_eq!(
            refused("{\n  \"a\": nul,\n}", &[]),
            "params.json is not JSON: expected ident at line 2 column 11\n    \"a\": nul,\n            ^"
        );
    }

    #[test]
    fn text_with_a_secret_in_it_is_not_shown() {
        for secret in ["hunter2", "hun\"ter2"] {
            let said = refused(&format!("{{\"a\": \"{secret}\" x}}"), &[secret]);
            assert!(!said.contains("ter2"), "{said}");
        }
    }

    #[test]
    fn long_lines_and_wide_characters_are_cut_at_characters() {
        let said = refused(&format!("{{\"{}\": x}}", "ü".repeat(200)), &[]);
        assert!(said.lines().count() == 3 && said.chars().count() < 200, "{said}");
    }

    #[test]
    fn nothing_is_no_json() {
        assert!(refused(" \n", &[]).contains("nothing at all"));
    }
}
