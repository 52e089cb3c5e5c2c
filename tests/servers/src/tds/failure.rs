//! How a session of the server can fail.

use std::io;

/// What ends a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The other side is gone, or this side shut the socket.
    #[error("the connection was closed")]
    Closed,
    /// What the client sent isn't TDS as this server knows it.
    #[error("{0}")]
    Protocol(String),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("socket: {0}")]
    Socket(io::Error),
}

impl Failure {
    pub(crate) fn protocol(message: String) -> Failure {
        Failure::Protocol(message)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof => Failure::Closed,
            _ => Failure::Socket(error),
        }
    }
}
