//! The gateway's side of one call: answers what its process asks for, within the call's limits, and ends it on time.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::CallProcess;
use super::wire::{
    self, CallRequest, Exit, Failure, FailureKind, FileDownload, FileStore as StoreRequest, Frame,
    HttpRequest, Kind, Log, LogLevel, Refusal, WireError, encode,
};
use crate::egress::{self, Client, EgressError, EgressErrorKind, EgressFailure, Exchange};
use crate::encoding::{decode_base64, encode_base64};
use crate::error::{CallError, ErrorCode};
use crate::files::{FileReference, FileStore};
use crate::limits::{Exceeded, KIB, Limits, MIB};
use crate::manifest::host::AllowedHosts;

/// The longest [`Failure`] that is read; a call process cuts its texts far below this.
const MAX_FAILURE: u64 = MIB;
/// What a frame's head may take beyond the text that a limit is about.
const HEAD_ROOM: u64 = KIB;

/// What a call may reach, and how far it may go.
pub(crate) struct Supervision<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) egress: &'a Client,
    pub(crate) allowed_hosts: &'a AllowedHosts,
    pub(crate) files: Option<&'a FileStore>,
    /// When the call ends, whatever it does.
    pub(crate) deadline: Instant,
    /// The time that the deadline was set to, for its message.
    pub(crate) deadline_limit: Duration,
}

/// One message that the code logged.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LogLine {
    /// Which of console's methods it was.
    pub level: LogLevel,
    /// The message.
    pub message: String,
}

/// What a call did, and how it ended; nothing of it is redacted yet.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) logs: Vec<LogLine>,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) files: Vec<FileReference>,
    n_http_requests: u32,
    log_bytes: u64,
    upstream: Upstream,
}

/// What the call's last request upstream came to: it says what a thrown error means.
#[derive(Debug, Default)]
enum Upstream {
    #[default]
    Fine,
    Status {
        status: u16,
        retry_after: Option<String>,
    },
    Failed(EgressErrorKind),
}

/// Runs the call to its end; the process ends when it is dropped.
pub(crate) fn supervise(
    process: &mut CallProcess,
    call: &CallRequest,
    supervision: &Supervision<'_>,
) -> (Result<String, CallError>, Report) {
    let mut report = Report::default();
    let ended = converse(process, call, supervision, &mut report);
    (ended, report)
}

/// Supervises whatever is at the other end of `stream` as if it were a call's process, within tight limits and with
/// nothing to reach: for tests and fuzzing of what a process that was taken over could send.
#[doc(hidden)]
pub fn fuzz_supervise(
    stream: std::os::unix::net::UnixStream,
    deadline_limit: Duration,
    egress: &Client,
    files: Option<&FileStore>,
) -> (Result<String, CallError>, Vec<LogLine>) {
    let limits = Limits {
        memory: MIB,
        http_requests: 20,
        response_body: 4 * KIB,
        file: 4 * KIB,
        result: 4 * KIB,
        logs: 4 * KIB,
        ..Limits::default()
    };
    let supervision = Supervision {
        limits: &limits,
        egress,
        allowed_hosts: &AllowedHosts::resolve(&[], |_| None),
        files,
        deadline: Instant::now() + deadline_limit,
        deadline_limit,
    };
    let call =
        CallRequest { operation: Some("fuzz".to_owned()), params: "{}".to_owned(), ..CallRequest::default() };
    let (result, report) = supervise(&mut CallProcess::from_socket(stream), &call, &supervision);
    (result, report.logs)
}

fn converse(
    process: &mut CallProcess,
    call: &CallRequest,
    supervision: &Supervision<'_>,
    report: &mut Report,
) -> Result<String, CallError> {
    if let Err(error) = process.send(&encode(Kind::Call, call, b""), supervision.deadline) {
        return Err(supervision.ended(process, &error.into()));
    }
    loop {
        let max_len = |kind| supervision.max_len(kind, report);
        let frame = match process.receive(supervision.deadline, max_len) {
            Ok(frame) => frame,
            Err(error) => return Err(supervision.ended(process, &error)),
        };
        let answer = match frame.kind {
            Kind::Log => {
                report.log(&frame, supervision.limits)?;
                continue;
            }
            Kind::Result if frame.payload().len() as u64 > supervision.limits.result => {
                return Err(CallError::exceeded(Exceeded::Result(supervision.limits.result)));
            }
            Kind::Result => return Ok(frame.text()),
            Kind::Failure => return Err(supervision.failed(&frame, report)),
            Kind::Exited => return Err(supervision.exited(&frame)),
            Kind::HttpRequest => supervision.http(&frame, report)?,
            Kind::FileDownload => supervision.download(&frame, report)?,
            Kind::FileStore => supervision.store(&frame, report)?,
            _ => return Err(CallError::crashed("it broke the sandbox's protocol")),
        };
        if let Err(error) = process.send(&answer, supervision.deadline) {
            return Err(supervision.ended(process, &error.into()));
        }
    }
}

