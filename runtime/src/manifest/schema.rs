//! The parameters of an operation: a JSON Schema that is safe to run, and arguments checked and completed by it.

mod fill;
mod graph;
mod keywords;
mod normalize;
mod pattern;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, ValidationError, ValidationOptions, Validator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::graph::Graph;
pub(crate) use self::pattern::PatternBudget;
use super::describe::{Noun, describe};
use super::diagnostics::{Finding, Severity};
use super::words::{describe_value, nearest};

/// The most violations that are reported for one set of arguments.
pub const MAX_VIOLATIONS: usize = 100;

/// The deepest nesting of arguments.
pub const MAX_ARGUMENT_DEPTH: usize = 128;

/// The parameters that an operation takes: a JSON Schema (2020-12, whatever its `$schema` says) for an object.
///
/// A schema that this holds can be run on any arguments: it refers to nothing outside itself, its patterns match in
/// linear time, and validating ends. `format` is asserted where it is known.
#[derive(Clone)]
pub struct ParametersSchema(Arc<Inner>);

struct Inner {
    schema: Value,
    graph: Graph,
    validator: Validator,
}

/// A JSON Schema that can't be used for parameters, with all that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parameters' schema can't be used: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidSchema {
    /// What is wrong, at least one.
    pub problems: Vec<SchemaProblem>,
}

/// One thing that is wrong with a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SchemaProblem {
    /// The JSON pointer of the part that is wrong, inside the schema.
    pub pointer: String,
    /// What was found and what is allowed.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for SchemaProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        at_pointer(f, &self.pointer, &self.message)?;
        self.help.iter().try_for_each(|help| write!(f, " ({help})"))
    }
}

/// Arguments that an operation doesn't take, with everything that is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("invalid arguments: {}", violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidArguments {
    /// What is wrong, at least one and at most a little over [`MAX_VIOLATIONS`].
    pub violations: Vec<Violation>,
}

/// One thing that is wrong with arguments, in words that whoever made them can act on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Violation {
    /// The JSON pointer of the value that is wrong, unknown or missing; empty for the arguments as a whole.
    pub path: String,
    /// What was found, cut to a length that fits, and what is allowed.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        at_pointer(f, &self.path, &self.message)
    }
}

fn at_pointer(f: &mut fmt::Formatter<'_>, pointer: &str, message: &str) -> fmt::Result {
    if pointer.is_empty() { f.write_str(message) } else { write!(f, "{}: {message}", pointer.escape_debug()) }
}

impl ParametersSchema {
    /// Takes a schema as manifests have it. `"required": true|false` on a property becomes the array on the object that
    /// has the property; `$schema` and `$id` are dropped, since the draft and the base are fixed.
    pub fn new(schema: Value) -> Result<Self, InvalidSchema> {
        let (parameters, findings) = Self::check(schema, &mut PatternBudget::default());
        parameters.ok_or_else(|| InvalidSchema {
            problems: findings
                .into_iter()
                .filter(|finding| finding.severity == Severity::Error)
                .map(|Finding { pointer, message, help, .. }| SchemaProblem { pointer, message, help })
                .collect(),
        })
    }

    /// The schema of an operation that names none: any object.
    pub fn any() -> Self {
        // A schema without keywords has nothing that could be wrong; a test builds it.
        Self::new(json!({})).expect("the empty schema is valid")
    }

    /// Like [`ParametersSchema::new`], with warnings, and patterns that count against a budget of many schemas.
    pub(crate) fn check(schema: Value, budget: &mut PatternBudget) -> (Option<Self>, Vec<Finding>) {
        let mut findings = Vec::new();
        let Some(mut schema) = root_object(schema, &mut findings) else { return (None, findings) };
        normalize::normalize(&mut schema, &mut findings);
        check_root_type(&mut schema, &mut findings);
        let schema = Value::Object(schema);
        let graph = Graph::build(&schema, &mut findings);
        // Past its limits a schema isn't looked at further: checking it would cost too much.
        let Some(graph) = graph else { return (None, findings) };
        check_meta_schema(&schema, &mut findings);
        pattern::check_all(&schema, budget, &mut findings);
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return (None, findings);
        }
        match options().build(&schema) {
            Ok(validator) => {
                fill::check_defaults(&schema, &graph, &mut findings);
                let graph = graph.without_pointers();
                (Some(Self(Arc::new(Inner { schema, graph, validator }))), findings)
            }
            Err(error) => {
                findings.extend(in_words(&error, &schema));
                (None, findings)
            }
        }
    }

    /// The schema, normalised: an object with `"type": "object"`, the array spelling of `required`, and nothing else
    /// changed. The same schema gives the same value each time.
    pub fn as_value(&self) -> &Value {
        &self.0.schema
    }

    /// Checks arguments. Missing ones are filled from `default`s first, in nested objects too where these are given
    /// (through `properties`, `items`, `allOf` and `$ref`; an `anyOf` or `if` fills nothing). Reports every violation.
    pub fn arguments(&self, arguments: Value) -> Result<Map<String, Value>, InvalidArguments> {
        let whole = |message: String| {
            Err(InvalidArguments { violations: vec![Violation { path: String::new(), message }] })
        };
        if !arguments.is_object() {
            return whole(format!("the arguments must be an object, found {}", describe_value(&arguments)));
        }
        if nests_deeper(&arguments, MAX_ARGUMENT_DEPTH) {
            return whole(format!("the arguments nest more than {MAX_ARGUMENT_DEPTH} deep"));
        }
        let mut arguments = arguments;
        let Inner { schema, graph, validator } = &*self.0;
        if !fill::fill(graph, &mut arguments) || !graph.can_afford(&arguments) {
            return whole(
                "the arguments take too long to check: they are too large for this schema".to_owned(),
            );
        }
        let violations = violations(validator.iter_errors(&arguments), schema);
        match arguments {
            Value::Object(arguments) if violations.is_empty() => Ok(arguments),
            _ => Err(InvalidArguments { violations }),
        }
    }
}

