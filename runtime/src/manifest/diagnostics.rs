//! What is wrong with a config.json, and where: the diagnostics that loading one yields.

use std::fmt;

use serde::Serialize;

use super::position::{Anchor, Source};

/// The most diagnostics that one file yields. Errors are kept before warnings, and a last line counts the rest.
pub const MAX_DIAGNOSTICS: usize = 500;

/// The longest pointer that is shown whole, in bytes.
const MAX_POINTER: usize = 1_000;

/// Whether a diagnostic keeps the connector from loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The manifest can't be used.
    Error,
    /// The manifest can be used, but is probably not what its author meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing that is wrong with a file.
///
/// Displays as `config.json:12:7: error: /operations/0/name: …`, with the help on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// The file's name, `config.json`.
    pub file: String,
    /// The JSON pointer (RFC 6901) of the value that is wrong; empty for the whole file.
    pub pointer: String,
    /// The line where the value begins, from 1.
    pub line: u32,
    /// The column where the value begins, in characters, from 1.
    pub column: u32,
    /// What was found and what is allowed.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, file, pointer, line, column, message, help } = self;
        write!(f, "{file}:{line}:{column}: {severity}: ")?;
        if !pointer.is_empty() {
            write!(f, "{}: ", pointer.escape_debug())?;
        }
        f.write_str(message)?;
        help.iter().try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

/// All diagnostics of one file, in the order in which they stand in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A finding before its place in the file is known: a pointer, and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) pointer: String,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Finding {
    pub(crate) fn error(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, pointer: pointer.into(), message: message.into(), help: None }
    }

    pub(crate) fn warning(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(pointer, message) }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// The same finding seen from a document in which `prefix` points at the one it was made in.
    pub(crate) fn below(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}

/// Collects findings about one file, and places them in it at the end.
pub(crate) struct Sink<'a> {
    source: &'a Source<'a>,
    placed: Vec<(usize, Finding)>,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(source: &'a Source<'a>) -> Self {
        Self { source, placed: Vec::new() }
    }

    /// Adds a finding about the value that its pointer names, or the nearest value around it that exists.
    pub(crate) fn push(&mut self, finding: Finding) {
        let offset = self.source.offset(&finding.pointer, Anchor::Value);
        self.push_at(offset, finding);
    }

    /// Adds a finding about a key rather than its value.
    pub(crate) fn push_at_key(&mut self, finding: Finding) {
        let offset = self.source.offset(&finding.pointer, Anchor::Key);
        self.push_at(offset, finding);
    }

    /// Adds a finding about a character of the string that its pointer names, `index` bytes into the string's value.
    pub(crate) fn push_inside(&mut self, index: usize, finding: Finding) {
        let offset = self.source.offset_inside(&finding.pointer, index);
        self.push_at(offset, finding);
    }

    /// Adds a finding about a place in the text, in bytes from its start.
    pub(crate) fn push_at(&mut self, offset: usize, finding: Finding) {
        self.placed.push((offset, finding));
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.placed.iter().any(|(_, finding)| finding.severity == Severity::Error)
    }

    /// Whether an error about exactly that value was reported.
    pub(crate) fn has_error_at(&self, pointer: &str) -> bool {
        self.placed
            .iter()
            .any(|(_, finding)| finding.severity == Severity::Error && finding.pointer == pointer)
    }

    /// Whether there are more findings already than will be shown.
    pub(crate) fn is_full(&self) -> bool {
        self.placed.len() > MAX_DIAGNOSTICS
    }

    pub(crate) fn finish(mut self) -> Diagnostics {
        let n_left_out = self.placed.len().saturating_sub(MAX_DIAGNOSTICS);
        if n_left_out > 0 {
            self.placed.sort_by_key(|(offset, finding)| (finding.severity, *offset));
            self.placed.truncate(MAX_DIAGNOSTICS);
        }
        self.placed.sort_by_key(|(offset, finding)| (*offset, finding.severity));
        let mut places = self.source.places();
        let mut diagnostics: Vec<_> =
            self.placed.into_iter().map(|(offset, finding)| place(finding, places.at(offset))).collect();
        if n_left_out > 0 {
            let severity = if diagnostics.iter().any(|d| d.severity == Severity::Error) {
                Severity::Error
            } else {
                Severity::Warning
            };
            let finding =
                Finding { severity, ..Finding::error("", format!("{n_left_out} more are not shown")) };
            diagnostics.push(place(finding, places.last()));
        }
        Diagnostics(diagnostics)
    }
}

fn place(finding: Finding, (line, column): (u32, u32)) -> Diagnostic {
    let Finding { severity, mut pointer, message, help } = finding;
    if pointer.len() > MAX_POINTER {
        pointer.truncate(pointer.floor_char_boundary(MAX_POINTER));
        pointer.push('…');
    }
    Diagnostic { severity, file: "config.json".to_owned(), pointer, line, column, message, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_cap_errors_are_kept_and_the_rest_counted() {
        let source = Source::parse("{}").unwrap();
        let mut sink = Sink::new(&source);
        for index in 0..MAX_DIAGNOSTICS {
            sink.push(Finding::warning("", format!("warning {index}")));
        }
        sink.push(Finding::error("", "the error"));
        let diagnostics = sink.finish();
        assert_eq!(diagnostics.0.len(), MAX_DIAGNOSTICS + 1);
        assert_eq!(diagnostics.0[0].message, "the error");
        assert_eq!(diagnostics.0[MAX_DIAGNOSTICS].message, "1 more are not shown");
    }

    #[test]
    fn json_has_plain_fields() {
        let diagnostic = place(Finding::error("/a", "no").help("yes"), (2, 3));
        assert_eq!(
            serde_json::to_string(&Diagnostics(vec![diagnostic])).unwrap(),
            r#"[{"severity":"error","file":"config.json","pointer":"/a","line":2,"column":3,"message":"no","help":"yes"}]"#
        );
    }

    #[test]
    fn a_long_pointer_is_cut() {
        let diagnostic = place(Finding::error("/é".repeat(5_000), "no"), (1, 1));
        assert!(diagnostic.pointer.len() < 1_010);
    }
}
