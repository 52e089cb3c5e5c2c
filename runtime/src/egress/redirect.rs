//! Where a redirect leads, and what becomes of the request on the way.

use url::Url;

use super::error::EgressFailure;
use super::headers::{strip_across_origins, strip_body_headers};
use super::hop::Hop;
use crate::manifest::host::AllowedHosts;

/// How many redirects one request may follow.
pub(super) const MAX_REDIRECTS: u32 = 5;

/// Whether a response with `status` and a `Location` is followed. The other 3xx are given to the caller as they are.
pub(super) fn is_followed(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Turns `hop` into the request that a redirect asks for. `asked` is the URL that the caller gave, for messages.
pub(super) fn follow(
    hop: &mut Hop<'_>,
    status: u16,
    location: &str,
    allowed: &AllowedHosts,
    asked: &str,
) -> Result<(), EgressFailure> {
    let target = target(&hop.url, location, allowed, asked)?;
    if changes_to_get(status, hop.method) && hop.method != "GET" {
        hop.method = "GET";
        hop.body = None;
        strip_body_headers(&mut hop.headers);
    }
    if target.origin() != hop.url.origin() {
        strip_across_origins(&mut hop.headers);
    }
    hop.url = target;
    Ok(())
}

fn changes_to_get(status: u16, method: &str) -> bool {
    match status {
        301 | 302 => method == "POST",
        303 => true,
        _ => false,
    }
}

fn target(from: &Url, location: &str, allowed: &AllowedHosts, asked: &str) -> Result<Url, EgressFailure> {
    let refuse = |problem: &str| {
        let message = format!("\"{asked}\" redirected to \"{}\", {problem}", location.escape_debug());
        EgressFailure::Invalid { message }
    };
    let mut target = from.join(location).map_err(|error| refuse(&format!("which is no URL: {error}")))?;
    target.set_fragment(None);
    if !matches!(target.scheme(), "https" | "http") {
        return Err(refuse(&format!("whose scheme \"{}\" is neither https nor http", target.scheme())));
    }
    if !allowed.allows(&target) {
        // A location relative to the scheme or the path says too little to add a host from.
        let shown = if Url::parse(location).is_ok() { location } else { target.as_str() };
        return Err(EgressFailure::RedirectBlocked { location: shown.to_owned(), url: asked.to_owned() });
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Err(refuse("which contains a user name or password"));
    }
    Ok(target)
}
