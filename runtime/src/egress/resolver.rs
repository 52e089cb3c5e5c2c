//! From a host and a port to the addresses that may be dialled: egress map, IP literals, name lookup; each checked.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use url::Host;

use super::config::EgressMapping;
use super::policy::{AddressRefused, NetworkPolicy};

/// Looks up a name's addresses. May block; it runs in a thread of its own.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of `host`, a name and never an IP address.
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

impl<F: Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static> Lookup for F {
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self(host)
    }
}

/// The system's resolver: `/etc/hosts`, DNS and whatever else the C library consults.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// Gives the addresses that may be dialled for a host. They are exactly those to dial: nothing may be looked up again
/// between this answer and the connection, or a name could change its answer in between.
#[derive(Clone)]
pub struct AddressResolver {
    policy: NetworkPolicy,
    map: Vec<EgressMapping>,
    lookup: Arc<dyn Lookup>,
}

impl AddressResolver {
    pub(super) fn new(policy: NetworkPolicy, map: Vec<EgressMapping>, lookup: Arc<dyn Lookup>) -> Self {
        AddressResolver { policy, map, lookup }
    }

    /// The addresses to dial for `host` (a name, or an IP address with or without brackets) and `port`; never empty.
    ///
    /// # Errors
    /// One refused address refuses the whole answer: an answer that mixes public and private is how rebinding looks.
    pub fn resolve(&self, host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, ResolveError> {
        let parsed = parse_host(host)?;
        if let Some(target) = EgressMapping::find(&self.map, &parsed, port) {
            return self.check(host, vec![target]);
        }
        let addresses = self.addresses(host, &parsed, port, deadline)?;
        self.check(host, addresses)
    }

    /// The addresses of a host that the operator named (a proxy): looked up, and not checked.
    pub(super) fn resolve_unchecked(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        self.addresses(host, &parse_host(host)?, port, deadline)
    }

    fn addresses(
        &self,
        host: &str,
        parsed: &Host<String>,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let addresses = match parsed {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(_) => self.look_up(host, deadline)?,
        };
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    /// Checks a host that somebody else will resolve: what can be told from an IP address in its place.
    pub(super) fn check_literal(&self, host: &str) -> Result<(), ResolveError> {
        let address = match parse_host(host)? {
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
            Host::Domain(_) => return Ok(()),
        };
        self.check(host, vec![SocketAddr::new(address, 0)]).map(drop)
    }

    fn check(&self, host: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ResolveError> {
        for address in &addresses {
            let refuse = |refused| ResolveError::Refused { host: host.to_owned(), refused };
            self.policy.check(address.ip()).map_err(refuse)?;
        }
        Ok(addresses)
    }

    /// Looks a name up in a helper thread, since the system's resolver takes no deadline. A lookup that overstays goes on
    /// there alone and its answer is dropped.
    fn look_up(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, ResolveError> {
        let failed = |detail: String| ResolveError::NotFound { host: host.to_owned(), detail };
        let (sender, receiver) = mpsc::sync_channel(1);
        let (lookup, name) = (Arc::clone(&self.lookup), host.to_owned());
        std::thread::Builder::new()
            .name("egress-lookup".to_owned())
            .stack_size(LOOKUP_STACK)
            .spawn(move || sender.send(lookup.lookup(&name)))
            .map_err(|error| failed(format!("no thread for the lookup: {error}")))?;
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Err(failed("the answer holds no address".to_owned()))
            }
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(ResolveError::TimedOut { host: host.to_owned() }),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(failed("the lookup broke down".to_owned())),
        }
    }
}

/// Bytes. The C library's name-service modules are known to want more than a minimal stack.
const LOOKUP_STACK: usize = 512 * 1024;

impl std::fmt::Debug for AddressResolver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AddressResolver")
            .field("policy", &self.policy)
            .field("map", &self.map)
            .finish()
    }
}

fn parse_host(host: &str) -> Result<Host<String>, ResolveError> {
    if let Ok(address) = host.parse::<std::net::Ipv6Addr>() {
        return Ok(Host::Ipv6(address));
    }
    crate::manifest::host::parse_host(host)
        .map_err(|reason| ResolveError::NotFound { host: host.to_owned(), detail: reason.to_string() })
}

