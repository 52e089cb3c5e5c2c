//! What authorization servers answer, read as tolerantly as their oddities ask for.
//!
//! RFC 6749 wants a JSON object with an error's own status. There are servers that send forms, errors with status 200,
//! numbers as text, and lists of scopes in three spellings.

use std::fmt;
use std::time::Duration;

use portcullis_runtime::Redactor;
use serde_json::{Map, Value};
use url::form_urlencoded;
use zeroize::{Zeroize, Zeroizing};

use super::endpoint::{DeviceAuthorization, TokenError, Tokens};

/// The longest description of an error that is kept, in characters.
const MAX_DESCRIPTION: usize = 300;
/// The longest error code that is kept, in characters.
const MAX_CODE: usize = 60;
/// Longer lives are cut to this: ten years.
const MAX_LIFE: u64 = 10 * 365 * 24 * 3600;
/// How long a device code lasts where the server doesn't say: in seconds.
const DEVICE_CODE_LIFE: u64 = 600;
/// The pause between two polls where the server doesn't say, of RFC 8628, and the longest that is believed: in seconds.
const DEVICE_INTERVAL: (u64, u64) = (5, 60);

/// An answer's status, what it asks for, and its body as text.
pub(super) struct RawAnswer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Zeroizing<String>,
}

/// The members of an answer; its texts are wiped when it is dropped.
pub(super) struct Members(Map<String, Value>);

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for value in self.0.values_mut() {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
}

impl RawAnswer {
    /// The members of an answer that isn't an error. `redactor` takes what was sent out of the error's words.
    pub(super) fn members(&self, redactor: &Redactor) -> Result<Members, TokenError> {
        let members = object(&self.body).or_else(|| form(&self.body)).map(Members);
        if self.status >= 500 || matches!(self.status, 408 | 425 | 429) {
            let message = format!("the authorization server answered {}", self.status);
            return Err(TokenError::Unavailable { message, retry_after: self.retry_after, lost: false });
        }
        if let Some(error) = members.as_ref().and_then(|members| members.error(redactor)) {
            return Err(error.with_pause(self.retry_after));
        }
        match members {
            Some(members) if (200..300).contains(&self.status) => Ok(members),
            None if (200..300).contains(&self.status) => Err(TokenError::Malformed {
                message: "the authorization server's answer is neither JSON nor a form".to_owned(),
            }),
            _ => Err(TokenError::Malformed {
                message: format!("the authorization server answered {} and names no error", self.status),
            }),
        }
    }

    /// Whether a token is revoked after this answer. RFC 7009 has 200 also for a token that the server doesn't know; some
    /// call that an error.
    pub(super) fn revoked(&self, redactor: &Redactor) -> Result<(), TokenError> {
        if (200..300).contains(&self.status) {
            let error = object(&self.body).map(Members).and_then(|members| members.error(redactor));
            return error.map_or(Ok(()), Err);
        }
        match self.members(redactor) {
            Err(TokenError::Refused { error, .. })
                if matches!(error.as_str(), "invalid_token" | "invalid_grant" | "token_revoked") =>
            {
                Ok(())
            }
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }
}

impl Members {
    /// The error that the answer is, whatever its status: `error` as text, or an object that names it.
    fn error(&self, redactor: &Redactor) -> Option<TokenError> {
        let (code, description) = match self.0.get("error")? {
            Value::String(code) => (code.as_str(), self.text("error_description")),
            Value::Object(error) => {
                let text = |key: &str| error.get(key).and_then(Value::as_str);
                (["code", "status", "type"].into_iter().find_map(text).unwrap_or("error"), text("message"))
            }
            Value::Bool(true) => ("error", self.text("error_description").or_else(|| self.text("message"))),
            _ => return None,
        };
        // An empty code is no error, nor is one beside a token.
        if code.is_empty() || self.text("access_token").is_some() {
            return None;
        }
        let error = plain(&redactor.text(code), MAX_CODE);
        let description = description.map(|text| plain(&redactor.text(text), MAX_DESCRIPTION));
        Some(TokenError::Refused { error, description: description.filter(|text| !text.is_empty()) })
    }

    /// The tokens of a token endpoint's answer.
    pub(super) fn tokens(&self) -> Result<Tokens, TokenError> {
        let token = |key: &str| self.text(key).map(|text| Zeroizing::new(text.to_owned()));
        let Some(access_token) = token("access_token") else {
            let message = "the authorization server's answer holds no access_token".to_owned();
            return Err(TokenError::Malformed { message });
        };
        if access_token.chars().any(char::is_control) {
            let message = "the access_token in the authorization server's answer can't be sent".to_owned();
            return Err(TokenError::Malformed { message });
        }
        let expires_in = ["expires_in", "expires"].into_iter().find_map(|key| self.seconds(key));
        Ok(Tokens {
            access_token,
            refresh_token: token("refresh_token"),
            id_token: token("id_token"),
            expires_in: expires_in.filter(|seconds| *seconds > 0).map(Duration::from_secs),
            scopes: ["scope", "scopes"].into_iter().find_map(|key| self.0.get(key)).and_then(scopes),
        })
    }

