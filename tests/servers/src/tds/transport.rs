//! The socket of one session, with TLS on it or without, read so that a wait can have an end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use rustls::ServerConnection;

use crate::tds::failure::Failure;

/// How long to wait for bytes.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// Take what is there.
    No,
    Until(Instant),
    Forever,
}

/// A blocking socket; once `tls` is set, all bytes go through it.
pub(crate) struct Transport {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
}

impl Transport {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Transport> {
        stream.set_nodelay(true)?;
        Ok(Transport { stream, tls: None })
    }

    /// From here on everything is in TLS records, both ways.
    pub(crate) fn start_tls(&mut self, tls: ServerConnection) {
        self.tls = Some(Box::new(tls));
    }

    /// Back to plain bytes, as after a login that alone was encrypted. No `close_notify` is sent.
    pub(crate) fn stop_tls(&mut self) {
        self.tls = None;
    }

    /// Appends what arrives to `inbox`. `false` when nothing did in that time; at the end of the stream
    /// [`Failure::Closed`].
    pub(crate) fn fill(&mut self, inbox: &mut Vec<u8>, wait: Wait) -> Result<bool, Failure> {
        if !self.prepare(wait)? {
            return Ok(false);
        }
        let read = match &mut self.tls {
            Some(tls) => read_tls(tls, &mut self.stream, inbox),
            None => read_plain(&mut self.stream, inbox),
        };
        if matches!(wait, Wait::No) {
            self.stream.set_nonblocking(false)?;
        }
        match read {
            Err(Failure::Socket(error)) if is_no_data(&error) => Ok(false),
            read => read.map(|()| true),
        }
    }

    /// Sets how long the next read blocks. `false` when the time is over already.
    fn prepare(&mut self, wait: Wait) -> Result<bool, Failure> {
        match wait {
            Wait::No => self.stream.set_nonblocking(true)?,
            Wait::Forever => self.stream.set_read_timeout(None)?,
            Wait::Until(end) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(false);
                }
                self.stream.set_read_timeout(Some(left))?;
            }
        }
        Ok(true)
    }

    /// Writes all of it, blocking.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match &mut self.tls {
            None => self.stream.write_all(bytes)?,
            Some(tls) => {
                tls.writer().write_all(bytes)?;
                while tls.wants_write() {
                    tls.write_tls(&mut self.stream)?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Transport {
    /// The server keeps a handle of the socket, so that letting go of this one doesn't close it.
    fn drop(&mut self) {
        // One that the client closed already needs no shutting.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn is_no_data(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn read_plain(stream: &mut TcpStream, inbox: &mut Vec<u8>) -> Result<(), Failure> {
    let mut chunk = [0; 16 * 1024];
    match stream.read(&mut chunk)? {
        0 => Err(Failure::Closed),
        n_bytes => {
            inbox.extend_from_slice(&chunk[..n_bytes]);
            Ok(())
        }
    }
}

/// Reads records and takes out all the plain bytes that they hold: none where a record is still incomplete.
fn read_tls(tls: &mut ServerConnection, stream: &mut TcpStream, inbox: &mut Vec<u8>) -> Result<(), Failure> {
    if tls.read_tls(stream)? == 0 {
        return Err(Failure::Closed);
    }
    let state = tls.process_new_packets()?;
    let start = inbox.len();
    inbox.resize(start + state.plaintext_bytes_to_read(), 0);
    tls.reader().read_exact(&mut inbox[start..])?;
    if state.peer_has_closed() && start == inbox.len() { Err(Failure::Closed) } else { Ok(()) }
}
