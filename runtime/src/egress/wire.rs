//! One request and one response over ureq: settings of the agent, the retry of reads on dead connections, and what ureq's
//! errors mean.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http;
use ureq::{Agent, Body, RequestBuilder};
use url::{Position, Url};

use super::attempt::{self, Attempt};
use super::config::{EgressConfig, EgressConfigError};
use super::error::{EgressFailure, Phase};
use super::headers::host_with_port;
use super::hop::Hop;
use super::resolver::{AddressResolver, ResolveError};
use super::response::Head;
use super::transport::{DialError, Dialler, ResolveWhenDialling, describe_io};

/// Bytes. A response's head must fit in, with room for a byte more.
pub(super) const INPUT_BUFFER: usize = 64 * 1024;
/// Bytes. The largest head of a response.
const MAX_RESPONSE_HEAD: usize = 60 * 1024;
/// Bytes. Each line of a request's head must fit in.
pub(super) const OUTPUT_BUFFER: usize = 32 * 1024;

/// How long a connection may idle before it is closed.
const MAX_IDLE: Duration = Duration::from_secs(15);
/// How long one may have idled to carry a write. Servers close idle connections after 5 seconds or more; a write that
/// crosses such a close is lost and can't be sent again, so it goes on a connection that was used just now, or a new one.
const MAX_IDLE_FOR_WRITES: Duration = Duration::from_secs(2);

/// Makes the agent: its connections come from [`Dialler`] alone, and everything that ureq would do by itself is off
/// (redirects, status errors, proxies from the environment).
pub(super) fn new_agent(
    config: &EgressConfig,
    resolver: Arc<AddressResolver>,
) -> Result<Agent, EgressConfigError> {
    let proxy = config.ureq_proxy()?;
    let tls = ureq::tls::TlsConfig::builder().root_certs(config.roots()?.into()).build();
    let dialler = Dialler::new(resolver, proxy.is_some());
    let settings = Agent::config_builder()
        .proxy(proxy)
        .tls_config(tls)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        .accept("*/*")
        .max_response_header_size(MAX_RESPONSE_HEAD)
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_idle_connections(64)
        .max_idle_connections_per_host(16)
        .max_idle_age(MAX_IDLE)
        .build();
    Ok(Agent::with_parts(settings, dialler, ResolveWhenDialling))
}

/// Sends `hop` and reads the response's head; the body can be read from what comes with it. Notes in this thread's
/// [`Attempt`] how far it got.
pub(super) fn send(agent: &Agent, hop: &Hop<'_>, deadline: Instant) -> Result<(Head, Body), EgressFailure> {
    let max_idle = if hop.is_read() { MAX_IDLE } else { MAX_IDLE_FOR_WRITES };
    attempt::begin(deadline);
    let mut outcome = send_once(agent, hop, deadline, max_idle);
    if let Err(error) = &outcome
        && hop.is_read()
        && attempt::with(|attempt| was_dead_on_reuse(attempt, error))
    {
        attempt::begin_again(deadline);
        outcome = send_once(agent, hop, deadline, Duration::ZERO);
    }
    let response = outcome.map_err(|error| explain(error, hop.url.as_str()))?;
    Ok(split(response, hop))
}

/// Whether a reused connection turned out to have been closed by the server while it idled: the one failure that says
/// nothing about the request.
fn was_dead_on_reuse(attempt: &Attempt, error: &ureq::Error) -> bool {
    let is_closed = matches!(error, ureq::Error::Io(error) if matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    ));
    is_closed && !attempt.dialled && attempt.n_received == 0
}

fn send_once(
    agent: &Agent,
    hop: &Hop<'_>,
    deadline: Instant,
    max_idle: Duration,
) -> Result<http::Response<Body>, ureq::Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    let uri = uri(&hop.url)?;
    let (bytes, has_body) = (hop.body.as_deref().unwrap_or_default(), hop.body.is_some());
    match hop.method {
        "POST" => prepare(agent.post(uri), hop, left, max_idle).send(bytes),
        "PUT" => prepare(agent.put(uri), hop, left, max_idle).send(bytes),
        "PATCH" => prepare(agent.patch(uri), hop, left, max_idle).send(bytes),
        "DELETE" if has_body => prepare(agent.delete(uri), hop, left, max_idle).force_send_body().send(bytes),
        "DELETE" => prepare(agent.delete(uri), hop, left, max_idle).call(),
        _ => prepare(agent.get(uri), hop, left, max_idle).call(),
    }
}

