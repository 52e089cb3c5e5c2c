//! Errors as clients see them: one JSON shape, a status for each kind, and nothing of the server's insides.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::chain;
use crate::gateway::GatewayError;
use crate::gateway::keys::AuthenticationError;
use crate::store::StoreError;

/// What went wrong with a request. The middleware renders it, as it alone knows the request's id.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    /// The answer's status.
    pub(super) status: StatusCode,
    /// A word for programs, such as `NOT_FOUND`.
    pub(super) code: &'static str,
    /// A sentence for people.
    pub(super) message: String,
    /// More for programs; absent where there is nothing more to say.
    pub(super) details: Option<Value>,
    /// A header that goes with the status.
    header: Option<(HeaderName, HeaderValue)>,
    /// What the log tells and the client isn't told.
    cause: Option<String>,
}

impl ApiError {
    /// An error of this status, code and message.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: None, header: None, cause: None }
    }

    /// 400: the request makes no sense.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
    }

    /// 401: no key, or none that is valid.
    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        let challenge = HeaderValue::from_static("Bearer realm=\"portcullis\"");
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message).header(WWW_AUTHENTICATE, challenge)
    }

    /// The same with this challenge in its header.
    pub(super) fn challenge(self, challenge: HeaderValue) -> Self {
        self.header(WWW_AUTHENTICATE, challenge)
    }

    /// 403: the key's role may not do this.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// 404: there is none, or none that the caller may know of.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    /// 405: the path exists, the method doesn't.
    pub(super) fn method_not_allowed(method: &str, allowed: &str) -> Self {
        let message = format!("{method} isn't possible here; this path takes {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
    }

    /// 408: the body did not arrive in time.
    pub(super) fn too_slow(limit: Duration) -> Self {
        let message = format!("the request's body did not arrive within {} s", limit.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message)
    }

    /// 413: the body is larger than this route takes.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the request's body is larger than the {limit} bytes that are allowed here");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
            .details(json!({"limit": limit}))
    }

    /// 415: the body is of another media type.
    pub(super) fn unsupported_media_type(expected: &str) -> Self {
        let message = format!("the request's body must be {expected}, and its Content-Type must say so");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message)
    }

    /// 429: wait so long.
    pub(super) fn rate_limited(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message).retry_after(retry_after)
    }

    /// 503: try again soon.
    fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(Duration::from_secs(1))
    }

    /// 500: the client is told the request's id, the log the cause.
    pub(super) fn internal(cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "") }
    }

    /// The same with details.
    pub(super) fn details(self, details: impl Into<Option<Value>>) -> Self {
        Self { details: details.into(), ..self }
    }

    fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// In whole seconds, rounded up: whoever comes back then isn't early.
    fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    fn caused_by(self, error: &dyn Error) -> Self {
        Self { cause: Some(chain(error)), ..self }
    }

    /// The answer; what the client isn't told goes to the log, whose span names the request.
    pub(super) fn render(&self, request_id: &str) -> Response<Body> {
        if let Some(cause) = &self.cause {
            tracing::error!(code = self.code, "{cause}");
        }
        // Three fields of plain JSON can always be written.
        let body = serde_json::to_vec(&self.body(request_id)).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = &self.header {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    fn body(&self, request_id: &str) -> ErrorBody {
        let message = match self.status {
            StatusCode::INTERNAL_SERVER_ERROR => {
                format!(
                    "something went wrong in the server; its log tells what, under request id {request_id}"
                )
            }
            _ => self.message.clone(),
        };
        ErrorBody { error: ErrorDetail { code: self.code, message, details: self.details.clone() } }
    }
}

/// An error.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"error": {"code": "NOT_FOUND", "message": "there is no integration \"gmial\""}}))]
pub(super) struct ErrorBody {
    error: ErrorDetail,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
struct ErrorDetail {
    /// A word for programs.
    #[schema(pattern = "^[A-Z][A-Z_]*$")]
    code: &'static str,
    /// A sentence for people.
    message: String,
    /// More for programs, such as every violation with its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

impl IntoResponse for ApiError {
    /// An empty answer that carries the error to the middleware.
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<GatewayError> for ApiError {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::Invalid { code, message, details } => {
                Self::new(StatusCode::BAD_REQUEST, code, message).details(details)
            }
            GatewayError::Forbidden(message) => Self::forbidden(message),
            GatewayError::NotFound(_) => Self::not_found(error.to_string()),
            GatewayError::Conflict { code, message, details } => {
                Self::new(StatusCode::CONFLICT, code, message).details(details)
            }
            GatewayError::TooLarge { message, details } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message).details(details)
            }
            GatewayError::Unprocessable { code, message, details } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message).details(details)
            }
            GatewayError::TooBusy { message, retry_after } => Self::rate_limited(message, retry_after),
            GatewayError::Unavailable(message) => Self::unavailable("UNAVAILABLE", message),
            GatewayError::Store(error) => error.into(),
            GatewayError::Vault(error) => Self::internal(chain(&error)),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken { .. } => Self::new(StatusCode::CONFLICT, "CONFLICT", error.to_string()),
            StoreError::Unavailable { .. } => {
                let message = "the store doesn't answer; nothing is known to have changed, try again";
                Self::unavailable("STORE_UNAVAILABLE", message).caused_by(&error)
            }
            StoreError::KeyRotated => {
                Self::unavailable("UNAVAILABLE", "the master key was rotated meanwhile; try again")
                    .caused_by(&error)
            }
            StoreError::Damaged { .. } => Self::internal(chain(&error)),
        }
    }
}

