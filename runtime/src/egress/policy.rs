//! Which IP addresses may be dialled: the special-purpose ranges that are refused, and the operator's exceptions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Decides whether an address may be dialled. It is asked with what DNS answered, never with a name.
///
/// Only globally reachable unicast addresses pass, and the networks that the operator named with `--allow-network`.
#[derive(Clone, Debug, Default)]
pub struct NetworkPolicy {
    allowed: Vec<IpNet>,
}

impl NetworkPolicy {
    /// A policy with the operator's exceptions.
    pub fn new(allowed: Vec<IpNet>) -> NetworkPolicy {
        NetworkPolicy { allowed }
    }

    /// Whether `address` may be dialled. An IPv6 address that embeds an IPv4 address is judged by both.
    ///
    /// # Errors
    /// [`AddressRefused`] names the address, its range and the flag that would allow it.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let embedded = embedded_ipv4(address);
        let is_allowed = |address: IpAddr| self.allowed.iter().any(|network| network.contains(&address));
        if is_allowed(address) || embedded.is_some_and(|(inner, _)| is_allowed(IpAddr::V4(inner))) {
            return Ok(());
        }
        let own_range = match address {
            IpAddr::V4(address) => refused_ipv4(address),
            IpAddr::V6(address) => refused_ipv6(address),
        };
        let (range, embedded) = match (own_range, embedded) {
            (None, None) => return Ok(()),
            (Some(range), _) => (range, None),
            (None, Some((inner, form))) => match refused_ipv4(inner) {
                None => return Ok(()),
                Some(range) => (range, Some((inner, form))),
            },
        };
        Err(AddressRefused { address, range, embedded })
    }
}

/// An address that may not be dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address {address} is refused: it {}; an operator can allow it with --allow-network {}",
    self.reason(),
    self.suggestion()
)]
pub struct AddressRefused {
    address: IpAddr,
    range: &'static str,
    embedded: Option<(Ipv4Addr, &'static str)>,
}

impl AddressRefused {
    /// The refused address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The name of the range that the address, or the IPv4 address inside it, lies in.
    pub fn range(&self) -> &'static str {
        self.range
    }

    fn reason(&self) -> String {
        match self.embedded {
            None => format!("is in a {} range", self.range),
            Some((inner, form)) => {
                format!("is the {form} form of {inner}, which is in a {} range", self.range)
            }
        }
    }

    fn suggestion(&self) -> IpNet {
        IpNet::from(self.embedded.map_or(self.address, |(inner, _)| IpAddr::V4(inner)))
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(start: [u16; 4], length: u8) -> Ipv6Net {
    let [a, b, c, d] = start;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

/// The rows of IANA's IPv4 special-purpose registry that aren't globally reachable, multicast, and the metadata
/// services that clouds put on addresses of their own. The first row that contains an address names it.
const REFUSED_IPV4: &[(Ipv4Net, &str)] = &[
    (v4(169, 254, 169, 254, 32), "cloud metadata (169.254.169.254)"),
    (v4(100, 100, 100, 200, 32), "cloud metadata (100.100.100.200)"),
    (v4(192, 0, 0, 192, 32), "cloud metadata (192.0.0.192)"),
    (v4(168, 63, 129, 16, 32), "cloud metadata (168.63.129.16)"),
    (v4(0, 0, 0, 0, 8), "\"this network\" (0.0.0.0/8)"),
    (v4(10, 0, 0, 0, 8), "private (10.0.0.0/8)"),
    (v4(100, 64, 0, 0, 10), "shared (100.64.0.0/10)"),
    (v4(127, 0, 0, 0, 8), "loopback (127.0.0.0/8)"),
    (v4(169, 254, 0, 0, 16), "link-local (169.254.0.0/16)"),
    (v4(172, 16, 0, 0, 12), "private (172.16.0.0/12)"),
    (v4(192, 0, 0, 0, 24), "reserved (192.0.0.0/24)"),
    (v4(192, 0, 2, 0, 24), "documentation (192.0.2.0/24)"),
    (v4(192, 88, 99, 0, 24), "reserved (192.88.99.0/24)"),
    (v4(192, 168, 0, 0, 16), "private (192.168.0.0/16)"),
    (v4(198, 18, 0, 0, 15), "benchmarking (198.18.0.0/15)"),
    (v4(198, 51, 100, 0, 24), "documentation (198.51.100.0/24)"),
    (v4(203, 0, 113, 0, 24), "documentation (203.0.113.0/24)"),
    (v4(224, 0, 0, 0, 4), "multicast (224.0.0.0/4)"),
    (v4(255, 255, 255, 255, 32), "broadcast (255.255.255.255)"),
    (v4(240, 0, 0, 0, 4), "reserved (240.0.0.0/4)"),
];

/// The same of IANA's IPv6 registry. 2001::/23 is refused whole: RIR allocations begin above it.
const REFUSED_IPV6: &[(Ipv6Net, &str)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "unspecified (::)"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback (::1)"),
    (v6([0, 0, 0, 0], 96), "reserved, IPv4-compatible (::/96)"),
    (v6([0x64, 0xff9b, 1, 0], 48), "local-use translation (64:ff9b:1::/48)"),
    (v6([0x100, 0, 0, 0], 64), "discard-only (100::/64)"),
    (v6([0x2001, 0, 0, 0], 32), "Teredo (2001::/32)"),
    (v6([0x2001, 2, 0, 0], 48), "benchmarking (2001:2::/48)"),
    (v6([0x2001, 0, 0, 0], 23), "protocol assignment (2001::/23)"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "documentation (2001:db8::/32)"),
    (v6([0x3fff, 0, 0, 0], 20), "documentation (3fff::/20)"),
    (v6([0x5f00, 0, 0, 0], 16), "segment routing (5f00::/16)"),
    (v6([0xfd00, 0xec2, 0, 0], 32), "cloud metadata (fd00:ec2::/32)"),
    (v6([0xfc00, 0, 0, 0], 7), "private, unique-local (fc00::/7)"),
    (v6([0xfe80, 0, 0, 0], 10), "link-local (fe80::/10)"),
    (v6([0xfec0, 0, 0, 0], 10), "site-local (fec0::/10)"),
    (v6([0xff00, 0, 0, 0], 8), "multicast (ff00::/8)"),
];

const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0], 3);
const IPV4_MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0], 16);

