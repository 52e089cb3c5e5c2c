//! What happens around every request: its id, log line, metrics and headers, panics, and errors in the one shape.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;
use tracing::Instrument;
use uuid::Uuid;

use super::error::ApiError;
use super::extract::{Peer, RequestInfo};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken from a client.
const MAX_REQUEST_ID: usize = 64;
/// What counts as the status of a request whose client went away, as other servers have it.
const UNANSWERED: &str = "499";
/// What pages that are no part of the API take.
const PAGE_METHODS: &str = "GET, HEAD, OPTIONS";

/// The methods that each path takes.
pub(super) type Methods = Arc<HashMap<String, String>>;

/// Everything around a route's handler.
pub(super) async fn around(
    State(methods): State<Methods>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let started = Instant::now();
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    let info = Arc::new(RequestInfo { id: request_id(request.headers()), peer, caller: OnceLock::new() });
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    request.extensions_mut().insert(Arc::clone(&info));
    let span = tracing::info_span!("request", request_id = %info.id);
    async {
        let mut unanswered = Unanswered { method: &method, route, started, is_answered: false };
        let response = caught(next.run(request)).await.unwrap_or_else(|| {
            ApiError::internal(format!("the handler of {method} {route} panicked")).into_response()
        });
        let allowed = methods.get(route).map_or(PAGE_METHODS, String::as_str);
        let response = finish(response, &method, allowed, &info);
        note(&response, &method, route, started, &info);
        unanswered.is_answered = true;
        response
    }
    .instrument(span)
    .await
}

/// The client's own id for the request where it is one that can stand in logs and headers; otherwise a new one.
fn request_id(headers: &HeaderMap) -> String {
    let is_sane = |id: &str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| is_sane(id));
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// What the future gives; none if it panics.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        // Nothing of the future is looked at again after a panic.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

/// The answer in its final form.
fn finish(
    mut response: Response<Body>,
    method: &Method,
    allowed: &str,
    info: &RequestInfo,
) -> Response<Body> {
    let is_other_method = response.status() == StatusCode::METHOD_NOT_ALLOWED;
    if is_other_method {
        response = if method == Method::OPTIONS {
            StatusCode::NO_CONTENT.into_response()
        } else {
            ApiError::method_not_allowed(method.as_str(), allowed).into_response()
        };
    }
    if let Some(error) = response.extensions_mut().remove::<Arc<ApiError>>() {
        response = error.render(&info.id);
    }
    let headers = response.headers_mut();
    if let (true, Ok(allowed)) = (is_other_method, HeaderValue::try_from(allowed)) {
        headers.insert(ALLOW, allowed);
    }
    if let Ok(id) = HeaderValue::try_from(&info.id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The line in the log, and the metrics.
fn note(response: &Response<Body>, method: &Method, route: &str, started: Instant, info: &RequestInfo) {
    let elapsed = started.elapsed();
    let (method, status) = (known_method(method), response.status().as_u16());
    let (project, role) = match info.caller.get() {
        Some((project, role)) => (Some(tracing::field::display(project)), Some(role.as_str())),
        None => (None, None),
    };
    tracing::info!(
        target: "portcullis::access",
        method,
        route,
        status,
        ms = elapsed.as_secs_f64() * 1000.0,
        bytes = response.body().size_hint().exact(),
        project,
        role,
        "answered"
    );
    count(method, route, response.status().as_str());
    metrics::histogram!("portcullis_http_request_seconds", "route" => route.to_owned()).record(elapsed);
}

/// Tells of a request whose client went away before its answer, when it is dropped.
struct Unanswered<'a> {
    method: &'a Method,
    route: &'a str,
    started: Instant,
    is_answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let (method, ms) = (known_method(self.method), self.started.elapsed().as_secs_f64() * 1000.0);
        tracing::info!(target: "portcullis::access", method, route = self.route, ms, "the client went away");
        count(method, self.route, UNANSWERED);
    }
}

fn count(method: &'static str, route: &str, status: &str) {
    let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_owned())];
    metrics::counter!("portcullis_http_requests_total", &labels).increment(1);
}

/// The method, or `OTHER`: a client can't make up metrics.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
    KNOWN.into_iter().find(|known| method == known).unwrap_or("OTHER")
}

/// The answer for paths that don't exist.
pub(super) async fn no_such_path() -> ApiError {
    ApiError::not_found("there is nothing at this path; /docs lists what there is")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::header::CONTENT_TYPE;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    fn router() -> Router {
        let panics = get(|| async {
            if true {
                panic!("on purpose")
            }
        });
        let methods = HashMap::from([("/fine".to_owned(), "GET, HEAD, POST, OPTIONS".to_owned())]);
        Router::new()
            .route("/fine", get(|| async { "fine" }).post(|| async { "fine" }))
            .route("/panics", panics)
            .fallback(no_such_path)
            .layer(axum::middleware::from_fn_with_state(Arc::new(methods), around))
    }

    async fn ask(method: &str, path: &str, id: &str) -> (u16, HeaderMap, String) {
        let request =
            Request::builder().method(method).uri(path).header(REQUEST_ID, id).body(Body::empty()).unwrap();
        let (parts, body) = router().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[track_caller]
    fn code(body: &str) -> String {
        let body: Value = serde_json::from_str(body).unwrap();
        body["error"]["code"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_says_only_the_request_id() {
        let (status, headers, body) = ask("GET", "/panics", "abc-1").await;
        assert_eq!((status, code(&body).as_str()), (500, "INTERNAL"));
        assert!(body.contains("abc-1") && !body.contains("on purpose"), "{body}");
        assert_eq!(headers[REQUEST_ID], "abc-1");
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_answer_in_the_one_shape() {
        let (status, _, body) = ask("GET", "/nowhere", "a").await;
        assert_eq!((status, code(&body).as_str()), (404, "NOT_FOUND"));
        for method in ["DELETE", "TRACE", "BREW"] {
            let (status, headers, body) = ask(method, "/fine", "a").await;
            assert_eq!((status, code(&body).as_str()), (405, "METHOD_NOT_ALLOWED"), "{method}");
            assert_eq!(headers[ALLOW], "GET, HEAD, POST, OPTIONS", "{method}");
            assert_eq!(headers[CONTENT_TYPE], "application/json");
        }
    }

    #[tokio::test]
    async fn options_lists_the_methods_and_head_has_no_body() {
        let (status, headers, body) = ask("OPTIONS", "/fine", "a").await;
        assert_eq!((status, body.as_str()), (204, ""));
        assert_eq!(headers[ALLOW], "GET, HEAD, POST, OPTIONS");
        let (status, headers, body) = ask("HEAD", "/fine", "a").await;
        assert_eq!((status, body.as_str()), (200, ""));
        assert_eq!(headers["content-length"], "4");
    }

    #[tokio::test]
    async fn every_answer_has_an_id_and_the_security_headers() {
        for (path, id, kept) in
            [("/fine", "abc_1.2:3-4", true), ("/nowhere", "a b", false), ("/fine", "", false)]
        {
            let (_, headers, _) = ask("GET", path, id).await;
            assert_eq!(headers[REQUEST_ID] == id, kept, "{id:?}");
            assert!(!headers[REQUEST_ID].is_empty());
            assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers[CACHE_CONTROL], "no-store");
            assert_eq!(headers[REFERRER_POLICY], "no-referrer");
        }
        let long = "a".repeat(MAX_REQUEST_ID + 1);
        assert_ne!(ask("GET", "/fine", &long).await.1[REQUEST_ID], long);
    }
}
