//! What is wrong with a query, each thing with its place in the text.

use std::borrow::Cow;

use crate::manifest::Severity;

/// The most errors, and the most warnings, that one query yields.
pub const MAX_PROBLEMS: usize = 50;

/// The most characters of the query's text that a message shows.
const SHOWN: usize = 60;

/// One thing that is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it begins, in bytes from the start of the query's text.
    pub offset: usize,
    /// Whether the query can be used all the same.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Collects problems. Past [`MAX_PROBLEMS`] of a severity more are dropped, so that a hostile text costs little.
#[derive(Default)]
pub(super) struct Problems {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Problems {
    pub(super) fn error(&mut self, offset: usize, message: impl Into<String>) {
        self.push(Severity::Error, offset, message.into(), None);
    }

    pub(super) fn error_with_help(
        &mut self,
        offset: usize,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Error, offset, message.into(), Some(help.into()));
    }

    pub(super) fn warning(&mut self, offset: usize, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Warning, offset, message.into(), Some(help.into()));
    }

    fn push(&mut self, severity: Severity, offset: usize, message: String, help: Option<String>) {
        let problems = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if problems.len() < MAX_PROBLEMS {
            problems.push(Problem { offset, severity, message, help });
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// All of them, in the order of the text.
    pub(super) fn finish(self) -> Vec<Problem> {
        let mut problems = self.errors;
        problems.extend(self.warnings);
        problems.sort_by_key(|problem| (problem.offset, problem.severity));
        problems
    }
}

/// A part of the text, cut to a length that fits a message.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}
