//! Answers of handlers: JSON, with a status.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;

use super::error::ApiError;

/// What a handler gives: an answer, or an error.
pub(super) type Answer<T> = Result<T, ApiError>;

/// A value as JSON, with status 200 unless a status stands beside it.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response<Body> {
        match serde_json::to_vec(&self.0) {
            Ok(json) => {
                let mut response = Response::new(Body::from(json));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(error) => ApiError::internal(format!("an answer isn't JSON: {error}")).into_response(),
        }
    }
}

/// 201 for what is new, 200 for what was replaced.
pub(super) fn created_or_replaced(is_new: bool) -> StatusCode {
    if is_new { StatusCode::CREATED } else { StatusCode::OK }
}
