//! Redirects: which are followed, what becomes of method, body and headers, and where they may not lead.

use portcullis_runtime::egress::{EgressErrorKind, Method, Request};

use crate::support::server::{Recorded, Reply, TestServer};
use crate::support::tls::TestCa;
use crate::{Fixture, loopback, message};

/// What the second request looks like after a redirect with `status`.
fn second_request(method: Method, status: u16) -> Recorded {
    let server = TestServer::start(move |request| match request.target() {
        "/first" => Reply::redirect(status, "/second"),
        _ => Reply::ok("done"),
    });
    let request = match method {
        Method::Get => Request::new(method, server.url("/first")),
        _ => Request::new(method, server.url("/first")).json_body("{}"),
    };
    let request = request.header("X-Api-Key", "key").header("Content-Language", "en");
    let response = Fixture::to(&server).send(&request).unwrap();
    assert_eq!((response.text().as_str(), response.url), ("done", server.url("/second")));
    assert_eq!(server.n_connections(), 1, "a redirect to the same server reuses the connection");
    server.requests()[1].clone()
}

#[test]
fn methods_and_bodies_follow_the_status() {
    use Method::{Delete, Get, Patch, Post, Put};
    for status in [301, 302, 303, 307, 308] {
        for method in [Get, Post, Put, Patch, Delete] {
            let second = second_request(method, status);
            let becomes_get = matches!((status, method), (301 | 302, Post) | (303, _)) || method == Get;
            let expected = if becomes_get { Get } else { method };
            assert_eq!(second.method(), expected.as_str(), "{status} of {method}");
            assert_eq!(second.body, if becomes_get { &b""[..] } else { b"{}" }, "{status} of {method}");
            assert_eq!(second.header("content-type"), (!becomes_get).then_some("application/json"));
            assert_eq!(second.header("content-language").is_some(), !becomes_get || method == Get);
            assert_eq!(second.header("x-api-key"), Some("key"));
        }
    }
}

#[test]
fn other_3xx_and_those_without_a_location_are_responses() {
    for (status, headers) in [(300, &[("Location", "/x")][..]), (304, &[("Location", "/x")]), (302, &[])] {
        let reply = Reply::status(&format!("{status} X"), headers, "");
        let server = TestServer::start(move |_| reply.clone());
        assert_eq!(Fixture::to(&server).get(&server.url("/")).unwrap().status, status);
    }
}

#[test]
fn locations_resolve_against_the_url_that_sent_them() {
    for (location, target) in [
        ("c", "/a/c"),
        ("../c?d#e", "/c?d"),
        ("/c", "/c"),
        ("?x", "/a/b?x"),
        ("/\u{fc}", "/%C3%BC"),
        ("./c d", "/a/c%20d"),
    ] {
        let server = TestServer::start(move |request| match request.target() {
            "/a/b?first" => Reply::redirect(302, location),
            _ => Reply::ok("done"),
        });
        Fixture::to(&server).get(&server.url("/a/b?first")).unwrap();
        assert_eq!(server.requests()[1].target(), target, "{location}");
    }
}

#[test]
fn five_redirects_are_followed_and_no_sixth() {
    let server = TestServer::start(|request| {
        let number: u32 = request.target()[1..].parse().unwrap();
        if number == 0 { Reply::ok("done") } else { Reply::redirect(302, &format!("/{}", number - 1)) }
    });
    let mut fixture = Fixture::to(&server);
    assert_eq!(fixture.get(&server.url("/5")).unwrap().text(), "done");
    let error = fixture.get(&server.url("/6")).unwrap_err();
    assert_eq!(error.kind(), EgressErrorKind::TooManyRedirects);
    assert!(error.to_string().contains("a loop, or a chain past the limit of 5"), "{error}");
    assert_eq!(server.requests().len(), 6 + 6);
}

