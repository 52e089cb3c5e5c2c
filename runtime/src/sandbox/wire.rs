//! The frames that a gateway and its sandboxed processes exchange, and the one codec that reads and writes them.
//!
//! A frame is `u32 length | u8 kind | u32 head length | head (JSON) | payload (bytes)`, little-endian; `length` counts
//! everything behind it. The reader trusts nothing: it never reserves more than has arrived, and refuses a frame that is
//! longer than the receiver allows for its kind before it reads it.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of a frame's length, kind and head length.
const PREFIX_LEN: usize = 9;
/// The most that is read at a time, in bytes: how far a buffer may grow ahead of what has arrived.
const READ_STEP: usize = 64 * 1024;

/// What a frame is. Kinds below 64 come from a jailed process, the others go to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// From a zygote: the process was forked; its pidfd is attached.
    Born = 1,
    /// From a zygote: the process has ended ([`Exit`]).
    Exited = 2,
    /// The code asks for an HTTP exchange ([`HttpRequest`]).
    HttpRequest = 10,
    /// The code asks to download into storage ([`FileDownload`]).
    FileDownload = 11,
    /// The code stores a file ([`FileStore`]; payload: the data as the code gave it).
    FileStore = 12,
    /// A line for the call's log ([`Log`]; payload: the message).
    Log = 13,
    /// The call's result (payload: JSON text).
    Result = 14,
    /// The call ended in an error ([`Failure`]).
    Failure = 15,
    /// A compile's product ([`Compiled`]; payload: bytecode, then positions).
    Compiled = 16,
    /// A compile's errors (head: the errors as JSON).
    CompileErrors = 17,
    /// To a call process: what to run ([`CallRequest`]).
    Call = 64,
    /// To a call process: an HTTP response ([`HttpResponse`]; payload: the body as text).
    HttpResponse = 65,
    /// To a call process: a stored file's reference.
    FileReference = 66,
    /// To a call process: what it asked for failed, and the code sees an Error ([`Refusal`]).
    Refusal = 67,
    /// To a compile process: code to compile ([`CompileRequest`]; payload: the source).
    Compile = 68,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Born,
            2 => Self::Exited,
            10 => Self::HttpRequest,
            11 => Self::FileDownload,
            12 => Self::FileStore,
            13 => Self::Log,
            14 => Self::Result,
            15 => Self::Failure,
            16 => Self::Compiled,
            17 => Self::CompileErrors,
            64 => Self::Call,
            65 => Self::HttpResponse,
            66 => Self::FileReference,
            67 => Self::Refusal,
            68 => Self::Compile,
            _ => return None,
        })
    }
}

/// How a process ended, as its zygote saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The status that it exited with.
    pub status: Option<i32>,
}

/// One HTTP request, as the code made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// The URL as the code wrote it.
    pub url: String,
    /// Headers in the order in which the code gave them.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// `responseType: 'base64'`.
    #[serde(default)]
    pub base64_response: bool,
    /// A text body.
    #[serde(default)]
    pub body: Option<String>,
    /// A binary body, in base64.
    #[serde(default)]
    pub binary_body: Option<String>,
    /// Fields of a multipart form.
    #[serde(default)]
    pub form_fields: Option<Vec<FormField>>,
}

/// A field of a multipart form, as the code gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormField {
    /// The field's name.
    pub name: String,
    /// Its value: text, or base64 where `is_base64`.
    pub value: String,
    /// The file's name, for a file.
    #[serde(default)]
    pub file_name: Option<String>,
    /// The part's content type.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Whether `value` is base64.
    #[serde(default)]
    pub is_base64: bool,
}

/// A file to download into storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDownload {
    /// Where it is.
    pub url: String,
    /// Headers of the request.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The name to store it under; absent: the URL's last segment.
    #[serde(default)]
    pub file_name: Option<String>,
}

/// A file to store; its data is the frame's payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStore {
    /// Whether the payload is base64 of the bytes.
    pub base64: bool,
    /// The media type to record.
    pub content_type: String,
    /// The name to store it under.
    pub file_name: String,
}

/// The head of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Which of console's methods was called.
    pub level: LogLevel,
}

/// Which of console's methods logged a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// `console.debug`
    Debug,
    /// `console.log`
    Log,
    /// `console.info`
    Info,
    /// `console.warn`
    Warn,
    /// `console.error`
    Error,
}

