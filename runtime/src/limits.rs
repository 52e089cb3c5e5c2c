//! The limits of a call: what a connector may use before its call is ended.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Mebibyte, in bytes.
pub const MIB: u64 = 1024 * 1024;
/// Kibibyte, in bytes.
pub const KIB: u64 = 1024;

/// What one call may use. Each is an operator's setting, never a manifest's: a manifest's `connectionConfig.timeout`
/// moves the deadline, up to [`Limits::max_deadline`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock time of an `execute`, from request to result.
    pub deadline: Duration,
    /// Wall-clock time of a `testConnection`.
    pub test_deadline: Duration,
    /// The longest deadline that a manifest's `connectionConfig.timeout` can ask for.
    pub max_deadline: Duration,
    /// Processor time of the call's process.
    pub cpu: Duration,
    /// The isolate's heap, in bytes.
    pub memory: u64,
    /// The isolate's stack, in bytes.
    pub stack: u64,
    /// HTTP requests that one call may make.
    pub http_requests: u32,
    /// An HTTP response's body once decoded, in bytes.
    pub response_body: u64,
    /// A file that is downloaded or stored, in bytes.
    pub file: u64,
    /// The result as JSON, in bytes.
    pub result: u64,
    /// All log messages of a call together, in bytes.
    pub logs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            test_deadline: Duration::from_secs(15),
            max_deadline: Duration::from_secs(120),
            cpu: Duration::from_secs(5),
            memory: 64 * MIB,
            stack: 512 * KIB,
            http_requests: 50,
            response_body: 10 * MIB,
            file: 100 * MIB,
            result: 2 * MIB,
            logs: 256 * KIB,
        }
    }
}

/// A limit that a call went past, with the value that was in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "limit", content = "value")]
pub enum Exceeded {
    /// The deadline, in milliseconds.
    Deadline(u64),
    /// Processor time, in milliseconds.
    Cpu(u64),
    /// The isolate's heap, in bytes.
    Memory(u64),
    /// The isolate's stack, in bytes.
    Stack(u64),
    /// Number of HTTP requests.
    HttpRequests(u32),
    /// A response's body, in bytes.
    ResponseBody(u64),
    /// A file's size, in bytes.
    File(u64),
    /// The result's size, in bytes.
    Result(u64),
    /// The size of all logs, in bytes.
    Logs(u64),
    /// How long a query may run in its database, in milliseconds: a manifest's `queryTimeoutMs`.
    QueryTimeout(u64),
}

impl Exceeded {
    /// The deadline limit for a duration.
    pub(crate) fn deadline(limit: Duration) -> Self {
        Self::Deadline(whole_ms(limit))
    }

    /// The processor-time limit for a duration.
    pub(crate) fn cpu(limit: Duration) -> Self {
        Self::Cpu(whole_ms(limit))
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Deadline(ms) => write!(f, "the call passed its deadline of {}", Ms(ms)),
            Self::Cpu(ms) => write!(f, "the call used more than its {} of CPU time", Ms(ms)),
            Self::Memory(n) => write!(f, "the call used more than its {} of memory", Bytes(n)),
            Self::Stack(n) => write!(f, "the call used more than its {} of stack", Bytes(n)),
            Self::HttpRequests(n) => write!(f, "the call made more than its {n} HTTP requests"),
            Self::ResponseBody(n) => {
                write!(f, "an HTTP response's body is larger than the limit of {}", Bytes(n))
            }
            Self::File(n) => write!(f, "a file is larger than the limit of {}", Bytes(n)),
            Self::Result(n) => write!(f, "the result is larger than the limit of {}", Bytes(n)),
            Self::Logs(n) => write!(f, "the call logged more than its {}", Bytes(n)),
            Self::QueryTimeout(ms) => {
                write!(f, "the query ran longer than its queryTimeoutMs of {} and was cancelled", Ms(ms))
            }
        }
    }
}

/// Milliseconds for people: `30 s`, `1500 ms`.
struct Ms(u64);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= 1000 && self.0.is_multiple_of(1000) {
            write!(f, "{} s", self.0 / 1000)
        } else {
            write!(f, "{} ms", self.0)
        }
    }
}

/// Bytes for people: `10 MiB`, `256 KiB`, `1000 bytes`.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= MIB && n.is_multiple_of(MIB) => write!(f, "{} MiB", n / MIB),
            n if n >= KIB && n.is_multiple_of(KIB) => write!(f, "{} KiB", n / KIB),
            n => write!(f, "{n} bytes"),
        }
    }
}

/// A duration in whole milliseconds, at most `u64::MAX`.
pub(crate) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_its_value() {
        let said = |limit: Exceeded| limit.to_string();
        assert_eq!(said(Exceeded::deadline(Duration::from_secs(30))), "the call passed its deadline of 30 s");
        assert_eq!(said(Exceeded::Cpu(1500)), "the call used more than its 1500 ms of CPU time");
        assert_eq!(said(Exceeded::Memory(64 * MIB)), "the call used more than its 64 MiB of memory");
        assert_eq!(said(Exceeded::Logs(256 * KIB)), "the call logged more than its 256 KiB");
        assert_eq!(said(Exceeded::Result(1000)), "the result is larger than the limit of 1000 bytes");
    }
}