    /// What a device authorization endpoint gave.
    pub(super) fn device(&self) -> Result<DeviceAuthorization, TokenError> {
        let missing = |key: &str| TokenError::Malformed {
            message: format!("the device authorization endpoint's answer holds no {key}"),
        };
        let device_code = self.text("device_code").ok_or_else(|| missing("device_code"))?;
        let user_code = self.text("user_code").ok_or_else(|| missing("user_code"))?;
        // The second name is from before the RFC.
        let uri = ["verification_uri", "verification_url"].into_iter().find_map(|key| self.text(key));
        let complete = ["verification_uri_complete", "verification_url_complete"];
        let web =
            |text: &&str| url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
        let seconds = |key, default| self.seconds(key).filter(|seconds| *seconds > 0).unwrap_or(default);
        Ok(DeviceAuthorization {
            device_code: Zeroizing::new(device_code.to_owned()),
            user_code: plain(user_code, MAX_CODE),
            verification_uri: uri.filter(web).ok_or_else(|| missing("verification_uri"))?.to_owned(),
            verification_uri_complete: complete
                .into_iter()
                .find_map(|key| self.text(key))
                .filter(web)
                .map(str::to_owned),
            expires_in: Duration::from_secs(seconds("expires_in", DEVICE_CODE_LIFE)),
            interval: Duration::from_secs(seconds("interval", DEVICE_INTERVAL.0).min(DEVICE_INTERVAL.1)),
        })
    }

