//! Redaction: each occurrence of a secret's value in what leaves a call becomes `[redacted]`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// Finds the values of a call's secrets, and the forms that they take on their way: base64 (both alphabets, padded or
/// not, and within longer encoded text), URL-encoded, JSON-escaped, and the credentials of basic authentication.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    automaton: Option<AhoCorasick>,
    /// Whether a secret could stand in a number.
    may_be_in_numbers: bool,
}

impl Redactor {
    /// A redactor of these values; empty ones are no secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut patterns = BTreeSet::new();
        for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
            add_forms(secret, &mut patterns);
        }
        if patterns.is_empty() {
            return Self::default();
        }
        let may_be_in_numbers = patterns.iter().any(|pattern| pattern.bytes().all(is_of_numbers));
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // The kind that is made in time linear to the secrets' length: a DFA takes seconds for one of a few KiB.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            // Host names and header names change case on their way.
            .ascii_case_insensitive(true)
            .build(patterns);
        // Building fails only past 2^31 states: gigabytes of secrets. Nothing would be safe to show then.
        Self { automaton: Some(automaton.unwrap_or_else(|_| everything())), may_be_in_numbers }
    }

    /// The text with every secret in it replaced.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.automaton {
            Some(automaton) if automaton.is_match(text) => {
                let mut redacted = String::with_capacity(text.len());
                automaton.replace_all_with(text, &mut redacted, |_, _, out| {
                    out.push_str(REDACTED);
                    true
                });
                Cow::Owned(redacted)
            }
            _ => Cow::Borrowed(text),
        }
    }

    /// The text, owned, with every secret in it replaced.
    pub fn string(&self, text: String) -> String {
        match self.text(&text) {
            Cow::Owned(redacted) => redacted,
            Cow::Borrowed(_) => text,
        }
    }

    fn is_in(&self, text: &str) -> bool {
        self.automaton.as_ref().is_some_and(|automaton| automaton.is_match(text))
    }

    /// Replaces secrets in all strings, keys and numbers of a value. A number that contains one becomes the string
    /// `[redacted]`.
    pub fn value(&self, value: &mut Value) {
        if self.automaton.is_none() {
            return;
        }
        match value {
            Value::String(text) => *text = self.string(std::mem::take(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(members) => {
                members.values_mut().for_each(|member| self.value(member));
                // Most keys are fine, and a map is dear to make anew.
                if members.keys().any(|key| self.is_in(key)) {
                    let redacted = std::mem::take(members).into_iter();
                    *members = redacted.map(|(key, member)| (self.string(key), member)).collect();
                }
            }
            Value::Number(number) if self.may_be_in_numbers => {
                let redacted = self.text(&number.to_string()).contains(REDACTED);
                if redacted {
                    *value = Value::String(REDACTED.to_owned());
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// The redactors of calls made lately: to make one takes longer than many a call, and a connection's calls share theirs.
#[derive(Debug, Default)]
pub(crate) struct Redactors {
    recent: Mutex<Vec<Recent>>,
}

#[derive(Debug)]
struct Recent {
    secrets: [u8; 32],
    redactor: Redactor,
    used: Instant,
}

impl Redactors {
    /// Redactors that are kept at most.
    const MAX: usize = 64;
    /// For so long a redactor, which holds its secrets in a form of its own, is kept after its last use.
    const KEPT: Duration = Duration::from_secs(60);

    /// The redactor of these secrets.
    pub(crate) fn get<'a>(&self, secrets: impl IntoIterator<Item = &'a str> + Clone) -> Redactor {
        let key = digest(secrets.clone());
        if let Some(known) = self.known(&key) {
            return known;
        }
        let redactor = Redactor::new(secrets);
        let recent = Recent { secrets: key, redactor: redactor.clone(), used: Instant::now() };
        let mut all = self.lock();
        if all.len() >= Self::MAX {
            all.swap_remove(0);
        }
        all.push(recent);
        redactor
    }

    fn known(&self, key: &[u8; 32]) -> Option<Redactor> {
        let mut all = self.lock();
        all.retain(|recent| recent.used.elapsed() < Self::KEPT);
        let recent = all.iter_mut().find(|recent| recent.secrets == *key)?;
        recent.used = Instant::now();
        Some(recent.redactor.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a number's text can hold this byte.
fn is_of_numbers(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E')
}

/// A digest of secrets, each with its length, so that no two lists of them run together.
fn digest<'a>(secrets: impl IntoIterator<Item = &'a str>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for secret in secrets {
        digest.update(secret.len().to_le_bytes());
        digest.update(secret);
    }
    digest.finalize().into()
}

/// An automaton that matches every character.
fn everything() -> AhoCorasick {
    // 256 one-byte patterns always build.
    AhoCorasick::new((0..=255u8).map(|byte| [byte]))
        .unwrap_or_else(|_| unreachable!("256 patterns of one byte"))
}

fn add_forms(secret: &str, patterns: &mut BTreeSet<String>) {
    for form in json_forms(secret) {
        for encoded in [
            percent_encoded(&form, Unreserved::Component, true),
            percent_encoded(&form, Unreserved::Component, false),
            percent_encoded(&form, Unreserved::Rfc3986, true),
            percent_encoded(&form, Unreserved::Rfc3986, false),
            percent_encoded(&form, Unreserved::Form, true),
            percent_encoded(&form, Unreserved::Query, true),
            percent_encoded(&form, Unreserved::Path, true),
            percent_encoded(&form, Unreserved::Uri, true),
        ] {
            // A server may well answer with the URL in JSON.
            patterns.insert(json_escaped(&encoded));
            patterns.insert(encoded);
        }
        patterns.insert(form.bytes().map(|byte| format!("{byte:02x}")).collect());
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
            patterns.insert(engine.encode(&form));
        }
        for encoded in within_base64(form.as_bytes()) {
            patterns.insert(encoded.replace('+', "-").replace('/', "_"));
            patterns.insert(percent_encoded(&encoded, Unreserved::Component, true));
            patterns.insert(encoded);
        }
        patterns.insert(form);
    }
}

/// The secret as it is, in JSON, and in JSON that is a string of JSON. Most secrets are the same in all three.
fn json_forms(secret: &str) -> BTreeSet<String> {
    let once = [json_escaped(secret), ascii_json_escaped(secret)];
    let twice = once.each_ref().map(|form| json_escaped(form));
    once.into_iter().chain(twice).chain([secret.to_owned()]).collect()
}

/// The characters that a secret contributes to base64 of longer text, at each of the three places in a group where it may
/// begin; only whole characters of its own. Short ones would match by chance and are left out.
fn within_base64(secret: &[u8]) -> Vec<String> {
    const SHORTEST: usize = 6;
    (0..3)
        .filter_map(|shift| {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(secret);
            let encoded = STANDARD_NO_PAD.encode(&shifted);
            // The first characters mix in what precedes the secret, the last what follows it.
            let start = (shift * 8).div_ceil(6);
            let end = shifted.len() * 8 / 6;
            let own = encoded.get(start..end)?;
            (own.len() >= SHORTEST).then(|| own.to_owned())
        })
        .collect()
}

fn json_escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// JSON with everything beyond ASCII escaped, as many serialisers write it.
fn ascii_json_escaped(text: &str) -> String {
    let mut units = [0; 2];
    json_escaped(text)
        .chars()
        .map(|c| match c {
            '\u{20}'..='\u{7e}' => c.to_string(),
            other => other.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        })
        .collect()
}

/// Which characters a URL encoding leaves as they are, besides letters and digits.
#[derive(Clone, Copy)]
enum Unreserved {
    /// `encodeURIComponent`
    Component,
    /// RFC 3986
    Rfc3986,
    /// `application/x-www-form-urlencoded`
    Form,
    /// What the URL standard leaves alone in a query: all but the characters that would end or break it.
    Query,
    /// What the URL standard leaves alone in a path.
    Path,
    /// `encodeURI`
    Uri,
}

impl Unreserved {
    fn keeps(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
            || match self {
                Self::Component => b"-_.!~*'()".contains(&byte),
                Self::Rfc3986 => b"-_.~".contains(&byte),
                Self::Form => b"*-._".contains(&byte),
                Self::Query => byte.is_ascii_graphic() && !b"\"#<>'".contains(&byte),
                Self::Path => byte.is_ascii_graphic() && !b"\"#<>?`{}".contains(&byte),
                Self::Uri => b"-_.!~*'();/?:@&=+$,#".contains(&byte),
            }
    }
}

fn percent_encoded(text: &str, unreserved: Unreserved, upper: bool) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b' ' if matches!(unreserved, Unreserved::Form) => encoded.push('+'),
            kept if unreserved.keeps(kept) => encoded.push(char::from(kept)),
            other if upper => encoded.push_str(&format!("%{other:02X}")),
            other => encoded.push_str(&format!("%{other:02x}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_kept_redactor_is_that_of_the_same_secrets() {
        let redactors = Redactors::default();
        for (secrets, text, expected) in [
            (vec!["alpha"], "alpha beta", "[redacted] beta"),
            (vec!["beta"], "alpha beta", "alpha [redacted]"),
            (vec!["alpha"], "alpha beta", "[redacted] beta"),
            (vec!["al", "pha"], "al-pha", "[redacted]-[redacted]"),
            (vec!["alp", "ha"], "al-pha", "al-p[redacted]"),
            (vec![], "alpha", "alpha"),
        ] {
            assert_eq!(redactors.get(secrets.iter().copied()).text(text), expected, "{secrets:?}");
        }
        assert_eq!(redactors.lock().len(), 5);
    }

    /// Made as a DFA, this would take minutes.
    #[test]
    fn a_long_secret_of_one_letter_is_hidden() {
        let secret = "s".repeat(64 * 1024);
        let redactor = Redactor::new([secret.as_str()]);
        assert_eq!(redactor.text(&format!("a{secret}b")), "a[redacted]b");
    }

    #[test]
    fn few_redactors_are_kept() {
        let redactors = Redactors::default();
        for n in 0..Redactors::MAX + 10 {
            redactors.get([format!("secret-{n}").as_str()]);
        }
        assert_eq!(redactors.lock().len(), Redactors::MAX);
    }

    #[test]
    fn every_form_of_a_secret_is_found() {
        let secret = "p@ss \"w\\ö/rd+1\n";
        let redactor = Redactor::new([secret]);
        let basic = STANDARD.encode(format!("someone:{secret}"));
        let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02X}")).collect();
        for leak in [
            secret.to_owned(),
            hexadecimal,
            STANDARD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            Value::from(secret).to_string(),
            "p%40ss%20%22w%5C%C3%B6%2Frd%2B1%0A".to_owned(),
            "p%40ss%20%22w%5c%c3%b6%2frd%2b1%0a".to_owned(),
            "p%40ss+%22w%5C%C3%B6%2Frd%2B1%0A".to_owned(),
            "p@ss%20%22w\\%C3%B6/rd+1%0A".to_owned(),
            r#"p@ss \"w\\\u00f6/rd+1\n"#.to_owned(),
            r#"{\"url\":\"/?q=p@ss%20%22w\\%C3%B6/rd+1%0A\"}"#.to_owned(),
            secret.to_ascii_uppercase(),
        ] {
            let said = redactor.text(&leak).into_owned();
            assert!(said.contains(REDACTED), "{leak:?} came out as {said:?}");
        }
        let said = redactor.text(&basic).into_owned();
        assert!(said.contains(REDACTED), "{basic:?} came out as {said:?}");
    }

    #[test]
    fn only_the_secret_is_replaced() {
        let redactor = Redactor::new(["hunter2", ""]);
        assert_eq!(redactor.text("a hunter2, b hunter2!"), "a [redacted], b [redacted]!");
        assert_eq!(redactor.text("hunter3"), "hunter3");
    }

    #[test]
    fn of_two_secrets_the_longer_is_replaced_whole() {
        assert_eq!(Redactor::new(["abc", "abcdef"]).text("abcdefg"), "[redacted]g");
    }

    #[test]
    fn keys_and_numbers_of_a_value_are_redacted() {
        let mut value = serde_json::json!({"k3y-value": ["x k3y-value"], "n": 4242_4242, "m": 7, "b": true});
        Redactor::new(["k3y-value", "42424242"]).value(&mut value);
        assert_eq!(
            value,
            serde_json::json!({"[redacted]": ["x [redacted]"], "n": "[redacted]", "m": 7, "b": true})
        );
    }

    proptest! {
        #[test]
        fn a_secret_never_survives(secret in "[ -~]{4,40}", before in "[ -~]{0,10}", after in "[ -~]{0,10}") {
            let redactor = Redactor::new([secret.as_str()]);
            let text = redactor.string(format!("{before}{secret}{after}"));
            // What is left may hold the secret only by way of the marker's own letters.
            prop_assert!(text.contains(REDACTED));
            let rest = text.replace(REDACTED, "|");
            prop_assert!(!rest.contains(&secret), "{}", rest);
        }

        #[test]
        fn a_secret_within_base64_is_found(secret in "[ -~]{8,40}", before in "[ -~]{0,10}", after in "[ -~]{0,10}") {
            let encoded = STANDARD.encode(format!("{before}{secret}{after}"));
            let text = Redactor::new([secret.as_str()]).string(encoded);
            prop_assert!(text.contains(REDACTED));
        }
    }
}
