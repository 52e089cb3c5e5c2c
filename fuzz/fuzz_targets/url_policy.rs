//! Addresses and URLs of any kind: no address that the policy lets pass, and none that a URL's host leads to without a
//! lookup, is loopback, private or otherwise special, by what the standard library knows.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use portcullis_runtime::egress::policy::NetworkPolicy;
use portcullis_runtime::egress::{Client, EgressConfig};
use url::{Host, Url};

static CLIENT: LazyLock<Client> = LazyLock::new(|| Client::new(&EgressConfig::default()).expect("client"));

fuzz_target!(|input: (&str, u32, u128)| {
    let (text, v4, v6) = input;
    for address in [IpAddr::from(Ipv4Addr::from(v4)), IpAddr::from(Ipv6Addr::from(v6))] {
        assert!(NetworkPolicy::default().check(address).is_err() || is_public(address), "{address}");
    }
    let Ok(url) = Url::parse(&format!("https://{text}")) else { return };
    // A name would be looked up, in a thread of its own; what is done with the answer is what was done above.
    if let (Some(Host::Ipv4(_) | Host::Ipv6(_)), Some(host)) = (url.host(), url.host_str()) {
        let deadline = Instant::now() + Duration::from_secs(5);
        if let Ok(addresses) = CLIENT.resolver().resolve(host, 443, deadline) {
            assert!(!addresses.is_empty());
            assert!(addresses.iter().all(|address| is_public(address.ip())), "{host}: {addresses:?}");
        }
    }
});

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_ipv4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(inner) => is_public_ipv4(inner),
            None => is_public_ipv6(address),
        },
    }
}

fn is_public_ipv4(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    let is_shared = octets[0] == 100 && octets[1] & 0xc0 == 64;
    !(address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_documentation()
        || is_shared
        || octets[0] == 0
        || octets[0] >= 240)
}

fn is_public_ipv6(address: Ipv6Addr) -> bool {
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.segments()[..2] == [0x2001, 0xdb8])
}