impl LogLevel {
    /// The name of console's method.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Log => "log",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How a call failed inside the isolate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// The message, as the code or the engine worded it.
    pub message: String,
    /// The stack trace, in positions of the connector's own file.
    #[serde(default)]
    pub stack: Option<String>,
}

/// The kinds of failure that an isolate reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The code threw, or its promise was rejected.
    Thrown,
    /// The promise that the code returned can never settle.
    NeverSettles,
    /// The result can't be said in JSON.
    NotJson,
    /// The heap is full.
    Memory,
    /// The stack is full.
    Stack,
    /// The processor time is used up.
    Cpu,
    /// The code doesn't define what it must.
    NotAConnector,
}

/// A connector compiled: what the payload is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiled {
    /// Whether the bytecode is a module (else a script).
    pub module: bool,
    /// Whether the code may be evaluated before its call is there.
    pub early: bool,
    /// Bytes of bytecode at the payload's start; the rest are positions.
    pub bytecode_len: u32,
}

/// What a call process is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRequest {
    /// The operation for `execute`; none runs `testConnection`.
    #[serde(default)]
    pub operation: Option<String>,
    /// The validated parameters, as JSON text.
    #[serde(default)]
    pub params: String,
    /// What `secrets.get` answers.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// Whether `ctx.files` is there.
    #[serde(default)]
    pub files: bool,
}

/// The head of an HTTP response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// The status, 100 to 599.
    pub status: u16,
    /// The status's standard reason phrase.
    pub status_text: String,
    /// Headers, lower-case names, repeated ones joined.
    pub headers: Vec<(String, String)>,
    /// Whether the body is to be parsed as JSON.
    pub json: bool,
}

/// Why a request of the code's was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The message of the Error that the code sees.
    pub message: String,
}

/// What to compile; the payload is the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileRequest {
    /// Whether the source is TypeScript (else JavaScript).
    pub typescript: bool,
}

/// A frame that was read: its kind, its head as JSON text, and its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    body: Vec<u8>,
    head_len: usize,
}

impl Frame {
    /// The head, decoded.
    pub fn head<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        serde_json::from_slice(&self.body[..self.head_len])
            .map_err(|source| WireError::Head { kind: self.kind, source })
    }

    /// The head, as the JSON text that it is.
    pub fn head_text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.head_len]).into_owned()
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.body[self.head_len..]
    }

    /// The payload as text; bytes that are no UTF-8 become U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.payload()).into_owned()
    }
}

/// A frame that can't be taken.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer is gone, between two frames.
    #[error("the connection was closed")]
    Closed,
    /// The peer is gone within a frame.
    #[error("the connection was closed within a frame")]
    Truncated,
    /// Not a frame.
    #[error("not a frame of the protocol")]
    Malformed,
    /// The frame is longer than its receiver takes.
    #[error("a {kind:?} frame of {len} bytes, where {max} are allowed")]
    TooLong {
        /// The frame's kind.
        kind: Kind,
        /// The length that it announced.
        len: u64,
        /// What is allowed.
        max: u64,
    },
    /// The head isn't what its kind asks for.
    #[error("the head of a {kind:?} frame can't be read")]
    Head {
        /// The frame's kind.
        kind: Kind,
        /// What JSON had to say.
        source: serde_json::Error,
    },
    /// Reading or writing failed; a time-out is `WouldBlock` or `TimedOut`.
    #[error("the connection failed")]
    Io(#[from] io::Error),
}

/// A frame's bytes.
pub fn encode<H: Serialize>(kind: Kind, head: &H, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(PREFIX_LEN + 256 + payload.len());
    frame.extend_from_slice(&[0; PREFIX_LEN]);
    // The heads above are strings, numbers, lists and maps with string keys: none of them can fail to serialise.
    let _ = serde_json::to_writer(&mut frame, head);
    let head_len = frame.len() - PREFIX_LEN;
    frame.extend_from_slice(payload);
    let len = frame.len() - 4;
    frame[..4].copy_from_slice(&saturated(len).to_le_bytes());
    frame[4] = kind as u8;
    frame[5..PREFIX_LEN].copy_from_slice(&saturated(head_len).to_le_bytes());
    frame
}

/// Frames are bounded by the limits of a call, far below 4 GiB; a longer one is refused by its reader.
fn saturated(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Reads frames from a stream, keeping what arrived early.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
}

