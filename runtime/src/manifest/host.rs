//! Entries of `allowedHosts`: parsed as written, filled from a connection's config, and matched against URLs.

use std::fmt;

use url::{Host, Url};

/// One entry of a manifest's `allowedHosts`, as its author wrote it.
///
/// `api.github.com`, `localhost:8443`, `http://intranet.example`, `{{shop}}.myshopify.com`. Each `{{key}}` is filled
/// from the connection's config by [`HostPattern::fill`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Key(String),
}

impl HostPattern {
    /// Parses an entry. One with placeholders is checked with stand-ins in their places, so that a mistake in its
    /// fixed part (a wildcard, a path) is found before any connection exists.
    pub fn parse(source: &str) -> Result<HostPattern, HostPatternError> {
        let refuse = |reason| HostPatternError { entry: source.to_owned(), reason };
        let pattern = HostPattern { source: source.to_owned(), parts: split_parts(source).map_err(refuse)? };
        let probe = |stand_in: &str| {
            parse_entry(&pattern.filled_text(|_| Some(stand_in.to_owned())).unwrap_or_default())
        };
        // A letter stands for a name, a digit for a port or part of an address; no single stand-in is right for both.
        match probe("x") {
            Err(_) if pattern.has_placeholders() && probe("1").is_ok() => {}
            other => drop(other.map_err(refuse)?),
        }
        Ok(pattern)
    }

    /// The entry as written in the manifest.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the entry needs values from a connection's config.
    pub fn has_placeholders(&self) -> bool {
        self.keys().next().is_some()
    }

    /// The keys of the entry's placeholders, in the order written; a key used twice comes twice.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Key(key) => Some(key.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Fills the placeholders and parses the outcome afresh, so that a value can't turn one entry into something
    /// other than one entry. A lone `/` at the end is dropped, since people paste `https://host/` into forms.
    ///
    /// # Errors
    /// [`HostFillError::Missing`] where `config` has no value, or an empty one; [`HostFillError::Invalid`] where the filled text is no entry.
    pub fn fill(&self, config: impl Fn(&str) -> Option<String>) -> Result<ResolvedHost, HostFillError> {
        let filled = self
            .filled_text(|key| config(key).filter(|value| !value.is_empty()))
            .map_err(|key| HostFillError::Missing { pattern: self.source.clone(), key: key.to_owned() })?;
        let text = match filled.strip_suffix('/') {
            Some(text) if self.has_placeholders() && !text.ends_with('/') => text,
            _ => &filled,
        };
        parse_entry(text).map_err(|reason| {
            let source = HostPatternError { entry: text.to_owned(), reason };
            HostFillError::Invalid { pattern: self.source.clone(), source }
        })
    }

    /// The text with each placeholder replaced, or the first key that has no value.
    fn filled_text(&self, value: impl Fn(&str) -> Option<String>) -> Result<String, &str> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Key(key) => text.push_str(&value(key).ok_or(key.as_str())?),
            }
        }
        Ok(text)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)
    }
}

/// An entry with its placeholders filled: one host, one scheme, one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedHost {
    text: String,
    plain_http: bool,
    host: Host<String>,
    port: u16,
}

impl ResolvedHost {
    /// The entry's text, its placeholders filled.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host as the URL standard parses it, without a trailing dot.
    pub fn host(&self) -> &Host<String> {
        &self.host
    }

    /// The only port that the entry allows.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether `url` has this entry's scheme, its port, and its host or a subdomain of that.
    pub fn allows(&self, url: &Url) -> bool {
        let scheme = if self.plain_http { "http" } else { "https" };
        url.scheme() == scheme && url.port_or_known_default() == Some(self.port) && self.covers_host(url)
    }

    fn covers_host(&self, url: &Url) -> bool {
        match (&self.host, url.host()) {
            (Host::Domain(allowed), Some(Host::Domain(asked))) => is_same_or_subdomain(asked, allowed),
            (Host::Ipv4(allowed), Some(Host::Ipv4(asked))) => *allowed == asked,
            (Host::Ipv6(allowed), Some(Host::Ipv6(asked))) => *allowed == asked,
            _ => false,
        }
    }
}

fn is_same_or_subdomain(asked: &str, allowed: &str) -> bool {
    let asked = asked.strip_suffix('.').unwrap_or(asked);
    match asked.strip_suffix(allowed) {
        Some("") => true,
        Some(prefix) => prefix.ends_with('.') && prefix.len() > 1,
        None => false,
    }
}

/// The hosts that one call may reach: a connector's entries, filled from one connection's config.
///
/// An entry that couldn't be filled allows nothing, and is still listed in messages as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    entries: Vec<Result<ResolvedHost, HostFillError>>,
}

