//! What an error of a connector means to the caller, and what its record says of it.

use portcullis_runtime::manifest::AuthMethod;
use portcullis_runtime::{CallError, ErrorCode};
use serde_json::{Map, Value, json};

use super::super::fairness::{NoRoom, RateLimited};
use super::super::retry::{FailedAttempt, retry_after};
use super::ToolError;
use crate::store::executions::ExecutionOutcome;
use crate::time::Timestamp;

/// A failed attempt, as its caller is told.
pub(super) fn tool_error(
    error: CallError,
    attempt: &FailedAttempt,
    mode: Option<AuthMethod>,
    now: Timestamp,
) -> ToolError {
    let code = if is_expired(&error, mode) { ErrorCode::ConnectionExpired } else { error.code };
    let pause = retry_after(&error, now).map(whole_seconds);
    let mut details = match error.details {
        Some(Value::Object(details)) => details,
        None => Map::new(),
        Some(other) => Map::from_iter([("details".to_owned(), other)]),
    };
    // As the provider wrote it, it may be a date; callers get seconds.
    details.shift_remove("retry_after");
    if let Some(seconds) = pause {
        details.insert("retry_after".to_owned(), seconds.into());
    }
    if let Some(stack) = error.stack {
        details.insert("stack".to_owned(), stack.into());
    }
    ToolError {
        code: code.as_str().to_owned(),
        message: error.message,
        retryable: attempt.is_retryable(),
        details: Value::Object(details),
    }
}

/// Whether the service no longer takes the connection's OAuth2 token.
pub(super) fn is_expired(error: &CallError, mode: Option<AuthMethod>) -> bool {
    let status = error.details.as_ref().and_then(|details| details.get("status")?.as_u64());
    mode == Some(AuthMethod::OAuth2) && error.code == ErrorCode::ProviderError && status == Some(401)
}

/// A call that was told to stop before it ran.
pub(super) fn cancelled() -> ToolError {
    ToolError::new(ErrorCode::Cancelled.as_str(), "the call was cancelled before it ran")
}

/// A call that found no room.
pub(super) fn no_room(refusal: NoRoom) -> ToolError {
    match refusal {
        NoRoom::Stopped => cancelled(),
        NoRoom::Waited { in_flight, of_project, waited } => {
            let whose = if of_project { "the project" } else { "the server" };
            let message = format!(
                "{whose} has {in_flight} calls in flight, its most, and none ended within {waited:?}; try again later"
            );
            ToolError::new("LIMIT_EXCEEDED", message)
                .with(json!({"limit": "calls_in_flight", "value": in_flight, "retry_after": 1}))
                .passing()
        }
    }
}

/// A call past its connection's own limit of requests a minute.
pub(super) fn rate_limited(refusal: RateLimited, limit: u32) -> ToolError {
    match refusal {
        RateLimited::Stopped => cancelled(),
        RateLimited::TooLong(wait) => {
            let seconds = whole_seconds(wait);
            let message = format!(
                "the connection has used up its rateLimit of {limit} requests a minute; try again in {seconds} s"
            );
            ToolError::new(ErrorCode::ProviderRateLimited.as_str(), message)
                .with(json!({"limit": "rateLimit", "value": limit, "retry_after": seconds}))
                .passing()
        }
    }
}

