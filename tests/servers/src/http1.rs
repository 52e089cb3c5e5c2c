//! HTTP/1.1 as the test servers need it: one message at a time over any stream, and requests over TLS to localhost.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use crate::certificates::certificates;

/// Far past what any answer takes, so that a hang is told as one.
const PATIENCE: Duration = Duration::from_secs(60);
/// No message here has more of a head or of a body.
const MAX_LENGTH: usize = 4 << 20;

/// A request or an answer, whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// Reads one, or nothing where the stream ends before it begins.
    pub(crate) fn read(stream: &mut impl Read) -> io::Result<Option<Message>> {
        let Some(head) = read_head(stream)? else { return Ok(None) };
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut message = Message { line, headers, body: Vec::new() };
        message.body = if message.header("transfer-encoding") == Some("chunked") {
            read_chunks(stream)?
        } else {
            read_exactly(stream, message.header("content-length").map_or(Ok(0), |text| number(text, 10))?)?
        };
        Ok(Some(message))
    }

    /// Sends it with its length.
    pub(crate) fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        let mut bytes = format!("{}\r\n", self.line).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        bytes.extend(format!("content-length: {}\r\n\r\n", self.body.len()).into_bytes());
        bytes.extend(&self.body);
        stream.write_all(&bytes)?;
        stream.flush()
    }

    /// The value of the first header of this name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// An answer's status.
    pub(crate) fn status(&self) -> Option<u16> {
        self.line.split(' ').nth(1)?.parse().ok()
    }
}

/// Sends a request on a connection of its own, and reads the answer.
pub(crate) fn exchange(mut stream: impl Read + Write, request: &Message) -> io::Result<Message> {
    request.write(&mut stream)?;
    Message::read(&mut stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// A connection to a port of this machine.
pub(crate) fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// POSTs JSON to a test server over TLS, and reads the JSON of a good answer.
pub(crate) fn post_json(port: u16, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
    let request = Message {
        line: format!("POST {path} HTTP/1.1"),
        headers: vec![
            ("host".to_owned(), format!("localhost:{port}")),
            ("content-type".to_owned(), "application/json".to_owned()),
            ("connection".to_owned(), "close".to_owned()),
        ],
        body: body.to_string().into_bytes(),
    };
    let connection = ClientConnection::new(client_config()?, ServerName::try_from("localhost")?)?;
    let answer = exchange(StreamOwned::new(connection, connect(port)?), &request)
        .with_context(|| format!("POST {path} at port {port}"))?;
    if !answer.status().is_some_and(|status| (200..300).contains(&status)) {
        bail!("POST {path} answered {}: {}", answer.line, String::from_utf8_lossy(&answer.body));
    }
    serde_json::from_slice(&answer.body).with_context(|| format!("the answer to POST {path} is no JSON"))
}

/// TLS of the test servers, for those that run in this process.
pub(crate) fn server_config() -> Result<Arc<ServerConfig>> {
    let certificates = certificates()?;
    let chain = vec![CertificateDer::from_pem_slice(certificates.server.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(certificates.server_key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

fn client_config() -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificates()?.ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The head without the empty line that ends it.
fn read_head(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        head.push(byte[0]);
        if head.len() > MAX_LENGTH {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    head.truncate(head.len() - 4);
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn read_chunks(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(read_exactly(stream, 1)?);
        }
        let length = number(String::from_utf8_lossy(&line).trim(), 16)?;
        let chunk = read_exactly(stream, length + 2)?;
        if length == 0 {
            return Ok(body);
        }
        body.extend(&chunk[..length]);
    }
}

fn read_exactly(stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(text: &str, radix: u32) -> io::Result<usize> {
    let number = usize::from_str_radix(text, radix).ok().filter(|number| *number <= MAX_LENGTH);
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