impl AllowedHosts {
    /// Fills each of `patterns` from `config`.
    pub fn resolve(patterns: &[HostPattern], config: impl Fn(&str) -> Option<String>) -> AllowedHosts {
        AllowedHosts { entries: patterns.iter().map(|pattern| pattern.fill(&config)).collect() }
    }

    /// Whether an entry allows `url`.
    pub fn allows(&self, url: &Url) -> bool {
        self.resolved().any(|entry| entry.allows(url))
    }

    /// Whether an https entry covers the host of `url`, on whatever port: what a plain http request may have meant.
    pub fn covers_host_over_tls(&self, url: &Url) -> bool {
        self.resolved().any(|entry| !entry.plain_http && entry.covers_host(url))
    }

    /// The entries that could be filled.
    pub fn resolved(&self) -> impl Iterator<Item = &ResolvedHost> {
        self.entries.iter().filter_map(|entry| entry.as_ref().ok())
    }

    /// Why entries couldn't be filled, for a warning in the call's log.
    pub fn unresolved(&self) -> impl Iterator<Item = &HostFillError> {
        self.entries.iter().filter_map(|entry| entry.as_ref().err())
    }
}

impl fmt::Display for AllowedHosts {
    /// `[a.com, b.com]`, in the manifest's order.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[")?;
        for (index, entry) in self.entries.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let text = entry.as_ref().map_or_else(HostFillError::pattern, ResolvedHost::as_str);
            write!(formatter, "{separator}{text}")?;
        }
        formatter.write_str("]")
    }
}

/// Text that is no entry of `allowedHosts`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowedHosts entry \"{}\": {reason}", entry.escape_debug())]
pub struct HostPatternError {
    entry: String,
    reason: HostPatternReason,
}

impl HostPatternError {
    /// What is wrong, without the entry itself: a sentence for messages that show the entry elsewhere.
    pub fn reason(&self) -> &HostPatternReason {
        &self.reason
    }

    /// The refused text.
    pub fn entry(&self) -> &str {
        &self.entry
    }
}

/// Why text is no entry of `allowedHosts`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message is its documentation")]
pub enum HostPatternReason {
    #[error("it is empty; write a host name such as \"api.example.com\"")]
    Empty,
    #[error("it contains white space or a control character")]
    WhiteSpace,
    #[error("wildcards don't exist; \"{base}\" already allows its subdomains")]
    WildcardLabel { base: String },
    #[error("wildcards don't exist; name each host, whose subdomains are then allowed too")]
    Wildcard,
    #[error(
        "\"{scheme}://\" is no scheme for an entry; write the host alone for https, or \"http://host\" for plain http"
    )]
    Scheme { scheme: String },
    #[error("an entry has no user name or password; write \"{host}\"")]
    UserInfo { host: String },
    #[error("an entry has no path, query or fragment; write \"{host}\"")]
    Path { host: String },
    #[error("an entry names one host; list each in an entry of its own")]
    Several,
    #[error("\"{port}\" is no port; it is a number from 1 to 65535")]
    Port { port: String },
    #[error("an IPv6 address is written in brackets: \"[{address}]\"")]
    BareIpv6 { address: String },
    #[error("\"{host}\" is no host name ({detail})")]
    Host { host: String, detail: String },
    #[error("\"{{{{\" and \"}}}}\" don't pair up; a placeholder is written {{{{key}}}}")]
    UnbalancedPlaceholder,
    #[error(
        "\"{{{{{key}}}}}\" is no placeholder; its key is made of letters, digits, \"_\", \"-\" and \".\""
    )]
    PlaceholderKey { key: String },
}

/// Why an entry couldn't be filled from a connection's config.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostFillError {
    /// The config has no value, or an empty one.
    #[error("allowedHosts entry \"{pattern}\" needs a value for \"{key}\" in the connection's config")]
    Missing {
        /// The entry as written.
        pattern: String,
        /// The key that has no value.
        key: String,
    },
    /// The filled text is no entry.
    #[error("allowedHosts entry \"{pattern}\" can't be filled from the connection's config")]
    Invalid {
        /// The entry as written.
        pattern: String,
        /// What is wrong with the filled text.
        source: HostPatternError,
    },
}

impl HostFillError {
    /// The entry as written.
    pub fn pattern(&self) -> &str {
        match self {
            HostFillError::Missing { pattern, .. } | HostFillError::Invalid { pattern, .. } => pattern,
        }
    }
}