impl FrameReader {
    /// A reader that has read nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next frame. `max_len` tells how many bytes of head and payload are allowed for a kind.
    pub fn read(
        &mut self,
        stream: &mut impl Read,
        max_len: impl Fn(Kind) -> u64,
    ) -> Result<Frame, WireError> {
        self.fill(stream, PREFIX_LEN)?;
        let (kind, body_len, head_len) = parse_prefix(&self.buffer)?;
        let max = max_len(kind);
        if body_len as u64 > max {
            return Err(WireError::TooLong { kind, len: body_len as u64, max });
        }
        self.fill(stream, PREFIX_LEN + body_len)?;
        let rest = self.buffer.split_off(PREFIX_LEN + body_len);
        let mut body = std::mem::replace(&mut self.buffer, rest);
        body.drain(..PREFIX_LEN);
        Ok(Frame { kind, body, head_len })
    }

    /// Reads until `len` bytes are there; grows with what arrives, not with what was announced.
    fn fill(&mut self, stream: &mut impl Read, len: usize) -> Result<(), WireError> {
        let mut filled = self.buffer.len();
        while filled < len {
            let room = (len - filled).clamp(PREFIX_LEN, READ_STEP);
            self.buffer.resize(filled + room.max(512), 0);
            let outcome = stream.read(&mut self.buffer[filled..]);
            let n_read = match &outcome {
                Ok(n_read) => *n_read,
                Err(_) => 0,
            };
            filled += n_read;
            self.buffer.truncate(filled);
            match outcome {
                Ok(0) if filled == 0 => return Err(WireError::Closed),
                Ok(0) => return Err(WireError::Truncated),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(WireError::Io(error)),
            }
        }
        Ok(())
    }
}

/// A frame's kind, the length of head and payload, and the length of the head.
fn parse_prefix(buffer: &[u8]) -> Result<(Kind, usize, usize), WireError> {
    let word = |at: usize| u32::from_le_bytes([buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]]);
    let len = word(0) as usize;
    let head_len = word(5) as usize;
    let kind = Kind::from_byte(buffer[4]).ok_or(WireError::Malformed)?;
    let body_len = len.checked_sub(PREFIX_LEN - 4).ok_or(WireError::Malformed)?;
    if head_len > body_len {
        return Err(WireError::Malformed);
    }
    Ok((kind, body_len, head_len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_len(_: Kind) -> u64 {
        1 << 20
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_the_stream_is_cut() {
        let first = encode(Kind::Log, &Log { level: LogLevel::Warn }, b"hello");
        let second = encode(Kind::Result, &(), b"{\"a\":1}");
        let bytes: Vec<u8> = first.iter().chain(&second).copied().collect();
        for step in [1, 2, 7, 9, 10, 100_000] {
            let mut stream = Chunks { bytes: &bytes, step };
            let mut reader = FrameReader::new();
            let frame = reader.read(&mut stream, any_len).unwrap();
            assert_eq!(frame.head::<Log>().unwrap(), Log { level: LogLevel::Warn });
            assert_eq!(frame.payload(), b"hello");
            let frame = reader.read(&mut stream, any_len).unwrap();
            assert_eq!((frame.kind, frame.payload()), (Kind::Result, b"{\"a\":1}".as_slice()));
            assert!(matches!(reader.read(&mut stream, any_len), Err(WireError::Closed)));
        }
    }

    #[test]
    fn a_frame_that_announces_too_much_is_refused_before_it_is_read() {
        let mut bytes = encode(Kind::Result, &(), b"");
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let refused = FrameReader::new().read(&mut bytes.as_slice(), |_| 100);
        assert!(matches!(refused, Err(WireError::TooLong { kind: Kind::Result, max: 100, .. })));
    }

    #[test]
    fn a_head_longer_than_its_frame_is_malformed() {
        let mut bytes = encode(Kind::Result, &(), b"xx");
        bytes[5..9].copy_from_slice(&1000u32.to_le_bytes());
        let refused = FrameReader::new().read(&mut bytes.as_slice(), any_len);
        assert!(matches!(refused, Err(WireError::Malformed)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut stream = bytes.as_slice();
            let mut reader = FrameReader::new();
            while let Ok(frame) = reader.read(&mut stream, any_len) {
                let _ = frame.head::<HttpRequest>();
                let _ = frame.text();
            }
        }
    }

    struct Chunks<'a> {
        bytes: &'a [u8],
        step: usize,
    }

    impl Read for Chunks<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.step.min(buffer.len()).min(self.bytes.len());
            buffer[..n].copy_from_slice(&self.bytes[..n]);
            self.bytes = &self.bytes[n..];
            Ok(n)
        }
    }
}