/// The URL in ureq's terms, put together from the parts that were checked: a second parser's reading of the whole text
/// could see another host in it.
fn uri(url: &Url) -> Result<http::Uri, http::Error> {
    http::Uri::builder()
        .scheme(url.scheme())
        .authority(host_with_port(url))
        .path_and_query(&url[Position::BeforePath..Position::AfterQuery])
        .build()
}

fn prepare<B>(
    mut builder: RequestBuilder<B>,
    hop: &Hop<'_>,
    left: Duration,
    max_idle: Duration,
) -> RequestBuilder<B> {
    for header in &hop.headers {
        builder = builder.header_raw(&header.name, &header.value);
    }
    // Such credentials authenticate a connection rather than a request: nobody else may get it afterwards.
    if hop.headers.iter().any(is_connection_credential) {
        builder = builder.header("connection", "close");
    }
    builder.config().timeout_global(Some(left)).max_idle_age(max_idle).build()
}

fn is_connection_credential(header: &super::headers::Header) -> bool {
    let scheme = header.value.split(|byte| *byte == b' ').next().unwrap_or_default();
    header.is("authorization")
        && (scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate"))
}

fn split(response: http::Response<Body>, hop: &Hop<'_>) -> (Head, Body) {
    let (parts, body) = response.into_parts();
    let status = parts.status.as_u16();
    let status_line = attempt::with(|attempt| attempt.status_line.clone());
    let status_text = match status_line {
        Some((own, phrase)) if own == status && !phrase.is_empty() => phrase,
        _ => parts.status.canonical_reason().unwrap_or_default().to_owned(),
    };
    let headers =
        parts.headers.keys().map(|name| (name.as_str().to_owned(), joined(&parts.headers, name))).collect();
    (Head { status, status_text, headers, url: hop.url.as_str().to_owned() }, body)
}

fn joined(headers: &http::HeaderMap, name: &http::HeaderName) -> String {
    let texts: Vec<String> = headers.get_all(name).iter().map(|value| latin1(value.as_bytes())).collect();
    texts.join(", ")
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Reads a response's body, in ureq's terms inside and ours outside.
pub(super) struct BodyReader<'a> {
    reader: ureq::BodyReader<'a>,
    url: &'a str,
    n_read: u64,
    /// Whether the body has no length and no chunks, so that only the connection's end tells where it ends.
    is_until_close: bool,
}

impl<'a> BodyReader<'a> {
    pub(super) fn new(head: &'a Head, body: &'a mut Body) -> BodyReader<'a> {
        let is_until_close =
            head.header("content-length").is_none() && head.header("transfer-encoding").is_none();
        BodyReader { reader: body.as_reader(), url: &head.url, n_read: 0, is_until_close }
    }

    /// Reads some bytes; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, EgressFailure> {
        match self.reader.read(buffer) {
            Ok(0) if self.is_until_close && attempt::with(|attempt| attempt.was_reset) => {
                let detail = "the server reset the connection inside the response body".to_owned();
                Err(EgressFailure::Protocol { url: self.url.to_owned(), detail })
            }
            Ok(n_bytes) => {
                self.n_read += n_bytes as u64;
                Ok(n_bytes)
            }
            Err(error) if self.is_empty_though_compressed(&error) => Ok(0),
            Err(error) => {
                attempt::with(|attempt| attempt.phase = Phase::Reading);
                Err(explain(error.into(), self.url))
            }
        }
    }

    /// Whether a response that claims compression has no body at all, as 204s and answers to DELETE do: that is empty, not
    /// broken. At most the mark of an empty chunked body (`0`, two line breaks) is on the wire then.
    fn is_empty_though_compressed(&self, error: &io::Error) -> bool {
        let is_decompression = matches!(
            error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()),
            Some(ureq::Error::Decompress(..))
        );
        is_decompression && self.n_read == 0 && attempt::with(|attempt| attempt.n_body_bytes <= 5)
    }
}

