//! An MCP client in raw JSON-RPC over real sockets, as small as it can be: what it sends is what a test says.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::support::client::Body;
use crate::support::{Client, Response, eventually};

/// The newest revision of the protocol with sessions.
pub(crate) const REVISION: &str = "2025-11-25";

/// A client in a session.
#[derive(Clone)]
pub(crate) struct Mcp {
    pub(super) client: Client,
    pub(super) path: String,
    pub(crate) session: String,
}

/// A client with the headers that the transport asks for.
pub(crate) fn speaking(client: &Client) -> Client {
    client.with_header("Accept", "application/json, text/event-stream")
}

pub(crate) fn request(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

pub(crate) fn initialize(capabilities: Value) -> Value {
    let client = json!({"name": "test", "version": "1"});
    request(
        0,
        "initialize",
        json!({"protocolVersion": REVISION, "capabilities": capabilities, "clientInfo": client}),
    )
}

/// The messages in a body of server-sent events.
pub(crate) fn messages(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    data.filter(|data| !data.is_empty()).map(|data| serde_json::from_str(data).unwrap()).collect()
}

impl Mcp {
    /// Begins a session at `/mcp`.
    #[track_caller]
    pub(crate) fn begin(client: &Client) -> Self {
        Self::begin_at(client, "/mcp", json!({}))
    }

    #[track_caller]
    pub(crate) fn begin_at(client: &Client, path: &str, capabilities: Value) -> Self {
        let client = speaking(client);
        let answer = client.post(path, initialize(capabilities)).is(200);
        let session =
            answer.header("mcp-session-id").unwrap_or_else(|| panic!("no session: {}", answer.text()));
        let mcp = Self { session: session.to_owned(), client, path: path.to_owned() };
        mcp.notify("notifications/initialized", json!({}));
        mcp
    }

    /// The same session with another client's headers.
    pub(crate) fn taken_by(&self, client: &Client) -> Self {
        Self { client: speaking(client), ..self.clone() }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.with_header("Mcp-Session-Id", &self.session).with_header("MCP-Protocol-Version", REVISION)
    }

    #[track_caller]
    pub(crate) fn post(&self, message: Value) -> Response {
        self.client().post(&self.path, message)
    }

    #[track_caller]
    pub(crate) fn notify(&self, method: &str, params: Value) {
        self.post(json!({"jsonrpc": "2.0", "method": method, "params": params})).is(202);
    }

    /// All that came with the answer to a request, the answer last.
    #[track_caller]
    pub(crate) fn ask(&self, id: u64, method: &str, params: Value) -> Vec<Value> {
        messages(&self.post(request(id, method, params)).is(200).text())
    }

    /// The result of a request.
    #[track_caller]
    pub(crate) fn result(&self, method: &str, params: Value) -> Value {
        let messages = self.ask(7, method, params);
        let answer = messages.last().unwrap_or_else(|| panic!("no answer to {method}"));
        assert_eq!(answer["id"], 7, "{answer:#}");
        assert!(answer["result"].is_object(), "{answer:#}");
        answer["result"].clone()
    }

    /// The error of a request that must fail.
    #[track_caller]
    pub(crate) fn error(&self, method: &str, params: Value) -> Value {
        let messages = self.ask(7, method, params);
        let answer = messages.last().unwrap_or_else(|| panic!("no answer to {method}"));
        assert!(answer["error"].is_object(), "{answer:#}");
        answer["error"].clone()
    }

    #[track_caller]
    pub(crate) fn tools(&self) -> Vec<Value> {
        self.result("tools/list", json!({}))["tools"].as_array().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn names(&self) -> Vec<String> {
        self.tools().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    pub(crate) fn call(&self, name: &str, arguments: Value) -> Value {
        self.result("tools/call", json!({"name": name, "arguments": arguments}))
    }

    /// Listens to what the server has to say by itself.
    #[track_caller]
    pub(crate) fn listen(&self) -> Stream {
        Stream::open(&self.client(), "GET", &self.path, None)
    }

    /// Sends a request and reads what comes as it comes.
    #[track_caller]
    pub(crate) fn stream(&self, message: Value) -> Stream {
        Stream::open(&self.client(), "POST", &self.path, Some(message))
    }

    #[track_caller]
    pub(crate) fn end(&self) {
        let answer = self.client().send("DELETE", &self.path, Body::None);
        assert!(answer.status < 300, "{}", answer.text());
    }
}

/// A stream of messages; dropping it closes the connection.
pub(crate) struct Stream {
    socket: TcpStream,
    text: Arc<Mutex<String>>,
}

impl Stream {
    fn open(client: &Client, method: &str, path: &str, message: Option<Value>) -> Self {
        let mut socket = TcpStream::connect(client.address()).unwrap();
        let body = message.map_or_else(String::new, |message| message.to_string());
        let mut head = client.head(method, path);
        if !body.is_empty() {
            head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        socket.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
        let text = Arc::new(Mutex::new(String::new()));
        let (mut reading, sink) = (socket.try_clone().unwrap(), Arc::clone(&text));
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(n @ 1..) = reading.read(&mut buffer) {
                // Each event comes in a chunk of its own, whose frame stands on lines of its own.
                *sink.lock().unwrap() += &String::from_utf8_lossy(&buffer[..n]);
            }
        });
        let stream = Self { socket, text };
        eventually("the stream begins", || stream.text().contains("\r\n\r\n"));
        assert!(stream.text().starts_with("HTTP/1.1 200"), "{}", stream.text());
        stream
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// The messages that have come whole.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
        data.filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    /// Waits for a message of this method; how many there are then.
    #[track_caller]
    pub(crate) fn awaits(&self, method: &str) -> Value {
        eventually(method, || self.messages().iter().any(|message| message["method"] == method));
        self.messages().into_iter().find(|message| message["method"] == method).unwrap()
    }

    pub(crate) fn count(&self, method: &str) -> usize {
        self.messages().iter().filter(|message| message["method"] == method).count()
    }

    /// Waits for the answer to the request of this id.
    #[track_caller]
    pub(crate) fn answer(&self, id: u64) -> Value {
        eventually("the answer", || {
            self.messages().iter().any(|message| message["id"] == id && message["method"].is_null())
        });
        self.messages()
            .into_iter()
            .find(|message| message["id"] == id && message["method"].is_null())
            .unwrap()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}