fn refused_ipv4(address: Ipv4Addr) -> Option<&'static str> {
    REFUSED_IPV4.iter().find(|(network, _)| network.contains(&address)).map(|(_, range)| *range)
}

fn refused_ipv6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some((_, range)) = REFUSED_IPV6.iter().find(|(network, _)| network.contains(&address)) {
        return Some(range);
    }
    let is_usable = [GLOBAL_UNICAST, IPV4_MAPPED, NAT64].iter().any(|network| network.contains(&address));
    (!is_usable).then_some("reserved (outside 2000::/3)")
}

/// The IPv4 address that a router or the kernel would take out of an IPv6 address, and the name of that form.
fn embedded_ipv4(address: IpAddr) -> Option<(Ipv4Addr, &'static str)> {
    let IpAddr::V6(address) = address else { return None };
    let segments = address.segments();
    let pair = |high: usize| {
        let [a, b] = segments[high].to_be_bytes();
        let [c, d] = segments[high + 1].to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    if IPV4_MAPPED.contains(&address) {
        return Some((pair(6), "IPv4-mapped"));
    }
    if NAT64.contains(&address) {
        return Some((pair(6), "NAT64"));
    }
    if SIX_TO_FOUR.contains(&address) {
        return Some((pair(1), "6to4"));
    }
    // ISATAP's interface identifier (RFC 5214): 0000:5efe or, with the universal bit set, 0200:5efe.
    let is_isatap = matches!(segments[4], 0 | 0x200) && segments[5] == 0x5efe;
    is_isatap.then(|| (pair(6), "ISATAP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &NetworkPolicy, address: &str) -> Result<(), AddressRefused> {
        policy.check(address.parse().expect(address))
    }

    #[test]
    fn special_addresses_are_refused_by_name() {
        let policy = NetworkPolicy::default();
        for (address, range) in [
            ("0.0.0.0", "this network"),
            ("0.1.2.3", "this network"),
            ("10.0.0.1", "private"),
            ("100.64.0.1", "shared"),
            ("100.127.255.255", "shared"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("169.254.1.1", "link-local"),
            ("169.254.169.254", "cloud metadata"),
            ("100.100.100.200", "cloud metadata"),
            ("168.63.129.16", "cloud metadata"),
            ("192.0.0.192", "cloud metadata"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.1", "reserved"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "reserved"),
            ("192.168.0.1", "private"),
            ("198.18.0.1", "benchmarking"),
            ("198.19.255.255", "benchmarking"),
            ("198.51.100.1", "documentation"),
            ("203.0.113.1", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::7f00:1", "IPv4-compatible"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "cloud metadata"),
            ("64:ff9b::a00:1", "private"),
            ("64:ff9b:1::1", "translation"),
            ("100::1", "discard"),
            ("2001::1", "Teredo"),
            ("2001:2::1", "benchmarking"),
            ("2001:20::1", "protocol assignment"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::", "loopback"),
            ("2002:c0a8:101::1", "private"),
            ("2600::5efe:10.0.0.1", "private"),
            ("2600::200:5efe:127.0.0.1", "loopback"),
            ("3fff::1", "documentation"),
            ("4000::1", "reserved"),
            ("5f00::1", "segment routing"),
            ("fc00::1", "private"),
            ("fd00:ec2::254", "cloud metadata"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("::fffe:7f00:1", "reserved"),
        ] {
            let refused = check(&policy, address).expect_err(address);
            assert!(refused.range().contains(range), "{address}: {refused}");
            assert!(refused.to_string().contains(&refused.address().to_string()), "{refused}");
        }
    }

    #[test]
    fn public_addresses_pass() {
        let policy = NetworkPolicy::default();
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
            "2001:200::1",
            "2600::5efe:1.1.1.1",
        ] {
            check(&policy, address).unwrap_or_else(|refused| panic!("{refused}"));
        }
    }

    #[test]
    fn the_operator_allows_networks_in_every_form() {
        let networks = ["127.0.0.0/8", "fd00::/16"].map(|network| network.parse().expect("network"));
        let policy = NetworkPolicy::new(networks.to_vec());
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fd00:ec2::254"]
        {
            check(&policy, address).unwrap_or_else(|refused| panic!("{refused}"));
        }
        for address in ["10.0.0.1", "::1", "fd01::1"] {
            check(&policy, address).expect_err(address);
        }
    }

    #[test]
    fn the_message_names_the_address_its_range_and_the_flag() {
        let policy = NetworkPolicy::default();
        assert_eq!(
            check(&policy, "127.0.0.1").expect_err("loopback").to_string(),
            "the address 127.0.0.1 is refused: it is in a loopback (127.0.0.0/8) range; \
             an operator can allow it with --allow-network 127.0.0.1/32"
        );
        assert_eq!(
            check(&policy, "64:ff9b::a00:1").expect_err("NAT64").to_string(),
            "the address 64:ff9b::a00:1 is refused: it is the NAT64 form of 10.0.0.1, which is in a private (10.0.0.0/8) \
             range; an operator can allow it with --allow-network 10.0.0.1/32"
        );
    }
}
