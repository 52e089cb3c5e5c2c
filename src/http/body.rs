//! Request bodies: read within a size and a time, as JSON of the shape that the OpenAPI document shows.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::App;
use super::error::ApiError;
use super::schema::Shape;
use super::yaml;

/// The largest JSON body of most routes, in bytes.
pub(super) const MAX_JSON_BYTES: usize = 1024 * 1024;
/// The media type of YAML (RFC 9512).
const YAML: &str = "application/yaml";
/// The largest YAML body, in bytes.
const MAX_YAML_BYTES: usize = 256 * 1024;
/// How long a body may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// What of a body that is too large is read and thrown away, so that the client gets to read the answer, in bytes.
const MAX_DISCARDED: u64 = 32 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// A body that a route takes as JSON.
pub(super) trait JsonBody: DeserializeOwned + ToSchema + 'static {
    /// What to say instead of showing the value that this pointer leads to.
    fn hidden(_pointer: &str) -> Option<&'static str> {
        None
    }
}

/// A JSON body of the shape of `T`.
pub(super) struct JsonOf<T>(pub(super) T);

impl<T: JsonBody> FromRequest<Arc<App>> for JsonOf<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, ApiError> {
        let bytes = read_json(request, MAX_JSON_BYTES).await?;
        parse(&bytes).map(Self)
    }
}

/// A body of the shape of `T`, as JSON or as YAML.
pub(super) struct JsonOrYamlOf<T>(pub(super) T);

impl<T: JsonBody> FromRequest<Arc<App>> for JsonOrYamlOf<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        if expect_type(request.headers(), YAML).is_err() {
            // What is neither is told of the one that most use.
            let JsonOf(body) = JsonOf::from_request(request, app).await?;
            return Ok(Self(body));
        }
        let bytes = read(request, MAX_YAML_BYTES).await?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| ApiError::invalid(format!("the body is not UTF-8: {error}")))?;
        of_shape(yaml::parse(text)?).map(Self)
    }
}

/// A JSON body of the shape of `T`, or none at all.
pub(super) struct MaybeJsonOf<T>(pub(super) Option<T>);

impl<T: JsonBody> FromRequest<Arc<App>> for MaybeJsonOf<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        if request.body().is_end_stream() {
            return Ok(Self(None));
        }
        let JsonOf(body) = JsonOf::from_request(request, app).await?;
        Ok(Self(Some(body)))
    }
}

/// The text of a JSON body.
pub(super) async fn read_json(request: Request, limit: usize) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    expect_type(request.headers(), "application/json")?;
    read(request, limit).await
}

fn parse<T: JsonBody>(bytes: &[u8]) -> Result<T, ApiError> {
    of_shape(serde_json::from_slice(bytes).map_err(|error| not_json(&error))?)
}

fn of_shape<T: JsonBody>(value: Value) -> Result<T, ApiError> {
    let value = Shape::of_body::<T>().check("the body isn't valid", value, T::hidden)?;
    // What serde says may show a value; where it disagrees with the schema only the place is told.
    serde_json::from_value(value)
        .map_err(|_| ApiError::invalid("the body isn't of the form that /openapi.json shows"))
}

/// JSON that can't be parsed: where, without the text itself.
pub(super) fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::invalid(format!("the body is not JSON: {error}"))
}

/// Refuses a body whose media type is another, or that is compressed.
pub(super) fn expect_type(headers: &HeaderMap, expected: &str) -> Result<(), ApiError> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    let is_plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    match (essence.eq_ignore_ascii_case(expected), is_plain) {
        (true, true) => Ok(()),
        (false, _) => Err(ApiError::unsupported_media_type(expected)),
        (true, false) => {
            Err(ApiError::unsupported_media_type(&format!("{expected} without a Content-Encoding")))
        }
    }
}

/// The whole body.
pub(super) async fn read(request: Request, limit: usize) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    read_within(request, limit, READ_TIMEOUT).await
}

async fn read_within(
    request: Request,
    limit: usize,
    patience: Duration,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let declared = declared_length(request.headers());
    let awaits_consent = request.headers().contains_key(EXPECT);
    let mut body = request.into_body();
    if declared.is_some_and(|length| length > limit as u64) {
        if !awaits_consent {
            discard(&mut body).await;
        }
        return Err(ApiError::too_large(limit));
    }
    let capacity = declared.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let reading = collect(&mut body, limit, capacity);
    match tokio::time::timeout(patience, reading).await {
        Err(_) => Err(ApiError::too_slow(patience)),
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            discard(&mut body).await;
            Err(ApiError::too_large(limit))
        }
        Ok(Err(error)) => Err(ApiError::invalid(format!("the request's body can't be read: {error}"))),
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body's bytes; none if there are more than `limit`.
async fn collect(
    body: &mut Body,
    limit: usize,
    capacity: usize,
) -> Result<Option<Zeroizing<Vec<u8>>>, axum::Error> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if bytes.len() + data.len() > limit {
                return Ok(None);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(Some(bytes))
}

/// Reads on for a while: a connection that is closed with unread data is reset, and the answer lost with it.
async fn discard(body: &mut Body) {
    let reading = async {
        let mut n_discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            n_discarded += frame.data_ref().map_or(0, |data| data.len() as u64);
            if n_discarded > MAX_DISCARDED {
                return;
            }
        }
    };
    // Whoever is still sending then reads its answer or doesn't.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    fn request(content_type: &str, body: Body) -> Request {
        Request::builder().header(CONTENT_TYPE, content_type).body(body).unwrap()
    }

    #[track_caller]
    fn media_type(content_type: &str, accepted: bool) {
        let request = request(content_type, Body::empty());
        let outcome =
            expect_type(request.headers(), "application/json").map_err(|error| error.status.as_u16());
        assert_eq!(outcome, if accepted { Ok(()) } else { Err(415) }, "{content_type}");
    }

    #[test]
    fn only_json_is_taken_as_json() {
        media_type("application/json", true);
        media_type("Application/JSON; charset=utf-8", true);
        media_type("text/plain", false);
        media_type("application/jsonx", false);
        media_type("", false);
    }

    #[tokio::test]
    async fn a_body_may_be_as_large_as_its_limit_and_no_larger() {
        let read_all = |n: usize| async move {
            let request = request("application/json", Body::from(vec![b' '; n]));
            read(request, 10).await.map(|bytes| bytes.len()).map_err(|error| error.status.as_u16())
        };
        assert_eq!(read_all(10).await, Ok(10));
        assert_eq!(read_all(11).await, Err(413));
    }

    #[tokio::test]
    async fn a_body_without_a_length_is_counted() {
        let frames = (0..3).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"12345"))));
        let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        let error = read(request("application/json", body), 14).await.unwrap_err();
        assert_eq!(error.status.as_u16(), 413);
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let body = Body::new(StreamBody::new(futures_util::stream::pending::<
            Result<Frame<Bytes>, std::io::Error>,
        >()));
        let error = read_within(request("application/json", body), 10, Duration::ZERO).await.unwrap_err();
        assert_eq!(error.status.as_u16(), 408);
    }

    #[test]
    fn invalid_json_is_told_by_line_and_column() {
        let error =
            serde_json::from_slice::<Value>(b"{\n  \"a\": }").map_err(|error| not_json(&error)).unwrap_err();
        assert_eq!(error.message, "the body is not JSON: expected value at line 2 column 8");
    }
}
