//! Everything that leaves for the network over HTTP: one client, its rules, and the policy on addresses.
//!
//! A request passes, in this order: the form of its URL and headers, `allowedHosts`, name lookup, the check of every
//! address that the lookup gave, the connection to exactly those, TLS; and again for each redirect.

mod attempt;
mod config;
mod error;
mod headers;
mod hop;
mod multipart;
pub mod policy;
mod redirect;
mod request;
pub mod resolver;
mod response;
mod text;
mod transport;
mod wire;

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

pub use config::{EgressConfig, EgressConfigError, EgressMapping, EgressMappingError};
pub use error::{EgressError, EgressErrorKind, EgressFailure, Phase};
pub use request::{Body, Budget, FormField, Method, Request};
pub use response::{Exchange, Head, Response};

use crate::manifest::host::AllowedHosts;
use hop::Hop;
use policy::NetworkPolicy;
use resolver::{AddressResolver, Lookup, SystemLookup};
use wire::BodyReader;

/// The HTTP client for everything that leaves. It is cheap to clone, and clones share connections; calls block.
///
/// Connections are kept alive and reused. A read whose reused connection turns out to be dead is sent again on a new one;
/// a write is sent once, whatever happens to it.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    resolver: Arc<AddressResolver>,
    extra_roots_pem: Arc<str>,
    has_proxy: bool,
}

impl Client {
    /// A client that resolves names as the system does.
    ///
    /// # Errors
    /// A setting can't be used: a root certificate, the proxy.
    pub fn new(config: &EgressConfig) -> Result<Client, EgressConfigError> {
        Client::with_lookup(config, Arc::new(SystemLookup))
    }

    /// A client with a name lookup of the caller's own, whose answers are checked like the system's.
    ///
    /// # Errors
    /// Those of [`Client::new`].
    pub fn with_lookup(config: &EgressConfig, lookup: Arc<dyn Lookup>) -> Result<Client, EgressConfigError> {
        let policy = NetworkPolicy::new(config.allow_networks.clone());
        let resolver = Arc::new(AddressResolver::new(policy, config.map.clone(), lookup));
        let agent = wire::new_agent(config, Arc::clone(&resolver))?;
        let extra_roots_pem = config.extra_roots_pem.join("\n").into();
        Ok(Client { agent, resolver, extra_roots_pem, has_proxy: config.proxy.is_some() })
    }

    /// The addresses that may be dialled, for connections that aren't HTTP (SQL servers).
    pub fn resolver(&self) -> &AddressResolver {
        &self.resolver
    }

    /// The operator's root certificates besides Mozilla's, as PEM, for connections that aren't HTTP; perhaps empty.
    pub fn extra_roots_pem(&self) -> &str {
        &self.extra_roots_pem
    }

    /// Whether all requests go through an HTTP proxy.
    pub fn has_proxy(&self) -> bool {
        self.has_proxy
    }

