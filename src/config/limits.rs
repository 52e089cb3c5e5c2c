//! The limits of a call, as settings.

use std::time::Duration;

use clap::{Args, value_parser};
use portcullis_runtime::{KIB, Limits, MIB};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What a call may use.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitFlags {
    /// Wall-clock time of an operation, in milliseconds
    #[arg(long, value_name = "MS", env = "PORTCULLIS_DEADLINE_MS", hide_env_values = true,
        default_value_t = ms(Limits::default().deadline), value_parser = value_parser!(u64).range(1..=DAY_MS))]
    deadline_ms: u64,
    /// Wall-clock time of a connection test, in milliseconds
    #[arg(long, value_name = "MS", env = "PORTCULLIS_TEST_DEADLINE_MS", hide_env_values = true,
        default_value_t = ms(Limits::default().test_deadline), value_parser = value_parser!(u64).range(1..=DAY_MS))]
    test_deadline_ms: u64,
    /// The longest deadline that a connector's `connectionConfig.timeout` can ask for, in milliseconds
    #[arg(long, value_name = "MS", env = "PORTCULLIS_MAX_DEADLINE_MS", hide_env_values = true,
        default_value_t = ms(Limits::default().max_deadline), value_parser = value_parser!(u64).range(1..=DAY_MS))]
    max_deadline_ms: u64,
    /// Processor time, in milliseconds
    #[arg(long, value_name = "MS", env = "PORTCULLIS_CPU_MS", hide_env_values = true,
        default_value_t = ms(Limits::default().cpu), value_parser = value_parser!(u64).range(1..=DAY_MS))]
    cpu_ms: u64,
    /// Memory, in MiB
    #[arg(long, value_name = "MIB", env = "PORTCULLIS_MEMORY_MIB", hide_env_values = true,
        default_value_t = Limits::default().memory / MIB, value_parser = value_parser!(u64).range(1..=65_536))]
    memory_mib: u64,
    /// Stack, in KiB
    #[arg(long, value_name = "KIB", env = "PORTCULLIS_STACK_KIB", hide_env_values = true,
        default_value_t = Limits::default().stack / KIB, value_parser = value_parser!(u64).range(64..=4_096))]
    stack_kib: u64,
    /// Number of HTTP requests
    #[arg(long, value_name = "N", env = "PORTCULLIS_HTTP_REQUESTS", hide_env_values = true, default_value_t = Limits::default().http_requests)]
    http_requests: u32,
    /// An HTTP response's body, in KiB
    #[arg(long, value_name = "KIB", env = "PORTCULLIS_RESPONSE_BODY_KIB", hide_env_values = true,
        default_value_t = Limits::default().response_body / KIB, value_parser = value_parser!(u64).range(1..=4_194_304))]
    response_body_kib: u64,
    /// A file that is downloaded or stored, in MiB
    #[arg(long, value_name = "MIB", env = "PORTCULLIS_FILE_MIB", hide_env_values = true,
        default_value_t = Limits::default().file / MIB, value_parser = value_parser!(u64).range(1..=1_048_576))]
    file_mib: u64,
    /// The result as JSON, in KiB
    #[arg(long, value_name = "KIB", env = "PORTCULLIS_RESULT_KIB", hide_env_values = true,
        default_value_t = Limits::default().result / KIB, value_parser = value_parser!(u64).range(1..=1_048_576))]
    result_kib: u64,
    /// All log messages together, in KiB
    #[arg(long, value_name = "KIB", env = "PORTCULLIS_LOGS_KIB", hide_env_values = true,
        default_value_t = Limits::default().logs / KIB, value_parser = value_parser!(u64).range(1..=1_048_576))]
    logs_kib: u64,
}

impl LimitFlags {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            deadline: Duration::from_millis(self.deadline_ms),
            test_deadline: Duration::from_millis(self.test_deadline_ms),
            max_deadline: Duration::from_millis(self.max_deadline_ms),
            cpu: Duration::from_millis(self.cpu_ms),
            memory: self.memory_mib * MIB,
            stack: self.stack_kib * KIB,
            http_requests: self.http_requests,
            response_body: self.response_body_kib * KIB,
            file: self.file_mib * MIB,
            result: self.result_kib * KIB,
            logs: self.logs_kib * KIB,
        }
    }
}

/// The flag that raises a limit, by the limit's name in an error's details.
pub(crate) fn flag_of_limit(limit: &str) -> Option<&'static str> {
    Some(match limit {
        "deadline" => "--deadline-ms",
        "cpu" => "--cpu-ms",
        "memory" => "--memory-mib",
        "stack" => "--stack-kib",
        "http_requests" => "--http-requests",
        "response_body" => "--response-body-kib",
        "file" => "--file-mib",
        "result" => "--result-kib",
        "logs" => "--logs-kib",
        _ => return None,
    })
}

/// Whole milliseconds; the defaults are all far below the type's end.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
