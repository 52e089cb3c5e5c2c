//! Checks bodies and query parameters against the very schemas that the OpenAPI document shows.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use portcullis_runtime::manifest::{ParametersSchema, Violation};
use serde_json::{Map, Value, json};
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::{RefOr, Required, Schema};
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;

/// A schema, ready to check values with.
pub(super) struct Shape {
    schema: ParametersSchema,
}

/// Those that were asked for, by the type that they are of.
static SHAPES: LazyLock<RwLock<HashMap<TypeId, Arc<Shape>>>> = LazyLock::new(RwLock::default);

impl Shape {
    /// The shape of a body.
    pub(super) fn of_body<T: ToSchema + 'static>() -> Arc<Self> {
        Self::kept(TypeId::of::<T>(), || {
            let mut parts = Vec::new();
            T::schemas(&mut parts);
            let mut schema = to_value(&T::schema());
            let definitions: Map<String, Value> =
                parts.iter().map(|(name, schema)| (name.clone(), to_value(schema))).collect();
            if let (false, Some(members)) = (definitions.is_empty(), schema.as_object_mut()) {
                members.insert("$defs".to_owned(), Value::Object(definitions));
            }
            redirect(&mut schema);
            schema
        })
    }

    /// The shape of query parameters: an object with a property for each.
    pub(super) fn of_query<T: IntoParams + 'static>() -> Arc<Self> {
        Self::kept(TypeId::of::<T>(), || {
            let parameters = T::into_params(|| Some(ParameterIn::Query));
            let is_required = |required: &Required| matches!(required, Required::True);
            let required: Vec<&str> = parameters
                .iter()
                .filter(|parameter| is_required(&parameter.required))
                .map(|parameter| parameter.name.as_str())
                .collect();
            let properties: Map<String, Value> = parameters
                .iter()
                .map(|parameter| {
                    let mut schema = parameter.schema.as_ref().map_or_else(|| json!({}), to_value);
                    without_null(&mut schema);
                    (parameter.name.clone(), schema)
                })
                .collect();
            json!({ "type": "object", "properties": properties, "required": required })
        })
    }

    fn kept(id: TypeId, make: impl FnOnce() -> Value) -> Arc<Self> {
        if let Some(shape) = SHAPES.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Arc::clone(shape);
        }
        #[expect(
            clippy::expect_used,
            reason = "the schemas are this program's own, and a test builds each of them"
        )]
        let schema = ParametersSchema::new(make()).expect("a schema of the API is valid");
        let shape = Arc::new(Self { schema });
        SHAPES.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&shape));
        shape
    }

    /// The property of this name, if there is one.
    pub(super) fn property(&self, name: &str) -> Option<&Value> {
        self.schema.as_value().get("properties")?.get(name)
    }

    /// The value with its defaults filled, or everything that is wrong with it. `what` begins the message; `hidden` tells
    /// what may be said about values that mustn't be shown.
    pub(super) fn check(
        &self,
        what: &str,
        value: Value,
        hidden: fn(&str) -> Option<&'static str>,
    ) -> Result<Value, ApiError> {
        match self.schema.arguments(value) {
            Ok(members) => Ok(Value::Object(members)),
            Err(error) => Err(refusal(what, error.violations, hidden)),
        }
    }
}

fn refusal(what: &str, violations: Vec<Violation>, hidden: fn(&str) -> Option<&'static str>) -> ApiError {
    let mut shown: Vec<Violation> = Vec::new();
    for violation in violations {
        let message = hidden(&violation.path).map_or_else(|| of_a_request(&violation.message), str::to_owned);
        let violation = Violation { path: violation.path, message };
        if !shown.contains(&violation) {
            shown.push(violation);
        }
    }
    let all: Vec<String> = shown.iter().map(ToString::to_string).collect();
    ApiError::invalid(format!("{what}: {}", all.join("; "))).details(json!({ "violations": shown }))
}

/// The runtime speaks of a tool's arguments; a request has fields.
fn of_a_request(message: &str) -> String {
    for (argument, field) in [("the argument ", "the field "), ("unknown argument ", "unknown field ")] {
        if let Some(rest) = message.strip_prefix(argument) {
            return format!("{field}{rest}");
        }
    }
    message.to_owned()
}

/// Takes `null` out of what a parameter may be: an absent one is simply not there.
pub(super) fn without_null(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(Value::Array(kinds)) = members.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = members.get_mut("oneOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if let [only] = choices.as_slice() {
            let only = only.clone();
            *schema = only;
        }
    }
}

fn to_value(schema: &RefOr<Schema>) -> Value {
    serde_json::to_value(schema).unwrap_or_default()
}

/// Points references at the schema's own definitions.
fn redirect(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(target) if key == "$ref" => {
                        *target = target.replace("#/components/schemas/", "#/$defs/");
                    }
                    member => redirect(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redirect),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(utoipa::ToSchema, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its schema is used")]
    struct Body {
        #[schema(min_length = 1)]
        name: String,
        inner: Option<Inner>,
        password: Option<String>,
    }

    #[derive(utoipa::ToSchema, serde::Deserialize)]
    #[allow(dead_code, reason = "only its schema is used")]
    struct Inner {
        n: u32,
    }

    fn hidden(pointer: &str) -> Option<&'static str> {
        pointer.starts_with("/password").then_some("must be a string")
    }

    #[test]
    fn every_violation_is_told_with_its_place_and_no_secret() {
        let shape = Shape::of_body::<Body>();
        let body = json!({"name": "", "inner": {"n": "x"}, "password": ["hunter2"], "nme": 1});
        let error = shape.check("the body isn't valid", body, hidden).unwrap_err();
        assert_eq!(error.status.as_u16(), 400);
        for part in ["/name: ", "/inner", "unknown field \"nme\"", "/password: must be a string"] {
            assert!(error.message.contains(part), "{part} in {}", error.message);
        }
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        assert!(shape.check("the body isn't valid", json!({"name": "a", "inner": null}), hidden).is_ok());
    }
}
