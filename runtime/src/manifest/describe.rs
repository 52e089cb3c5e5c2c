//! Puts JSON Schema violations into words that the author of a manifest, or a model that corrects itself, can act on.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use super::words::{
    describe_value, either, join, list, nearest, pointer_segments, quote, show, with_article,
};

/// How many alternatives of an `anyOf` or `oneOf` a message explains.
const ALTERNATIVES: usize = 3;

/// The pattern of text that says something.
pub(crate) const NOT_BLANK: &str = r"\S";

/// A violation in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// The JSON pointer of the value; for something missing, of what is missing.
    pub(crate) pointer: String,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// Whether the value isn't there.
    pub(crate) missing: bool,
}

/// What messages call the members of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Noun {
    Key,
    Argument,
}

impl Noun {
    fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Argument => "argument",
        }
    }
}

/// Describes one error of validating against `schema`. Mostly one violation; one for each unknown key, and those of an
/// alternative that is plainly the one that was meant.
pub(crate) fn describe(error: &ValidationError<'_>, schema: &Value, noun: Noun) -> Vec<Described> {
    let at = error.instance_path().as_str();
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            unexpected.iter().map(|key| unknown(at, key, &siblings(error, schema), noun)).collect()
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            alternatives(error, context, schema, noun)
        }
        Kind::Required { property } => vec![missing(at, property.as_str().unwrap_or_default(), noun)],
        Kind::Enum { options } => vec![not_an_option(error, options)],
        Kind::PropertyNames { error: inner } => {
            let reason =
                describe(inner, schema, noun).into_iter().next().map_or_else(String::new, |d| d.message);
            let key = inner.instance().as_str().unwrap_or_default().to_owned();
            vec![plain(at, format!("the {} {} isn't allowed: it {reason}", noun.as_str(), quote(&key)))]
        }
        _ => vec![plain(at, simple(error, schema))],
    }
}

fn plain(pointer: &str, message: String) -> Described {
    Described { pointer: pointer.to_owned(), message, help: None, missing: false }
}

fn missing(at: &str, name: &str, noun: Noun) -> Described {
    let message = format!("the {} {} is required, and missing", noun.as_str(), quote(name));
    Described { missing: true, ..plain(&join(at, name), message) }
}

/// An unknown key, with the one that was probably meant, or else those that exist.
pub(crate) fn unknown(at: &str, key: &str, known: &[&str], noun: Noun) -> Described {
    let help = match nearest(key, known.iter().copied()) {
        Some(meant) => Some(format!("did you mean {}?", quote(meant))),
        None if known.is_empty() => None,
        None => Some(format!("known here: {}", list(known.iter().copied()))),
    };
    Described { help, ..plain(&join(at, key), format!("unknown {} {}", noun.as_str(), quote(key))) }
}

fn not_an_option(error: &ValidationError<'_>, options: &Value) -> Described {
    let empty = Vec::new();
    let options = options.as_array().unwrap_or(&empty);
    let mut shown: Vec<_> = options.iter().take(30).map(show).collect();
    if options.len() > shown.len() {
        shown.push(format!("{} more", options.len() - shown.len()));
    }
    let found = error.instance();
    let meant = found.as_str().and_then(|found| nearest(found, options.iter().filter_map(Value::as_str)));
    let rule = if shown.len() == 1 { shown.remove(0) } else { format!("one of {}", either(&shown)) };
    Described {
        help: meant.map(|meant| format!("did you mean {}?", quote(meant))),
        ..plain(error.instance_path().as_str(), format!("must be {rule}, found {}", describe_value(found)))
    }
}

/// Alternatives of another type than the value's weren't meant, nor those that name other values if one looks further
/// in. If one is left, its violations are the answer.
fn alternatives(
    error: &ValidationError<'_>,
    context: &[Vec<ValidationError<'static>>],
    schema: &Value,
    noun: Noun,
) -> Vec<Described> {
    let at = error.instance_path().as_str();
    let other_type = |errors: &&Vec<ValidationError<'static>>| {
        errors.iter().any(|inner| is_type_error(inner) && inner.instance_path().as_str() == at)
    };
    let other_value = |errors: &&Vec<ValidationError<'static>>| {
        errors.iter().any(|inner| names_a_value(inner) && inner.instance_path().as_str() == at)
    };
    let mut meant: Vec<_> = context.iter().filter(|errors| !other_type(errors)).collect();
    if !meant.iter().all(other_value) {
        meant.retain(|errors| !other_value(errors));
    }
    match meant.as_slice() {
        [] => vec![plain(at, no_type_fits(error, context))],
        [only] => only.iter().flat_map(|inner| describe(inner, schema, noun)).collect(),
        several => {
            let reasons: Vec<_> = several
                .iter()
                .take(ALTERNATIVES)
                .filter_map(|errors| errors.iter().flat_map(|inner| describe(inner, schema, noun)).next())
                .map(|reason| match reason.pointer.strip_prefix(at) {
                    Some(below) if !below.is_empty() => format!("{below}: {}", reason.message),
                    _ => reason.message,
                })
                .enumerate()
                .map(|(index, reason)| format!("({}) {reason}", index + 1))
                .collect();
            let n = several.len();
            vec![plain(at, format!("fits none of {n} alternatives: {}", reasons.join("; ")))]
        }
    }
}

