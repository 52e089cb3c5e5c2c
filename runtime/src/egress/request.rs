//! What a caller asks egress to send.

use std::fmt;
use std::time::Instant;

/// A request's method; the five that `ctx.http` offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are HTTP's own")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// The method as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One request, as a connector wrote it; nothing in it has been checked.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// An absolute `https:` or `http:` URL.
    pub url: String,
    /// Names and values in the caller's order; characters up to U+00FF are sent as one byte each, as `fetch` does.
    pub headers: Vec<(String, String)>,
    /// What to send.
    pub body: Body,
    /// The content type to send where `headers` name none. Not used with [`Body::Multipart`], which brings its own.
    pub default_content_type: Option<&'static str>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, url: impl Into<String>) -> Request {
        Request { method, url: url.into(), headers: Vec::new(), body: Body::None, default_content_type: None }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body, and `application/json` as the content type where the headers name none: what a `body` string of
    /// `ctx.http.post` and its kin means.
    #[must_use]
    pub fn json_body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = Body::Bytes(body.into());
        self.default_content_type = Some("application/json");
        self
    }
}

/// A request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// None. POST, PUT and PATCH send `Content-Length: 0`.
    None,
    /// These bytes. A GET sends none whatever stands here.
    Bytes(Vec<u8>),
    /// A form, sent as multipart/form-data with a boundary of ours, whatever content type the headers name.
    Multipart(Vec<FormField>),
}

/// One field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormField {
    /// The field's name.
    pub name: String,
    /// The field's value, sent as it is.
    pub value: Vec<u8>,
    /// The name of the file that the value is the content of.
    pub file_name: Option<String>,
    /// The value's content type; a file's is `application/octet-stream` where none is given.
    pub content_type: Option<String>,
}

impl FormField {
    /// A plain text field.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> FormField {
        FormField { name: name.into(), value: value.into().into_bytes(), file_name: None, content_type: None }
    }
}

/// What a request may use up.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// When the request, its redirects and its body must be done.
    pub deadline: Instant,
    /// The largest body to read, in bytes after decompression.
    pub max_body_bytes: u64,
}
