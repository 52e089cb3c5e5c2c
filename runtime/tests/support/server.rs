//! A scripted HTTP/1.1 server on loopback: it records each request byte for byte, and answers as the test's function says.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A running server; dropping it ends it.
pub struct TestServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Recorded>>,
    n_connections: AtomicUsize,
    is_over: AtomicBool,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Which connection it came on, from 1.
    pub connection: usize,
    /// The request line and headers with their line breaks, the empty line left out.
    pub head: String,
    /// The body as it was on the wire.
    pub raw_body: Vec<u8>,
    /// The body without its chunks.
    pub body: Vec<u8>,
}

impl Recorded {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub fn method(&self) -> &str {
        self.line().split(' ').next().unwrap()
    }

    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap()
    }

    /// The values of all headers of that name, in their order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let lines =
            self.head.lines().skip(1).filter_map(|line| line.split_once(": ").or(line.split_once(':')));
        lines.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The value of the only header of that name.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.headers(name);
        assert!(values.len() < 2, "{name} came {} times: {values:?}", values.len());
        values.first().copied()
    }

    /// Every header's name in lower case, sorted.
    pub fn header_names(&self) -> Vec<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut names: Vec<String> = lines.map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        names
    }
}

/// What the server does with a connection after a request.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    Close,
}

impl Reply {
    /// 200 with a body and its length.
    pub fn ok(body: impl AsRef<[u8]>) -> Reply {
        Reply::status("200 OK", &[], body)
    }

    /// A status line's end such as `404 Not Found`, headers, and a body with its length.
    pub fn status(status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
        bytes.extend(body);
        Reply::raw(bytes)
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Reply {
        Reply::status(&format!("{status} Moved"), &[("Location", location)], "elsewhere")
    }

    /// These bytes and nothing else.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::default().then(bytes)
    }

    /// Then these bytes.
    #[must_use]
    pub fn then(mut self, bytes: impl AsRef<[u8]>) -> Reply {
        self.steps.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// Then nothing for a while.
    #[must_use]
    pub fn wait(mut self, time: Duration) -> Reply {
        self.steps.push(Step::Wait(time));
        self
    }

    /// Then the end of the connection.
    #[must_use]
    pub fn close(mut self) -> Reply {
        self.steps.push(Step::Close);
        self
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl TestServer {
    /// A server for plain http.
    pub fn start(answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> TestServer {
        TestServer::start_with(None, answer)
    }

    /// A server for https.
    pub fn start_tls(
        config: Arc<ServerConfig>,
        answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> TestServer {
        TestServer::start_with(Some(config), answer)
    }

    fn start_with(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = TestServer { address: listener.local_addr().unwrap(), shared: Arc::default() };
        let (shared, answer) = (Arc::clone(&server.shared), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, answer, tls) = (Arc::clone(&shared), Arc::clone(&answer), tls.clone());
                std::thread::spawn(move || serve(stream.unwrap(), tls, &shared, &*answer));
            }
        });
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://127.0.0.1:PORT` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests until now.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The only request until now.
    #[track_caller]
    pub fn request(&self) -> Recorded {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests[0].clone()
    }

    /// How many connections were accepted.
    pub fn n_connections(&self) -> usize {
        self.shared.n_connections.load(Ordering::SeqCst)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    shared: &Shared,
    answer: &(dyn Fn(&Recorded) -> Reply + Send + Sync),
) {
    let connection = shared.n_connections.fetch_add(1, Ordering::SeqCst) + 1;
    stream.set_nodelay(true).unwrap();
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(config) => Box::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream)),
    };
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream, connection) {
        shared.requests.lock().unwrap().push(request.clone());
        for step in answer(&request).steps {
            match step {
                Step::Send(bytes) => {
                    if stream.get_mut().write_all(&bytes).and_then(|()| stream.get_mut().flush()).is_err() {
                        return;
                    }
                }
                Step::Wait(time) => std::thread::sleep(time),
                Step::Close => return,
            }
        }
    }
}

/// Reads a request, or nothing where the connection ends before a whole one.
fn read_request(stream: &mut impl Read, connection: usize) -> Option<Recorded> {
    let head = read_until(stream, b"\r\n\r\n")?;
    let head: String = head[..head.len() - 4].iter().map(|byte| char::from(*byte)).collect();
    let mut request = Recorded { connection, head, raw_body: Vec::new(), body: Vec::new() };
    if request.header("transfer-encoding") == Some("chunked") {
        read_chunks(stream, &mut request)?;
    } else if let Some(length) = request.header("content-length") {
        // A script may answer before a body that it calls too large has come.
        if request.header("x-dont-read-body").is_none() {
            request.raw_body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut request.raw_body).ok()?;
            request.body = request.raw_body.clone();
        }
    }
    Some(request)
}

fn read_chunks(stream: &mut impl Read, request: &mut Recorded) -> Option<()> {
    loop {
        let line = read_until(stream, b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk).ok()?;
        request.raw_body.extend(&line);
        request.raw_body.extend(&chunk);
        request.body.extend(&chunk[..length]);
        if length == 0 {
            return Some(());
        }
    }
}

fn read_until(stream: &mut impl Read, end: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end) {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    Some(bytes)
}
