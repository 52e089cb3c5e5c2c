//! A call's OAuth2 token: good before the call begins, and replaced once where the service refuses it all the same.

use std::sync::Arc;
use std::time::Duration;

use portcullis_runtime::manifest::{AuthMethod, OperationType};
use portcullis_runtime::{Call, CallError, ErrorCode, Exchange};
use serde_json::json;
use zeroize::Zeroizing;

use super::super::credentials::ACCESS_TOKEN;
use super::super::oauth::refresh::{Held, RefreshError};
use super::ToolError;
use super::outcome::{is_expired, whole_seconds};
use super::prepare::{PreparedCall, SecretCall};
use crate::store::connections::Connection;

impl PreparedCall {
    /// The connection, if its token is one of OAuth2.
    fn oauth_connection(&self) -> Option<&Connection> {
        self.connection().filter(|connection| connection.mode == AuthMethod::OAuth2)
    }

    /// The call with a token that is good, as far as is known.
    pub(super) async fn with_fresh_token(&self, call: Arc<SecretCall>) -> Result<Arc<SecretCall>, ToolError> {
        let Some(connection) = self.oauth_connection() else { return Ok(call) };
        let fresh = tokio::select! {
            biased;
            () = self.stop.token.cancelled() => return Err(super::outcome::cancelled()),
            fresh = self.gateway.fresh_tokens(connection) => fresh,
        };
        match fresh {
            Ok(None) => Ok(call),
            Ok(Some(held)) => self.with_tokens(&call, &held).await,
            Err(error) => Err(without_token(connection, error)),
        }
    }

    /// The call with a new token, after the service refused the one it had, or why the connection gets none any more; nothing
    /// where the call is not to be made again: there is no new token now, or it has already done something that it would do
    /// again.
    pub(super) async fn after_refusal(
        &self,
        call: &Arc<SecretCall>,
        error: &CallError,
        exchanges: &[Exchange],
    ) -> Option<Result<Arc<SecretCall>, ToolError>> {
        let connection = self.oauth_connection()?;
        let operation = self.target.as_ref()?.operation();
        if !is_expired(error, Some(connection.mode)) || !can_be_repeated(operation.operation_type, exchanges)
        {
            return None;
        }
        let refused = Zeroizing::new(call.call.secrets.get(ACCESS_TOKEN)?.clone());
        let renewed = tokio::select! {
            biased;
            () = self.stop.token.cancelled() => return None,
            renewed = self.gateway.tokens_after_refusal(connection, refused) => renewed,
        };
        match renewed {
            Ok(Some(held)) => self.with_tokens(call, &held).await.ok().map(Ok),
            Err(error @ RefreshError::Gone(_)) => Some(Err(without_token(connection, error))),
            // The service's own words stand.
            Ok(None) | Err(_) => None,
        }
    }

    /// Notes that a new token was refused too.
    pub(super) fn note_refused_again(&self, error: &CallError) {
        if let Some(connection) = self.oauth_connection()
            && is_expired(error, Some(connection.mode))
        {
            self.gateway.note_unhelped(connection.id);
        }
    }

    async fn with_tokens(&self, call: &SecretCall, held: &Held) -> Result<Arc<SecretCall>, ToolError> {
        // Another process's tokens may come within the epoch of those before.
        let epoch = self.gateway.store().epoch() ^ (held.grant.generation << 32);
        let opened = self.gateway.open_fields(&held.connection, &held.fields).await;
        let mut opened = opened.map_err(|error| without_token(&held.connection, error.into()))?;
        let old = &call.call;
        Ok(Arc::new(SecretCall {
            call: Call {
                operation: old.operation.clone(),
                arguments: old.arguments.clone(),
                secrets: std::mem::take(&mut opened.secrets),
                config: std::mem::take(&mut opened.config),
                cancellation: old.cancellation.clone(),
            },
            rate: call.rate.clone(),
            epoch,
        }))
    }
}

/// Whether a call whose last request was refused can be made again: a write only if nothing but refused requests, and reads,
/// came before.
fn can_be_repeated(operation_type: OperationType, exchanges: &[Exchange]) -> bool {
    let is_harmless =
        |exchange: &Exchange| exchange.method == "GET" || exchange.status == Some(401) || !exchange.sent;
    operation_type == OperationType::Read || exchanges.iter().all(is_harmless)
}

/// Why a call has no token that it could be made with.
fn without_token(connection: &Connection, error: RefreshError) -> ToolError {
    let slug = connection.slug.as_str();
    let details = json!({"connection": slug});
    match error {
        RefreshError::Gone(why) => ToolError::new(
            ErrorCode::ConnectionExpired.as_str(),
            format!("the connection {slug:?} is expired: {why}"),
        )
        .with(details),
        RefreshError::Refused(why) => {
            let message =
                format!("the token of the connection {slug:?} has expired and couldn't be refreshed: {why}");
            ToolError::new(ErrorCode::ConnectionExpired.as_str(), message).with(details)
        }
        RefreshError::Unavailable { message, retry_after } => {
            let message = format!(
                "the token of the connection {slug:?} has expired and can't be refreshed now: {message}"
            );
            let seconds = retry_after.map_or(1, |pause| whole_seconds(pause.max(Duration::from_secs(1))));
            ToolError::new(ErrorCode::ProviderUnavailable.as_str(), message)
                .with(json!({"connection": slug, "retry_after": seconds}))
                .passing()
        }
        RefreshError::Broken(message) => {
            ToolError::new(ErrorCode::ProviderUnavailable.as_str(), message).with(details).passing()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(method: &'static str, status: Option<u16>, sent: bool) -> Exchange {
        Exchange {
            method,
            url: "https://api.example/".to_owned(),
            status,
            ms: 1,
            bytes: 0,
            error: None,
            sent,
        }
    }

    #[test]
    fn a_write_is_repeated_only_if_it_has_written_nothing() {
        let refused = exchange("POST", Some(401), true);
        let read = exchange("GET", Some(200), true);
        let never_sent = exchange("POST", None, false);
        assert!(can_be_repeated(OperationType::Write, &[read.clone(), never_sent, refused.clone()]));
        for other in [exchange("POST", Some(201), true), exchange("DELETE", None, true)] {
            assert!(!can_be_repeated(OperationType::Write, &[other.clone(), refused.clone()]));
            assert!(can_be_repeated(OperationType::Read, &[other, refused.clone()]));
        }
    }
}
