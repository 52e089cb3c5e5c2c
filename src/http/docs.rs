//! The page at `/docs`: the OpenAPI document for people, without scripts and without anything from elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};
use serde_json::{Map, Value};

use super::App;

const STYLE: &str = include_str!("docs.css");
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// How deep schemas are shown; none of the API's is deeper.
const MAX_DEPTH: usize = 8;

/// The page's own routes; they are no part of the API.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/docs") }))
        .route("/docs", get(show))
        .route("/docs/style.css", get(|| async { ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE) }))
}

async fn show(State(app): State<Arc<App>>) -> impl IntoResponse {
    const POLICY: &str =
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)], app.page.clone())
}

/// The page of a document.
pub(super) fn page(document: &Value) -> String {
    let tags: Vec<(&Value, Vec<Operation<'_>>)> = list(&document["tags"])
        .iter()
        .map(|tag| (tag, operations(document).filter(|operation| operation.has_tag(&tag["name"])).collect()))
        .collect();
    let info = &document["info"];
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (text(&info["title"])) " API" }
                link rel="stylesheet" href="/docs/style.css";
            }
            body {
                div.page {
                    (navigation(&tags))
                    main {
                        h1 { (text(&info["title"])) " API " span.soft { (text(&info["version"])) } }
                        (paragraphs(text(&info["description"])))
                        p { "For programs: " a href="/openapi.json" { "openapi.json" } "." }
                        @for (tag, operations) in &tags {
                            section id=(anchor(text(&tag["name"]))) {
                                h2 { (text(&tag["name"])) }
                                (paragraphs(text(&tag["description"])))
                                @for operation in operations { (operation.show(document)) }
                            }
                        }
                    }
                }
            }
        }
    };
    markup.into_string()
}

fn navigation(tags: &[(&Value, Vec<Operation<'_>>)]) -> Markup {
    html! {
        nav {
            @for (tag, operations) in tags {
                h2 { a href={ "#" (anchor(text(&tag["name"]))) } { (text(&tag["name"])) } }
                ul {
                    @for operation in operations {
                        li { a href={ "#" (operation.id()) } { (operation.summary()) } }
                    }
                }
            }
        }
    }
}

/// One method of one path.
struct Operation<'a> {
    path: &'a str,
    method: &'a str,
    value: &'a Value,
}

fn operations(document: &Value) -> impl Iterator<Item = Operation<'_>> {
    members(&document["paths"]).flat_map(|(path, item)| {
        METHODS.iter().filter_map(move |method| Some(Operation { path, method, value: item.get(*method)? }))
    })
}

impl Operation<'_> {
    fn has_tag(&self, tag: &Value) -> bool {
        list(&self.value["tags"]).contains(tag)
    }

    fn id(&self) -> &str {
        text(&self.value["operationId"])
    }

    fn summary(&self) -> &str {
        text(&self.value["summary"])
    }

    fn show(&self, document: &Value) -> Markup {
        let parameters = list(&self.value["parameters"]);
        html! {
            article id=(self.id()) {
                h3 { (self.summary()) }
                p.route { span class={ "method " (self.method) } { (self.method.to_uppercase()) } " " code { (self.path) } }
                (paragraphs(text(&self.value["description"])))
                @if !parameters.is_empty() {
                    h4 { "Parameters" }
                    dl { @for parameter in parameters { (self.parameter(parameter, document)) } }
                }
                @for (media_type, content) in members(&self.value["requestBody"]["content"]) {
                    h4 { "Body " span.soft { (media_type) } }
                    (schema(&content["schema"], document, 0))
                }
                h4 { "Answers" }
                table { @for (status, response) in members(&self.value["responses"]) { (answer(status, response, document)) } }
                h4 { "With curl" }
                pre { code { (self.curl(document)) } }
            }
        }
    }

    fn parameter(&self, parameter: &Value, document: &Value) -> Markup {
        html! {
            dt {
                code { (text(&parameter["name"])) }
                " " span.soft { "in the " (text(&parameter["in"])) ", " (kind(&parameter["schema"], document)) }
            }
            dd { (inline(text(&parameter["description"]))) }
        }
    }

    fn curl(&self, document: &Value) -> String {
        let mut lines = vec![format!("curl{} \"$PORTCULLIS{}\"", self.method_flag(), self.example_path())];
        if self.path.starts_with("/api/") {
            lines.push("-H \"Authorization: Bearer $PORTCULLIS_KEY\"".to_owned());
        }
        if let Some((media_type, content)) = members(&self.value["requestBody"]["content"]).next() {
            if media_type == "application/json" {
                lines.push("-H 'Content-Type: application/json'".to_owned());
                let body = sample(&content["schema"], document, 0).to_string().replace('\'', "'\\''");
                lines.push(format!("-d '{body}'"));
            } else {
                lines.push("-F package=@connector.zip".to_owned());
            }
        }
        if self.id() == "get_package" {
            lines.push("-o connector.zip".to_owned());
        }
        lines.join(" \\\n  ")
    }

    fn method_flag(&self) -> String {
        let has_body = self.value.get("requestBody").is_some();
        match self.method {
            "get" => String::new(),
            "post" if has_body => String::new(),
            method => format!(" -X {}", method.to_uppercase()),
        }
    }

    fn example_path(&self) -> String {
        let id = "01932c07-2a5e-7f00-8000-000000000001";
        self.path
            .replace("{slug}", "gmail")
            .replace("{agent}", "support")
            .replace("{id}", id)
            .replace("{name}", "clay")
    }
}