fn is_type_error(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), Kind::Type { .. })
}

fn names_a_value(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), Kind::Enum { .. } | Kind::Constant { .. })
}

fn no_type_fits(error: &ValidationError<'_>, context: &[Vec<ValidationError<'static>>]) -> String {
    let mut kinds = Vec::new();
    for inner in context.iter().flatten() {
        if let Kind::Type { kind } = inner.kind() {
            kinds.extend(
                type_names(kind).into_iter().filter(|name| !kinds.contains(name)).collect::<Vec<_>>(),
            );
        }
    }
    format!("must be {}, found {}", either(&kinds), describe_value(error.instance()))
}

fn type_names(kind: &TypeKind) -> Vec<String> {
    match kind {
        TypeKind::Single(kind) => vec![with_article(kind.as_str())],
        TypeKind::Multiple(kinds) => (*kinds).into_iter().map(|kind| with_article(kind.as_str())).collect(),
    }
}

/// The violations that one sentence tells.
fn simple(error: &ValidationError<'_>, schema: &Value) -> String {
    let found = error.instance();
    match error.kind() {
        Kind::Type { kind } => {
            format!("must be {}, found {}", either(&type_names(kind)), describe_value(found))
        }
        Kind::Constant { expected_value } => {
            format!("must be {}, found {}", show(expected_value), describe_value(found))
        }
        Kind::Minimum { limit } => format!("must be at least {limit}, found {}", show(found)),
        Kind::Maximum { limit } => format!("must be at most {limit}, found {}", show(found)),
        Kind::ExclusiveMinimum { limit } => format!("must be greater than {limit}, found {}", show(found)),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}, found {}", show(found)),
        Kind::MultipleOf { multiple_of } => {
            format!("must be a multiple of {multiple_of}, found {}", show(found))
        }
        Kind::MinLength { limit: 1 } => "must not be empty".to_owned(),
        Kind::MinLength { limit } => format!("must have at least {limit} characters, found {}", count(found)),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters, found {}", count(found)),
        Kind::MinItems { limit } => format!("must have at least {limit} items, found {}", count(found)),
        Kind::MaxItems { limit } => format!("must have at most {limit} items, found {}", count(found)),
        Kind::AdditionalItems { limit } => format!("must have at most {limit} items, found {}", count(found)),
        Kind::MinProperties { limit } => {
            format!("must have at least {limit} members, found {}", count(found))
        }
        Kind::MaxProperties { limit } => format!("must have at most {limit} members, found {}", count(found)),
        Kind::UniqueItems => "must not contain the same item twice".to_owned(),
        Kind::UnevaluatedItems { .. } => "has items that aren't allowed".to_owned(),
        Kind::FalseSchema => format!("isn't allowed here, found {}", describe_value(found)),
        Kind::Pattern { pattern } if pattern == NOT_BLANK => "must not be empty or blank".to_owned(),
        Kind::Pattern { pattern } => {
            format!("must match the pattern {}, found {}", quote(pattern), describe_value(found))
        }
        Kind::Format { format } => {
            format!("must be a valid {format}{}, found {}", format_example(format), describe_value(found))
        }
        Kind::Contains => {
            let wanted = at_parent(error, schema).and_then(|parent| parent.get("contains"));
            let wanted = wanted.map_or_else(String::new, |wanted| format!(" {}", show(wanted)));
            format!("doesn't contain as many items matching{wanted} as it must")
        }
        Kind::Not { schema } => format!("must not match {}, found {}", show(schema), describe_value(found)),
        Kind::OneOfMultipleValid { context } => {
            let n = context.len();
            format!("fits more than one of {n} alternatives, of which it must fit exactly one")
        }
        _ => show(&Value::String(error.masked().to_string())),
    }
}

fn count(found: &Value) -> usize {
    match found {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        _ => 0,
    }
}

fn format_example(format: &str) -> &'static str {
    match format {
        "date-time" => " (such as 2025-01-31T12:00:00Z)",
        "date" => " (such as 2025-01-31)",
        "time" => " (such as 12:00:00Z)",
        "duration" => " (such as P3DT12H)",
        "email" | "idn-email" => " (such as ada@example.com)",
        "hostname" | "idn-hostname" => " (such as api.example.com)",
        "uri" | "iri" => " (such as https://example.com/path)",
        "ipv4" => " (such as 192.0.2.1)",
        "ipv6" => " (such as 2001:db8::1)",
        "uuid" => " (such as 123e4567-e89b-12d3-a456-426614174000)",
        _ => "",
    }
}

/// The names that the object may have, from the schema whose keyword failed.
fn siblings<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Vec<&'s str> {
    let properties = at_parent(error, schema).and_then(|parent| parent.get("properties"));
    properties.and_then(Value::as_object).into_iter().flat_map(|map| map.keys().map(String::as_str)).collect()
}

/// The schema that holds the keyword that failed.
fn at_parent<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Option<&'s Value> {
    let path = error.schema_path().as_str();
    let (parent, _) = path.rsplit_once('/')?;
    pointer_segments(parent).try_fold(schema, |schema, segment| match schema {
        Value::Object(map) => map.get(segment.as_ref()),
        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    })
}
