//! When a call is made again, and after how long.

use std::time::Duration;

use portcullis_runtime::manifest::OperationType;
use portcullis_runtime::{CallError, ErrorCode};
use serde_json::Value;

use crate::time::{Timestamp, parse_retry_after};

/// How often a call is made again at most.
pub(crate) const MAX_RETRIES: u32 = 3;
/// No attempt begins later than this after the call was taken. Each attempt has the connector's deadline to itself.
pub(crate) const RETRY_WINDOW: Duration = Duration::from_secs(30);
/// A provider that asks for a longer pause has its error passed on.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause before the first retry; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailedAttempt {
    pub(crate) operation_type: OperationType,
    pub(crate) code: ErrorCode,
    /// Whether anything of this or an earlier attempt may have reached the provider.
    pub(crate) has_sent: bool,
    /// How long the provider asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// Retries that were made before.
    pub(crate) n_retries: u32,
    /// Since the call was taken.
    pub(crate) elapsed: Duration,
}

impl FailedAttempt {
    /// Whether the same call could go well later without doing anything twice: what `retryable` says to callers.
    pub(crate) fn is_retryable(&self) -> bool {
        let is_passing = matches!(self.code, ErrorCode::ProviderRateLimited | ErrorCode::ProviderUnavailable);
        is_passing && (self.operation_type == OperationType::Read || !self.has_sent)
    }

    /// How long to wait before the call is made again; none if it isn't. `random` is from 0 to 1.
    pub(crate) fn pause(&self, random: f64) -> Option<Duration> {
        if !self.is_retryable() || self.n_retries >= MAX_RETRIES {
            return None;
        }
        let backoff = FIRST_PAUSE * 2_u32.pow(self.n_retries);
        let jittered = backoff.mul_f64(random.clamp(0.0, 1.0));
        let pause = self.retry_after.map_or(jittered, |asked| asked.max(jittered));
        (pause <= MAX_PAUSE && self.elapsed + pause < RETRY_WINDOW).then_some(pause)
    }
}

/// What the provider's `Retry-After` asks for, where it sent one that can be read.
pub(crate) fn retry_after(error: &CallError, now: Timestamp) -> Option<Duration> {
    let header = error.details.as_ref()?.get("retry_after").and_then(Value::as_str)?;
    parse_retry_after(header, now)
}

/// From 0 to 1; the middle where the system gives no randomness.
pub(crate) fn random() -> f64 {
    let mut bytes = [0_u8; 4];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(4) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        _ => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const READ: OperationType = OperationType::Read;
    const WRITE: OperationType = OperationType::Write;

    fn failed(operation_type: OperationType, code: ErrorCode, has_sent: bool) -> FailedAttempt {
        let (retry_after, elapsed) = (None, Duration::from_secs(1));
        FailedAttempt { operation_type, code, has_sent, retry_after, n_retries: 0, elapsed }
    }

    #[test]
    fn a_write_that_may_have_been_sent_is_never_made_again() {
        use ErrorCode::*;
        let passing = [ProviderRateLimited, ProviderUnavailable];
        let lasting = [
            ToolNotFound,
            InvalidArguments,
            ProviderError,
            ConnectionExpired,
            HostBlocked,
            LimitExceeded,
            SandboxCrashed,
            Cancelled,
        ];
        for code in passing {
            assert!(failed(READ, code, true).is_retryable());
            assert!(failed(READ, code, false).is_retryable());
            assert!(failed(WRITE, code, false).is_retryable());
            assert!(!failed(WRITE, code, true).is_retryable());
            assert_eq!(failed(WRITE, code, true).pause(0.0), None);
        }
        for code in lasting {
            for (operation_type, has_sent) in [(READ, true), (READ, false), (WRITE, true), (WRITE, false)] {
                assert_eq!(failed(operation_type, code, has_sent).pause(0.0), None, "{code:?}");
            }
        }
    }

    #[test]
    fn pauses_double_and_end() {
        let pauses: Vec<Option<u128>> = (0..5)
            .map(|n_retries| {
                let failed =
                    FailedAttempt { n_retries, ..failed(READ, ErrorCode::ProviderUnavailable, true) };
                assert_eq!(failed.pause(0.0), (n_retries < 3).then_some(Duration::ZERO));
                failed.pause(1.0).map(|pause| pause.as_millis())
            })
            .collect();
        assert_eq!(pauses, [Some(250), Some(500), Some(1000), None, None]);
    }

    #[test]
    fn the_provider_is_left_alone_as_long_as_it_asks_or_not_asked_again() {
        let after = |seconds, elapsed| {
            let base = failed(READ, ErrorCode::ProviderRateLimited, true);
            let retry_after = Some(Duration::from_secs(seconds));
            FailedAttempt { retry_after, elapsed: Duration::from_secs(elapsed), ..base }.pause(0.5)
        };
        assert_eq!(after(2, 1), Some(Duration::from_secs(2)));
        assert_eq!(after(10, 1), Some(Duration::from_secs(10)));
        assert_eq!(after(11, 1), None);
        assert_eq!(after(5, 24), Some(Duration::from_secs(5)));
        assert_eq!(after(5, 25), None, "past the window");
        assert_eq!(after(0, 1), Some(Duration::from_millis(125)));
        assert_eq!(after(u64::MAX, 1), None);
    }

    #[test]
    fn retry_after_is_read_in_all_of_its_forms() {
        let now = Timestamp(784_111_777_000);
        let cases = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
            ("Sun Nov  6 08:49:47 1994", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Mon, 06 Nov 1994 08:49:47 GMT", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse_retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
        let error = CallError::new(ErrorCode::ProviderRateLimited, "slow down");
        let named = error.clone().with_details(json!({"status": 429, "retry_after": "3"}));
        assert_eq!(retry_after(&named, now), Some(Duration::from_secs(3)));
        for details in [json!({"status": 429, "retry_after": null}), json!({"status": 429})] {
            assert_eq!(retry_after(&error.clone().with_details(details), now), None);
        }
        assert_eq!(retry_after(&error, now), None);
    }

    #[test]
    fn randomness_is_within_bounds() {
        for _ in 0..100 {
            assert!((0.0..=1.0).contains(&random()));
        }
    }
}
