//! The cookie that a browser is known again by, for as long as a consent takes.

use axum::http::HeaderMap;
use axum::http::header::{COOKIE, HeaderName, SET_COOKIE};
use axum::response::AppendHeaders;
use zeroize::Zeroizing;

use crate::oauth::state;

/// With https, no other host and no plain page can set a cookie of this name.
const SECURE_NAME: &str = "__Host-portcullis-consent";
const PLAIN_NAME: &str = "portcullis-consent";
/// How long the browser keeps it, in seconds: for a consent and the question that may follow it.
const MAX_AGE: u32 = 1800;

/// A browser.
pub(super) struct Browser {
    id: Zeroizing<String>,
    is_secure: bool,
}

impl Browser {
    /// The browser that a request came from: the one that its cookie names, or a new one.
    pub(super) fn of(headers: &HeaderMap, public_url: &str) -> Self {
        let is_secure = public_url.starts_with("https://");
        let id = cookie(headers, name(is_secure)).unwrap_or_else(state::random_text);
        Self { id, is_secure }
    }

    /// What it is known by.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The header that has it send its cookie from now on. `Lax`: it comes back from another site.
    pub(super) fn remembered(&self) -> AppendHeaders<[(HeaderName, String); 1]> {
        let (name, id) = (name(self.is_secure), self.id.as_str());
        let secure = if self.is_secure { "; Secure" } else { "" };
        let cookie = format!("{name}={id}; Path=/; Max-Age={MAX_AGE}; HttpOnly; SameSite=Lax{secure}");
        AppendHeaders([(SET_COOKIE, cookie)])
    }
}

fn name(is_secure: bool) -> &'static str {
    if is_secure { SECURE_NAME } else { PLAIN_NAME }
}

/// The cookie's value, where it is one that this server can have set.
fn cookie(headers: &HeaderMap, name: &str) -> Option<Zeroizing<String>> {
    let headers = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        headers.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(own, value)| *own == name && state::is_well_formed(value))
        .map(|(_, value)| Zeroizing::new(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        cookies.iter().map(|cookie| (COOKIE, cookie.parse().expect("a header"))).collect()
    }

    #[test]
    fn a_browser_is_known_again_by_its_cookie() {
        for public_url in ["https://portcullis.example", "http://127.0.0.1:7400"] {
            let first = Browser::of(&HeaderMap::new(), public_url);
            let AppendHeaders([(_, set)]) = first.remembered();
            let pair = set.split(';').next().expect("a pair");
            let again = Browser::of(&headers(&["a=b", &format!("x=y; {pair}; z=")]), public_url);
            assert_eq!(again.id(), first.id());
            assert_ne!(Browser::of(&headers(&["a=b"]), public_url).id(), first.id());
            assert_eq!(set.contains("; Secure"), public_url.starts_with("https"));
            assert_eq!(pair.starts_with("__Host-"), public_url.starts_with("https"));
            assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax") && set.contains("Path=/;"));
        }
    }

    #[test]
    fn a_cookie_that_is_none_of_ours_names_nobody() {
        let browser = Browser::of(&headers(&["portcullis-consent=short"]), "http://a");
        assert_ne!(browser.id(), "short");
        assert!(state::is_well_formed(browser.id()));
    }
}
