//! What keeps a package from being served, in words and with its places.

use portcullis_runtime::{Diagnostic, LoadError, PackageError, Severity};

use super::Problem;
use crate::error::chain;

/// Whose fault it is that a package was not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The package's.
    Package,
    /// The package's: it passes a cap on size.
    Size,
    /// The sandbox's; the package may be fine, and is worth another try.
    Sandbox,
}

/// Why a package was not loaded.
#[derive(Debug)]
pub(super) struct NotLoaded {
    pub(super) fault: Fault,
    pub(super) problem: Problem,
}

impl From<LoadError> for NotLoaded {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Package(error) => error.into(),
            LoadError::Invalid(diagnostics) => {
                let problem = Problem { message: summary(&diagnostics), diagnostics };
                Self { fault: Fault::Package, problem }
            }
            LoadError::Sandbox(error) => Self::sandbox(&chain(&error)),
        }
    }
}

impl From<PackageError> for NotLoaded {
    fn from(error: PackageError) -> Self {
        let fault = match error {
            PackageError::ZipTooLarge { .. }
            | PackageError::FileTooLarge { .. }
            | PackageError::TotalTooLarge { .. } => Fault::Size,
            _ => Fault::Package,
        };
        let message = match &error {
            // Whose path is the operator's own affair.
            PackageError::Io { operation, source, .. } => format!("can't {operation} the package: {source}"),
            error => chain(error),
        };
        Self { fault, problem: Problem { message, diagnostics: Vec::new() } }
    }
}

impl NotLoaded {
    /// The sandbox failed, as `reason` says.
    pub(super) fn sandbox(reason: &str) -> Self {
        let message = format!("the sandbox can't load it now: {reason}");
        Self { fault: Fault::Sandbox, problem: Problem { message, diagnostics: Vec::new() } }
    }
}

/// The first error with its place, and how many there are.
fn summary(diagnostics: &[Diagnostic]) -> String {
    let mut errors = diagnostics.iter().filter(|found| found.severity == Severity::Error);
    let Some(Diagnostic { file, line, column, pointer, message, .. }) = errors.next() else {
        return "it is not a valid connector".to_owned();
    };
    let pointer = if pointer.is_empty() { String::new() } else { format!("{}: ", pointer.escape_debug()) };
    let others = match errors.count() {
        0 => String::new(),
        1 => " (and 1 more error)".to_owned(),
        n => format!(" (and {n} more errors)"),
    };
    format!("{file}:{line}:{column}: {pointer}{message}{others}")
}