fn split_parts(source: &str) -> Result<Vec<Part>, HostPatternReason> {
    let mut parts = Vec::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{{") {
        let (key, tail) = after.split_once("}}").ok_or(HostPatternReason::UnbalancedPlaceholder)?;
        parts.push(Part::Text(before.to_owned()));
        parts.push(Part::Key(parse_key(key)?));
        rest = tail;
    }
    parts.push(Part::Text(rest.to_owned()));
    let is_stray = |part: &Part| matches!(part, Part::Text(text) if text.contains(['{', '}']));
    if parts.iter().any(is_stray) { Err(HostPatternReason::UnbalancedPlaceholder) } else { Ok(parts) }
}

fn parse_key(key: &str) -> Result<String, HostPatternReason> {
    let name = key.trim();
    let is_key = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    if name.is_empty() || !name.chars().all(is_key) {
        return Err(HostPatternReason::PlaceholderKey { key: key.to_owned() });
    }
    Ok(name.to_owned())
}

fn parse_entry(text: &str) -> Result<ResolvedHost, HostPatternReason> {
    if text.is_empty() {
        return Err(HostPatternReason::Empty);
    }
    if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
        return Err(HostPatternReason::WhiteSpace);
    }
    let (plain_http, authority) = split_scheme(text)?;
    refuse_url_parts(authority)?;
    let (host, port) = split_port(authority)?;
    let default_port = if plain_http { 80 } else { 443 };
    let port = port.map_or(Ok(default_port), parse_port)?;
    Ok(ResolvedHost { text: text.to_owned(), plain_http, host: parse_host(host)?, port })
}

/// Whether the entry is for plain http, and what follows its scheme.
fn split_scheme(text: &str) -> Result<(bool, &str), HostPatternReason> {
    match text.split_once("://") {
        None => Ok((false, text)),
        Some((scheme, authority)) if scheme.eq_ignore_ascii_case("https") => Ok((false, authority)),
        Some((scheme, authority)) if scheme.eq_ignore_ascii_case("http") => Ok((true, authority)),
        Some((scheme, _)) if scheme.contains(['/', '?', '#', '@']) => {
            Err(HostPatternReason::Path { host: "host".to_owned() })
        }
        Some((scheme, _)) => Err(HostPatternReason::Scheme { scheme: scheme.to_owned() }),
    }
}

/// Refuses what belongs to a URL or a pattern rather than to a host, each with its own advice.
fn refuse_url_parts(authority: &str) -> Result<(), HostPatternReason> {
    if let Some(end) = authority.find(['/', '\\', '?', '#']) {
        let host = authority[..end].rsplit('@').next().unwrap_or_default();
        return Err(HostPatternReason::Path { host: host.to_owned() });
    }
    if let Some((_, host)) = authority.rsplit_once('@') {
        return Err(HostPatternReason::UserInfo { host: host.to_owned() });
    }
    if let Some(base) = authority.strip_prefix("*.").filter(|base| !base.contains('*') && !base.is_empty()) {
        return Err(HostPatternReason::WildcardLabel { base: base.to_owned() });
    }
    if authority.contains('*') {
        return Err(HostPatternReason::Wildcard);
    }
    if authority.contains([',', ';']) {
        return Err(HostPatternReason::Several);
    }
    Ok(())
}

/// Splits `host[:port]`, where the host may be an IPv6 address in brackets.
pub(crate) fn split_port(authority: &str) -> Result<(&str, Option<&str>), HostPatternReason> {
    if authority.starts_with('[') {
        let end = authority.find(']').map_or(authority.len(), |end| end + 1);
        let (host, rest) = authority.split_at(end);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(no_host(authority, "text after the address")),
        };
    }
    match authority.split_once(':') {
        Some((_, rest)) if rest.contains(':') => {
            Err(HostPatternReason::BareIpv6 { address: authority.to_owned() })
        }
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

pub(crate) fn parse_port(port: &str) -> Result<u16, HostPatternReason> {
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { port.parse().unwrap_or(0) } else { 0 };
    if number == 0 { Err(HostPatternReason::Port { port: port.to_owned() }) } else { Ok(number) }
}

pub(crate) fn parse_host(host: &str) -> Result<Host<String>, HostPatternReason> {
    if host.is_empty() {
        return Err(HostPatternReason::Empty);
    }
    match Host::parse(host).map_err(|error| no_host(host, &error.to_string()))? {
        Host::Domain(domain) => parse_domain(&domain).map(Host::Domain),
        address => Ok(address),
    }
}

/// Checks a domain that IDNA has already mapped to ASCII. The URL standard lets through characters that no host name
/// has (quotes, braces, brackets of other kinds); an entry doesn't.
fn parse_domain(domain: &str) -> Result<String, HostPatternReason> {
    let name = domain.strip_suffix('.').unwrap_or(domain);
    if name.split('.').any(str::is_empty) {
        return Err(no_host(domain, "an empty label between dots"));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if let Some(byte) = name.bytes().find(|byte| !is_name(*byte)) {
        return Err(no_host(domain, &format!("it contains \"{}\"", char::from(byte).escape_debug())));
    }
    Ok(name.to_owned())
}

fn no_host(host: &str, detail: &str) -> HostPatternReason {
    HostPatternReason::Host { host: host.to_owned(), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests;
