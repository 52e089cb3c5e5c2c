//! A limit on wrong API keys: whoever sends many is told to wait, and whoever holds a good key never is.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use moka::sync::Cache;

/// Wrong keys that one client may send in a window.
const MAX_GUESSES: u32 = 30;
/// What of the allowance a guess takes. Text that isn't a key at all, as of a client that is set up wrongly, takes 1: it can't
/// be right, and isn't even looked up.
const GUESS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Clients that are remembered: about 10 MB at most.
const MAX_CLIENTS: u64 = 100_000;

/// Where failures are counted: an IPv4 address, or the /64 that a holder of one IPv6 address has all of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// The network of an address. An IPv4 address inside an IPv6 one counts as what it is.
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 => v4,
        })
    }
}

/// The client's address: the connection's, or behind a proxy what that proxy wrote last into X-Forwarded-For.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, behind_proxy: bool) -> IpAddr {
    let forwarded = || {
        let header = headers.get_all("x-forwarded-for").iter().next_back()?;
        let last = header.to_str().ok()?.rsplit(',').next()?.trim();
        let alone = last.parse::<IpAddr>().ok();
        alone
            .or_else(|| last.strip_prefix('[')?.split_once(']')?.0.parse().ok())
            .or_else(|| last.rsplit_once(':')?.0.parse().ok())
    };
    if behind_proxy { forwarded().unwrap_or(peer) } else { peer }
}

struct Window {
    began: Instant,
    /// What was taken of the allowance.
    taken: u32,
}

/// Counts wrong keys by client.
pub(super) struct FailureLimiter {
    failures: Cache<ClientNetwork, Arc<Mutex<Window>>>,
}

impl FailureLimiter {
    pub(super) fn new() -> Self {
        Self { failures: Cache::builder().max_capacity(MAX_CLIENTS).time_to_idle(WINDOW * 2).build() }
    }

    /// What a client is told that sent a wrong key: that it is wrong, or how long to wait. Only wrong keys come here: of 256
    /// bits none is guessed, and whoever shares an address with a guesser must not be locked out.
    pub(super) fn check(&self, client: ClientNetwork, now: Instant) -> Result<(), Duration> {
        let Some(window) = self.failures.get(&client) else { return Ok(()) };
        let window = window.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(window.began);
        if elapsed < WINDOW && window.taken > MAX_GUESSES * GUESS { Err(WINDOW - elapsed) } else { Ok(()) }
    }

    /// The client sent a wrong key, or (`looks_like_one` is false) text that nobody would take for a key.
    pub(super) fn failed(&self, client: ClientNetwork, looks_like_one: bool, now: Instant) {
        let fresh = || Arc::new(Mutex::new(Window { began: now, taken: 0 }));
        let window = self.failures.get_with(client, fresh);
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(window.began) >= WINDOW {
            *window = Window { began: now, taken: 0 };
        }
        window.taken = window.taken.saturating_add(if looks_like_one { GUESS } else { 1 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> ClientNetwork {
        ClientNetwork::of(address.parse().unwrap())
    }

    #[test]
    fn the_31st_wrong_key_in_a_minute_is_the_last_that_is_looked_at() {
        let limiter = FailureLimiter::new();
        let (start, guesser) = (Instant::now(), client("192.0.2.1"));
        for n in 0..=MAX_GUESSES {
            assert_eq!(limiter.check(guesser, start), Ok(()), "guess {n}");
            limiter.failed(guesser, true, start);
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(limiter.check(guesser, later), Err(Duration::from_secs(40)));
        assert_eq!(limiter.check(client("192.0.2.2"), later), Ok(()), "someone else");
        assert_eq!(limiter.check(guesser, start + WINDOW), Ok(()), "a minute later");
    }

    #[test]
    fn text_that_is_no_key_weighs_less_than_a_guess() {
        let limiter = FailureLimiter::new();
        let (now, client) = (Instant::now(), client("192.0.2.1"));
        for n in 0..=MAX_GUESSES * GUESS {
            assert_eq!(limiter.check(client, now), Ok(()), "text {n}");
            limiter.failed(client, false, now);
        }
        assert!(limiter.check(client, now).is_err());
    }

    #[test]
    fn a_new_minute_counts_from_nothing() {
        let limiter = FailureLimiter::new();
        let (start, guesser) = (Instant::now(), client("192.0.2.1"));
        (0..100).for_each(|_| limiter.failed(guesser, true, start));
        limiter.failed(guesser, true, start + WINDOW);
        assert_eq!(limiter.check(guesser, start + WINDOW), Ok(()));
    }

    #[test]
    fn an_ipv6_client_is_its_64_and_a_mapped_address_its_ipv4() {
        assert_eq!(client("2001:db8:1:2:3:4:5:6"), client("2001:db8:1:2::1"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    }

    #[test]
    fn only_the_last_forwarded_address_counts_and_only_behind_a_proxy() {
        let peer: IpAddr = "198.51.100.7".parse().unwrap();
        let address = |values: &[&str], behind_proxy| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            client_address(peer, &headers, behind_proxy).to_string()
        };
        assert_eq!(address(&["203.0.113.9"], false), "198.51.100.7");
        assert_eq!(address(&["6.6.6.6, 203.0.113.9"], true), "203.0.113.9");
        assert_eq!(address(&["6.6.6.6", "203.0.113.9"], true), "203.0.113.9");
        assert_eq!(address(&["203.0.113.9:4711"], true), "203.0.113.9");
        assert_eq!(address(&["[2001:db8::1]:4711"], true), "2001:db8::1");
        assert_eq!(address(&["2001:db8::1"], true), "2001:db8::1");
        assert_eq!(address(&["unknown"], true), "198.51.100.7");
        assert_eq!(address(&[], true), "198.51.100.7");
    }
}
