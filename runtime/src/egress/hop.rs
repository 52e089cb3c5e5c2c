//! A request that has been checked and is ready for the wire; redirects change it in place.

use url::Url;

use super::error::EgressFailure;
use super::headers::{self, Header, host_with_port};
use super::multipart;
use super::request::{Body, Method, Request};
use super::wire::OUTPUT_BUFFER;
use crate::manifest::host::AllowedHosts;

/// One request on its way: to the URL that the caller asked for, or to where redirects have led.
#[derive(Debug)]
pub(super) struct Hop<'a> {
    pub(super) method: &'static str,
    pub(super) url: Url,
    pub(super) headers: Vec<Header>,
    pub(super) body: Option<std::borrow::Cow<'a, [u8]>>,
}

impl Hop<'_> {
    /// Whether the request only reads, so that sending it twice does no harm.
    pub(super) fn is_read(&self) -> bool {
        self.method == "GET"
    }
}

impl<'a> Hop<'a> {
    /// Checks `request`, and that `allowed` has its host. Nothing is sent.
    pub(super) fn first(request: &'a Request, allowed: &AllowedHosts) -> Result<Hop<'a>, EgressFailure> {
        let url = check_url(&request.url, allowed)?;
        let (body, own_content_type) = match &request.body {
            _ if request.method == Method::Get => (None, None),
            Body::None => (None, None),
            Body::Bytes(bytes) => (Some(bytes.as_slice().into()), None),
            Body::Multipart(fields) => {
                let (bytes, content_type) = multipart::encode(fields)?;
                (Some(bytes.into()), Some(content_type))
            }
        };
        let mut hop = Hop { method: request.method.as_str(), url, headers: Vec::new(), body };
        let body_length = hop.body.as_ref().map_or(0, |body| body.len());
        hop.headers = headers::check(&request.headers, &hop.url, body_length)?;
        hop.set_content_type(own_content_type.as_deref(), request.default_content_type);
        Ok(hop)
    }

    fn set_content_type(&mut self, own: Option<&str>, default: Option<&str>) {
        let is_content_type = |header: &Header| header.is("content-type");
        if own.is_some() {
            self.headers.retain(|header| !is_content_type(header));
        }
        let has_one = self.headers.iter().any(is_content_type);
        if let Some(value) = own.or(default.filter(|_| !has_one && self.method != "GET")) {
            self.headers.push(Header { name: "Content-Type".to_owned(), value: value.into() });
        }
    }
}

/// Parses a URL, and checks it against what may be asked for. The host goes first, so that whatever else is wrong with a
/// URL, one outside `allowedHosts` is told by its host.
fn check_url(text: &str, allowed: &AllowedHosts) -> Result<Url, EgressFailure> {
    let invalid = |message: String| Err(EgressFailure::Invalid { message });
    // The URL standard drops tabs and line breaks silently; a URL that has any was not meant, or was meant to deceive.
    if text.chars().any(char::is_control) {
        return invalid(format!("the URL \"{}\" contains a control character", text.escape_debug()));
    }
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return invalid(format!("\"{text}\" is no absolute URL: {error}")),
    };
    url.set_fragment(None);
    if !matches!(url.scheme(), "https" | "http") {
        return invalid(format!(
            "the URL \"{text}\" has the scheme \"{}\"; use https (or http)",
            url.scheme()
        ));
    }
    if !allowed.allows(&url) {
        return Err(blocked(&url, allowed));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let host = host_with_port(&url);
        return invalid(format!(
            "the URL of \"{host}\" contains a user name or password; send an Authorization header"
        ));
    }
    if url.as_str().len() + LINE_OVERHEAD > OUTPUT_BUFFER {
        return invalid(format!("the URL is longer than {} bytes", OUTPUT_BUFFER - LINE_OVERHEAD));
    }
    Ok(url)
}

/// What stands around the URL in a request's first line, and more.
const LINE_OVERHEAD: usize = 64;

fn blocked(url: &Url, allowed: &AllowedHosts) -> EgressFailure {
    let host = host_with_port(url);
    let is_plain_http_alone = url.scheme() == "http" && allowed.covers_host_over_tls(url);
    let hint = match is_plain_http_alone {
        true => format!(" (plain http needs an entry \"http://{host}\")"),
        false => String::new(),
    };
    EgressFailure::Blocked { host, allowed: allowed.to_string(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::host::HostPattern;

    fn allowed(entries: &[&str]) -> AllowedHosts {
        let patterns: Vec<_> = entries.iter().map(|entry| HostPattern::parse(entry).expect(entry)).collect();
        AllowedHosts::resolve(&patterns, |_| None)
    }

    #[track_caller]
    fn refused(url: &str, message: &str) {
        let error = check_url(url, &allowed(&["a.com", "b.com"])).expect_err(url).to_string();
        assert!(error.contains(message), "{url:?}: {error}");
    }

    #[test]
    fn a_blocked_host_is_told_in_the_contracts_words() {
        refused(
            "https://evil.com/x?y",
            "HTTP request to \"evil.com\" blocked: host not in allowedHosts [a.com, b.com]",
        );
        refused(
            "https://a.com:8443/",
            "HTTP request to \"a.com:8443\" blocked: host not in allowedHosts [a.com, b.com]",
        );
        let failure = check_url("http://evil.com/", &allowed(&["a.com"])).expect_err("blocked").to_string();
        assert_eq!(failure, "HTTP request to \"evil.com\" blocked: host not in allowedHosts [a.com]");
        let failure = check_url("http://x.a.com/", &allowed(&["a.com"])).expect_err("blocked").to_string();
        assert_eq!(
            failure,
            "HTTP request to \"x.a.com\" blocked: host not in allowedHosts [a.com] \
             (plain http needs an entry \"http://x.a.com\")"
        );
        let failure = check_url("https://a.com/", &allowed(&[])).expect_err("blocked").to_string();
        assert_eq!(failure, "HTTP request to \"a.com\" blocked: host not in allowedHosts []");
    }

    #[test]
    fn tricks_with_the_authority_are_seen_through() {
        for url in [
            "https://a.com@evil.com/",
            "https://a.com:x@evil.com/",
            "https://evil.com\\@a.com/",
            "https://evil.com\\.a.com/",
            "https://evil.com#@a.com/",
            "https://evil.com?a.com",
            "https:evil.com",
            "https:///evil.com",
            "https:\\\\evil.com",
            "HTTPS://EVIL.COM",
            "https://evil.com.",
            "https://eviｌ.com",
        ] {
            refused(url, "blocked: host not in allowedHosts");
        }
    }

    #[test]
    fn what_is_no_plain_url_is_refused() {
        refused("https://user:pass@a.com/", "Authorization header");
        refused("https://user@a.com/", "Authorization header");
        refused("https://a.com/\r\nHost: b.com", "control character");
        refused("https://a.com/\tx", "control character");
        refused("\u{0}https://a.com/", "control character");
        refused("https://a.com/\u{7f}", "control character");
        refused("ftp://a.com/", "scheme \"ftp\"");
        refused("file:///etc/passwd", "scheme \"file\"");
        refused("/x", "no absolute URL");
        refused("a.com/x", "no absolute URL");
        refused("", "no absolute URL");
        refused(&format!("https://a.com/{}", "x".repeat(OUTPUT_BUFFER)), "longer than");
    }

    #[test]
    fn the_message_about_userinfo_keeps_the_password() {
        let error =
            check_url("https://me:hunter2@a.com/", &allowed(&["a.com"])).expect_err("userinfo").to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
