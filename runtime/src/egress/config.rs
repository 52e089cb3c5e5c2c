//! The operator's settings for outgoing traffic: `--allow-network`, `--egress-map`, `--ca-file`, `--egress-proxy`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use ipnet::IpNet;
use ureq::tls::{Certificate, PemItem, parse_pem};
use url::Host;

use crate::manifest::host::{HostPatternReason, parse_host, parse_port, split_port};

/// What an operator may set about outgoing traffic.
#[derive(Clone, Default)]
pub struct EgressConfig {
    /// Networks that connectors may reach though they are loopback, private or otherwise special.
    pub allow_networks: Vec<IpNet>,
    /// Static resolver entries. A mapped address is checked like any other.
    pub map: Vec<EgressMapping>,
    /// Root certificates to trust besides Mozilla's: each the text of a PEM file, with one certificate or more.
    pub extra_roots_pem: Vec<String>,
    /// An HTTP proxy, `http://[user:password@]host[:port]`, that every request goes through by CONNECT.
    ///
    /// Its own address is the operator's word and isn't checked. IP addresses in URLs still are, but names are resolved
    /// by the proxy, whose job it then is to refuse private addresses. It can't be combined with [`EgressConfig::map`].
    pub proxy: Option<String>,
}

impl fmt::Debug for EgressConfig {
    /// Leaves out the proxy, whose URL may hold a password, and the certificates, which are long.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EgressConfig")
            .field("allow_networks", &self.allow_networks)
            .field("map", &self.map)
            .field("has_proxy", &self.proxy.is_some())
            .finish_non_exhaustive()
    }
}

/// A setting that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum EgressConfigError {
    /// A text in `extra_roots_pem` holds no usable certificate.
    #[error("extra root certificates, text {number}: {detail}")]
    Roots {
        /// Which of the texts, from 1.
        number: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// The proxy's URL can't be used.
    #[error("the egress proxy must be written http://[user:password@]host[:port]: {0}")]
    Proxy(String),
    /// A proxy resolves names, so that a map would have no effect.
    #[error(
        "an egress map has no effect behind an egress proxy, which resolves the names itself; use one of them"
    )]
    MapWithProxy,
}

/// One `HOST[:PORT]=ADDR:PORT`: connections to that host, on that port or any, go to that address. The TLS name stays.
///
/// `*` stands for every host. The most specific entry wins: a host before `*`, then one with a port before one without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressMapping {
    host: Option<Host<String>>,
    port: Option<u16>,
    target: SocketAddr,
}

impl EgressMapping {
    /// The entry of `map` that says where connections to `host` and `port` go.
    pub(super) fn find(map: &[EgressMapping], host: &Host<String>, port: u16) -> Option<SocketAddr> {
        map.iter()
            .filter(|entry| entry.host.as_ref().is_none_or(|own| own == host))
            .filter(|entry| entry.port.is_none_or(|own| own == port))
            .max_by_key(|entry| (entry.host.is_some(), entry.port.is_some()))
            .map(|entry| entry.target)
    }
}

/// Text that is no entry of an egress map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("egress map entry \"{}\": {detail}; it is written HOST[:PORT]=ADDRESS:PORT", entry.escape_debug())]
pub struct EgressMappingError {
    entry: String,
    detail: String,
}

impl FromStr for EgressMapping {
    type Err = EgressMappingError;

    fn from_str(entry: &str) -> Result<EgressMapping, EgressMappingError> {
        let refuse = |detail: String| EgressMappingError { entry: entry.to_owned(), detail };
        let (from, to) = entry.split_once('=').ok_or_else(|| refuse("no \"=\"".to_owned()))?;
        let target = to.parse().map_err(|_| {
            refuse(format!("\"{to}\" is no address with a port, such as 127.0.0.1:8443 or [::1]:8443"))
        })?;
        let (host, port) = parse_source(from).map_err(|reason| refuse(reason.to_string()))?;
        Ok(EgressMapping { host, port, target })
    }
}

fn parse_source(from: &str) -> Result<(Option<Host<String>>, Option<u16>), HostPatternReason> {
    let (host, port) = split_port(from)?;
    let host = if host == "*" { None } else { Some(parse_host(host)?) };
    Ok((host, port.map(parse_port).transpose()?))
}

impl fmt::Display for EgressMapping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(formatter, "{host}")?,
            None => formatter.write_str("*")?,
        }
        if let Some(port) = self.port {
            write!(formatter, ":{port}")?;
        }
        write!(formatter, "={}", self.target)
    }
}