impl fmt::Debug for ParametersSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ParametersSchema").field(&self.0.schema).finish()
    }
}

impl PartialEq for ParametersSchema {
    fn eq(&self, other: &Self) -> bool {
        self.0.schema == other.0.schema
    }
}

fn violations<'i>(errors: impl Iterator<Item = ValidationError<'i>>, schema: &Value) -> Vec<Violation> {
    let mut seen = HashSet::new();
    let mut violations = Vec::new();
    let mut n_left_out = 0_usize;
    for described in errors.flat_map(|error| describe(&error, schema, Noun::Argument)) {
        if violations.len() == MAX_VIOLATIONS {
            n_left_out += 1;
            continue;
        }
        let message = match described.help {
            Some(help) => format!("{}; {help}", described.message),
            None => described.message,
        };
        let violation = Violation { path: described.pointer, message };
        if seen.insert(violation.clone()) {
            violations.push(violation);
        }
    }
    if n_left_out > 0 {
        violations
            .push(Violation { path: String::new(), message: format!("and {n_left_out} more violations") });
    }
    violations
}

fn options() -> ValidationOptions<'static> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex().size_limit(pattern::LARGEST))
}

fn root_object(schema: Value, findings: &mut Vec<Finding>) -> Option<Map<String, Value>> {
    match schema {
        Value::Object(schema) => Some(schema),
        Value::Bool(true) => Some(Map::new()),
        other => {
            let message =
                format!("must be a JSON Schema that allows an object, found {}", describe_value(&other));
            findings.push(Finding::error("", message));
            None
        }
    }
}

/// Arguments are an object, so the schema says so too: some model APIs ask for `"type": "object"`.
fn check_root_type(schema: &mut Map<String, Value>, findings: &mut Vec<Finding>) {
    let object = Value::from("object");
    match schema.get("type") {
        None => drop(schema.shift_insert(0, "type".to_owned(), object)),
        Some(Value::Array(kinds)) if kinds.contains(&object) && kinds.iter().all(Value::is_string) => {
            schema.insert("type".to_owned(), object);
        }
        // What isn't a type at all is the meta-schema's to report.
        Some(kind) if kind != &object && is_type(kind) => {
            let message =
                format!("must be \"object\", since arguments are named; found {}", super::words::show(kind));
            findings.push(Finding::error("/type", message));
        }
        Some(_) => {}
    }
}

fn is_type(kind: &Value) -> bool {
    let is_name = |kind: &Value| kind.as_str().is_some_and(|kind| keywords::TYPES.contains(&kind));
    is_name(kind) || kind.as_array().is_some_and(|kinds| !kinds.is_empty() && kinds.iter().all(is_name))
}

fn check_meta_schema(schema: &Value, findings: &mut Vec<Finding>) {
    let mut seen = HashSet::new();
    for error in jsonschema::draft202012::meta::validator().iter_errors(schema) {
        for finding in in_words(&error, &Value::Null) {
            if seen.insert((finding.pointer.clone(), finding.message.clone())) {
                findings.push(finding);
            }
        }
    }
    warn_unknown_formats(schema, findings);
}

/// An error of the meta-schema, with help for the slips of older drafts.
fn in_words(error: &ValidationError<'_>, schema: &Value) -> Vec<Finding> {
    let keyword = error.instance_path().as_str().rsplit_once('/').map_or("", |(_, keyword)| keyword);
    let help = match (keyword, &**error.instance()) {
        ("required", Value::Bool(_)) => {
            Some("true or false stands on a property; an object lists its required ones: [\"id\"]")
        }
        ("items", Value::Array(_)) => {
            Some("since draft 2020-12, a list of schemas for the first items is \"prefixItems\"")
        }
        ("exclusiveMinimum" | "exclusiveMaximum", Value::Bool(_)) => {
            Some("since draft 6, this is the limit itself")
        }
        _ => None,
    };
    describe(error, schema, Noun::Key)
        .into_iter()
        .map(|described| {
            Finding::error(described.pointer, described.message)
                .maybe_help(described.help.or(help.map(str::to_owned)))
        })
        .collect()
}

/// A format that isn't known isn't asserted. Other vocabularies have formats of their own, so only what looks like a
/// slip is worth a warning.
fn warn_unknown_formats(schema: &Value, findings: &mut Vec<Finding>) {
    let mut seen = HashSet::new();
    keywords::visit(schema, &mut String::new(), &mut |schema, pointer| {
        let Some(format) = schema.get("format").and_then(Value::as_str) else { return };
        if keywords::FORMATS.contains(&format) || !seen.insert(format.to_owned()) {
            return;
        }
        if let Some(meant) = nearest(format, keywords::FORMATS.iter().copied()) {
            let message = format!("unknown format {}, which checks nothing", super::words::quote(format));
            let help = format!("did you mean {}?", super::words::quote(meant));
            findings.push(Finding::warning(format!("{pointer}/format"), message).help(help));
        }
    });
}

/// Recursion is bounded by `left`.
fn nests_deeper(value: &Value, left: usize) -> bool {
    let inner = |value: &Value| left == 0 || nests_deeper(value, left - 1);
    match value {
        Value::Array(items) => items.iter().any(inner),
        Value::Object(members) => members.values().any(inner),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