impl Supervision<'_> {
    /// How long a frame may be; what is longer is refused unread.
    fn max_len(&self, kind: Kind, report: &Report) -> u64 {
        match kind {
            Kind::Log => self.limits.logs.saturating_sub(report.log_bytes) + HEAD_ROOM,
            Kind::Result => self.limits.result + HEAD_ROOM,
            Kind::Failure => MAX_FAILURE,
            // What a process can say is bounded by what it can hold.
            Kind::HttpRequest | Kind::FileDownload | Kind::FileStore => self.limits.memory + HEAD_ROOM,
            Kind::Born | Kind::Exited => HEAD_ROOM,
            _ => 0,
        }
    }

    /// What it means that nothing more can be read.
    fn ended(&self, process: &mut CallProcess, error: &WireError) -> CallError {
        match error {
            WireError::Io(error) if is_timeout(error) => self.past_deadline(),
            WireError::TooLong { kind, .. } => CallError::exceeded(match kind {
                Kind::Log => Exceeded::Logs(self.limits.logs),
                Kind::Result => Exceeded::Result(self.limits.result),
                Kind::HttpRequest | Kind::FileDownload | Kind::FileStore => {
                    Exceeded::Memory(self.limits.memory)
                }
                _ => return CallError::crashed("it broke the sandbox's protocol"),
            }),
            WireError::Malformed | WireError::Head { .. } => {
                CallError::crashed("it broke the sandbox's protocol")
            }
            WireError::Closed | WireError::Truncated | WireError::Io(_) => self.last_words(process),
        }
    }

    /// The socket failed under a write: the zygote's word on how the process ended may still be in it.
    fn last_words(&self, process: &mut CallProcess) -> CallError {
        match process.receive(self.deadline, |_| HEAD_ROOM) {
            Ok(frame) if frame.kind == Kind::Exited => self.exited(&frame),
            Err(WireError::Io(error)) if is_timeout(&error) => self.past_deadline(),
            _ => CallError::crashed("its zygote has gone as well"),
        }
    }

    fn past_deadline(&self) -> CallError {
        CallError::exceeded(Exceeded::deadline(self.deadline_limit))
    }

    fn exited(&self, frame: &Frame) -> CallError {
        let exit: Exit = frame.head().unwrap_or(Exit { signal: None, status: None });
        let how = match exit.signal.and_then(Signal::from_named_raw) {
            Some(Signal::XCPU) => return CallError::exceeded(Exceeded::cpu(self.limits.cpu)),
            Some(Signal::SYS) => {
                "it made a system call that the sandbox forbids, or the engine aborted".to_owned()
            }
            Some(Signal::KILL) => {
                "it was killed from outside, perhaps for want of memory on this machine".to_owned()
            }
            Some(Signal::SEGV | Signal::BUS) => "the engine crashed".to_owned(),
            Some(signal) => format!("signal {}", signal.as_raw()),
            None => format!("exit status {}", exit.status.unwrap_or(-1)),
        };
        CallError::crashed(&how)
    }

    /// The public error for a failure that the isolate reported.
    fn failed(&self, frame: &Frame, report: &Report) -> CallError {
        let Ok(Failure { kind, message, stack }) = frame.head() else {
            return CallError::crashed("it broke the sandbox's protocol");
        };
        match kind {
            FailureKind::Memory => CallError::exceeded(Exceeded::Memory(self.limits.memory)),
            FailureKind::Stack => {
                CallError { stack, ..CallError::exceeded(Exceeded::Stack(self.limits.stack)) }
            }
            FailureKind::Cpu => CallError::exceeded(Exceeded::cpu(self.limits.cpu)),
            FailureKind::NotJson => CallError {
                stack,
                ..CallError::new(
                    ErrorCode::ProviderError,
                    format!("the connector's result can't be said in JSON: {message}"),
                )
            },
            FailureKind::Thrown => CallError { stack, ..report.upstream.thrown(message) },
            FailureKind::NeverSettles | FailureKind::NotAConnector => {
                CallError { stack, ..CallError::new(ErrorCode::ProviderError, message) }
            }
        }
    }

    fn budget(&self, max_body_bytes: u64) -> egress::Budget {
        egress::Budget { deadline: self.deadline, max_body_bytes }
    }

    /// Carries out an HTTP request; an error ends the call.
    fn http(&self, frame: &Frame, report: &mut Report) -> Result<Vec<u8>, CallError> {
        report.count_request(self.limits)?;
        let Ok(asked) = frame.head::<HttpRequest>() else {
            return Err(CallError::crashed("it broke the sandbox's protocol"));
        };
        let base64 = asked.base64_response;
        let request = match egress_request(asked) {
            Ok(request) => request,
            Err(message) => return Ok(refusal(message)),
        };
        let sent = self.egress.send(
            &request,
            self.allowed_hosts,
            self.budget(self.limits.response_body),
            &mut |exchange| report.exchanges.push(exchange),
        );
        match sent {
            Ok(response) => {
                report.upstream = Upstream::answered(response.status, &response.headers);
                Ok(response_frame(&response, base64))
            }
            Err(error) => self.refused(&error, report, Exceeded::ResponseBody(self.limits.response_body)),
        }
    }

    fn download(&self, frame: &Frame, report: &mut Report) -> Result<Vec<u8>, CallError> {
        report.count_request(self.limits)?;
        let Ok(asked) = frame.head::<FileDownload>() else {
            return Err(CallError::crashed("it broke the sandbox's protocol"));
        };
        let Some(store) = self.files else { return Ok(no_storage()) };
        let name = asked.file_name.clone().unwrap_or_else(|| last_segment(&asked.url));
        let mut file = match store.create(&name) {
            Ok(file) => file,
            Err(error) => return Ok(refusal(format!("ctx.files.download can't store {name:?}: {error}"))),
        };
        let request = egress::Request {
            headers: asked.headers,
            ..egress::Request::new(egress::Method::Get, asked.url)
        };
        let downloaded = self.egress.download(
            &request,
            self.allowed_hosts,
            self.budget(self.limits.file),
            &mut |exchange| report.exchanges.push(exchange),
            &mut file,
        );
        match downloaded {
            Ok(head) => {
                report.upstream = Upstream::answered(head.status, &head.headers);
                let content_type =
                    header(&head.headers, "content-type").unwrap_or("application/octet-stream");
                Ok(report.stored(file.finish(content_type), &name))
            }
            Err(error) => self.refused(&error, report, Exceeded::File(self.limits.file)),
        }
    }

    fn store(&self, frame: &Frame, report: &mut Report) -> Result<Vec<u8>, CallError> {
        let Ok(asked) = frame.head::<StoreRequest>() else {
            return Err(CallError::crashed("it broke the sandbox's protocol"));
        };
        let Some(store) = self.files else { return Ok(no_storage()) };
        let data = match (asked.base64, std::str::from_utf8(frame.payload())) {
            (true, Ok(text)) => match decode_base64(text) {
                Ok(bytes) => bytes,
                Err(error) => return Ok(refusal(format!("ctx.files.store: the data is {error}"))),
            },
            _ => frame.payload().to_vec(),
        };
        if data.len() as u64 > self.limits.file {
            return Err(CallError::exceeded(Exceeded::File(self.limits.file)));
        }
        let finished = store.create(&asked.file_name).and_then(|mut file| {
            std::io::Write::write_all(&mut file, &data)?;
            file.finish(&asked.content_type)
        });
        Ok(report.stored(finished, &asked.file_name))
    }

    /// What the code is told of a request that failed; past the deadline or the limit, the call ends instead.
    fn refused(
        &self,
        error: &EgressError,
        report: &mut Report,
        too_large: Exceeded,
    ) -> Result<Vec<u8>, CallError> {
        match error.kind() {
            EgressErrorKind::TooLarge => return Err(CallError::exceeded(too_large)),
            EgressErrorKind::Timeout if Instant::now() >= self.deadline => return Err(self.past_deadline()),
            kind => report.upstream = Upstream::after(kind, error),
        }
        Ok(refusal(error.to_string()))
    }
}

