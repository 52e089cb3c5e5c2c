//! Requests that get no response, redirects, and the limits of a call's requests.

use std::time::Duration;

use portcullis_runtime::ErrorCode::{HostBlocked, LimitExceeded, ProviderUnavailable};
use portcullis_runtime::KIB;
use serde_json::json;

use super::{catching, thrown};
use crate::support::{Case, Ran};
use crate::upstream::server::{Recorded, Reply};

const GET: &str = "return ctx.http.get('http://api.test/path?q').status";

/// The message of the Error that a request throws, which names the URL.
#[track_caller]
fn told(case: Case) -> String {
    let ran = thrown(case);
    let message = ran.value()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("api.test/path?q\""), "{message}");
    assert_eq!(ran.value()["name"], json!("Error"));
    message
}

#[test]
fn a_refused_connection() {
    let message = told(Case::execute(&catching(GET)).refused());
    assert!(message.starts_with("HTTP request to \"http://api.test/path?q\" failed: "), "{message}");
    assert!(message.contains("refused"), "{message}");
}

#[test]
fn a_name_without_an_address() {
    let message = told(Case::execute(&catching(GET)));
    assert!(message.contains("api.test") && message.contains("no such name"), "{message}");
}

#[test]
fn a_certificate_for_another_name() {
    let https = GET.replace("http:", "https:");
    let message = told(Case::execute(&catching(&https)).serve_tls_as(&["other.test"], |_| Reply::ok("")));
    assert!(message.contains("TLS"), "{message}");
}

