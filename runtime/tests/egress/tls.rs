//! TLS: which certificates are believed, and for which name.

use std::sync::Arc;

use portcullis_runtime::egress::{Client, EgressConfig, EgressErrorKind, Method, Request};

use crate::support::server::{Reply, TestServer};
use crate::support::tls::TestCa;
use crate::{Fixture, loopback};

/// A server with that certificate, and a client that trusts `ca` and is led to the server whatever it asks for.
fn connect(config: Arc<rustls::ServerConfig>, roots: Vec<String>, entries: &[&str]) -> (TestServer, Fixture) {
    let server = TestServer::start_tls(config, |_| Reply::ok("secure"));
    let map = vec![format!("*={}", server.address()).parse().unwrap()];
    let config = EgressConfig { extra_roots_pem: roots, map, ..loopback() };
    let fixture = Fixture::with_config(entries, &config);
    (server, fixture)
}

#[track_caller]
fn tls_error(fixture: &mut Fixture, url: &str, needle: &str) {
    let error = fixture.send(&Request::new(Method::Post, url)).unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::Tls, "{error}");
    assert!(error.never_left());
    assert!(error.to_string().starts_with(&format!("HTTP request to \"{url}\" failed: TLS: ")), "{error}");
    assert!(error.to_string().contains(needle), "{error}");
}

#[test]
fn an_extra_root_is_trusted_and_the_mapped_name_stays() {
    let ca = TestCa::new();
    let (server, mut fixture) = connect(ca.issue(&["a.test"]), vec![ca.pem()], &["a.test"]);
    for url in ["https://a.test/", "https://a.test/again"] {
        assert_eq!(fixture.get(url).unwrap().text(), "secure");
    }
    assert_eq!(server.n_connections(), 1);
    assert_eq!(server.requests()[0].header("host"), Some("a.test"));
}

#[test]
fn one_file_may_hold_several_roots() {
    let (one, two) = (TestCa::new(), TestCa::new());
    let roots = vec![format!("# ours\n{}\n{}", one.pem(), two.pem())];
    let (_server, mut fixture) = connect(two.issue(&["a.test"]), roots, &["a.test"]);
    assert_eq!(fixture.get("https://a.test/").unwrap().text(), "secure");
}

#[test]
fn an_address_may_be_the_name() {
    let ca = TestCa::new();
    let (_server, mut fixture) =
        connect(ca.issue(&["127.0.0.1", "::1"]), vec![ca.pem()], &["127.0.0.1", "[::1]"]);
    assert_eq!(fixture.get("https://127.0.0.1/").unwrap().text(), "secure");
    assert_eq!(fixture.get("https://[::1]/").unwrap().text(), "secure");
}

#[test]
fn a_trailing_dot_is_no_part_of_the_name() {
    let ca = TestCa::new();
    let (_server, mut fixture) = connect(ca.issue(&["a.test"]), vec![ca.pem()], &["a.test"]);
    assert_eq!(fixture.get("https://a.test./").unwrap().text(), "secure");
}

#[test]
fn an_unknown_authority_is_not_trusted() {
    let ca = TestCa::new();
    let (server, mut fixture) = connect(ca.issue(&["a.test"]), vec![TestCa::new().pem()], &["a.test"]);
    tls_error(&mut fixture, "https://a.test/", "UnknownIssuer");
    assert!(server.requests().is_empty());
}

#[test]
fn another_name_is_not_believed() {
    let ca = TestCa::new();
    let (_server, mut fixture) = connect(ca.issue(&["b.test"]), vec![ca.pem()], &["a.test"]);
    tls_error(&mut fixture, "https://a.test/", "not valid for name \"a.test\"");
}

#[test]
fn an_expired_certificate_is_not_believed() {
    let ca = TestCa::new();
    let (_server, mut fixture) = connect(ca.issue_expired(&["a.test"]), vec![ca.pem()], &["a.test"]);
    tls_error(&mut fixture, "https://a.test/", "expired");
}

#[test]
fn a_server_without_tls_is_a_tls_error() {
    let server = TestServer::start(|_| Reply::ok("plain"));
    let url = format!("https://127.0.0.1:{}/", server.port());
    let mut fixture = Fixture::new(&[&format!("127.0.0.1:{}", server.port())]);
    std::thread::scope(|scope| {
        // The server waits for the rest of a request that never comes; the client's hello has no empty line in it.
        fixture.timeout = std::time::Duration::from_millis(300);
        scope.spawn(|| fixture.get(&url).unwrap_err());
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let n_read = stream.read(&mut [0; 4096]).unwrap();
        assert!(n_read > 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    tls_error(&mut Fixture::new(&[&address.to_string()]), &format!("https://{address}/"), "");
}

#[test]
fn a_root_that_is_none_is_refused_when_the_client_is_made() {
    let config =
        EgressConfig { extra_roots_pem: vec![TestCa::new().pem(), "no PEM".to_owned()], ..loopback() };
    let error = Client::new(&config).unwrap_err().to_string();
    assert_eq!(error, "extra root certificates, text 2: no certificate in it");
}
