//! Tests of connections: the connector's own, on a thread of its own, and what is kept of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use portcullis_runtime::{CallError, Cancellation, ErrorCode, REDACTED};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::credentials::Opened;
use super::room::ROOM;
use super::shown::Readiness;
use super::{Gateway, GatewayError, TestReport, no_connection};
use crate::identity::{Identity, ProjectId};
use crate::integrations::Served;
use crate::store::connections::{Connection, ConnectionChange, ConnectionStatus};

/// The longest `last_error` and message, in characters.
const MAX_MESSAGE: usize = 1000;
/// The longest identity, in characters.
const MAX_IDENTITY: usize = 200;

/// What came of a test; no secret is in it.
pub(in crate::gateway) struct Trial {
    pub(super) result: Result<Passed, CallError>,
    duration: Duration,
}

/// What a connector said when its test passed.
#[derive(Debug, PartialEq)]
pub(in crate::gateway) struct Passed {
    pub(super) message: String,
    /// Whose account it is.
    pub(in crate::gateway) identity: Option<String>,
}

impl Gateway {
    /// Tests a connection and keeps what came of it: ACTIVE, or FAILED with `last_error`. A DISABLED one stays so, and what
    /// can't even be tested (see [`Gateway::connection`]) stays as it is.
    pub(crate) async fn test_connection(
        &self,
        identity: &Identity,
        id: Uuid,
    ) -> Result<TestReport, GatewayError> {
        let connection = self.managed(identity, id).await?;
        let fields = self.inner.store.connection_fields(connection.project, id).await?;
        let (served, opened) = match self.readiness(&connection, &fields).await? {
            Readiness::Ready(served, opened) => (served, opened),
            Readiness::Unusable(message) => {
                let connection = self.shown(connection).await?;
                return Ok(TestReport { connection, success: false, message, duration_ms: 0 });
            }
        };
        let trial = self.try_out(identity.project, served, opened).await?;
        // Read again: it may have been changed while it was tested.
        let connection = self.managed(identity, id).await?;
        let is_same = self.inner.store.connection_fields(connection.project, id).await? == fields;
        let change = if is_same { trial.change(&connection) } else { None };
        let connection = match change {
            Some(change) => self.inner.store.change_connection(identity.project, id, &change).await?,
            None => Some(connection),
        };
        let connection = self.shown(connection.ok_or_else(|| no_connection(id))?).await?;
        Ok(trial.report(connection))
    }

    /// Runs the connector's test with these values. An error is one of this server, never of the connection.
    pub(in crate::gateway) async fn try_out(
        &self,
        project: ProjectId,
        served: Arc<Served>,
        opened: Opened,
    ) -> Result<Trial, GatewayError> {
        let place = ROOM.enter(project, self.inner.config.max_queue_time).await?;
        let cancellation = Cancellation::default();
        let _cancelled_if_dropped = CancelOnDrop(cancellation.clone());
        let call = opened.into_call(None, Value::Null, cancellation);
        let slug = served.connector.slug().to_owned();
        let run = move || {
            // Held to the end of the test, whether or not anyone still waits for it.
            let _place = place;
            catch_unwind(AssertUnwindSafe(|| served.connector.call(&call)))
        };
        let Ok(outcome) = tokio::task::spawn_blocking(run).await else {
            return Err(GatewayError::Unavailable("the server is going down".to_owned()));
        };
        Ok(match outcome {
            Ok(outcome) => Trial { result: outcome.result.map(passed), duration: outcome.duration },
            Err(_) => {
                // What it panicked with may hold anything, and isn't repeated.
                tracing::error!(integration = slug, "a connection's test broke off: a panic in the engine");
                let error = CallError::new(ErrorCode::SandboxCrashed, "the test broke off inside the server");
                Trial { result: Err(error), duration: Duration::ZERO }
            }
        })
    }
}

