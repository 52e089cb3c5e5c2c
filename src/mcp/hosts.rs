//! Which hosts a request may be addressed to, and which pages it may come from: what stops DNS rebinding.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::{HOST, HeaderName, ORIGIN};
use url::{Host, Url};

/// The hosts that are this server.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// The address that others reach the server by.
    public: Option<Url>,
    listens_on: IpAddr,
}

impl Hosts {
    /// Those of the public address and of what is listened on, besides loopback's.
    pub(crate) fn new(public: Option<Url>, bound: SocketAddr) -> Self {
        Self { public, listens_on: bound.ip().to_canonical() }
    }

    /// Why a request must be refused, if it must: it is addressed to another host, or a page of another origin sent it.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let host = one(headers, &HOST).filter(|host| !host.contains(['/', '@', '?', '#', '\\']));
        let host = host.and_then(|host| Url::parse(&format!("http://{host}/")).ok());
        if !host.is_some_and(|url| self.is_ours(&url)) {
            return Err("the header Host names another server: --public-url says what this one is called");
        }
        if !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let origin = one(headers, &ORIGIN).and_then(|origin| Url::parse(origin).ok());
        if origin.is_some_and(|origin| self.is_our_origin(&origin)) {
            return Ok(());
        }
        Err("the request comes from a page of another origin")
    }

    /// The server's address, as the request has it where no other is known. The request's host was checked.
    pub(crate) fn base(&self, headers: &HeaderMap) -> String {
        match (&self.public, one(headers, &HOST)) {
            (Some(url), _) => url.as_str().trim_end_matches('/').to_owned(),
            (None, host) => format!("http://{}", host.unwrap_or("localhost")),
        }
    }

    fn is_ours(&self, url: &Url) -> bool {
        let is_public = self.public.as_ref().is_some_and(|public| public.host() == url.host());
        is_public || self.is_listened_on(url)
    }

    /// Any page of this machine's own, and the public address's.
    fn is_our_origin(&self, origin: &Url) -> bool {
        let is_web = matches!(origin.scheme(), "http" | "https");
        let is_public = self.public.as_ref().is_some_and(|public| public.origin() == origin.origin());
        is_web && (is_public || self.is_listened_on(origin))
    }

    /// A name can be made to lead anywhere, an address can't: where every address is listened on, any will do.
    fn is_listened_on(&self, url: &Url) -> bool {
        let address: IpAddr = match url.host() {
            Some(Host::Domain(name)) => return name.trim_end_matches('.') == "localhost",
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            None => return false,
        };
        let address = address.to_canonical();
        address.is_loopback() || address == self.listens_on || self.listens_on.is_unspecified()
    }
}

/// The header's value, if there is exactly one.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn passes(public: Option<&str>, bound: &str, headers: &[(HeaderName, &str)]) -> bool {
        let hosts = Hosts::new(public.map(|url| Url::parse(url).unwrap()), bound.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        hosts.check(&map).is_ok()
    }

    #[test]
    fn a_request_names_a_host_that_is_this_server() {
        let local = |host: &str| passes(None, "127.0.0.1:7400", &[(HOST, host)]);
        for good in ["127.0.0.1:7400", "localhost", "LOCALHOST:1", "[::1]:7400", "127.0.0.2", "0x7f.1"] {
            assert!(local(good), "{good}");
        }
        for bad in [
            "evil.com",
            "localhost.evil.com",
            "evil.com:7400",
            "10.0.0.1",
            "",
            "a b",
            "evil.com@localhost:1/",
        ] {
            assert!(!local(bad), "{bad}");
        }
        assert!(!passes(None, "127.0.0.1:7400", &[]));
        assert!(!passes(None, "127.0.0.1:7400", &[(HOST, "localhost"), (HOST, "localhost")]));
        let public = |host: &str| passes(Some("https://p.example.com"), "127.0.0.1:7400", &[(HOST, host)]);
        assert!(public("p.example.com") && public("localhost:7400") && !public("example.com"));
        let everywhere = |host: &str| passes(None, "0.0.0.0:7400", &[(HOST, host)]);
        assert!(everywhere("192.168.0.7:7400") && everywhere("localhost") && !everywhere("evil.com"));
    }

    #[test]
    fn a_page_elsewhere_is_refused() {
        let from = |origin: &str| {
            passes(
                Some("https://p.example.com"),
                "127.0.0.1:7400",
                &[(HOST, "localhost:7400"), (ORIGIN, origin)],
            )
        };
        for good in ["https://p.example.com", "http://localhost:7400", "http://127.0.0.1:6274"] {
            assert!(from(good), "{good}");
        }
        for bad in
            ["http://evil.com", "null", "", "http://p.example.com", "https://p.example.com:8443", "file:///x"]
        {
            assert!(!from(bad), "{bad}");
        }
    }
}
