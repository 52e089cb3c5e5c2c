//! What entries of `allowedHosts` say, and what they allow.

use super::*;

fn allowed(entries: &[&str]) -> AllowedHosts {
    let patterns: Vec<_> = entries.iter().map(|entry| HostPattern::parse(entry).expect(entry)).collect();
    AllowedHosts::resolve(&patterns, |_| None)
}

#[track_caller]
fn check(entry: &str, yes: &[&str], no: &[&str]) {
    let hosts = allowed(&[entry]);
    for url in yes {
        assert!(hosts.allows(&Url::parse(url).expect(url)), "{entry} should allow {url}");
    }
    for url in no {
        assert!(!hosts.allows(&Url::parse(url).expect(url)), "{entry} should not allow {url}");
    }
}

#[track_caller]
fn refused(entry: &str, needle: &str) {
    let error = HostPattern::parse(entry).expect_err(entry).to_string();
    assert!(error.contains(needle), "{entry:?} gave {error:?}, expected {needle:?} in it");
}

#[test]
fn a_domain_allows_itself_and_its_subdomains_over_https() {
    check(
        "myshopify.com",
        &["https://myshopify.com/", "https://x.myshopify.com/a", "https://a.b.MyShopify.com:443/"],
        &[
            "https://evilmyshopify.com/",
            "https://myshopify.com.evil.com/",
            "https://com/",
            "https://.myshopify.com/",
            "http://myshopify.com/",
            "https://myshopify.com:8443/",
            "ftp://myshopify.com/",
        ],
    );
}

#[test]
fn a_port_allows_only_that_port() {
    check(
        "localhost:8080",
        &["https://localhost:8080/"],
        &["https://localhost/", "https://localhost:8081/", "http://localhost:8080/"],
    );
}

#[test]
fn plain_http_needs_an_http_entry() {
    check("http://a.com", &["http://a.com/", "http://b.a.com:80/"], &["https://a.com/", "http://a.com:81/"]);
    check("HTTP://a.com:8080", &["http://a.com:8080/"], &["http://a.com/", "https://a.com:8080/"]);
    check("https://a.com", &["https://a.com/"], &["http://a.com/"]);
}

#[test]
fn hosts_compare_as_the_url_standard_parses_them() {
    check("BÜCHER.example", &["https://xn--bcher-kva.example/", "https://bücher.example/"], &[]);
    check("example.com.", &["https://example.com/", "https://EXAMPLE.com./"], &["https://example.com../"]);
    check(
        "example.com",
        &["https://ｅｘａｍｐｌｅ。com/", "https://example.com./"],
        &["https://exаmple.com/"],
    );
    check(
        "0x7f.1",
        &["https://127.0.0.1/", "https://2130706433/", "https://0177.0.0.1./"],
        &["https://127.0.0.2/"],
    );
    check("[::1]", &["https://[0:0::1]/"], &["https://127.0.0.1/", "https://[::ffff:127.0.0.1]/"]);
    check("[::1]:8443", &["https://[::1]:8443/"], &["https://[::1]/"]);
}

#[test]
fn an_address_has_no_subdomains() {
    check("1.2.3.4", &["https://1.2.3.4/"], &["https://12.3.4/"]);
}

#[test]
fn what_is_no_host_is_refused_with_advice() {
    refused("", "empty");
    refused("https://", "empty");
    refused(":443", "empty");
    refused("*.example.com", "\"example.com\" already allows its subdomains");
    refused("*", "wildcards");
    refused("api.*.com", "wildcards");
    refused("a.com/v1", "write \"a.com\"");
    refused("a.com/", "no path");
    refused("https://a.com/v1?x", "write \"a.com\"");
    refused("a.com?x", "no path");
    refused("a.com#x", "no path");
    refused("a.com\\b", "no path");
    refused("//a.com", "no path");
    refused("user:pw@a.com", "write \"a.com\"");
    refused("ftp://a.com", "\"ftp://\"");
    refused("{{scheme}}://a.com", "\"x://\"");
    refused("a.com:", "no port");
    refused("a.com:0", "no port");
    refused("a.com:65536", "\"65536\" is no port");
    refused("a.com:+80", "no port");
    refused("a.com:http", "no port");
    refused(" a.com", "white space");
    refused("a.com\n", "white space");
    refused("a.com,b.com", "entry of its own");
    refused("::1", "[::1]");
    refused("[::1", "no host name");
    refused("[::1]x", "no host name");
    refused("a..com", "empty label");
    refused(".a.com", "empty label");
    refused("a\"b.com", "no host name");
    refused("1.2.3.256", "no host name");
    refused("a.com%2fb", "no host name");
}

#[test]
fn placeholders_are_checked_when_parsed() {
    for entry in
        ["{{domain}}", "{{shop}}.myshopify.com", "{{ host }}:{{port}}", "api.{{tld}}", "http://{{a}}:8080"]
    {
        let pattern = HostPattern::parse(entry).expect(entry);
        assert!(pattern.has_placeholders());
        assert_eq!(pattern.to_string(), entry);
    }
    refused("{{}}", "no placeholder");
    refused("{{a b}}", "no placeholder");
    refused("{{a", "pair up");
    refused("a}}.com", "pair up");
    refused("{a}.com", "pair up");
    refused("*.{{domain}}", "wildcards");
    refused("{{domain}}/api", "no path");
}

#[track_caller]
fn fill(pattern: &str, value: &str) -> Result<ResolvedHost, HostFillError> {
    HostPattern::parse(pattern).expect(pattern).fill(|_| Some(value.to_owned()))
}

#[test]
fn a_filled_entry_is_what_it_reads() {
    assert_eq!(
        fill("{{domain}}", "https://jira.acme.com/").expect("filled").as_str(),
        "https://jira.acme.com"
    );
    assert_eq!(fill("{{shop}}.myshopify.com", "acme").expect("filled").as_str(), "acme.myshopify.com");
    assert_eq!(fill("{{domain}}", "acme.com:8443").expect("filled").port(), 8443);
    assert_eq!(fill("{{domain}}", "http://acme.com").expect("filled").port(), 80);
}

#[test]
fn a_value_smuggles_nothing() {
    for value in [
        "evil.com/",
        "evil.com/x",
        "evil.com#",
        "evil.com?",
        "evil.com\\",
        "evil.com:443",
        "x@evil.com:1/",
        "evil.com/@",
        "evil.com%2f",
        "evil.com%23",
        "*",
        "a,b",
        "a b",
        "a\n",
        "{{domain}}",
        "evil.com//",
        "http://evil.com/",
        "",
    ] {
        fill("{{shop}}.myshopify.com", value).expect_err(value);
    }
    for value in ["a.com//", "a.com/x", "a.com/x/", "a.com, b.com", "*", "u@a.com", "/", "https:///"] {
        fill("{{domain}}", value).expect_err(value);
    }
}

#[test]
fn a_missing_value_allows_nothing_and_is_listed_as_written() {
    let patterns =
        [HostPattern::parse("a.com").expect("host"), HostPattern::parse("{{domain}}").expect("host")];
    let hosts = AllowedHosts::resolve(&patterns, |_| None);
    assert_eq!(hosts.to_string(), "[a.com, {{domain}}]");
    let unresolved: Vec<_> = hosts.unresolved().map(ToString::to_string).collect();
    assert_eq!(
        unresolved,
        ["allowedHosts entry \"{{domain}}\" needs a value for \"domain\" in the connection's config"]
    );
    assert_eq!(AllowedHosts::default().to_string(), "[]");
}
