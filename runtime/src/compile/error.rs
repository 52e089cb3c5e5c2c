//! What is wrong with a connector's source, in the author's lines and columns.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use swc_core::common::errors::{DiagnosticBuilder, Emitter};
use swc_core::common::{BytePos, Spanned};
use swc_core::ecma::parser::error::{Error, SyntaxError};

use super::offset;
use super::positions::TextIndex;

/// More errors than this are not reported: they follow from the first ones.
const MAX_ERRORS: usize = 50;
/// The most errors that are kept before sorting.
const MAX_COLLECTED: usize = 2000;
/// Characters of a message; the parser quotes the source.
const MAX_MESSAGE_CHARS: usize = 300;

/// Why a source file could not be compiled: one error at least, 50 at most, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileError {
    /// The file's name, `connector.ts` or `connector.js`.
    pub file: String,
    /// The errors, sorted by position.
    pub errors: Vec<SourceError>,
}

/// One error in a source file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceError {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl std::error::Error for CompileError {}

impl fmt::Display for CompileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            let SourceError { line, column, message, help } = error;
            let line_end = if i == 0 { "" } else { "\n" };
            write!(formatter, "{line_end}{}:{line}:{column}: error: {message}", self.file)?;
            if let Some(help) = help {
                write!(formatter, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}

/// The errors found so far.
pub(super) struct Problems {
    index: TextIndex,
    found: Found,
}

type Found = Arc<Mutex<Vec<Problem>>>;

struct Problem {
    position: BytePos,
    message: String,
    help: Option<String>,
}

impl Problems {
    pub(super) fn new(text: &str) -> Self {
        Self { index: TextIndex::new(text), found: Found::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found().is_empty()
    }

    pub(super) fn add(&mut self, position: BytePos, message: &str, help: Option<&str>) {
        push(&self.found, position, message, help);
    }

    /// Adds what the parser found, but for what it found in its next attempt at the same place.
    pub(super) fn syntax(&mut self, error: &Error, help: Option<&str>) {
        let position = error.span().lo;
        let is_known = self.found().iter().any(|problem| problem.position == position);
        if !is_known {
            push(&self.found, position, &syntax_message(error.kind()), help);
        }
    }

    fn found(&self) -> MutexGuard<'_, Vec<Problem>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What swc's passes report to, by their thread's handler.
    pub(super) fn emitter(&self) -> Box<dyn Emitter> {
        Box::new(Collector(Arc::clone(&self.found)))
    }

    /// The source file is the only one of its map, so its first byte has position 1.
    pub(super) fn into_error(self, file: &str) -> CompileError {
        let mut found = self.found();
        found.sort_by_key(|problem| problem.position);
        let mut errors: Vec<SourceError> =
            found.drain(..).map(|problem| self.source_error(problem)).collect();
        errors.dedup();
        errors.truncate(MAX_ERRORS);
        CompileError { file: file.to_owned(), errors }
    }

    fn source_error(&self, problem: Problem) -> SourceError {
        let offset = offset(problem.position, BytePos(1), self.index.n_bytes()).unwrap_or(0);
        let (line, column) = self.index.position(offset);
        SourceError { line, column, message: problem.message, help: problem.help }
    }
}

fn push(found: &Found, position: BytePos, message: &str, help: Option<&str>) {
    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
    if found.len() < MAX_COLLECTED {
        let message = shorten(message);
        found.push(Problem { position, message, help: help.map(str::to_owned) });
    }
}

fn shorten(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

struct Collector(Found);

impl Emitter for Collector {
    fn emit(&mut self, diagnostic: &mut DiagnosticBuilder<'_>) {
        let position = diagnostic.span.primary_span().map_or(BytePos(1), |span| span.lo);
        push(&self.0, position, &plain(&diagnostic.message()), None);
    }
}

/// The parser's words where they say it well.
fn syntax_message(error: &SyntaxError) -> String {
    match error {
        SyntaxError::Eof => "the file ends here, but something in it is still open".to_owned(),
        SyntaxError::TS1005 | SyntaxError::ExpectedSemi | SyntaxError::ExpectedSemiForExprStmt { .. } => {
            "expected a semicolon or a line end".to_owned()
        }
        SyntaxError::ExpectedIdent => "expected an identifier".to_owned(),
        SyntaxError::Unexpected { got, .. } if got == "<eof>" => "unexpected end of the file".to_owned(),
        // The parser puts whole sentences there, too.
        SyntaxError::Unexpected { got, expected } if !expected.contains(" is ") => {
            format!("unexpected `{got}`, expected {expected}")
        }
        SyntaxError::Unexpected { got, expected } => format!("unexpected `{got}`: {expected}"),
        other => plain(&other.msg()),
    }
}

/// A message in this project's style: lower case, no full stop.
fn plain(message: &str) -> String {
    let message = message.trim_end_matches('.').replace("<eof>", "end of the file");
    let mut chars = message.chars();
    match (chars.next(), chars.next()) {
        (Some(first @ 'A'..='Z'), Some('a'..='z' | ' ')) => {
            format!("{}{}", first.to_ascii_lowercase(), &message[1..])
        }
        _ => message,
    }
}