/// Cancels the test that nobody waits for any more.
struct CancelOnDrop(Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Trial {
    /// What a passed test said; otherwise the error that refuses what was to be stored.
    pub(in crate::gateway) fn into_passed(self) -> Result<Passed, GatewayError> {
        self.result.map_err(|error| {
            let mut details = json!({"code": error.code});
            if let (Some(more), Some(members)) = (error.details, details.as_object_mut()) {
                members.insert("details".to_owned(), more);
            }
            GatewayError::Unprocessable {
                code: "CONNECTION_TEST_FAILED",
                message: error.message,
                details: Some(details),
            }
        })
    }

    /// What is to be stored of it; none if all of that is stored already.
    fn change(&self, connection: &Connection) -> Option<ConnectionChange> {
        let (status, last_error, identity) = match &self.result {
            Ok(passed) => (ConnectionStatus::Active, None, passed.identity.clone()),
            Err(error) => {
                let message = clean(&error.message, MAX_MESSAGE);
                (ConnectionStatus::Failed, Some(message), connection.identity.clone())
            }
        };
        let status = if connection.status == ConnectionStatus::Disabled { connection.status } else { status };
        let is_stored = (status, &last_error, &identity)
            == (connection.status, &connection.last_error, &connection.identity);
        (!is_stored).then(|| ConnectionChange {
            status: (status != connection.status).then_some(status),
            last_error: Some(last_error),
            identity: Some(identity),
            ..ConnectionChange::default()
        })
    }

    fn report(self, connection: Connection) -> TestReport {
        let duration_ms = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        let (success, message) = match self.result {
            Ok(passed) => (true, passed.message),
            Err(error) => (false, clean(&error.message, MAX_MESSAGE)),
        };
        TestReport { connection, success, message, duration_ms }
    }
}

/// What a test returned, as far as anything is made of it.
fn passed(result: Value) -> Passed {
    let text = |key: &str| result.get(key).and_then(Value::as_str).map(str::trim);
    let identity = ["identity", "account", "email"].into_iter().filter_map(text).find(|text| {
        // An account's name can be a credential too.
        !text.is_empty() && text.chars().count() <= MAX_IDENTITY && !text.contains(REDACTED)
    });
    let message = text("message").filter(|text| !text.is_empty()).unwrap_or("the connection works");
    Passed { message: clean(message, MAX_MESSAGE), identity: identity.map(|text| clean(text, MAX_IDENTITY)) }
}

/// A text of the connector's, cut, and without the control characters that no list or database wants.
pub(in crate::gateway) fn clean(text: &str, n_chars: usize) -> String {
    let plain = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    if text.chars().count() <= n_chars {
        return text.chars().map(plain).collect();
    }
    text.chars().take(n_chars - 1).map(plain).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_the_first_text_that_names_one() {
        let long = "x".repeat(201);
        for (result, expected) in [
            (json!({"email": "e", "account": "a", "identity": "i"}), Some("i")),
            (json!({"email": "e", "account": "a", "identity": 7}), Some("a")),
            (json!({"email": " e\u{0}f ", "account": "", "identity": long}), Some("e f")),
            (json!({"account": "[redacted]", "email": "e"}), Some("e")),
            (json!({"success": true}), None),
            (json!("identity"), None),
            (json!(null), None),
        ] {
            assert_eq!(passed(result.clone()).identity.as_deref(), expected, "{result}");
        }
    }

    #[test]
    fn the_message_is_the_connectors_own() {
        assert_eq!(passed(json!({"message": "Connected as Ada"})).message, "Connected as Ada");
        assert_eq!(passed(json!({"message": ""})).message, "the connection works");
        assert_eq!(passed(json!(null)).message, "the connection works");
        let long = passed(json!({"message": "é\u{0}".repeat(1000)})).message;
        assert_eq!(long.chars().count(), MAX_MESSAGE);
        assert!(long.starts_with("é é ") && long.ends_with('…'));
    }
}