/// Why a host has no address to dial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// An address of the host may not be dialled.
    #[error("\"{host}\" can't be reached: {refused}")]
    Refused {
        /// The host as asked for.
        host: String,
        /// Which address, and why.
        refused: AddressRefused,
    },
    /// The lookup found no address.
    #[error("DNS lookup of \"{host}\" failed: {detail}")]
    NotFound {
        /// The host as asked for.
        host: String,
        /// What the system's resolver said.
        detail: String,
    },
    /// The deadline passed before the lookup ended.
    #[error("DNS lookup of \"{host}\" timed out")]
    TimedOut {
        /// The host as asked for.
        host: String,
    },
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn resolver(map: &[&str], allow: &[&str], lookup: impl Lookup) -> AddressResolver {
        let policy =
            NetworkPolicy::new(allow.iter().map(|network| network.parse().expect(network)).collect());
        let map = map.iter().map(|entry| entry.parse().expect(entry)).collect();
        AddressResolver::new(policy, map, Arc::new(lookup))
    }

    fn answers(addresses: &'static [&'static str]) -> impl Lookup {
        move |_: &str| {
            Ok(addresses.iter().map(|address| address.parse().expect(address)).collect::<Vec<IpAddr>>())
        }
    }

    fn no_lookup(host: &str) -> io::Result<Vec<IpAddr>> {
        panic!("{host} was looked up")
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn an_answer_is_dialled_as_it_came() {
        let resolver = resolver(&[], &[], answers(&["1.1.1.1", "2606:4700::1"]));
        let addresses = resolver.resolve("a.com", 443, soon()).expect("public");
        assert_eq!(
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["1.1.1.1:443", "[2606:4700::1]:443"]
        );
    }

    #[test]
    fn one_refused_address_refuses_the_answer() {
        let resolver = resolver(&[], &[], answers(&["1.1.1.1", "10.0.0.1"]));
        let error = resolver.resolve("a.com", 443, soon()).expect_err("mixed").to_string();
        assert!(error.starts_with("\"a.com\" can't be reached: the address 10.0.0.1 is refused"), "{error}");
    }

    #[test]
    fn each_answer_is_checked_anew() {
        let n_lookups = AtomicUsize::new(0);
        let resolver = resolver(&[], &[], move |_: &str| {
            let address = if n_lookups.fetch_add(1, Ordering::SeqCst) == 0 { "1.1.1.1" } else { "127.0.0.1" };
            Ok(vec![address.parse().expect("address")])
        });
        assert!(resolver.resolve("a.com", 443, soon()).is_ok());
        assert!(matches!(resolver.resolve("a.com", 443, soon()), Err(ResolveError::Refused { .. })));
    }

    #[test]
    fn literals_are_checked_and_never_looked_up() {
        let resolver = resolver(&[], &["10.0.0.0/8"], no_lookup);
        assert!(resolver.resolve("10.1.2.3", 80, soon()).is_ok());
        for host in ["127.0.0.1", "[::1]", "::1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"] {
            assert!(
                matches!(resolver.resolve(host, 80, soon()), Err(ResolveError::Refused { .. })),
                "{host}"
            );
        }
    }

    #[test]
    fn the_map_goes_first_and_is_no_licence() {
        let resolver = resolver(&["a.com:443=127.0.0.1:8443", "b.com=1.1.1.1:9"], &[], no_lookup);
        assert!(matches!(resolver.resolve("a.com", 443, soon()), Err(ResolveError::Refused { .. })));
        assert_eq!(
            resolver.resolve("b.com.", 443, soon()).expect("mapped"),
            ["1.1.1.1:9".parse().expect("address")]
        );
    }

    #[test]
    fn a_lookup_that_hangs_ends_at_the_deadline() {
        let resolver = resolver(&[], &[], |_: &str| {
            std::thread::sleep(Duration::from_secs(3));
            Ok(vec![])
        });
        let started = Instant::now();
        let error =
            resolver.resolve("a.com", 443, started + Duration::from_millis(100)).expect_err("timeout");
        assert_eq!(error.to_string(), "DNS lookup of \"a.com\" timed out");
        assert!(started.elapsed() < Duration::from_millis(1000));
    }

    #[test]
    fn an_empty_or_failed_lookup_says_so() {
        let error = resolver(&[], &[], answers(&[])).resolve("a.com", 443, soon()).expect_err("empty");
        assert_eq!(error.to_string(), "DNS lookup of \"a.com\" failed: the answer holds no address");
        let failing = resolver(&[], &[], |_: &str| Err(io::Error::other("no such name")));
        let error = failing.resolve("a.com", 443, soon()).expect_err("failed");
        assert_eq!(error.to_string(), "DNS lookup of \"a.com\" failed: no such name");
    }
}
