//! What of a call may be recorded: arguments without secrets, logs and exchanges within bounds.

use portcullis_runtime::{Exchange, LogLine, REDACTED, Redactor};
use serde_json::{Map, Value, json};

/// Bytes of arguments that are recorded.
const MAX_ARGUMENTS: usize = 16 * 1024;
/// Bytes of logs that are recorded.
const MAX_LOGS: usize = 64 * 1024;
/// Words in a member's name that tell of a secret, without what isn't a letter or digit.
const SECRET_WORDS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "credential",
    "cookie",
    "bearer",
];

/// The arguments without secrets: neither the connection's (`redactor`) nor what a member's name says is one.
pub(super) fn arguments(arguments: Value, redactor: &Redactor) -> Value {
    let arguments = shown(arguments, redactor);
    let text = arguments.to_string();
    if text.len() <= MAX_ARGUMENTS {
        return arguments;
    }
    json!({"truncated": true, "bytes": text.len(), "beginning": cut(&text, MAX_ARGUMENTS)})
}

/// The same, however much it is: what a person decides about must be there in full.
pub(in crate::gateway) fn shown(mut arguments: Value, redactor: &Redactor) -> Value {
    redactor.value(&mut arguments);
    mask(&mut arguments);
    arguments
}

/// Recursion is bounded by what was parsed: 128 deep.
fn mask(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(members) => mask_members(members),
        _ => {}
    }
}

fn mask_members(members: &mut Map<String, Value>) {
    for (name, value) in members {
        match value {
            Value::Null | Value::Bool(_) => {}
            // `max_tokens` counts.
            Value::Number(_) if plain(name).ends_with("tokens") => {}
            value if is_secret(name) => *value = Value::from(REDACTED),
            value => mask(value),
        }
    }
}

fn is_secret(name: &str) -> bool {
    let plain = plain(name);
    SECRET_WORDS.iter().any(|word| plain.contains(word))
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// `[{level, message}]`; past the bound the last message is cut and a warning says what was left out.
pub(super) fn logs(lines: &[LogLine]) -> Value {
    let mut left = MAX_LOGS;
    let mut kept = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if line.message.len() > left {
            kept.push(json!({"level": line.level, "message": cut(&line.message, left)}));
            let n_left_out = lines.len() - index - 1;
            let message = format!(
                "[truncated: the record holds {} KiB; {n_left_out} more messages are left out]",
                MAX_LOGS / 1024
            );
            kept.push(json!({"level": "warn", "message": message}));
            break;
        }
        left -= line.message.len();
        kept.push(json!({"level": line.level, "message": line.message}));
    }
    Value::Array(kept)
}

/// `[{method, host, path, status, ms, bytes, error?}]`: without queries, which hold data more often than not.
pub(super) fn exchanges(exchanges: &[Exchange]) -> Value {
    exchanges.iter().map(exchange).collect()
}

fn exchange(exchange: &Exchange) -> Value {
    let (host, path, without_query) = parts(&exchange.url);
    let mut record = json!({
        "method": exchange.method,
        "host": host,
        "path": path,
        "status": exchange.status,
        "ms": exchange.ms,
        "bytes": exchange.bytes,
    });
    if let (Some(error), Some(members)) = (&exchange.error, record.as_object_mut()) {
        members.insert("error".to_owned(), error.replace(&exchange.url, without_query).into());
    }
    record
}

/// The host with its port, the path, and the URL up to it. It may hold `[redacted]` anywhere, so it isn't parsed again.
fn parts(url: &str) -> (&str, &str, &str) {
    let without_query = url.split(['?', '#']).next().unwrap_or_default();
    let rest = without_query.split_once("://").map_or(without_query, |(_, rest)| rest);
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (host, path, without_query)
}

/// The text's beginning, in so many bytes at most, and a mark where something is missing.
pub(super) fn cut(text: &str, max_len: usize) -> String {
    if text.len() <= max_len {
        return text.to_owned();
    }
    let end = (0..=max_len).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}… [truncated]", &text[..end])
}