/// What an error of ureq's means for the request to `url`.
fn explain(error: ureq::Error, url: &str) -> EgressFailure {
    let url = url.to_owned();
    let (has_left, phase) = attempt::with(|attempt| (attempt.has_left, attempt.phase));
    match error {
        ureq::Error::Timeout(_) => EgressFailure::Timeout { url, during: phase },
        ureq::Error::Io(error) if error.kind() == ErrorKind::TimedOut => {
            EgressFailure::Timeout { url, during: phase }
        }
        ureq::Error::Other(inner) => match inner.downcast::<DialError>() {
            Ok(error) => explain_dial(*error, url, phase),
            Err(inner) => EgressFailure::Protocol { url, detail: inner.to_string() },
        },
        ureq::Error::ConnectProxyFailed(detail) => {
            EgressFailure::Connect { url, detail: format!("the egress proxy refused: {detail}") }
        }
        ureq::Error::Io(error) if has_left => {
            let when =
                if phase == Phase::Reading { "inside the response body" } else { "before it answered" };
            EgressFailure::Protocol { url, detail: format!("{} {when}", describe_io(&error)) }
        }
        ureq::Error::Io(error) => EgressFailure::Connect { url, detail: describe_io(&error) },
        ureq::Error::LargeResponseHeader(_, limit) => EgressFailure::Protocol {
            url,
            detail: format!("the response's headers are larger than {limit} bytes"),
        },
        ureq::Error::Decompress(what, error) => {
            EgressFailure::Protocol { url, detail: format!("the response body is no valid {what}: {error}") }
        }
        ureq::Error::Protocol(error) => {
            EgressFailure::Protocol { url, detail: format!("the server's answer is no valid HTTP: {error}") }
        }
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => {
            EgressFailure::Invalid { message: format!("\"{url}\" can't be requested: {error}") }
        }
        other => EgressFailure::Protocol { url, detail: other.to_string() },
    }
}

fn explain_dial(error: DialError, url: String, phase: Phase) -> EgressFailure {
    match error {
        DialError::Resolve(refused @ ResolveError::Refused { .. }) => {
            EgressFailure::AddressRefused { url, refused }
        }
        DialError::Resolve(ResolveError::TimedOut { .. }) | DialError::TimedOut => {
            EgressFailure::Timeout { url, during: phase }
        }
        DialError::Resolve(detail) => EgressFailure::Dns { url, detail },
        DialError::Connect(detail) => EgressFailure::Connect { url, detail },
        DialError::Tls(detail) => EgressFailure::Tls { url, detail },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a URL looks like, ureq dials the host and the port that were checked.
        #[test]
        fn both_parsers_see_the_same_host(text in r"https?:[/\\]{0,3}[a-z0-9.@:\[\]%\\/?#{}|^`'~!$&*+,;=()ü。-]{0,40}") {
            if let Ok(url) = Url::parse(&text) && let Ok(uri) = uri(&url) {
                prop_assert_eq!(uri.host(), url.host_str());
                prop_assert_eq!(uri.port_u16(), url.port());
                prop_assert_eq!(uri.scheme_str(), Some(url.scheme()));
                let path = uri.path_and_query().map_or("", |path| path.as_str());
                prop_assert_eq!(path, &url[Position::BeforePath..Position::AfterQuery]);
            }
        }

        /// Every URL with an ordinary host can be asked for, whatever its path and query hold.
        #[test]
        fn any_path_and_query_can_be_sent(path in "[^\\p{Cc}]{0,30}") {
            let url = Url::parse(&format!("https://a.com/{path}")).expect("URL");
            prop_assert!(uri(&url).is_ok(), "{}", url);
        }
    }
}
