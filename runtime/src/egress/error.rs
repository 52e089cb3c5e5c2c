//! Why a request failed, in words that name what failed and the URL.

use super::resolver::ResolveError;

/// A request that got no response, or none that may be used.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct EgressError {
    failure: Box<EgressFailure>,
    has_left: bool,
}

impl EgressError {
    pub(super) fn new(failure: EgressFailure, has_left: bool) -> EgressError {
        EgressError { failure: Box::new(failure), has_left }
    }

    /// What went wrong, with its particulars.
    pub fn failure(&self) -> &EgressFailure {
        &self.failure
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> EgressErrorKind {
        self.failure.kind()
    }

    /// Whether not one byte of any request left: sending it again can't do anything twice.
    pub fn never_left(&self) -> bool {
        !self.has_left
    }
}

/// What went wrong. Each message is the one that the connector's Error carries.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum EgressFailure {
    #[error("HTTP request to \"{host}\" blocked: host not in allowedHosts {allowed}{hint}")]
    Blocked { host: String, allowed: String, hint: String },
    #[error(
        "HTTP request redirected to \"{location}\" for \"{url}\". Add the redirect host to allowedHosts."
    )]
    RedirectBlocked { location: String, url: String },
    #[error("HTTP request to \"{url}\" refused: {refused}")]
    AddressRefused { url: String, refused: ResolveError },
    #[error("HTTP request not sent: {message}")]
    Invalid { message: String },
    #[error("HTTP request to \"{url}\" failed: {detail}")]
    Dns { url: String, detail: ResolveError },
    #[error("HTTP request to \"{url}\" failed: {detail}")]
    Connect { url: String, detail: String },
    #[error("HTTP request to \"{url}\" failed: TLS: {detail}")]
    Tls { url: String, detail: String },
    #[error("HTTP request to \"{url}\" timed out while {during}")]
    Timeout { url: String, during: Phase },
    #[error(
        "HTTP request to \"{url}\" followed {limit} redirects and was then redirected to \"{location}\": \
         a loop, or a chain past the limit of {limit}"
    )]
    TooManyRedirects { url: String, location: String, limit: u32 },
    #[error("HTTP request to \"{url}\" failed: the response body is larger than the limit of {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    #[error("HTTP request to \"{url}\" failed: {detail}")]
    Protocol { url: String, detail: String },
    #[error("download of \"{url}\" failed: the server answered {status} {status_text}")]
    Status { url: String, status: u16, status_text: String },
    #[error("download of \"{url}\" failed: it can't be stored: {source}")]
    Sink { url: String, source: std::io::Error },
}

impl EgressFailure {
    /// What kind of thing went wrong.
    pub fn kind(&self) -> EgressErrorKind {
        match self {
            EgressFailure::Blocked { .. } | EgressFailure::RedirectBlocked { .. } => EgressErrorKind::Blocked,
            EgressFailure::AddressRefused { .. } => EgressErrorKind::AddressRefused,
            EgressFailure::Invalid { .. } => EgressErrorKind::Invalid,
            EgressFailure::Dns { .. } => EgressErrorKind::Dns,
            EgressFailure::Connect { .. } => EgressErrorKind::Connect,
            EgressFailure::Tls { .. } => EgressErrorKind::Tls,
            EgressFailure::Timeout { .. } => EgressErrorKind::Timeout,
            EgressFailure::TooManyRedirects { .. } => EgressErrorKind::TooManyRedirects,
            EgressFailure::TooLarge { .. } => EgressErrorKind::TooLarge,
            EgressFailure::Protocol { .. } => EgressErrorKind::Protocol,
            EgressFailure::Status { .. } => EgressErrorKind::Status,
            EgressFailure::Sink { .. } => EgressErrorKind::Sink,
        }
    }
}

/// The kinds of [`EgressFailure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EgressErrorKind {
    /// `allowedHosts` has no entry for the host, or for a redirect's.
    Blocked,
    /// The host is allowed, its address isn't.
    AddressRefused,
    /// The request can't be sent as it is: its URL, a header, a form field.
    Invalid,
    /// The host's name has no address.
    Dns,
    /// No connection could be made.
    Connect,
    /// The connection could not be secured: certificate, name, expiry, protocol.
    Tls,
    /// The deadline passed.
    Timeout,
    /// Past the limit of redirects.
    TooManyRedirects,
    /// Past the limit of the body's size.
    TooLarge,
    /// The server broke off, or spoke no proper HTTP.
    Protocol,
    /// A download was answered with other than 2xx.
    Status,
    /// What a download is written to failed.
    Sink,
}

/// What a request was about when its time ran out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Before anything was done.
    #[default]
    Starting,
    /// Looking up the host's name.
    Resolving,
    /// Connecting.
    Connecting,
    /// Negotiating TLS.
    Securing,
    /// Sending the request.
    Sending,
    /// Waiting for the response's head.
    Waiting,
    /// Reading the response's body.
    Reading,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Phase::Starting => "starting",
            Phase::Resolving => "looking up the host",
            Phase::Connecting => "connecting",
            Phase::Securing => "negotiating TLS",
            Phase::Sending => "sending the request",
            Phase::Waiting => "waiting for the response",
            Phase::Reading => "reading the response body",
        })
    }
}