#[test]
fn a_server_that_hangs_up() {
    let message =
        told(Case::execute(&catching(GET)).serve(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Le").close()));
    assert!(message.contains("failed"), "{message}");
}

#[test]
fn a_server_that_speaks_no_http() {
    let message =
        told(Case::execute(&catching(GET)).serve(|_| Reply::raw("SSH-2.0-OpenSSH\r\n\r\n").close()));
    assert!(message.contains("failed"), "{message}");
}

#[test]
fn a_body_that_breaks_off() {
    let message = told(
        Case::execute(&catching(GET))
            .serve(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!").close()),
    );
    assert!(message.contains("failed"), "{message}");
}

#[test]
fn a_private_address_is_refused() {
    let message = told(Case::execute(&catching(GET)).target("10.0.0.1:80"));
    assert!(message.contains("10.0.0.1") && message.contains("private"), "{message}");
}

#[test]
fn uncaught_the_failures_have_their_codes() {
    let unavailable = Case::execute(GET).refused().run();
    assert_eq!(unavailable.error().code, ProviderUnavailable);
    let refused = Case::execute(GET).target("169.254.169.254:80").run();
    assert_eq!(refused.error().code, HostBlocked);
    assert_eq!(refused.http.len(), 1);
    assert!(refused.http[0].error.as_ref().unwrap().contains("169.254.169.254"));
}

#[test]
fn a_host_outside_allowed_hosts_is_blocked_in_the_contracts_words() {
    let ran = Case::execute("return ctx.http.get('https://evil.com/x').status")
        .manifest(json!({"allowedHosts": ["a.com", "b.com"]}))
        .serve(|_| Reply::ok(""))
        .fails(HostBlocked, "HTTP request to \"evil.com\" blocked: host not in allowedHosts [a.com, b.com]");
    assert_eq!((ran.requests().len(), ran.server().n_connections()), (0, 0));
}

#[test]
fn without_allowed_hosts_none_can_be_reached() {
    let case = || Case::execute("return ctx.http.get('https://api.test/').status").serve(|_| Reply::ok(""));
    for case in [case().without("allowedHosts"), case().manifest(json!({"allowedHosts": []}))] {
        case.fails(HostBlocked, "HTTP request to \"api.test\" blocked: host not in allowedHosts []");
    }
}

#[test]
fn a_blocked_host_can_be_caught() {
    Case::execute(&catching("ctx.http.get('https://evil.com/')")).gives(json!({
        "isError": true,
        "name": "Error",
        "message": "HTTP request to \"evil.com\" blocked: host not in allowedHosts [http://api.test, api.test]",
    }));
}

/// Redirects `/` to `location`; everything else is answered with its own target.
fn redirecting(status: u16, location: &'static str) -> impl Fn(&Recorded) -> Reply + Send + Sync + 'static {
    move |request| match request.target() {
        "/" => Reply::redirect(status, location),
        other => Reply::ok(other),
    }
}

#[track_caller]
fn redirected(code: &str, status: u16, location: &'static str) -> Ran {
    Case::execute(code)
        .manifest(json!({"allowedHosts": ["http://api.test", "http://b.test"]}))
        .serve(redirecting(status, location))
        .gives(json!("/there?x"))
}

#[test]
fn redirects_are_followed_within_allowed_hosts() {
    for status in [301, 302, 303, 307, 308] {
        let ran = redirected("return ctx.http.get('http://api.test/').body", status, "/there?x");
        assert_eq!(
            ran.http.iter().map(|exchange| exchange.status).collect::<Vec<_>>(),
            [Some(status), Some(200)]
        );
        assert_eq!(ran.http[1].url, "http://api.test/there?x");
    }
}

#[test]
fn across_origins_own_headers_are_dropped() {
    let code =
        "return ctx.http.get('http://api.test/', { headers: { 'X-Api-Key': 'k', Authorization: 'Bearer t',
        Cookie: 'c', Accept: 'text/plain', 'Accept-Language': 'de', 'User-Agent': 'mine' } }).body";
    let ran = redirected(code, 302, "http://b.test/there?x");
    let second = &ran.requests()[1];
    assert_eq!(second.header_names(), ["accept", "accept-encoding", "accept-language", "host", "user-agent"]);
    assert_eq!(second.header("user-agent"), Some("mine"));
    let ran = redirected(code, 302, "http://api.test/there?x");
    assert_eq!(ran.requests()[1].header("x-api-key"), Some("k"));
}

#[test]
fn a_redirect_elsewhere_is_told_in_the_contracts_words() {
    let ran = Case::execute("return ctx.http.get('http://api.test/').body").serve(redirecting(302, "https://evil.com/y")).fails(
        HostBlocked,
        "HTTP request redirected to \"https://evil.com/y\" for \"http://api.test/\". Add the redirect host to allowedHosts.",
    );
    assert_eq!(ran.requests().len(), 1);
}

#[test]
fn a_chain_of_five_redirects_is_followed_and_one_of_six_is_not() {
    let chain = |length: usize| {
        move |request: &Recorded| match request.target()[1..].parse::<usize>().unwrap() {
            n if n == length => Reply::ok("end"),
            n => Reply::redirect(302, &format!("/{}", n + 1)),
        }
    };
    Case::execute("return ctx.http.get('http://api.test/0').body").serve(chain(5)).gives(json!("end"));
    let ran = Case::execute("return ctx.http.get('http://api.test/0').body").serve(chain(6)).run();
    assert!(ran.error().message.contains("redirects"), "{}", ran.error().message);
    assert_eq!(ran.requests().len(), 6);
}

#[test]
fn the_fifty_first_request_ends_the_call() {
    let code =
        "let n = 0; try { for (;;) { ctx.http.get('http://api.test/'); n++; } } catch (error) { return n; }";
    let ran = Case::execute(code)
        .serve(|_| Reply::ok(""))
        .fails(LimitExceeded, "the call made more than its 50 HTTP requests");
    assert_eq!(ran.requests().len(), 50);
    assert_eq!(ran.error().details, Some(json!({"limit": "http_requests", "value": 50})));
}

#[test]
fn fifty_requests_are_allowed() {
    let code = "for (let n = 0; n < 50; n++) ctx.http.get('http://api.test/'); return 'done';";
    Case::execute(code).serve(|_| Reply::ok("")).gives(json!("done"));
}

#[test]
fn a_body_past_the_limit_ends_the_call() {
    let code = "try { return ctx.http.get('http://api.test/').body.length } catch { return 'caught' }";
    let with_body = |n_bytes: usize| {
        Case::execute(code)
            .limits(|limits| limits.response_body = 4 * KIB)
            .serve(move |_| Reply::ok(vec![b'x'; n_bytes]))
    };
    with_body(4096).gives(json!(4096));
    with_body(4097).fails(LimitExceeded, "an HTTP response's body is larger than the limit of 4 KiB");
}

#[test]
fn a_body_that_unpacks_past_the_limit_ends_the_call() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; 20_000_000]).unwrap();
    let bomb = encoder.finish().unwrap();
    Case::execute("return ctx.http.get('http://api.test/').body.length")
        .serve(move |_| Reply::status("200 OK", &[("Content-Encoding", "gzip")], &bomb))
        .fails(LimitExceeded, "an HTTP response's body is larger than the limit of 10 MiB");
}

#[test]
fn a_silent_server_ends_the_call_at_its_deadline() {
    let code = "try { return ctx.http.get('http://api.test/').body.length } catch { return 'caught' }";
    let ran = Case::execute(code)
        .limits(|limits| limits.deadline = Duration::from_millis(700))
        .serve(|_| Reply::default().wait(Duration::from_secs(5)))
        .fails(LimitExceeded, "the call passed its deadline of 700 ms");
    assert!(ran.duration < Duration::from_millis(1000), "{:?}", ran.duration);
    assert_eq!(ran.http.len(), 1);
}

#[test]
fn the_connections_own_timeout_sets_the_deadline() {
    for (manifest, config, deadline) in [
        (json!({}), json!({"timeout": 600}), "600 ms"),
        (json!({"timeout": 600}), json!({}), "600 ms"),
        (json!({"timeout": 9000}), json!({"timeout": 600}), "600 ms"),
        (json!({"timeout": 9000}), json!({}), "800 ms"),
    ] {
        Case::execute("for (;;) {}")
            .manifest(json!({"connectionConfig": manifest}))
            .config(config)
            .limits(|limits| limits.max_deadline = Duration::from_millis(800))
            .fails(LimitExceeded, &format!("the call passed its deadline of {deadline}"));
    }
}