fn answer(status: &str, response: &Value, document: &Value) -> Markup {
    let response = resolve(response, document);
    let is_success = status.starts_with('2');
    html! {
        tr {
            td { (status) }
            td {
                (inline(text(&response["description"])))
                @for (media_type, content) in members(&response["content"]).filter(|_| is_success) {
                    details {
                        summary.soft { (media_type) }
                        (schema(&content["schema"], document, 0))
                    }
                }
            }
        }
    }
}

/// A schema's properties, and theirs.
fn schema(schema_value: &Value, document: &Value, depth: usize) -> Markup {
    let schema_value = resolve(schema_value, document);
    let required = list(&schema_value["required"]);
    let choices = list(&schema_value["oneOf"]).iter().filter(|choice| choice["type"] != "null");
    let children = |value: &Value| {
        if depth < MAX_DEPTH {
            schema(value, document, depth + 1)
        } else {
            html! {}
        }
    };
    html! {
        @if depth == 0 { (paragraphs(text(&schema_value["description"]))) }
        @if schema_value.get("properties").is_some() {
            dl {
                @for (name, property) in members(&schema_value["properties"]) {
                    dt {
                        code { (name) }
                        " " span.soft {
                            (kind(property, document))
                            @if required.contains(&Value::from(name.as_str())) { ", required" }
                        }
                    }
                    dd {
                        (inline(description(property, document)))
                        (children(property))
                    }
                }
            }
        }
        @if schema_value.get("items").is_some() { (children(&schema_value["items"])) }
        @if schema_value["additionalProperties"].is_object() { (children(&schema_value["additionalProperties"])) }
        @for choice in choices {
            @if let Some(title) = choice["title"].as_str() { p.soft { (title) ":" } }
            (children(choice))
        }
    }
}

/// What is said of a schema where it is used, or else where it is defined.
fn description<'a>(schema: &'a Value, document: &'a Value) -> &'a str {
    match text(&schema["description"]) {
        "" => text(&resolve(schema, document)["description"]),
        own => own,
    }
}

/// A schema's type in words: `string (uuid), 1 to 40 characters`.
fn kind(schema: &Value, document: &Value) -> String {
    let schema = resolve(schema, document);
    if let [_, ..] = list(&schema["enum"]) {
        let values: Vec<String> = list(&schema["enum"]).iter().map(plain).collect();
        return values.join(" | ");
    }
    if let choices @ [_, ..] = list(&schema["oneOf"]) {
        let kinds: Vec<String> = choices.iter().map(|choice| kind(choice, document)).collect();
        return kinds.join(" or ");
    }
    let mut words = match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().map(plain).collect::<Vec<_>>().join(" or "),
        _ => "anything".to_owned(),
    };
    if schema["type"] == "array" {
        words = format!("list of {}", kind(&schema["items"], document));
    }
    if let Value::String(format) = &schema["format"] {
        words += &format!(" ({format})");
    }
    let bounds =
        [("minimum", "from"), ("maximum", "to"), ("minLength", "at least"), ("maxLength", "at most")];
    for (keyword, word) in bounds {
        if let Value::Number(bound) = &schema[keyword] {
            let unit = if keyword.ends_with("Length") { " characters" } else { "" };
            words += &format!(", {word} {bound}{unit}");
        }
    }
    if !schema["default"].is_null() {
        words += &format!(", {} if absent", plain(&schema["default"]));
    }
    words
}

/// A value that the schema allows, for an example.
fn sample(schema: &Value, document: &Value, depth: usize) -> Value {
    let schema = resolve(schema, document);
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if let Some(first) = list(&schema["enum"]).first().or_else(|| schema.get("default")) {
        return first.clone();
    }
    if let Some(choice) = list(&schema["oneOf"]).iter().find(|choice| choice["type"] != "null") {
        return sample(choice, document, depth + 1);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default();
    match kind {
        "object" if depth < MAX_DEPTH => {
            let required = list(&schema["required"]);
            let wanted = members(&schema["properties"])
                .filter(|(name, _)| required.is_empty() || required.contains(&Value::from(name.as_str())));
            wanted.map(|(name, property)| (name.clone(), sample(property, document, depth + 1))).collect()
        }
        "array" => Value::Array(vec![sample(&schema["items"], document, depth + 1)]),
        "integer" | "number" => 1.into(),
        "boolean" => true.into(),
        _ => "…".into(),
    }
}

/// What a reference refers to.
fn resolve<'a>(value: &'a Value, document: &'a Value) -> &'a Value {
    let target = value.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

/// Text with blank lines between paragraphs.
fn paragraphs(text: &str) -> Markup {
    html! { @for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) { p { (inline(paragraph)) } } }
}

/// Text with code between backticks.
fn inline(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn anchor(name: &str) -> String {
    name.to_lowercase().replace(' ', "-")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}