/// Rounded up, so that who waits so long has waited long enough.
pub(super) fn whole_seconds(duration: std::time::Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// How the record says that a call ended which failed after so many attempts.
pub(super) fn recorded(error: &ToolError, n_attempts: u32) -> ExecutionOutcome {
    let limit = error.details.get("limit").and_then(Value::as_str);
    match (error.code.as_str(), limit) {
        ("HOST_BLOCKED", _) => ExecutionOutcome::Blocked,
        ("LIMIT_EXCEEDED", Some("deadline" | "query_timeout")) => ExecutionOutcome::TimedOut,
        ("INVALID_ARGUMENTS" | "CANCELLED" | "SANDBOX_CRASHED", _) => ExecutionOutcome::Failed,
        _ if n_attempts == 0 => ExecutionOutcome::Denied,
        _ => ExecutionOutcome::Failed,
    }
}

/// The error's message for the record. Messages about arguments quote them, and the record shows arguments masked only.
pub(super) fn recorded_message(error: &ToolError) -> String {
    match error.details.get("violations").and_then(Value::as_array) {
        Some(violations) if error.code == "INVALID_ARGUMENTS" => {
            let paths: Vec<&str> = violations
                .iter()
                .filter_map(|violation| violation.get("path")?.as_str())
                .map(|path| if path.is_empty() { "the whole" } else { path })
                .collect();
            format!("invalid arguments: {}", paths.join(", "))
        }
        _ => error.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_runtime::manifest::OperationType;

    use super::*;

    fn attempt(operation_type: OperationType, code: ErrorCode, has_sent: bool) -> FailedAttempt {
        FailedAttempt {
            operation_type,
            code,
            has_sent,
            retry_after: None,
            n_retries: 0,
            elapsed: Duration::ZERO,
        }
    }

    fn told(error: CallError, mode: AuthMethod) -> ToolError {
        let attempt = attempt(OperationType::Read, error.code, true);
        tool_error(error, &attempt, Some(mode), Timestamp(0))
    }

    #[test]
    fn a_401_means_an_expired_connection_on_oauth2_alone() {
        let error =
            CallError::new(ErrorCode::ProviderError, "bad token").with_details(json!({"status": 401}));
        assert_eq!(told(error.clone(), AuthMethod::OAuth2).code, "CONNECTION_EXPIRED");
        assert_eq!(told(error.clone(), AuthMethod::ApiKey).code, "PROVIDER_ERROR");
        let forbidden = error.with_details(json!({"status": 403}));
        assert_eq!(told(forbidden, AuthMethod::OAuth2).code, "PROVIDER_ERROR");
    }

    #[test]
    fn details_are_an_object_with_seconds_to_wait_and_the_stack() {
        let error = CallError::new(ErrorCode::ProviderRateLimited, "slow down");
        let bare = told(error.clone(), AuthMethod::ApiKey);
        assert_eq!((bare.details, bare.retryable), (json!({}), true));
        let stack = Some("at execute (connector.ts:3:7)".to_owned());
        let date = json!({"status": 429, "retry_after": "Thu, 01 Jan 1970 00:00:02 GMT"});
        let told_date = told(CallError { stack, ..error.clone() }.with_details(date), AuthMethod::ApiKey);
        let expected = json!({"status": 429, "retry_after": 2, "stack": "at execute (connector.ts:3:7)"});
        assert_eq!(told_date.details, expected);
        let unread =
            told(error.with_details(json!({"status": 429, "retry_after": null})), AuthMethod::ApiKey);
        assert_eq!(unread.details, json!({"status": 429}));
    }

    #[test]
    fn a_write_that_may_have_been_sent_is_not_called_retryable() {
        let error = CallError::new(ErrorCode::ProviderUnavailable, "gone");
        for (has_sent, retryable) in [(true, false), (false, true)] {
            let attempt = attempt(OperationType::Write, error.code, has_sent);
            assert_eq!(tool_error(error.clone(), &attempt, None, Timestamp(0)).retryable, retryable);
        }
    }

    #[test]
    fn every_error_has_its_outcome() {
        use ExecutionOutcome::*;
        let limit = |name: &str| json!({"limit": name, "value": 1});
        let cases = [
            ("TOOL_NOT_FOUND", json!({}), 0, Denied),
            ("CONNECTION_NOT_FOUND", json!({}), 0, Denied),
            ("CONNECTION_AMBIGUOUS", json!({}), 0, Denied),
            ("CONNECTION_INACTIVE", json!({}), 0, Denied),
            ("CONNECTION_EXPIRED", json!({}), 0, Denied),
            ("CONNECTION_EXPIRED", json!({"status": 401}), 1, Failed),
            ("LIMIT_EXCEEDED", limit("calls_in_flight"), 0, Denied),
            ("PROVIDER_RATE_LIMITED", limit("rateLimit"), 0, Denied),
            ("PROVIDER_RATE_LIMITED", json!({"status": 429}), 4, Failed),
            ("INVALID_ARGUMENTS", json!({}), 0, Failed),
            ("LIMIT_EXCEEDED", limit("deadline"), 1, TimedOut),
            ("LIMIT_EXCEEDED", limit("query_timeout"), 1, TimedOut),
            ("LIMIT_EXCEEDED", limit("memory"), 1, Failed),
            ("HOST_BLOCKED", json!({}), 1, Blocked),
            ("PROVIDER_ERROR", json!({}), 1, Failed),
            ("SANDBOX_CRASHED", json!({}), 1, Failed),
            ("CANCELLED", json!({}), 1, Failed),
        ];
        for (code, details, n_attempts, outcome) in cases {
            assert_eq!(recorded(&ToolError::new(code, "").with(details), n_attempts), outcome, "{code}");
        }
    }

    #[test]
    fn a_record_names_the_arguments_that_are_wrong_and_quotes_none() {
        let error = ToolError::new("INVALID_ARGUMENTS", "/pin: 1234 is too short").with(
            json!({"violations": [{"path": "/pin", "message": "1234 is too short"}, {"path": "", "message": "x"}]}),
        );
        assert_eq!(recorded_message(&error), "invalid arguments: /pin, the whole");
    }

    #[test]
    fn waits_are_told_in_whole_seconds() {
        let error = rate_limited(RateLimited::TooLong(Duration::from_millis(59_001)), 5);
        assert_eq!(error.details, json!({"limit": "rateLimit", "value": 5, "retry_after": 60}));
        assert!(error.retryable);
        let waited = NoRoom::Waited { in_flight: 7, of_project: true, waited: Duration::from_secs(10) };
        let error = no_room(waited);
        assert!(
            error
                .message
                .starts_with("the project has 7 calls in flight, its most, and none ended within 10s")
        );
        assert!(error.retryable);
    }
}
