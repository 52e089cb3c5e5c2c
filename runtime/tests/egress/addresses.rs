//! Addresses: every spelling of those that are refused, DNS that lies, and the egress map.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_runtime::egress::{EgressConfig, EgressErrorKind};

use crate::support::server::{Reply, TestServer};
use crate::{Fixture, loopback, message};

/// `host` is in allowedHosts, and still can't be reached.
#[track_caller]
fn refused(host: &str, address: &str) {
    let mut fixture = Fixture::with_config(&[&format!("http://{host}")], &EgressConfig::default());
    let error = fixture.get(&format!("http://{host}/")).unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::AddressRefused, "{host}: {error}");
    assert!(error.never_left());
    assert!(error.to_string().contains(&format!("the address {address} is refused")), "{error}");
    assert!(error.to_string().contains("--allow-network"), "{error}");
    assert_eq!(fixture.exchanges.len(), 1);
    assert_eq!(fixture.exchanges[0].status, None);
    assert_eq!(fixture.exchanges[0].error, Some(error.to_string()));
}

#[test]
fn every_spelling_of_loopback_is_refused() {
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0x7f000001",
        "0x7f.1",
        "0X7F.0.0.0x1",
        "127.0.0.0x1",
        "１２７.０.０.１",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "%31%32%37.0.0.1",
        "1%327.0.0.1",
    ] {
        refused(host, "127.0.0.1");
    }
    refused("127.255.255.254", "127.255.255.254");
    refused("0.0.0.0", "0.0.0.0");
    refused("0", "0.0.0.0");
    refused("[::1]", "::1");
    refused("[0:0:0:0:0:0:0:1]", "::1");
    refused("[::]", "::");
    refused("[::ffff:127.0.0.1]", "::ffff:127.0.0.1");
    refused("[::ffff:7f00:1]", "::ffff:127.0.0.1");
    refused("[::127.0.0.1]", "::7f00:1");
    refused("[64:ff9b::127.0.0.1]", "64:ff9b::7f00:1");
    refused("[2002:7f00:1::]", "2002:7f00:1::");
}

#[test]
fn every_spelling_of_private_and_metadata_addresses_is_refused() {
    for (host, address) in [
        ("10.0.0.1", "10.0.0.1"),
        ("0xa000001", "10.0.0.1"),
        ("012.1", "10.0.0.1"),
        ("192.168.1.1", "192.168.1.1"),
        ("3232235777", "192.168.1.1"),
        ("172.16.0.1", "172.16.0.1"),
        ("100.64.0.1", "100.64.0.1"),
        ("169.254.169.254", "169.254.169.254"),
        ("2852039166", "169.254.169.254"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("0251.0376.0251.0376", "169.254.169.254"),
        ("169.16689662", "169.254.169.254"),
        ("[::ffff:169.254.169.254]", "::ffff:169.254.169.254"),
        ("[64:ff9b::a9fe:a9fe]", "64:ff9b::a9fe:a9fe"),
        ("[2002:a9fe:a9fe::1]", "2002:a9fe:a9fe::1"),
        ("[fd00:ec2::254]", "fd00:ec2::254"),
        ("[fe80::1]", "fe80::1"),
        ("100.100.100.200", "100.100.100.200"),
        ("168.63.129.16", "168.63.129.16"),
        ("224.0.0.1", "224.0.0.1"),
        ("255.255.255.255", "255.255.255.255"),
    ] {
        refused(host, address);
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_name_is_refused_by_its_address() {
    for answer in [&["127.0.0.1"][..], &["1.1.1.1", "10.0.0.1"], &["::1"], &["1.1.1.1", "::ffff:192.168.0.1"]]
    {
        let answer = addresses(answer);
        let mut fixture =
            Fixture::with_lookup(&["a.test"], &EgressConfig::default(), move |_| answer.clone());
        let error = fixture.get("https://a.test/x").unwrap_err();
        assert_eq!(error.kind(), EgressErrorKind::AddressRefused);
        assert!(
            error
                .to_string()
                .starts_with("HTTP request to \"https://a.test/x\" refused: \"a.test\" can't be reached: ")
        );
    }
}

/// A name whose first answer is allowed and whose later ones aren't: the request goes where the checked answer pointed,
/// since nothing asks a second time.
#[test]
fn the_address_that_was_checked_is_the_one_dialled() {
    let server = TestServer::start(|_| Reply::ok("checked").close());
    let config =
        EgressConfig { allow_networks: vec!["127.0.0.1/32".parse().unwrap()], ..EgressConfig::default() };
    let n_lookups = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n_lookups);
    let entry = format!("http://rebind.test:{}", server.port());
    let mut fixture = Fixture::with_lookup(&[&entry], &config, move |_| {
        addresses(if counter.fetch_add(1, Ordering::SeqCst) == 0 { &["127.0.0.1"] } else { &["127.0.0.2"] })
    });
    assert_eq!(fixture.get(&entry).unwrap().text(), "checked");
    assert_eq!(n_lookups.load(Ordering::SeqCst), 1);
    // The next connection asks anew, and the new answer is checked anew.
    let error = message(fixture.get(&entry));
    assert!(error.contains("the address 127.0.0.2 is refused"), "{error}");
    assert_eq!(n_lookups.load(Ordering::SeqCst), 2);
}

#[test]
fn a_reused_connection_needs_no_lookup() {
    let server = TestServer::start(|_| Reply::ok(""));
    let n_lookups = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n_lookups);
    let entry = format!("http://a.test:{}", server.port());
    let mut fixture = Fixture::with_lookup(&[&entry], &loopback(), move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        addresses(&["127.0.0.1"])
    });
    for _ in 0..3 {
        fixture.get(&entry).unwrap();
    }
    assert_eq!((n_lookups.load(Ordering::SeqCst), server.n_connections()), (1, 1));
    assert_eq!(server.requests()[0].header("host"), Some(entry.strip_prefix("http://").unwrap()));
}