impl Report {
    fn log(&mut self, frame: &Frame, limits: &Limits) -> Result<(), CallError> {
        let Ok(Log { level }) = frame.head() else {
            return Err(CallError::crashed("it broke the sandbox's protocol"));
        };
        // An empty message takes memory as well.
        self.log_bytes += frame.payload().len().max(1) as u64;
        if self.log_bytes > limits.logs {
            return Err(CallError::exceeded(Exceeded::Logs(limits.logs)));
        }
        self.logs.push(LogLine { level, message: frame.text() });
        Ok(())
    }

    fn count_request(&mut self, limits: &Limits) -> Result<(), CallError> {
        self.n_http_requests += 1;
        if self.n_http_requests > limits.http_requests {
            return Err(CallError::exceeded(Exceeded::HttpRequests(limits.http_requests)));
        }
        Ok(())
    }

    /// The answer to a request that stored a file.
    fn stored(&mut self, finished: std::io::Result<FileReference>, name: &str) -> Vec<u8> {
        match finished {
            Ok(reference) => {
                let answer = encode(Kind::FileReference, &reference, b"");
                self.files.push(reference);
                answer
            }
            Err(error) => refusal(format!("the file {name:?} can't be stored: {error}")),
        }
    }
}

impl Upstream {
    fn answered(status: u16, headers: &[(String, String)]) -> Self {
        match status {
            400.. => Self::Status { status, retry_after: header(headers, "retry-after").map(str::to_owned) },
            _ => Self::Fine,
        }
    }

