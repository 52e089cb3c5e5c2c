//! Connections: dialled at checked addresses only, secured by rustls, timed by the request's deadline alone.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::SendFlags;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    RustlsConnector, Transport,
};

use super::attempt::{self, Attempt};
use super::error::Phase;
use super::resolver::{AddressResolver, ResolveError};
use crate::ready::wait_until_ready;

/// How long a connection may take to come about, where the deadline leaves that much: so that a host that doesn't answer
/// is an Error that the connector sees, and not the end of its call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no connection came about; travels through ureq inside [`ureq::Error::Other`].
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{0}")]
    Resolve(ResolveError),
    #[error("{0}")]
    Connect(String),
    #[error("{0}")]
    Tls(String),
    #[error("timed out")]
    TimedOut,
}

impl From<DialError> for ureq::Error {
    fn from(error: DialError) -> ureq::Error {
        ureq::Error::Other(Box::new(error))
    }
}

/// Resolves nothing. ureq asks its resolver for every request, before it looks for a connection to reuse; here names are
/// resolved by [`Dialler`], when a connection is dialled and by what dials it, so that no second answer comes between.
#[derive(Debug)]
pub(super) struct ResolveWhenDialling;

impl Resolver for ResolveWhenDialling {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

/// Makes connections: resolve, check, dial, or go through the operator's proxy; then TLS.
#[derive(Debug)]
pub(super) struct Dialler {
    resolver: Arc<AddressResolver>,
    /// Whether there is a proxy. A connection that is made without one in its settings is then the proxy's own.
    has_proxy: bool,
    tunnel: ConnectProxyConnector,
    tls: RustlsConnector,
}

impl Dialler {
    pub(super) fn new(resolver: Arc<AddressResolver>, has_proxy: bool) -> Dialler {
        Dialler {
            resolver,
            has_proxy,
            tunnel: ConnectProxyConnector::default(),
            tls: RustlsConnector::default(),
        }
    }

    fn dial(&self, uri: &Uri, is_proxy: bool) -> Result<TcpTransport, DialError> {
        let deadline = attempt::with(|attempt| attempt.deadline).min(Instant::now() + CONNECT_TIMEOUT);
        let (host, port) = host_and_port(uri)?;
        attempt::with(|attempt| attempt.phase = Phase::Resolving);
        let addresses = match is_proxy {
            true => self.resolver.resolve_unchecked(host, port, deadline),
            false => self.resolver.resolve(host, port, deadline),
        };
        let addresses = addresses.map_err(DialError::Resolve)?;
        attempt::with(|attempt| attempt.phase = Phase::Connecting);
        connect_any(&addresses, deadline).map(TcpTransport::new)
    }

    fn tunnel(&self, details: &ConnectionDetails<'_>) -> Result<Box<dyn Transport>, ureq::Error> {
        let (host, _) = host_and_port(details.uri)?;
        self.resolver.check_literal(host).map_err(DialError::Resolve)?;
        match self.tunnel.connect(details, None::<()>)? {
            Some(Either::B(transport)) => Ok(transport),
            _ => Err(DialError::Connect("the egress proxy made no connection".to_owned()).into()),
        }
    }
}

impl Connector for Dialler {
    type Out = WatchedTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<WatchedTransport>, ureq::Error> {
        attempt::with(|attempt| attempt.dialled = true);
        let is_tunnelled = details.config.proxy().is_some();
        let is_proxy = self.has_proxy && !is_tunnelled;
        let transport = match is_tunnelled {
            true => self.tunnel(details)?,
            false => self.dial(details.uri, is_proxy)?.boxed(),
        };
        attempt::with(|attempt| attempt.phase = Phase::Securing);
        let transport = self.tls.connect(&as_agents_own(details), Some(transport)).map_err(tls_error)?;
        Ok(transport.map(|transport| WatchedTransport { transport: transport.boxed(), is_proxy }))
    }
}

/// The same details, said to be the agent's own settings. Each request carries its deadline as settings of its own, and
/// ureq would then build its TLS configuration, with some 150 roots, anew for every connection.
fn as_agents_own<'a>(details: &ConnectionDetails<'a>) -> ConnectionDetails<'a> {
    ConnectionDetails {
        uri: details.uri,
        addrs: details.addrs.clone(),
        config: details.config,
        request_level: false,
        resolver: details.resolver,
        now: details.now,
        timeout: details.timeout,
        current_time: Arc::clone(&details.current_time),
        run_connector: Arc::clone(&details.run_connector),
        register_shutdown: Arc::clone(&details.register_shutdown),
    }
}

fn tls_error(error: ureq::Error) -> ureq::Error {
    match error {
        timeout @ ureq::Error::Timeout(_) => timeout,
        ureq::Error::Io(error) => DialError::Tls(describe_io(&error)).into(),
        ureq::Error::Rustls(error) => DialError::Tls(error.to_string()).into(),
        other => DialError::Tls(other.to_string()).into(),
    }
}