#[test]
fn the_next_address_is_tried_when_one_refuses() {
    let server = TestServer::start(|_| Reply::ok("second"));
    let entry = format!("http://a.test:{}", server.port());
    let mut fixture =
        Fixture::with_lookup(&[&entry], &loopback(), |_| addresses(&["127.0.0.9", "::1", "127.0.0.1"]));
    assert_eq!(fixture.get(&entry).unwrap().text(), "second");
}

#[test]
fn a_name_without_addresses_is_a_dns_error() {
    let mut fixture = Fixture::with_lookup(&["a.test"], &loopback(), |_| vec![]);
    let error = fixture.get("https://a.test/x").unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::Dns);
    assert!(error.never_left());
    assert_eq!(
        error.to_string(),
        "HTTP request to \"https://a.test/x\" failed: DNS lookup of \"a.test\" failed: the answer holds no address"
    );
}

#[test]
fn a_refused_connection_says_so() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let error = Fixture::new(&[&url]).get(&url).unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::Connect);
    assert!(error.never_left());
    let expected =
        format!("HTTP request to \"{url}/\" failed: can't connect to {closed}: connection refused");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_map_leads_names_and_ports_elsewhere() {
    let one = TestServer::start(|_| Reply::ok("one"));
    let two = TestServer::start(|_| Reply::ok("two"));
    let mut config = loopback();
    config.map = vec![format!("*:80={}", one.address()).parse().unwrap()];
    config.map.push(format!("b.test={}", two.address()).parse().unwrap());
    let mut fixture = Fixture::with_config(&["http://a.test", "http://b.test", "http://9.9.9.9"], &config);
    assert_eq!(fixture.get("http://a.test/").unwrap().text(), "one");
    assert_eq!(fixture.get("http://b.test/").unwrap().text(), "two");
    assert_eq!(fixture.get("http://9.9.9.9/").unwrap().text(), "one");
    assert_eq!(one.requests()[0].header("host"), Some("a.test"));
}

#[test]
fn the_map_is_no_licence() {
    let server = TestServer::start(|_| Reply::ok(""));
    let map = vec![format!("*={}", server.address()).parse().unwrap()];
    let config = EgressConfig { map, ..EgressConfig::default() };
    let error = message(Fixture::with_config(&["http://a.test"], &config).get("http://a.test/"));
    assert!(error.contains("the address 127.0.0.1 is refused"), "{error}");
    assert_eq!(server.n_connections(), 0);
}

#[test]
fn proxies_from_the_environment_are_ignored() {
    // The variables are read, if at all, when a client is made; this process has none set, so that a child sets them.
    if std::env::var_os("EGRESS_TEST_PROXY").is_none() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "addresses::proxies_from_the_environment_are_ignored"])
            .envs(
                ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"]
                    .map(|name| (name, "http://127.0.0.1:1")),
            )
            .env("EGRESS_TEST_PROXY", "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        return;
    }
    let server = TestServer::start(|_| Reply::ok("direct"));
    assert_eq!(Fixture::to(&server).get(&server.url("/")).unwrap().text(), "direct");
}
