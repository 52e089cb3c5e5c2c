//! Checks a config.json against its JSON Schema, and takes out what is wrong so that the rest can still be read.

use std::collections::HashSet;
use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind as Kind;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::describe::{Described, NOT_BLANK, Noun, describe, unknown};
use super::diagnostics::{Finding, Sink};
use super::raw::schema;
use super::words::{join, list, pointer_segments, quote};

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex())
        .build(schema())
        // The schema is a constant of this crate, and a test builds it.
        .expect("the manifest's own schema is valid")
});

/// Reports every way in which the file departs from its schema, and each unknown key. Returns what is left once wrong
/// values were taken out (elements of arrays become null, so that the others keep their places).
pub(crate) fn check(value: Value, sink: &mut Sink<'_>) -> Value {
    let mut seen = HashSet::new();
    let mut wrong = Vec::new();
    for error in VALIDATOR.iter_errors(&value).filter(|error| !is_parsed_later(error)) {
        for finding in findings(&error) {
            if seen.insert((finding.pointer.clone(), finding.message.clone())) {
                sink.push(finding);
            }
        }
        if !is_rule(&error) && !matches!(error.kind(), Kind::Required { .. }) {
            wrong.push(error.instance_path().as_str().to_owned());
        }
    }
    warn_unknown_keys(&value, schema(), "", sink);
    let mut rest = value;
    wrong.iter().for_each(|pointer| take_out(&mut rest, pointer));
    rest
}

fn findings(error: &ValidationError<'_>) -> Vec<Finding> {
    if is_rule(error) && !matches!(error.kind(), Kind::Required { .. }) {
        let message = description(error).unwrap_or("breaks a rule of the manifest").to_owned();
        return vec![Finding::error(error.instance_path().as_str(), message)];
    }
    let help = if is_rule(error) { description(error) } else { None };
    let finding = |described: Described| {
        // What is missing stands nowhere, so its error points at the object that lacks it.
        let pointer =
            if described.missing { error.instance_path().as_str().to_owned() } else { described.pointer };
        Finding::error(pointer, described.message)
            .maybe_help(described.help.or_else(|| help.map(str::to_owned)))
    };
    describe(error, schema(), Noun::Key).into_iter().map(finding).collect()
}

/// Text of a certain form (a name, a URL, a schedule) is parsed after this, by a parser that refuses whatever the pattern
/// in the schema does, and says more.
fn is_parsed_later(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), Kind::Pattern { pattern } if pattern != NOT_BLANK)
}

/// Whether the error comes of a rule that joins fields. Its values are well-formed by themselves.
fn is_rule(error: &ValidationError<'_>) -> bool {
    error.schema_path().as_str().starts_with("/allOf/")
}

/// The description nearest around the keyword that failed.
fn description(error: &ValidationError<'_>) -> Option<&'static str> {
    let mut node = schema();
    let mut nearest = None;
    for segment in pointer_segments(error.schema_path().as_str()) {
        let inner = match node {
            Value::Object(members) => members.get(segment.as_ref()),
            Value::Array(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        let Some(inner) = inner else { break };
        node = inner;
        nearest = node.get("description").and_then(Value::as_str).or(nearest);
    }
    nearest
}

/// Warns of each key that the schema doesn't know, where it knows any and doesn't leave keys free.
fn warn_unknown_keys(value: &Value, node: &'static Value, pointer: &str, sink: &mut Sink<'_>) {
    let node = resolved(node);
    match value {
        Value::Array(items) => {
            let Some(inner) = node.get("items") else { return };
            for (index, item) in items.iter().enumerate() {
                warn_unknown_keys(item, inner, &join(pointer, &index.to_string()), sink);
            }
        }
        Value::Object(members) => {
            let Some(known) = node.get("properties").and_then(Value::as_object) else { return };
            for (key, member) in members {
                if let Some(inner) = known.get(key) {
                    warn_unknown_keys(member, inner, &join(pointer, key), sink);
                } else if node.get("additionalProperties").is_none() {
                    warn_unknown_key(pointer, key, known.keys().map(String::as_str).collect(), sink);
                }
            }
        }
        _ => {}
    }
}

fn warn_unknown_key(pointer: &str, key: &str, mut known: Vec<&str>, sink: &mut Sink<'_>) {
    if sink.is_full() {
        // It will most likely only be counted, so its help isn't worth looking for.
        return sink.push_at_key(Finding::warning(join(pointer, key), format!("unknown key {}", quote(key))));
    }
    let at_top = pointer.is_empty();
    known.retain(|name| *name != "$schema");
    let described = unknown(pointer, key, &known, Noun::Key);
    let meant = described.help.filter(|help| help.starts_with("did you mean"));
    let fallback = if at_top {
        "it is ignored; what is your own belongs under \"metadata\"".to_owned()
    } else {
        format!("it is ignored; known here: {}", list(known))
    };
    let help = meant.unwrap_or(fallback);
    sink.push_at_key(Finding::warning(described.pointer, described.message).help(help));
}

fn resolved(node: &'static Value) -> &'static Value {
    let target = node.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    target.and_then(|target| schema().pointer(target)).unwrap_or(node)
}

fn take_out(value: &mut Value, pointer: &str) {
    let Some((parent, _)) = pointer.rsplit_once('/') else { return };
    let Some(last) = pointer_segments(pointer).last() else { return };
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => drop(members.shift_remove(last.as_ref())),
        Some(Value::Array(items)) => {
            if let Some(item) = last.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                *item = Value::Null;
            }
        }
        _ => {}
    }
}
