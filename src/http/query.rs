//! Query parameters, checked as the OpenAPI document describes them; unknown ones are ignored.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use url::form_urlencoded;
use utoipa::IntoParams;

use super::App;
use super::error::ApiError;
use super::schema::Shape;

/// A route's query parameters.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + IntoParams + 'static> FromRequestParts<Arc<App>> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse<T: DeserializeOwned + IntoParams + 'static>(query: &str) -> Result<T, ApiError> {
    const WHAT: &str = "the query parameters aren't valid";
    let shape = Shape::of_query::<T>();
    let mut given = Map::new();
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        let Some(schema) = shape.property(&name) else { continue };
        if given.insert(name.to_string(), typed(&text, schema)).is_some() {
            return Err(ApiError::invalid(format!("{WHAT}: /{name}: is given more than once")));
        }
    }
    let checked = shape.check(WHAT, Value::Object(given), |_| None)?;
    serde_json::from_value(checked).map_err(|error| ApiError::invalid(format!("{WHAT}: {error}")))
}

/// A number where the parameter is one and the text reads as one; otherwise the text, for the schema to judge.
fn typed(text: &str, schema: &Value) -> Value {
    let is_integer = schema.get("type").is_some_and(|kind| kind == "integer");
    let is_plain = !text.starts_with('+');
    match text.parse::<i64>() {
        Ok(number) if is_integer && is_plain => number.into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, IntoParams)]
    #[into_params(parameter_in = Query)]
    struct Page {
        #[param(minimum = 1, maximum = 200)]
        limit: Option<u32>,
        #[param(format = "uuid")]
        id: Option<String>,
        #[param(pattern = "^[^\\x00]*$")]
        text: Option<String>,
    }

    #[track_caller]
    fn refused(query: &str, name: &str) {
        let error = parse::<Page>(query).unwrap_err();
        assert_eq!(error.status.as_u16(), 400, "{query}");
        assert!(error.message.contains(name), "{query}: {}", error.message);
    }

    #[test]
    fn parameters_are_taken_by_their_types() {
        let page = parse::<Page>("limit=5&text=a%20b%26&unknown=1&unknown=2").unwrap();
        assert_eq!(page, Page { limit: Some(5), id: None, text: Some("a b&".to_owned()) });
        assert_eq!(parse::<Page>("").unwrap(), Page { limit: None, id: None, text: None });
        assert_eq!(parse::<Page>("text=7").unwrap().text.as_deref(), Some("7"));
    }

    #[test]
    fn what_the_document_rules_out_is_refused_by_name() {
        for limit in ["abc", "", "0", "201", "1.5", "1e1", "null", "+5", "99999999999999999999"] {
            refused(&format!("limit={}", limit.replace('+', "%2B")), "/limit");
        }
        refused("id=7", "/id");
        refused("text=%00", "/text");
        refused("limit=1&limit=2", "/limit");
    }
}