    /// A text that isn't empty.
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A whole number of seconds, however it is written; at most [`MAX_LIFE`].
    fn seconds(&self, key: &str) -> Option<u64> {
        let number = match self.0.get(key)? {
            Value::Number(number) => number.as_f64()?,
            Value::String(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        if !number.is_finite() {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within bounds")]
        Some(number.clamp(0.0, MAX_LIFE as f64) as u64)
    }
}

/// A list of scopes: text with spaces or commas between them, or an array.
fn scopes(value: &Value) -> Option<Vec<String>> {
    let texts: Vec<&str> = match value {
        Value::String(text) => vec![text.as_str()],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let mut scopes: Vec<String> = Vec::new();
    for scope in texts.into_iter().flat_map(|text| text.split(|c: char| c == ',' || c.is_whitespace())) {
        if !scope.is_empty() && !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    Some(scopes)
}

fn object(body: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(body.trim_start_matches('\u{feff}')) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}

/// A form as some servers answer; no page of HTML is one.
fn form(body: &str) -> Option<Map<String, Value>> {
    let body = body.trim();
    let is_form = body.contains('=') && !body.contains(['<', '{', ' ', '\n']);
    is_form.then(|| {
        let pairs = form_urlencoded::parse(body.as_bytes());
        pairs.map(|(key, value)| (key.into_owned(), Value::String(value.into_owned()))).collect()
    })
}

/// A text of the server's for people to read: on one line, and cut.
fn plain(text: &str, n_chars: usize) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.trim().chars().map(visible).collect();
    match text.char_indices().nth(n_chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(status: u16, body: &str) -> RawAnswer {
        RawAnswer { status, retry_after: None, body: Zeroizing::new(body.to_owned()) }
    }

    fn tokens(body: &str) -> Result<Tokens, TokenError> {
        raw(200, body).members(&Redactor::default())?.tokens()
    }

    #[track_caller]
    fn check(body: &str, refresh: Option<&str>, seconds: Option<u64>, scopes: Option<&[&str]>) {
        let tokens = tokens(body).expect(body);
        assert_eq!(*tokens.access_token, "at");
        assert_eq!(tokens.refresh_token.as_ref().map(|token| token.as_str()), refresh);
        assert_eq!(tokens.expires_in, seconds.map(Duration::from_secs));
        let found =
            tokens.scopes.as_ref().map(|scopes| scopes.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(found.as_deref(), scopes);
    }

    #[test]
    fn every_spelling_of_an_answer_is_read() {
        let json = r#"{"access_token":"at","token_type":"Bearer","expires_in":3600,"refresh_token":"rt","scope":"a b"}"#;
        check(json, Some("rt"), Some(3600), Some(&["a", "b"]));
        check(&format!("\u{feff}{json}"), Some("rt"), Some(3600), Some(&["a", "b"]));
        check(
            "access_token=at&scope=a%2Cb+c&token_type=bearer&expires_in=8",
            None,
            Some(8),
            Some(&["a", "b", "c"]),
        );
        check(r#"{"access_token":"at","expires_in":"3600"}"#, None, Some(3600), None);
        check(
            r#"{"access_token":"at","expires_in":3599.7,"scope":"a, b,a"}"#,
            None,
            Some(3599),
            Some(&["a", "b"]),
        );
        check(r#"{"access_token":"at","expires":60,"scope":["a","b"]}"#, None, Some(60), Some(&["a", "b"]));
        check(r#"{"access_token":"at","expires_in":"soon","refresh_token":""}"#, None, None, None);
        check(
            r#"{"access_token":"at","expires_in":0,"refresh_token":null,"scope":""}"#,
            None,
            None,
            Some(&[]),
        );
        check(r#"{"access_token":"at","expires_in":1e300}"#, None, Some(MAX_LIFE), None);
        check(r#"{"access_token":"at","error":""}"#, None, None, None);
    }

    #[test]
    fn errors_are_found_whatever_the_status() {
        for (status, body, code, description) in [
            (400, r#"{"error":"invalid_grant","error_description":"gone"}"#, "invalid_grant", Some("gone")),
            (200, r#"{"error":"bad_verification_code"}"#, "bad_verification_code", None),
            (
                200,
                "error=incorrect_client_credentials&error_description=no+such",
                "incorrect_client_credentials",
                Some("no such"),
            ),
            (401, r#"{"ok":false,"error":"invalid_client"}"#, "invalid_client", None),
            (
                400,
                r#"{"error":{"message":"bad code","type":"OAuthException","code":100}}"#,
                "OAuthException",
                Some("bad code"),
            ),
        ] {
            let error = raw(status, body).members(&Redactor::default()).expect_err(body);
            let TokenError::Refused { error, description: found } = error else { panic!("{error:?}") };
            assert_eq!((error.as_str(), found.as_deref()), (code, description));
        }
    }

    #[test]
    fn what_passes_is_told_from_what_is_wrong() {
        let answer = |status, body: &str| raw(status, body).members(&Redactor::default()).expect_err(body);
        for status in [500, 502, 503, 429] {
            assert!(matches!(answer(status, r#"{"error":"invalid_grant"}"#), TokenError::Unavailable { .. }));
        }
        for code in ["temporarily_unavailable", "server_error"] {
            let body = format!(r#"{{"error":"{code}"}}"#);
            assert!(matches!(answer(400, &body), TokenError::Unavailable { .. }));
        }
        assert!(matches!(answer(404, "<html>a=b</html>"), TokenError::Malformed { .. }));
        assert!(matches!(answer(200, "<html>a=b</html>"), TokenError::Malformed { .. }));
        assert!(matches!(tokens(r#"{"token_type":"bearer"}"#), Err(TokenError::Malformed { .. })));
        assert!(matches!(tokens(r#"{"access_token":"a\r\nX: y"}"#), Err(TokenError::Malformed { .. })));
    }

    #[test]
    fn an_error_never_repeats_what_was_sent() {
        let redactor = Redactor::new(["s3cret-refresh"]);
        let body = r#"{"error":"invalid_grant","error_description":"token s3cret-refresh\nis gone"}"#;
        let error = raw(400, body).members(&redactor).expect_err("an error");
        assert_eq!(error.to_string(), "invalid_grant: token [redacted] is gone");
    }

    #[test]
    fn an_unknown_token_counts_as_revoked() {
        let revoked = |status, body| raw(status, body).revoked(&Redactor::default());
        assert!(revoked(200, "").is_ok());
        assert!(revoked(400, r#"{"error":"invalid_token"}"#).is_ok());
        assert!(matches!(revoked(200, r#"{"ok":false,"error":"x"}"#), Err(TokenError::Refused { .. })));
        assert!(matches!(revoked(503, ""), Err(TokenError::Unavailable { .. })));
        assert!(matches!(
            revoked(400, r#"{"error":"unsupported_token_type"}"#),
            Err(TokenError::Refused { .. })
        ));
    }

    #[test]
    fn a_device_answer_is_read_under_its_old_names_too() {
        let read = |body: &str| raw(200, body).members(&Redactor::default()).expect("members").device();
        let body =
            r#"{"device_code":"d","user_code":"AB-CD","verification_url":"https://a/d","expires_in":"900"}"#;
        let device = read(body).expect("a device");
        assert_eq!((device.user_code.as_str(), device.verification_uri.as_str()), ("AB-CD", "https://a/d"));
        assert_eq!((device.expires_in.as_secs(), device.interval.as_secs()), (900, 5));
        assert!(
            read(r#"{"device_code":"d","user_code":"c","verification_uri":"javascript:alert(1)"}"#).is_err()
        );
    }
}