impl EgressConfig {
    /// Mozilla's roots and the operator's.
    pub(super) fn roots(&self) -> Result<Vec<Certificate<'static>>, EgressConfigError> {
        let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        let mut roots: Vec<_> = mozilla.map(|root| Certificate::from_der(root.as_ref())).collect();
        for (index, pem) in self.extra_roots_pem.iter().enumerate() {
            let refuse = |detail| EgressConfigError::Roots { number: index + 1, detail };
            roots.extend(parse_roots(pem).map_err(refuse)?);
        }
        Ok(roots)
    }

    /// The proxy as ureq wants it.
    pub(super) fn ureq_proxy(&self) -> Result<Option<ureq::Proxy>, EgressConfigError> {
        let Some(url) = &self.proxy else { return Ok(None) };
        if !self.map.is_empty() {
            return Err(EgressConfigError::MapWithProxy);
        }
        let proxy = ureq::Proxy::new(url).map_err(|error| EgressConfigError::Proxy(error.to_string()))?;
        match proxy.protocol() {
            ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https => Ok(Some(proxy)),
            other => Err(EgressConfigError::Proxy(format!("{other:?} isn't supported"))),
        }
    }
}

fn parse_roots(pem: &str) -> Result<Vec<Certificate<'static>>, String> {
    let mut roots = Vec::new();
    for item in parse_pem(pem.as_bytes()) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
            if !is_der_sequence(certificate.der()) {
                return Err(format!("certificate {} is no X.509 certificate", roots.len() + 1));
            }
            roots.push(certificate);
        }
    }
    if roots.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(roots) }
}

/// Whether bytes are one DER SEQUENCE that fills them: what separates a certificate from text that merely is base64.
/// The TLS library skips a root that it can't read further than that.
fn is_der_sequence(der: &[u8]) -> bool {
    let [0x30, first, rest @ ..] = der else { return false };
    if *first < 0x80 {
        return usize::from(*first) == rest.len();
    }
    let n_length_bytes = usize::from(*first & 0x7f);
    if n_length_bytes == 0 || n_length_bytes > 4 || rest.len() < n_length_bytes {
        return false;
    }
    let (length, content) = rest.split_at(n_length_bytes);
    length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) == content.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[&str]) -> Vec<EgressMapping> {
        entries.iter().map(|entry| entry.parse().expect(entry)).collect()
    }

    #[track_caller]
    fn found(map: &[EgressMapping], host: &str, port: u16) -> Option<String> {
        EgressMapping::find(map, &Host::parse(host).expect(host), port).map(|target| target.to_string())
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let map = map(&["*=127.0.0.1:1", "*:443=127.0.0.1:2", "a.com=127.0.0.1:3", "A.com.:443=[::1]:4"]);
        assert_eq!(found(&map, "a.com", 443).as_deref(), Some("[::1]:4"));
        assert_eq!(found(&map, "a.com", 80).as_deref(), Some("127.0.0.1:3"));
        assert_eq!(found(&map, "b.a.com", 443).as_deref(), Some("127.0.0.1:2"));
        assert_eq!(found(&map, "b.com", 80).as_deref(), Some("127.0.0.1:1"));
        assert_eq!(found(&map[2..], "b.com", 80), None);
    }

    #[test]
    fn an_entry_reads_back_as_written() {
        for entry in ["*:443=127.0.0.1:8443", "a.com=[::1]:80", "[::1]:443=10.0.0.1:1", "1.2.3.4=10.0.0.1:1"]
        {
            assert_eq!(map(&[entry])[0].to_string(), entry);
        }
    }

    #[test]
    fn wrong_entries_say_what_is_wrong() {
        for (entry, needle) in [
            ("a.com", "no \"=\""),
            ("a.com=127.0.0.1", "no address with a port"),
            ("a.com=b.com:80", "no address with a port"),
            ("a.com:x=127.0.0.1:1", "\"x\" is no port"),
            ("=127.0.0.1:1", "empty"),
            ("a b=127.0.0.1:1", "no host name"),
        ] {
            let error = entry.parse::<EgressMapping>().expect_err(entry).to_string();
            assert!(error.contains(needle), "{error}");
        }
    }

    #[test]
    fn roots_that_hold_no_certificate_are_refused() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"] {
            let config = EgressConfig { extra_roots_pem: vec![pem.to_owned()], ..EgressConfig::default() };
            assert!(matches!(config.roots(), Err(EgressConfigError::Roots { number: 1, .. })), "{pem}");
        }
    }

    #[test]
    fn a_proxy_is_http_and_alone() {
        let config = |proxy: &str| EgressConfig { proxy: Some(proxy.to_owned()), ..EgressConfig::default() };
        assert!(config("http://proxy.example:3128").ureq_proxy().is_ok());
        assert!(matches!(config("socks5://p:1").ureq_proxy(), Err(EgressConfigError::Proxy(_))));
        assert!(matches!(config("no url").ureq_proxy(), Err(EgressConfigError::Proxy(_))));
        let both = EgressConfig { map: map(&["*=127.0.0.1:1"]), ..config("http://p:1") };
        assert!(matches!(both.ureq_proxy(), Err(EgressConfigError::MapWithProxy)));
    }
}