    fn after(kind: EgressErrorKind, error: &EgressError) -> Self {
        match error.failure() {
            EgressFailure::Status { status, .. } => Self::Status { status: *status, retry_after: None },
            _ => Self::Failed(kind),
        }
    }

    /// What a thrown error means after this.
    fn thrown(&self, message: String) -> CallError {
        match self {
            Self::Status { status: 429, retry_after } => {
                CallError::new(ErrorCode::ProviderRateLimited, message)
                    .with_details(json!({"status": 429, "retry_after": retry_after}))
            }
            Self::Status { status: status @ 500.., retry_after } => {
                let details = match retry_after {
                    Some(retry_after) => json!({"status": status, "retry_after": retry_after}),
                    None => json!({"status": status}),
                };
                CallError::new(ErrorCode::ProviderUnavailable, message).with_details(details)
            }
            Self::Status { status, .. } => {
                CallError::new(ErrorCode::ProviderError, message).with_details(json!({"status": status}))
            }
            Self::Failed(EgressErrorKind::Blocked | EgressErrorKind::AddressRefused) => {
                CallError::new(ErrorCode::HostBlocked, message)
            }
            Self::Failed(
                EgressErrorKind::Dns
                | EgressErrorKind::Connect
                | EgressErrorKind::Tls
                | EgressErrorKind::Timeout
                | EgressErrorKind::Protocol,
            ) => CallError::new(ErrorCode::ProviderUnavailable, message),
            Self::Fine | Self::Failed(_) => CallError::new(ErrorCode::ProviderError, message),
        }
    }
}

/// The request that the code asked for, or what is wrong with it.
fn egress_request(asked: HttpRequest) -> Result<egress::Request, String> {
    let HttpRequest { method, url, headers, body, binary_body, form_fields, .. } = asked;
    let method = match method.as_str() {
        "GET" => egress::Method::Get,
        "POST" => egress::Method::Post,
        "PUT" => egress::Method::Put,
        "PATCH" => egress::Method::Patch,
        "DELETE" => egress::Method::Delete,
        other => return Err(format!("{other:?} is no method of ctx.http")),
    };
    let decoded =
        |base64: &str, what: &str| decode_base64(base64).map_err(|error| format!("{what} is {error}"));
    let mut request = egress::Request { headers, ..egress::Request::new(method, url) };
    if let Some(fields) = form_fields {
        let fields = fields.into_iter().enumerate().map(|(i, field)| {
            let value = if field.is_base64 {
                decoded(&field.value, &format!("options.formFields[{i}].value"))?
            } else {
                field.value.into_bytes()
            };
            Ok(egress::FormField {
                name: field.name,
                value,
                file_name: field.file_name,
                content_type: field.content_type,
            })
        });
        request.body = egress::Body::Multipart(fields.collect::<Result<_, String>>()?);
    } else if let Some(base64) = binary_body {
        request.body = egress::Body::Bytes(decoded(&base64, "options.binaryBody")?);
    } else {
        request.body = body.map_or(egress::Body::None, |text| egress::Body::Bytes(text.into_bytes()));
        // Of the methods that can have a body, whether or not this one has.
        request.default_content_type = (method != egress::Method::Get).then_some("application/json");
    }
    Ok(request)
}

fn response_frame(response: &egress::Response, base64: bool) -> Vec<u8> {
    let body = if base64 { encode_base64(&response.body) } else { response.text() };
    let head = wire::HttpResponse {
        status: response.status,
        status_text: response.status_text.clone(),
        headers: response.headers.clone(),
        json: !base64 && response.is_json(),
    };
    encode(Kind::HttpResponse, &head, body.as_bytes())
}

fn refusal(message: String) -> Vec<u8> {
    encode(Kind::Refusal, &Refusal { message }, b"")
}

fn no_storage() -> Vec<u8> {
    refusal("no storage is configured: ctx.files is absent".to_owned())
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
}

fn last_segment(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, after_scheme)| after_scheme);
    path.rsplit_once('/').map_or(String::new(), |(_, last)| last.to_owned())
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