impl From<AuthenticationError> for ApiError {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::UnknownKey => Self::unauthorized(error.to_string()),
            AuthenticationError::OtherUser => Self::forbidden(error.to_string()),
            AuthenticationError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::VaultError;

    #[track_caller]
    fn check(error: impl Into<ApiError>, status: u16, body: &str) {
        let error: ApiError = error.into();
        assert_eq!(error.status.as_u16(), status);
        assert_eq!(serde_json::to_string(&error.body("r1")).unwrap(), body);
    }

    #[test]
    fn each_refusal_has_its_status_and_keeps_its_words() {
        let details = Some(json!({"a": 1}));
        check(
            GatewayError::Invalid {
                code: "INVALID_REQUEST",
                message: "no".to_owned(),
                details: details.clone(),
            },
            400,
            r#"{"error":{"code":"INVALID_REQUEST","message":"no","details":{"a":1}}}"#,
        );
        check(
            GatewayError::NotFound("connection 7".to_owned()),
            404,
            r#"{"error":{"code":"NOT_FOUND","message":"there is no connection 7"}}"#,
        );
        check(
            GatewayError::Conflict { code: "VERSION_DRIFT", message: "no".to_owned(), details: None },
            409,
            r#"{"error":{"code":"VERSION_DRIFT","message":"no"}}"#,
        );
        check(
            GatewayError::Unprocessable { code: "INVALID_PACKAGE", message: "no".to_owned(), details },
            422,
            r#"{"error":{"code":"INVALID_PACKAGE","message":"no","details":{"a":1}}}"#,
        );
        check(
            AuthenticationError::OtherUser,
            403,
            r#"{"error":{"code":"FORBIDDEN","message":"this key acts for its own user only; leave the header Portcullis-User out"}}"#,
        );
    }

    #[test]
    fn a_client_never_reads_what_failed_inside() {
        let inside = || StoreError::Unavailable {
            operation: "read the connections",
            source: "password authentication failed for user hunter2".into(),
        };
        let error = ApiError::from(GatewayError::Store(inside()));
        assert_eq!((error.status.as_u16(), error.code), (503, "STORE_UNAVAILABLE"));
        assert!(!serde_json::to_string(&error.body("r1")).unwrap().contains("hunter2"));
        assert!(error.cause.is_some_and(|cause| cause.contains("hunter2")), "the log has the cause");

        let sealed = VaultError::UnknownKey { key_id: "k9".to_owned(), path: "/secret/place".to_owned() };
        check(
            GatewayError::Vault(sealed),
            500,
            r#"{"error":{"code":"INTERNAL","message":"something went wrong in the server; its log tells what, under request id r1"}}"#,
        );
    }

    #[test]
    fn waits_are_told_in_whole_seconds_rounded_up() {
        for (wait, header) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (59_500, "60")] {
            let error = ApiError::rate_limited("slow down", Duration::from_millis(wait));
            assert_eq!(error.render("r1").headers()[RETRY_AFTER], header, "{wait} ms");
        }
    }

    #[test]
    fn a_401_names_its_scheme() {
        let response = ApiError::unauthorized("no key").render("r1");
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer realm=\"portcullis\"");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    }
}
