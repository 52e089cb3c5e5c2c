//! Where browsers come for consents: they begin, come back from the authorization server, and answer questions here.
//!
//! Nobody has a key here. A consent is found by its state alone, and belongs to the browser that it begins in.

mod browser;
mod pages;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, LOCATION};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use self::browser::Browser;
use self::pages::Page;
use super::App;
use crate::error::chain;
use crate::gateway::GatewayError;
use crate::gateway::oauth::callback::{ConsentAnswer, ConsentEnd, Ended, Start};
use crate::store::connections::ConnectionStatus;

const STYLE: &str = include_str!("oauth/style.css");
const SCRIPT: &str = include_str!("oauth/done.js");

/// The most bytes of an answer to a question.
const MAX_FORM: usize = 4096;
/// The longest query, in bytes. Codes of some servers have several kilobytes.
const MAX_QUERY: usize = 16 * 1024;

/// The pages' own routes; they are no part of the API.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/oauth/start", get(start))
        .route("/oauth/callback", get(callback))
        .route("/oauth/confirm", post(confirm).layer(DefaultBodyLimit::max(MAX_FORM)))
        .route("/oauth/style.css", get(|| async { ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE) }))
        .route(
            "/oauth/done.js",
            get(|| async { ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT) }),
        )
}

/// The methods of those that take other ones than pages do.
pub(super) fn allowed_methods() -> [(String, String); 1] {
    [("/oauth/confirm".to_owned(), "POST, OPTIONS".to_owned())]
}

/// Sends the browser to the authorization server, and makes the consent its own.
async fn start(
    State(app): State<Arc<App>>,
    method: Method,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    if !is_visit(&method, &headers) {
        return StatusCode::NO_CONTENT.into_response();
    }
    let Some([Some(state)]) = parameters(query.as_deref(), ["state"]) else {
        return pages::gone().into_response();
    };
    let browser = Browser::of(&headers, app.gateway.public_url());
    match app.gateway.start_consent(&state, browser.id()).await {
        Ok(Start::At(url)) => {
            let location = (StatusCode::FOUND, [(LOCATION, String::from(url))]);
            (browser.remembered(), location).into_response()
        }
        Ok(Start::Gone) => pages::gone().into_response(),
        Ok(Start::OtherBrowser) => pages::other_browser().into_response(),
        Err(error) => failed(&error),
    }
}

/// Takes the authorization server's answer.
async fn callback(
    State(app): State<Arc<App>>,
    method: Method,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    if !is_visit(&method, &headers) {
        return StatusCode::NO_CONTENT.into_response();
    }
    let names = ["state", "code", "error", "error_description", "iss"];
    let Some([Some(state), code, error, error_description, iss]) = parameters(query.as_deref(), names) else {
        return pages::gone().into_response();
    };
    let answer = ConsentAnswer {
        state: state.to_string(),
        code,
        error: error.map(|text| text.to_string()),
        error_description: error_description.map(|text| text.to_string()),
        iss: iss.map(|text| text.to_string()),
    };
    let browser = Browser::of(&headers, app.gateway.public_url());
    match app.gateway.end_consent(answer, browser.id()).await {
        Ok(end) => (browser.remembered(), ended(end)).into_response(),
        Err(error) => failed(&error),
    }
}

/// Takes the answer to the question whether another account is meant.
async fn confirm(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    let form = std::str::from_utf8(&body).ok();
    let Some([Some(token), Some(decision)]) = parameters(form, ["token", "decision"]) else {
        return pages::gone().into_response();
    };
    let browser = Browser::of(&headers, app.gateway.public_url());
    match app.gateway.answer_question(&token, browser.id(), *decision == "replace").await {
        Ok(end) => ended(end).into_response(),
        Err(error) => failed(&error),
    }
}

/// Whether somebody comes to see the page: whatever looks at links ahead must not use them up.
fn is_visit(method: &Method, headers: &HeaderMap) -> bool {
    let purpose = headers.get("sec-purpose").and_then(|value| value.to_str().ok()).unwrap_or_default();
    method == Method::GET && !purpose.contains("prefetch") && !purpose.contains("prerender")
}

/// The values of these parameters; none at all if one of them comes twice, or the query is too long.
fn parameters<const N: usize>(
    query: Option<&str>,
    names: [&str; N],
) -> Option<[Option<Zeroizing<String>>; N]> {
    let query = query.unwrap_or_default();
    if query.len() > MAX_QUERY {
        return None;
    }
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let Some(index) = names.iter().position(|own| *own == name) else { continue };
        if values[index].replace(Zeroizing::new(value.into_owned())).is_some() {
            return None;
        }
    }
    Some(values)
}

/// What the browser is shown, or where it is sent.
fn ended(end: ConsentEnd) -> Response {
    match end {
        ConsentEnd::Gone => pages::gone().into_response(),
        ConsentEnd::OtherBrowser => pages::other_browser().into_response(),
        ConsentEnd::Asks(question) => pages::question(&question).into_response(),
        ConsentEnd::Ended(ended) => match returning(&ended) {
            Some(url) => (StatusCode::SEE_OTHER, [(LOCATION, String::from(url))]).into_response(),
            None => pages::ended(&ended).into_response(),
        },
    }
}

/// The callback URL, with what its page needs to know.
fn returning(ended: &Ended) -> Option<Url> {
    let mut url = Url::parse(ended.callback_url.as_deref()?).ok()?;
    url.query_pairs_mut()
        .append_pair("connection_id", &ended.connection.id.to_string())
        .append_pair("status", status(ended));
    Some(url)
}

/// The connection's status; where a consent brought nothing to one that works, that it failed.
fn status(ended: &Ended) -> &'static str {
    match ended.refusal {
        Some(_) => ConnectionStatus::Failed.as_str(),
        None => ended.connection.status.as_str(),
    }
}

fn failed(error: &GatewayError) -> Response {
    tracing::error!(error = chain(error), "a consent couldn't be dealt with");
    pages::out_of_order().into_response()
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let headers =
            [(CONTENT_TYPE, "text/html; charset=utf-8".to_owned()), (CONTENT_SECURITY_POLICY, self.policy())];
        (self.status, headers, self.html).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(query: &str) -> Option<[Option<String>; 2]> {
        let values = parameters(Some(query), ["state", "code"])?;
        Some(values.map(|value| value.map(|value| value.to_string())))
    }

    #[test]
    fn parameters_come_once_each() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(values("state=a&code=b%20c&x=y&x=z"), Some([text("a"), text("b c")]));
        assert_eq!(values("code="), Some([None, text("")]));
        assert_eq!(values("state=a&state=a"), None);
        assert_eq!(values(&format!("state={}", "a".repeat(MAX_QUERY))), None);
    }

    #[test]
    fn what_only_looks_ahead_is_no_visit() {
        let headers = |purpose: &'static str| {
            HeaderMap::from_iter([(
                "sec-purpose".parse().expect("a name"),
                purpose.parse().expect("a value"),
            )])
        };
        assert!(is_visit(&Method::GET, &HeaderMap::new()));
        assert!(!is_visit(&Method::HEAD, &HeaderMap::new()));
        assert!(!is_visit(&Method::GET, &headers("prefetch;prerender")));
    }
}
