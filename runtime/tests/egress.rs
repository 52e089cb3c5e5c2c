//! The HTTP client against real sockets on loopback: what it sends, byte for byte, what it makes of answers, and what it
//! refuses.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "egress/addresses.rs"]
mod addresses;
#[path = "egress/answers.rs"]
mod answers;
#[path = "egress/connections.rs"]
mod connections;
#[path = "egress/redirects.rs"]
mod redirects;
#[path = "egress/requests.rs"]
mod requests;
#[path = "egress/sent.rs"]
mod sent;
mod support;
#[path = "egress/time.rs"]
mod time;
#[path = "egress/tls.rs"]
mod tls;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_runtime::egress::{
    Budget, Client, EgressConfig, EgressError, Exchange, Method, Request, Response,
};
use portcullis_runtime::manifest::host::{AllowedHosts, HostPattern};
use support::server::{Reply, TestServer};

/// A client, what it may reach, and what it recorded.
pub(crate) struct Fixture {
    pub(crate) client: Client,
    pub(crate) allowed: AllowedHosts,
    pub(crate) timeout: Duration,
    pub(crate) max_body_bytes: u64,
    pub(crate) exchanges: Vec<Exchange>,
}

impl Fixture {
    /// Reaches loopback, and `entries`. Looking up any name is a failure.
    pub(crate) fn new(entries: &[&str]) -> Fixture {
        Fixture::with_config(entries, &loopback())
    }

    pub(crate) fn with_config(entries: &[&str], config: &EgressConfig) -> Fixture {
        Fixture::with_lookup(entries, config, |host| panic!("{host} was looked up"))
    }

    pub(crate) fn with_lookup(
        entries: &[&str],
        config: &EgressConfig,
        lookup: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static,
    ) -> Fixture {
        let lookup = Arc::new(move |host: &str| -> std::io::Result<Vec<IpAddr>> { Ok(lookup(host)) });
        Fixture {
            client: Client::with_lookup(config, lookup).unwrap(),
            allowed: allowed(entries),
            timeout: Duration::from_secs(10),
            max_body_bytes: 1 << 20,
            exchanges: Vec::new(),
        }
    }

    /// Reaches `server` over plain http.
    pub(crate) fn to(server: &TestServer) -> Fixture {
        Fixture::new(&[&server.url("")])
    }

    pub(crate) fn budget(&self) -> Budget {
        Budget { deadline: Instant::now() + self.timeout, max_body_bytes: self.max_body_bytes }
    }

    pub(crate) fn send(&mut self, request: &Request) -> Result<Response, EgressError> {
        let (budget, exchanges) = (self.budget(), &mut self.exchanges);
        self.client.send(request, &self.allowed, budget, &mut |exchange| exchanges.push(exchange))
    }

    pub(crate) fn get(&mut self, url: &str) -> Result<Response, EgressError> {
        self.send(&Request::new(Method::Get, url))
    }
}

/// Settings that allow loopback alone.
pub(crate) fn loopback() -> EgressConfig {
    let networks = ["127.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
    EgressConfig { allow_networks: networks.to_vec(), ..EgressConfig::default() }
}

pub(crate) fn allowed(entries: &[&str]) -> AllowedHosts {
    let patterns: Vec<_> = entries.iter().map(|entry| HostPattern::parse(entry).unwrap()).collect();
    AllowedHosts::resolve(&patterns, |_| None)
}

/// What a GET of a server gives that answers with `reply`.
#[track_caller]
pub(crate) fn answer(reply: Reply) -> Result<Response, EgressError> {
    let server = TestServer::start(move |_| reply.clone());
    Fixture::to(&server).get(&server.url("/"))
}

/// The message of a failure; a response is a failure of the test.
#[track_caller]
pub(crate) fn message(outcome: Result<Response, EgressError>) -> String {
    match outcome {
        Ok(response) => panic!("got {} {:?}", response.status, response.text()),
        Err(error) => error.to_string(),
    }
}