#[cfg(test)]
mod tests {
    use portcullis_runtime::LogLevel;

    use super::*;

    #[test]
    fn what_a_name_says_is_a_secret_is_masked() {
        let given = json!({
            "password": "p", "apiKey": {"a": 1}, "X-Api-Key": ["k"], "access_token": 7, "note": "the password is x",
            "nested": [{"client_secret": "s", "max_tokens": 5, "tokens": "t"}], "has_token": true, "cookie": null,
        });
        let expected = json!({
            "password": "[redacted]", "apiKey": "[redacted]", "X-Api-Key": "[redacted]",
            "access_token": "[redacted]", "note": "the password is x",
            "nested": [{"client_secret": "[redacted]", "max_tokens": 5, "tokens": "[redacted]"}],
            "has_token": true, "cookie": null,
        });
        assert_eq!(arguments(given, &Redactor::default()), expected);
    }

    #[test]
    fn the_connections_secrets_are_masked_wherever_they_stand() {
        let redactor = Redactor::new(["hunter2hunter2"]);
        let recorded = arguments(json!({"q": "say hunter2hunter2 twice", "hunter2hunter2": 1}), &redactor);
        assert_eq!(recorded, json!({"q": "say [redacted] twice", "[redacted]": 1}));
    }

    #[test]
    fn long_arguments_are_cut_after_they_are_masked() {
        let redactor = Redactor::new(["hunter2hunter2"]);
        let long = "é".repeat(20_000);
        let recorded = arguments(json!({"a": "hunter2hunter2", "b": long}), &redactor);
        assert_eq!(recorded["truncated"], true);
        assert_eq!(recorded["bytes"], 40_000 + r#"{"a":"[redacted]","b":""}"#.len());
        let beginning = recorded["beginning"].as_str().expect("text");
        assert!(
            beginning.starts_with(r#"{"a":"[redacted]","b":"éé"#) && beginning.len() < MAX_ARGUMENTS + 20
        );
        let exact = json!({"a": "x".repeat(MAX_ARGUMENTS - 8)});
        assert_eq!(arguments(exact.clone(), &redactor), exact);
    }

    #[test]
    fn logs_are_cut_where_they_are_too_long() {
        let line = |message: String| LogLine { level: LogLevel::Info, message };
        let few = [line("a".to_owned()), line(String::new())];
        assert_eq!(logs(&few), json!([{"level": "info", "message": "a"}, {"level": "info", "message": ""}]));
        let many: Vec<LogLine> = (0..10).map(|_| line("x".repeat(10 * 1024))).collect();
        let kept = logs(&many);
        let kept = kept.as_array().expect("an array");
        assert_eq!(kept.len(), 8);
        assert!(kept[6]["message"].as_str().is_some_and(|text| text.ends_with("x… [truncated]")));
        assert_eq!(
            kept[7],
            json!({"level": "warn",
                "message": "[truncated: the record holds 64 KiB; 3 more messages are left out]"})
        );
    }

    #[test]
    fn exchanges_are_recorded_without_queries() {
        let exchange = |url: &str, error: Option<&str>| Exchange {
            method: "GET",
            url: url.to_owned(),
            status: None,
            ms: 3,
            bytes: 0,
            error: error.map(str::to_owned),
            sent: true,
        };
        let url = "https://a.com:8443/v1/x?q=private#y";
        let recorded = exchanges(&[exchange(
            url,
            Some(&format!("HTTP request to \"{url}\" failed: connection refused")),
        )]);
        assert_eq!(
            recorded,
            json!([{"method": "GET", "host": "a.com:8443", "path": "/v1/x", "status": null, "ms": 3, "bytes": 0,
                "error": "HTTP request to \"https://a.com:8443/v1/x\" failed: connection refused"}])
        );
        assert_eq!(parts("http://[redacted].a.com/[redacted]?[redacted]").0, "[redacted].a.com");
        assert_eq!(parts("http://u:p@[::1]:80"), ("[::1]:80", "/", "http://u:p@[::1]:80"));
    }
}
