//! allowedHosts entries and URLs of any kind: an entry allows its own host and subdomains, and a filled value widens none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_runtime::manifest::host::{AllowedHosts, HostPattern};
use url::{Host, Url};

fuzz_target!(|input: (&str, &str, &str)| {
    let (entry, value, url) = input;
    if let Ok(pattern) = HostPattern::parse(entry) {
        let filled = pattern.fill(|_| Some(value.to_owned()));
        let hosts = AllowedHosts::resolve(std::slice::from_ref(&pattern), |_| Some(value.to_owned()));
        assert_eq!(hosts.resolved().count(), usize::from(filled.is_ok()));
        if let Ok(url) = Url::parse(url) {
            check_match(&hosts, &url);
        }
        if let Ok(filled) = filled {
            let again = HostPattern::parse(filled.as_str()).and_then(|own| Ok(own.fill(|_| None)));
            assert_eq!(again, Ok(Ok(filled)), "a filled entry reads back as itself");
        }
    }
    // A value never leads out of the fixed part of an entry.
    let shop = HostPattern::parse("{{shop}}.example.com").expect("an entry");
    if let Ok(filled) = shop.fill(|_| Some(value.to_owned())) {
        let Host::Domain(domain) = filled.host() else { panic!("{filled:?}") };
        assert!(domain.ends_with(".example.com"), "{filled:?}");
        assert!(matches!(filled.port(), 80 | 443), "{filled:?}");
    }
});

/// What is allowed has the entry's port, and its host or a name that ends in it after a dot.
fn check_match(hosts: &AllowedHosts, url: &Url) {
    if !hosts.allows(url) {
        return;
    }
    let entry = hosts.resolved().next().expect("something allowed it");
    assert!(matches!(url.scheme(), "https" | "http"));
    assert_eq!(url.port_or_known_default(), Some(entry.port()));
    match (url.host().expect("a host"), entry.host()) {
        (Host::Domain(asked), Host::Domain(allowed)) => {
            let asked = asked.strip_suffix('.').unwrap_or(asked);
            assert!(asked == allowed || asked.ends_with(&format!(".{allowed}")), "{asked} by {allowed}");
        }
        (Host::Ipv4(asked), Host::Ipv4(allowed)) => assert_eq!(asked, *allowed),
        (Host::Ipv6(asked), Host::Ipv6(allowed)) => assert_eq!(asked, *allowed),
        (asked, allowed) => panic!("{asked} by {allowed}"),
    }
}
