//! A client of the API: one connection for each request, and answers that tests can ask.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::upload::Form;

/// Far past what any answer takes, so that a hang is told as one.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests with the same headers, a key's first of all.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    headers: Vec<(String, String)>,
}

/// A request's body.
pub(crate) enum Body {
    None,
    Json(Value),
    Bytes { content_type: String, bytes: Vec<u8> },
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// The request's first line, for messages.
    request: String,
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// A client without a key.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, headers: Vec::new() }
    }

    /// The same with one more header.
    pub(crate) fn with_header(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// The same with this key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        let bare = Self { address: self.address, headers: Vec::new() };
        bare.with_header("Authorization", &format!("Bearer {key}"))
    }

    /// The same, acting for a user.
    pub(crate) fn acting_for(&self, user: &str) -> Self {
        self.with_header("Portcullis-User", user)
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Response {
        self.send("GET", target, Body::None)
    }

    #[track_caller]
    pub(crate) fn delete(&self, target: &str) -> Response {
        self.send("DELETE", target, Body::None)
    }

    #[track_caller]
    pub(crate) fn post(&self, target: &str, body: Value) -> Response {
        self.send("POST", target, Body::Json(body))
    }

    #[track_caller]
    pub(crate) fn put(&self, target: &str, body: Value) -> Response {
        self.send("PUT", target, Body::Json(body))
    }

    #[track_caller]
    pub(crate) fn patch(&self, target: &str, body: Value) -> Response {
        self.send("PATCH", target, Body::Json(body))
    }

    #[track_caller]
    pub(crate) fn upload(&self, form: Form) -> Response {
        self.send("POST", "/api/integrations", form.body())
    }

    #[track_caller]
    pub(crate) fn send(&self, method: &str, target: &str, body: Body) -> Response {
        self.try_send(method, target, body).unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// The answer, or an error if none came whole.
    pub(crate) fn try_send(&self, method: &str, target: &str, body: Body) -> io::Result<Response> {
        let (content_type, bytes) = match body {
            Body::None => (None, Vec::new()),
            Body::Json(value) => (Some("application/json".to_owned()), value.to_string().into_bytes()),
            Body::Bytes { content_type, bytes } => (Some(content_type), bytes),
        };
        let mut head = self.head(method, target);
        if let Some(content_type) = content_type {
            head.push_str(&format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", bytes.len()));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend(bytes);
        self.exchange(&request)
    }

    /// Sends bytes as they are, and reads the answer.
    #[track_caller]
    pub(crate) fn raw(&self, request: &[u8]) -> Response {
        self.exchange(request).unwrap_or_else(|error| panic!("{}: {error}", first_line(request)))
    }

    /// A request's first line and its headers, but for those of a body.
    pub(crate) fn head(&self, method: &str, target: &str) -> String {
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn exchange(&self, request: &[u8]) -> io::Result<Response> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // A server that refuses a request by its first bytes answers while the rest is still being sent.
        let sent = stream.write_all(request);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        if answer.is_empty() {
            sent.and(read)?;
        }
        Response::parse(first_line(request), &answer)
    }

    /// Calls a tool.
    #[track_caller]
    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Called {
        self.call_text(tool, &arguments.to_string())
    }

    /// Calls a tool with arguments that needn't be JSON.
    #[track_caller]
    pub(crate) fn call_text(&self, tool: &str, arguments: &str) -> Called {
        let answer = self.post("/api/tools/run", run_body(&[("c1", tool, arguments)])).is(200).json();
        Called { answer }
    }

    /// The result of a call that must succeed.
    #[track_caller]
    pub(crate) fn result(&self, tool: &str, arguments: Value) -> Value {
        self.call(tool, arguments).result()
    }

    /// The error of a call that must fail with this code.
    #[track_caller]
    pub(crate) fn error(&self, code: &str, tool: &str, arguments: Value) -> Value {
        self.call(tool, arguments).error(code)
    }

    /// A new connection, which must be made.
    #[track_caller]
    pub(crate) fn connect(&self, body: Value) -> Value {
        self.post("/api/tools/connections", body).is(201).json()["connection"].clone()
    }
}

/// The body of `POST /api/tools/run` for calls of id, tool and arguments.
pub(crate) fn run_body(calls: &[(&str, &str, &str)]) -> Value {
    let calls: Vec<Value> = calls
        .iter()
        .map(|(id, tool, arguments)| {
            json!({"id": id, "type": "function", "function": {"name": tool, "arguments": arguments}})
        })
        .collect();
    json!({"tool_calls": calls})
}

/// What came of a single call.
pub(crate) struct Called {
    pub(crate) answer: Value,
}

impl Called {
    /// What the message says, parsed.
    #[track_caller]
    pub(crate) fn content(&self) -> Value {
        let message = &self.answer["tool_messages"][0];
        assert_eq!(
            (&message["role"], &message["tool_call_id"]),
            (&json!("tool"), &json!("c1")),
            "{:#}",
            self.answer
        );
        let content = message["content"].as_str().unwrap_or_else(|| panic!("no text in {message:#}"));
        serde_json::from_str(content).unwrap_or_else(|error| panic!("{error}: {content}"))
    }

    /// The result; fails if there is an error.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        assert_eq!(self.answer["errors"], json!([]), "{:#}", self.answer);
        self.content()
    }

    /// The error of this code, which must stand in the message as in the list.
    #[track_caller]
    pub(crate) fn error(&self, code: &str) -> Value {
        let error = self.answer["errors"][0].clone();
        assert_eq!(error["code"], code, "{:#}", self.answer);
        assert_eq!(error["tool_call_id"], "c1", "{error:#}");
        let mut listed = error.clone();
        listed.as_object_mut().unwrap().remove("tool_call_id");
        assert_eq!(self.content(), json!({"error": listed}), "the message and the list differ");
        error
    }
}

impl Response {
    fn parse(request: String, bytes: &[u8]) -> io::Result<Self> {
        let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut off");
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(cut)?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(cut)?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = Self { request, status, headers, body: Vec::new() };
        let rest = &bytes[end + 4..];
        response.body = if response.header("transfer-encoding") == Some("chunked") {
            unchunked(rest).ok_or_else(cut)?
        } else {
            rest.to_vec()
        };
        let length = response.header("content-length").and_then(|length| length.parse::<usize>().ok());
        if length.is_some_and(|length| length > response.body.len() && !response.request.starts_with("HEAD"))
        {
            return Err(cut());
        }
        Ok(response)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Fails with all that was answered unless the status is this.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} answered {}: {}", self.request, self.status, self.text());
        self
    }

    /// The body, which must be JSON and say so.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let content_type = self.header("content-type").unwrap_or_default();
        assert!(
            content_type.starts_with("application/json"),
            "{}: {content_type:?}: {}",
            self.request,
            self.text()
        );
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.request, self.text()))
    }

    /// The error of a refusal with this status and code.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, code: &str) -> Value {
        let answer = self.is(status).json();
        assert_eq!(answer["error"]["code"], code, "{answer:#}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{answer:#}");
        answer["error"].clone()
    }
}

fn first_line(request: &[u8]) -> String {
    let end = request.iter().position(|byte| *byte == b'\r').unwrap_or(request.len()).min(200);
    String::from_utf8_lossy(&request[..end]).into_owned()
}

fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?.trim(), 16).ok()?;
        let rest = &bytes[end + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend(rest.get(..length)?);
        bytes = rest.get(length + 2..)?;
    }
}
