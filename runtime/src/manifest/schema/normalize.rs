//! Brings a schema as manifests write it into the form that JSON Schema 2020-12 gives it.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::keywords::inner_mut;
use crate::manifest::diagnostics::{Finding, MAX_DIAGNOSTICS};
use crate::manifest::words::{join, push_segment, quote};

/// Moves `"required": true|false` from properties to the array on the object that has them, wherever a schema stands,
/// and drops `$schema` and `$id`. Data (`const`, `enum`, `default`, `examples`) is left alone.
pub(super) fn normalize(schema: &mut Map<String, Value>, findings: &mut Vec<Finding>) {
    schema.shift_remove("$id");
    walk(schema, &mut String::new(), findings);
}

fn walk(schema: &mut Map<String, Value>, pointer: &mut String, findings: &mut Vec<Finding>) {
    schema.shift_remove("$schema");
    if schema.shift_remove("$id").is_some() {
        let message = "is ignored: every $ref is resolved from the top of parametersSchema";
        add(findings, || Finding::warning(join(pointer, "$id"), message));
    }
    lift_required(schema, pointer, findings);
    for (keyword, segment, inner) in inner_mut(schema) {
        let length = pointer.len();
        push_segment(pointer, keyword);
        segment.iter().for_each(|segment| push_segment(pointer, segment));
        walk(inner, pointer, findings);
        pointer.truncate(length);
    }
}

fn lift_required(schema: &mut Map<String, Value>, pointer: &str, findings: &mut Vec<Finding>) {
    // What isn't an array of names is left as it is, for the meta-schema to report.
    let mut listed = match schema.get("required") {
        None => Vec::new(),
        Some(Value::Array(names)) => names.clone(),
        Some(_) => return,
    };
    let n_listed = listed.len();
    let mut known: HashSet<Value> = listed.iter().cloned().collect();
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (name, property) in properties {
        let Some(property) = property.as_object_mut() else { continue };
        let Some(Value::Bool(required)) = property.get("required") else { continue };
        let required = *required;
        property.shift_remove("required");
        if required && known.insert(name.as_str().into()) {
            listed.push(name.as_str().into());
        } else if !required && known.contains(&Value::from(name.as_str())) {
            let at = join(&join(&join(pointer, "properties"), name), "required");
            let message =
                format!("says false, but the object's \"required\" lists {}: it is required", quote(name));
            add(findings, || Finding::warning(at, message));
        }
    }
    if listed.len() > n_listed {
        schema.insert("required".to_owned(), listed.into());
    }
}

/// Pointers can be long, so there is a bound to how many are made.
fn add(findings: &mut Vec<Finding>, finding: impl FnOnce() -> Finding) {
    if findings.len() < MAX_DIAGNOSTICS {
        findings.push(finding());
    }
}