/// An I/O error in words; those of the peer's going away read the same whatever the system calls them.
pub(super) fn describe_io(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => "the server closed the connection".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => {
            "the server reset the connection".to_owned()
        }
        _ => error.to_string(),
    }
}

fn host_and_port(uri: &Uri) -> Result<(&str, u16), DialError> {
    let host = uri.host().ok_or_else(|| DialError::Connect("the URL has no host".to_owned()))?;
    let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Ok((host, uri.port_u16().unwrap_or(default_port)))
}

/// Tries addresses in turn. Each but the last gets half of the time that is left.
fn connect_any(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, DialError> {
    let mut problems = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(DialError::TimedOut);
        }
        let patience = if index + 1 < addresses.len() { left / 2 } else { left };
        match TcpStream::connect_timeout(address, patience.max(Duration::from_millis(1))) {
            // A socket that won't take the option still works.
            Ok(stream) => {
                return Ok({
                    drop(stream.set_nodelay(true));
                    stream
                });
            }
            Err(error) => problems.push(format!("{address}: {}", describe_connect(&error))),
        }
    }
    if deadline <= Instant::now() {
        return Err(DialError::TimedOut);
    }
    Err(DialError::Connect(format!("can't connect to {}", problems.join(", "))))
}

fn describe_connect(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

/// A TCP connection. Unlike ureq's own it ends reads and writes at the deadline even if the peer takes a byte at a time.
struct TcpTransport {
    stream: TcpStream,
    buffers: LazyBuffers,
    /// Set once the peer takes no more. It may have answered already (413 to a large body), so that is for reading to
    /// find out.
    is_write_closed: bool,
}

impl TcpTransport {
    fn new(stream: TcpStream) -> TcpTransport {
        let buffers = LazyBuffers::new(super::wire::INPUT_BUFFER, super::wire::OUTPUT_BUFFER);
        TcpTransport { stream, buffers, is_write_closed: false }
    }
}

/// What is left until ureq's timeout or the request's deadline, whichever comes first.
fn time_left(deadline: Instant, timeout: NextTimeout) -> Result<Duration, ureq::Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ureq::Error::Timeout(timeout.reason)) } else { Ok(left) }
}

fn deadline_of(timeout: NextTimeout) -> Instant {
    let own = attempt::with(|attempt| attempt.deadline);
    if timeout.after.is_not_happening() { own } else { own.min(Instant::now() + *timeout.after) }
}

/// Writes as much as there is room for, once there is any: a write that waits for the rest would not look at the deadline.
fn send_ready(stream: &TcpStream, output: &[u8], deadline: Instant) -> io::Result<usize> {
    wait_until_ready(stream, PollFlags::OUT, deadline)?;
    Ok(rustix::net::send(stream, output, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let deadline = deadline_of(timeout);
        let mut n_written = 0;
        while n_written < amount && !self.is_write_closed {
            time_left(deadline, timeout)?;
            let output = &self.buffers.output()[n_written..amount];
            match send_ready(&self.stream, output, deadline) {
                Ok(n_bytes) => n_written += n_bytes,
                Err(error) if is_timeout(&error) => {}
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                    self.is_write_closed = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let deadline = deadline_of(timeout);
        loop {
            time_left(deadline, timeout)?;
            let ready = wait_until_ready(&self.stream, PollFlags::IN, deadline);
            match ready.and_then(|()| self.stream.read(self.buffers.input_append_buf())) {
                Ok(n_bytes) => {
                    self.buffers.input_appended(n_bytes);
                    return Ok(n_bytes > 0);
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => {
                    attempt::with(|attempt| attempt.was_reset |= error.kind() == ErrorKind::ConnectionReset);
                    return Err(error.into());
                }
            }
        }
    }

    /// An idle connection has nothing to read. Bytes nobody asked for, an end or an error mean that it's of no use.
    fn is_open(&mut self) -> bool {
        if self.is_write_closed || self.stream.set_nonblocking(true).is_err() {
            return false;
        }
        let is_idle =
            matches!(self.stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        is_idle && self.stream.set_nonblocking(false).is_ok()
    }
}

impl fmt::Debug for TcpTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TcpTransport").field("peer", &self.stream.peer_addr().ok()).finish()
    }
}

/// The outermost transport: notes in the thread's [`Attempt`] what was sent and received.
#[derive(Debug)]
pub(super) struct WatchedTransport {
    transport: Box<dyn Transport>,
    /// Whether this is the connection to the proxy, whose CONNECT is no part of the request.
    is_proxy: bool,
}

impl Transport for WatchedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if !self.is_proxy {
            attempt::with(Attempt::note_sending);
        }
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if self.is_proxy {
            return self.transport.await_input(timeout);
        }
        attempt::with(Attempt::note_waiting);
        let n_before = self.transport.buffers().input().len();
        let made_progress = self.transport.await_input(timeout)?;
        let input = self.transport.buffers().input();
        attempt::with(|attempt| attempt.note_received(input, input.len().saturating_sub(n_before)));
        Ok(made_progress)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
