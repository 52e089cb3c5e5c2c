//! What comes of a call: its result or error, and all that it did, with no secret left in it.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::egress::Exchange;
use crate::error::CallError;
use crate::files::FileReference;
use crate::redact::Redactor;
use crate::sandbox::supervisor::{LogLine, Report};

/// What came of a call; nothing in it holds a secret's value.
#[derive(Debug)]
pub struct Outcome {
    /// The result, or why there is none.
    pub result: Result<Value, CallError>,
    /// What the code logged.
    pub logs: Vec<LogLine>,
    /// The HTTP exchanges, in order, redirects included.
    pub http: Vec<Exchange>,
    /// Files that the call stored.
    pub file_references: Vec<FileReference>,
    /// From request to result.
    pub duration: Duration,
}

/// The outcome of a call, with every secret replaced.
pub(crate) fn redacted(
    redactor: &Redactor,
    result: Result<Value, CallError>,
    report: Report,
    started: Instant,
) -> Outcome {
    let text = |text: String| redactor.string(text);
    let value = |mut value: Value| {
        redactor.value(&mut value);
        value
    };
    Outcome {
        result: result.map(value).map_err(|error| CallError {
            code: error.code,
            message: text(error.message),
            stack: error.stack.map(text),
            details: error.details.map(value),
        }),
        logs: report.logs.into_iter().map(|line| LogLine { message: text(line.message), ..line }).collect(),
        http: report
            .exchanges
            .into_iter()
            .map(|exchange| Exchange { url: text(exchange.url), error: exchange.error.map(text), ..exchange })
            .collect(),
        file_references: report
            .files
            .into_iter()
            .map(|file| FileReference {
                url: text(file.url),
                file_name: text(file.file_name),
                content_type: text(file.content_type),
                ..file
            })
            .collect(),
        duration: started.elapsed(),
    }
}

/// The object that `run --json` prints, and a gateway records.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeReport<'a> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a CallError>,
    logs: &'a [LogLine],
    http: &'a [Exchange],
    #[serde(skip_serializing_if = "<[FileReference]>::is_empty")]
    file_references: &'a [FileReference],
    duration_ms: u64,
}

impl Outcome {
    /// This outcome as one JSON object.
    pub fn report(&self) -> OutcomeReport<'_> {
        OutcomeReport {
            success: self.result.is_ok(),
            result: self.result.as_ref().ok(),
            error: self.result.as_ref().err(),
            logs: &self.logs,
            http: &self.http,
            file_references: &self.file_references,
            duration_ms: crate::limits::whole_ms(self.duration),
        }
    }
}
