//! What a command can end in besides success: its exit status, and a failure in words.

use std::error::Error;
use std::path::{Path, PathBuf};

use portcullis_runtime::{CallError, Diagnostic, ErrorCode, LoadError, PackageError, Redactor, Severity};
use serde::Serialize;

/// How a command ended, as its exit status tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// 0: it did what it was told.
    Done,
    /// 1: the operation failed.
    Failed,
    /// 2: the command line, the package or the arguments are wrong; nothing ran.
    Invalid,
    /// 3: a limit of the call was exceeded.
    LimitExceeded,
}

impl Status {
    /// The number that the process exits with.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Invalid => 2,
            Self::LimitExceeded => 3,
        }
    }

    /// What a call's error means for the command.
    pub(crate) fn of_call(error: &CallError) -> Self {
        match error.code {
            ErrorCode::LimitExceeded => Self::LimitExceeded,
            ErrorCode::InvalidArguments | ErrorCode::ToolNotFound => Self::Invalid,
            _ => Self::Failed,
        }
    }
}

/// What kind of thing kept a command from doing its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The command line is wrong, or a file that it names can't be read.
    Usage,
    /// `--params` isn't JSON.
    Arguments,
    /// The package is none, or isn't valid.
    Package,
    /// The sandbox doesn't work on this machine.
    Sandbox,
    /// A file can't be written.
    Output,
    /// The data folder, the database or the master key can't be used.
    Store,
    /// The server can't listen where it should.
    Listen,
}

impl FailureKind {
    /// The code in `--json` output.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Usage => "INVALID_USAGE",
            Self::Arguments => ErrorCode::InvalidArguments.as_str(),
            Self::Package => "INVALID_PACKAGE",
            Self::Sandbox => ErrorCode::SandboxCrashed.as_str(),
            Self::Output => "OUTPUT_FAILED",
            Self::Store => "STORE_UNAVAILABLE",
            Self::Listen => "LISTEN_FAILED",
        }
    }
}

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What kind of thing it was.
    pub(crate) kind: FailureKind,
    /// What went wrong, for people; it may have several lines.
    pub(crate) message: String,
    /// The package that `findings` is about.
    pub(crate) package: PathBuf,
    /// What was found wrong with the package.
    pub(crate) findings: Vec<Finding>,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), package: PathBuf::new(), findings: Vec::new() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// The package at `path` did not load.
    pub(crate) fn load(path: &Path, error: LoadError) -> Self {
        if let LoadError::Sandbox(error) = error {
            let message = format!("{}: the connector can't be loaded: {}", path.display(), chain(&error));
            return Self::new(FailureKind::Sandbox, message);
        }
        let findings = Finding::all(path, error);
        let message = match findings.as_slice() {
            [Finding::Whole { message, .. }] => format!("{}: {message}", path.display()),
            findings => format!("{} is not a valid connector: {}", path.display(), count(findings)),
        };
        Self { findings, package: path.to_owned(), ..Self::new(FailureKind::Package, message) }
    }

    pub(crate) fn status(&self) -> Status {
        match self.kind {
            FailureKind::Usage | FailureKind::Arguments | FailureKind::Package => Status::Invalid,
            FailureKind::Sandbox | FailureKind::Output | FailureKind::Store | FailureKind::Listen => {
                Status::Failed
            }
        }
    }

    /// The same without secrets in it.
    pub(crate) fn redacted(self, redactor: &Redactor) -> Self {
        let text = |text: String| redactor.string(text);
        let findings = self.findings.iter().cloned().map(|finding| finding.map_texts(&text)).collect();
        let package = PathBuf::from(redactor.text(&self.package.to_string_lossy()).into_owned());
        Self { message: text(self.message), package, findings, ..self }
    }
}

/// One thing that is wrong with a package: at a place in a file, or with the package as a whole.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Finding {
    /// At a place in config.json or the code.
    Placed(Diagnostic),
    /// About the package as a whole.
    Whole {
        /// Always an error.
        severity: Severity,
        /// What is wrong.
        message: String,
    },
}

impl Finding {
    /// About the package as a whole.
    pub(crate) fn whole(message: String) -> Self {
        Self::Whole { severity: Severity::Error, message }
    }

    /// Everything that an error of loading tells about the package at `path`.
    pub(crate) fn all(path: &Path, error: LoadError) -> Vec<Self> {
        match error {
            LoadError::Invalid(diagnostics) => diagnostics.into_iter().map(Self::Placed).collect(),
            LoadError::Package(error) => vec![Self::whole(package_error(path, &error))],
            LoadError::Sandbox(error) => vec![Self::whole(chain(&error))],
        }
    }

    pub(crate) fn severity(&self) -> Severity {
        match self {
            Self::Placed(diagnostic) => diagnostic.severity,
            Self::Whole { severity, .. } => *severity,
        }
    }

    /// The same as an error, where warnings count as such.
    pub(crate) fn into_error(self) -> Self {
        match self {
            Self::Placed(diagnostic) => Self::Placed(Diagnostic { severity: Severity::Error, ..diagnostic }),
            whole @ Self::Whole { .. } => whole,
        }
    }

    fn map_texts(self, text: &impl Fn(String) -> String) -> Self {
        match self {
            Self::Placed(found) => Self::Placed(Diagnostic {
                pointer: text(found.pointer),
                message: text(found.message),
                help: found.help.map(text),
                ..found
            }),
            Self::Whole { severity, message } => Self::Whole { severity, message: text(message) },
        }
    }
}

/// A refusal of a package in words; of a path where nothing is, what was looked for.
fn package_error(path: &Path, error: &PackageError) -> String {
    match error {
        PackageError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            let from = match std::env::current_dir() {
                Ok(folder) if path.is_relative() => format!(" (from {})", folder.display()),
                _ => String::new(),
            };
            format!(
                "there is nothing here{from}: name a connector's folder (it holds config.json), or a zip of it"
            )
        }
        PackageError::Io { operation, source, .. } => format!("can't {operation} it: {source}"),
        error => chain(error),
    }
}

/// `2 errors, 1 warning`.
pub(crate) fn count(findings: &[Finding]) -> String {
    let of = |severity| findings.iter().filter(|finding| finding.severity() == severity).count();
    let counted = |n: usize, what: &str| match n {
        0 => None,
        1 => Some(format!("1 {what}")),
        n => Some(format!("{n} {what}s")),
    };
    let parts = [counted(of(Severity::Error), "error"), counted(of(Severity::Warning), "warning")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "nothing wrong".to_owned() } else { parts.join(", ") }
}

/// An error with its causes: `what failed: why: why that`.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
