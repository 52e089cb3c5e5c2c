//! What the provider answers.

use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::http1::Message;
use crate::oauth::behaviour::{Behaviour, Encoding};

/// An answer with a status.
pub(crate) fn plain(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Message {
    Message {
        line: format!("HTTP/1.1 {status} Answer"),
        headers: vec![("content-type".to_owned(), content_type.to_owned())],
        body: body.into(),
    }
}

pub(crate) fn json(status: u16, body: &Value) -> Message {
    plain(status, "application/json", body.to_string())
}

/// An OAuth2 error.
pub(crate) fn refusal(status: u16, error: &str, description: &str) -> Message {
    json(status, &serde_json::json!({"error": error, "error_description": description}))
}

pub(crate) fn redirect(location: &str) -> Message {
    let mut answer = plain(302, "text/plain", "elsewhere");
    answer.headers.push(("location".to_owned(), location.to_owned()));
    answer
}

/// An answer of the token endpoint, in the encoding of the day.
pub(crate) fn encoded(behaviour: &Behaviour, status: u16, fields: &Map<String, Value>) -> Message {
    let mut answer = match behaviour.encoding {
        Encoding::Json => json(status, &Value::Object(fields.clone())),
        Encoding::Form => plain(status, "application/x-www-form-urlencoded; charset=utf-8", form(fields)),
        Encoding::UnmarkedForm => plain(status, "text/plain", form(fields)),
    };
    answer.headers.push(("cache-control".to_owned(), "no-store".to_owned()));
    if let Some(date) = &behaviour.date {
        answer.headers.push(("date".to_owned(), date.clone()));
    }
    answer
}

fn form(fields: &Map<String, Value>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        form.append_pair(name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    form.finish()
}