#[test]
fn a_loop_ends() {
    let server = TestServer::start(|_| Reply::redirect(307, "/"));
    let error = message(Fixture::to(&server).get(&server.url("/")));
    assert!(error.contains("a loop"), "{error}");
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn a_redirect_to_another_host_is_refused_in_the_contracts_words() {
    for (location, shown) in [
        ("https://evil.com/x?y", "https://evil.com/x?y"),
        ("https://evil.com", "https://evil.com"),
        ("//evil.com/x", "http://evil.com/x"),
        ("http://169.254.169.254/latest/meta-data/", "http://169.254.169.254/latest/meta-data/"),
    ] {
        let server = TestServer::start(move |_| Reply::redirect(302, location));
        let mut fixture = Fixture::to(&server);
        let error = fixture.get(&server.url("/a")).unwrap_err();
        let url = server.url("/a");
        assert_eq!(
            error.to_string(),
            format!(
                "HTTP request redirected to \"{shown}\" for \"{url}\". Add the redirect host to allowedHosts."
            )
        );
        assert_eq!(error.kind(), EgressErrorKind::Blocked);
        assert!(!error.never_left());
        assert_eq!(fixture.exchanges.len(), 1);
    }
}

#[test]
fn a_redirect_with_userinfo_or_another_scheme_is_refused() {
    for (location, needle) in [
        ("http://me:pw@HOST/", "user name or password"),
        ("ftp://HOST/", "scheme \"ftp\""),
        ("http://", "no URL"),
    ] {
        let server = TestServer::start(move |request| {
            Reply::redirect(302, &location.replace("HOST", request.header("host").unwrap()))
        });
        let error = Fixture::to(&server).get(&server.url("/")).unwrap_err();
        assert_eq!(error.kind(), EgressErrorKind::Invalid);
        assert!(error.to_string().contains(needle), "{error}");
        assert!(!error.never_left());
    }
}

#[test]
fn a_redirect_to_a_refused_address_is_refused_though_its_host_is_allowed() {
    for host in ["127.0.0.2", "10.0.0.1", "169.254.169.254", "[::1]", "localhost", "rebind.test"] {
        let location = format!("http://{host}:9/");
        let server = TestServer::start(move |_| Reply::redirect(302, &location));
        let mut config = loopback();
        config.allow_networks = vec!["127.0.0.1/32".parse().unwrap()];
        let entry = format!("http://{host}:9");
        let mut fixture =
            Fixture::with_lookup(&[&server.url(""), &entry], &config, |_| vec!["127.0.0.3".parse().unwrap()]);
        let error = fixture.get(&server.url("/")).unwrap_err();
        assert_eq!(error.kind(), EgressErrorKind::AddressRefused, "{error}");
        assert!(!error.never_left());
        assert_eq!(fixture.exchanges.len(), 2);
    }
}

const OWN_HEADERS: [(&str, &str); 8] = [
    ("Authorization", "Bearer secret"),
    ("X-Api-Key", "secret"),
    ("Cookie", "secret"),
    ("If-None-Match", "secret"),
    ("Accept", "a/b"),
    ("Accept-Language", "de"),
    ("Content-Type", "c/d"),
    ("User-Agent", "me"),
];

#[test]
fn only_harmless_headers_cross_origins() {
    let last = TestServer::start(|request| match request.target() {
        "/over" => Reply::ok("done"),
        location => Reply::redirect(307, &location[1..]),
    });
    let over = last.url("/over");
    let first = TestServer::start(move |request| match request.target() {
        "/out" => Reply::redirect(307, &over),
        "/back" => Reply::ok("came back"),
        _ => Reply::redirect(
            307,
            &format!("{}{}", over.replace("/over", "/"), request.target()[1..].replace("out-and-", "")),
        ),
    });
    let mut fixture = Fixture::new(&[&first.url(""), &last.url("")]);
    let request = |path: String| {
        let request = Request::new(Method::Post, path).json_body("{}");
        OWN_HEADERS.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    assert_eq!(fixture.send(&request(first.url("/out"))).unwrap().text(), "done");
    let crossed = last.request();
    let names = [
        "accept",
        "accept-encoding",
        "accept-language",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    ];
    assert_eq!(crossed.header_names(), names);
    assert_eq!(crossed.header("accept"), Some("a/b"));
    assert_eq!(crossed.header("user-agent"), Some("me"));
    assert_eq!(crossed.body, b"{}");

    let back = first.url("/back");
    assert_eq!(fixture.send(&request(first.url(&format!("/out-and-{back}")))).unwrap().text(), "came back");
    assert_eq!(first.requests().last().unwrap().header_names(), names, "what was stripped stays stripped");
}

#[test]
fn another_scheme_or_port_of_the_same_host_is_another_origin() {
    let ca = TestCa::new();
    let plain = TestServer::start(|_| Reply::ok("plain"));
    let location = format!("http://a.test:{}/", plain.port());
    let tls = TestServer::start_tls(ca.issue(&["a.test"]), move |_| Reply::redirect(302, &location));
    let mut config = loopback();
    config.extra_roots_pem = vec![ca.pem()];
    config.map = vec![format!("a.test:443={}", tls.address()).parse().unwrap()];
    config.map.push(format!("a.test={}", plain.address()).parse().unwrap());
    let request = Request::new(Method::Get, "https://a.test/").header("X-Api-Key", "secret");

    let mut fixture = Fixture::with_config(&["a.test"], &config);
    let error = message(fixture.send(&request));
    assert!(
        error.starts_with("HTTP request redirected to \"http://a.test:"),
        "https to http needs an entry: {error}"
    );
    assert_eq!(plain.n_connections(), 0);

    let mut fixture = Fixture::with_config(&["a.test", &format!("http://a.test:{}", plain.port())], &config);
    assert_eq!(fixture.send(&request).unwrap().text(), "plain");
    assert_eq!(tls.requests()[0].header("x-api-key"), Some("secret"));
    assert_eq!(plain.request().header("x-api-key"), None);
}
