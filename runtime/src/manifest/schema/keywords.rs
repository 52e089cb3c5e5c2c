//! Which keywords of JSON Schema 2020-12 hold schemas, in which shape, and what they are applied to.

use serde_json::{Map, Value};

use crate::manifest::words::push_segment;

/// The names of types.
pub(super) const TYPES: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];

/// The formats of 2020-12.
pub(super) const FORMATS: [&str; 19] = [
    "date-time",
    "date",
    "time",
    "duration",
    "email",
    "idn-email",
    "hostname",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "uri",
    "uri-reference",
    "iri",
    "iri-reference",
    "uuid",
    "uri-template",
    "json-pointer",
    "relative-json-pointer",
    "regex",
];

/// How a keyword holds schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    One,
    List,
    Map,
}

/// What a schema under a keyword is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The same value, always.
    Always,
    /// The same value, or under a condition.
    InPlace,
    /// The member of its name.
    Property,
    /// The item of its index.
    Prefix,
    /// The items, all that `prefixItems` doesn't cover.
    Items,
    /// Any member or item.
    AnyChild,
    /// Nothing, until something refers to it.
    Definition,
}

const KEYWORDS: [(&str, Shape, Role); 22] = [
    ("$defs", Shape::Map, Role::Definition),
    ("definitions", Shape::Map, Role::Definition),
    ("allOf", Shape::List, Role::Always),
    ("anyOf", Shape::List, Role::InPlace),
    ("oneOf", Shape::List, Role::InPlace),
    ("not", Shape::One, Role::InPlace),
    ("if", Shape::One, Role::InPlace),
    ("then", Shape::One, Role::InPlace),
    ("else", Shape::One, Role::InPlace),
    ("dependentSchemas", Shape::Map, Role::InPlace),
    ("properties", Shape::Map, Role::Property),
    ("patternProperties", Shape::Map, Role::AnyChild),
    ("additionalProperties", Shape::One, Role::AnyChild),
    ("propertyNames", Shape::One, Role::AnyChild),
    ("unevaluatedProperties", Shape::One, Role::AnyChild),
    ("prefixItems", Shape::List, Role::Prefix),
    ("items", Shape::One, Role::Items),
    ("contains", Shape::One, Role::AnyChild),
    ("unevaluatedItems", Shape::One, Role::AnyChild),
    ("contentSchema", Shape::One, Role::Definition),
    // Not applied by this draft, but schemas all the same.
    ("additionalItems", Shape::One, Role::Definition),
    ("dependencies", Shape::Map, Role::Definition),
];

/// A schema inside another.
pub(super) struct Inner<'a> {
    pub(super) role: Role,
    /// The keyword, and the name or index below it.
    pub(super) keyword: &'static str,
    pub(super) segment: Option<String>,
    pub(super) schema: &'a Value,
}

/// The schemas that stand directly inside another, in the order of the keywords above.
pub(super) fn inner(schema: &Map<String, Value>) -> Vec<Inner<'_>> {
    let mut found = Vec::new();
    for (keyword, shape, role) in KEYWORDS {
        let Some(held) = schema.get(keyword) else { continue };
        let one = |(segment, schema)| Inner { role, keyword, segment, schema };
        match (shape, held) {
            (Shape::One, held) => found.push(one((None, held))),
            (Shape::List, Value::Array(items)) => {
                let items = items.iter().enumerate().map(|(index, item)| (Some(index.to_string()), item));
                found.extend(items.map(one));
            }
            (Shape::Map, Value::Object(members)) => {
                found.extend(members.iter().map(|(name, member)| (Some(name.clone()), member)).map(one));
            }
            _ => {}
        }
    }
    // An array under `dependencies` is a list of names.
    found.retain(|inner| inner.schema.is_object() || inner.schema.is_boolean());
    found
}

/// The same, to be changed.
pub(super) fn inner_mut(
    schema: &mut Map<String, Value>,
) -> Vec<(&'static str, Option<String>, &mut Map<String, Value>)> {
    let mut found = Vec::new();
    for (name, held) in schema.iter_mut() {
        let Some((keyword, shape, _)) = KEYWORDS.iter().find(|(keyword, ..)| keyword == name) else {
            continue;
        };
        match (shape, held) {
            (Shape::One, Value::Object(one)) => found.push((*keyword, None, one)),
            (Shape::List, Value::Array(items)) => {
                let objects = items
                    .iter_mut()
                    .enumerate()
                    .filter_map(|(index, item)| Some((index, item.as_object_mut()?)));
                found.extend(objects.map(|(index, item)| (*keyword, Some(index.to_string()), item)));
            }
            (Shape::Map, Value::Object(members)) => {
                let objects = members
                    .iter_mut()
                    .filter_map(|(name, member)| Some((name.clone(), member.as_object_mut()?)));
                found.extend(objects.map(|(name, member)| (*keyword, Some(name), member)));
            }
            _ => {}
        }
    }
    found
}

/// Calls `each` with every schema object and its JSON pointer. A parsed config.json bounds the recursion.
pub(super) fn visit(schema: &Value, pointer: &mut String, each: &mut impl FnMut(&Map<String, Value>, &str)) {
    let Value::Object(members) = schema else { return };
    each(members, pointer);
    for found in inner(members) {
        let length = pointer.len();
        push_segment(pointer, found.keyword);
        found.segment.iter().for_each(|segment| push_segment(pointer, segment));
        visit(found.schema, pointer, each);
        pointer.truncate(length);
    }
}