    /// Sends `request`, follows its redirects, and reads the whole response. Any status is a response.
    ///
    /// `record` is told of each exchange on the wire, and of each attempt that failed on the way there.
    ///
    /// # Errors
    /// The request may not be sent, or got no response within `budget`.
    pub fn send(
        &self,
        request: &Request,
        allowed: &AllowedHosts,
        budget: Budget,
        record: &mut dyn FnMut(Exchange),
    ) -> Result<Response, EgressError> {
        let mut body = Vec::new();
        let head = self.run(request, allowed, budget, record, &mut |_, chunk| {
            body.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(Response::new(head, body))
    }

    /// Sends `request` like [`Client::send`] and writes the body to `sink` as it comes.
    ///
    /// # Errors
    /// Those of [`Client::send`]; any status but 2xx; `sink` failed. What was written until then stays written.
    pub fn download(
        &self,
        request: &Request,
        allowed: &AllowedHosts,
        budget: Budget,
        record: &mut dyn FnMut(Exchange),
        sink: &mut dyn Write,
    ) -> Result<Head, EgressError> {
        self.run(request, allowed, budget, record, &mut |head, chunk| {
            let url = || head.url.clone();
            if !(200..300).contains(&head.status) {
                let (status, status_text) = (head.status, head.status_text.clone());
                return Err(EgressFailure::Status { url: url(), status, status_text });
            }
            sink.write_all(chunk).map_err(|source| EgressFailure::Sink { url: url(), source })
        })
    }

    fn run(
        &self,
        request: &Request,
        allowed: &AllowedHosts,
        budget: Budget,
        record: &mut dyn FnMut(Exchange),
        consume: &mut Consume<'_>,
    ) -> Result<Head, EgressError> {
        let mut hop = Hop::first(request, allowed).map_err(|failure| EgressError::new(failure, false))?;
        let mut n_redirects = 0;
        loop {
            let head = match self.exchange(&hop, budget, record, consume) {
                Ok(head) => head,
                Err(failure) => {
                    let has_left = n_redirects > 0 || attempt::with(|attempt| attempt.has_left);
                    return Err(EgressError::new(failure, has_left));
                }
            };
            let Some(location) = redirect_location(&head) else { return Ok(head) };
            let limit = redirect::MAX_REDIRECTS;
            if n_redirects == limit {
                let failure = EgressFailure::TooManyRedirects { url: request.url.clone(), location, limit };
                return Err(EgressError::new(failure, true));
            }
            n_redirects += 1;
            redirect::follow(&mut hop, head.status, &location, allowed, &request.url)
                .map_err(|failure| EgressError::new(failure, true))?;
        }
    }

    /// One request and its response, recorded.
    fn exchange(
        &self,
        hop: &Hop<'_>,
        budget: Budget,
        record: &mut dyn FnMut(Exchange),
        consume: &mut Consume<'_>,
    ) -> Result<Head, EgressFailure> {
        let started = Instant::now();
        let (mut status, mut bytes) = (None, 0);
        let outcome = wire::send(&self.agent, hop, budget.deadline).and_then(|(head, mut body)| {
            status = Some(head.status);
            match redirect_location(&head) {
                Some(_) => discard(&mut BodyReader::new(&head, &mut body)),
                None => read_body(&head, &mut body, budget.max_body_bytes, &mut bytes, consume)?,
            }
            Ok(head)
        });
        record(Exchange {
            method: hop.method,
            url: hop.url.as_str().to_owned(),
            status,
            ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes,
            error: outcome.as_ref().err().map(ToString::to_string),
            sent: attempt::with(|attempt| attempt.has_left),
        });
        outcome
    }
}

/// Takes the body of the final response piece by piece. It is called with an empty piece first, so that it can refuse a
/// response by its head.
type Consume<'a> = dyn FnMut(&Head, &[u8]) -> Result<(), EgressFailure> + 'a;

/// How many bytes of a body are read at a time.
const CHUNK: usize = 32 * 1024;

fn redirect_location(head: &Head) -> Option<String> {
    let location = head.header("location").filter(|_| redirect::is_followed(head.status))?;
    // Header values are kept as Latin-1; a location that isn't ASCII is nearly always UTF-8.
    let bytes: Option<Vec<u8>> =
        location.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
    Some(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| location.to_owned()))
}

fn read_body(
    head: &Head,
    body: &mut ureq::Body,
    limit: u64,
    n_read: &mut u64,
    consume: &mut Consume<'_>,
) -> Result<(), EgressFailure> {
    consume(head, &[])?;
    let too_large = || Err(EgressFailure::TooLarge { url: head.url.clone(), limit });
    if body.content_length().is_some_and(|length| length > limit) {
        return too_large();
    }
    let mut reader = BodyReader::new(head, body);
    let mut buffer = vec![0; CHUNK];
    loop {
        let n_bytes = reader.read(&mut buffer)?;
        if n_bytes == 0 {
            return Ok(());
        }
        *n_read += n_bytes as u64;
        if *n_read > limit {
            return too_large();
        }
        consume(head, &buffer[..n_bytes])?;
    }
}

/// Reads a redirect's body to its end so that the connection can be used again; a long one isn't worth it.
fn discard(reader: &mut BodyReader<'_>) {
    let mut buffer = [0; 4096];
    for _ in 0..16 {
        if !matches!(reader.read(&mut buffer), Ok(n_bytes) if n_bytes > 0) {
            return;
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("resolver", &self.resolver).finish_non_exhaustive()
    }
}
