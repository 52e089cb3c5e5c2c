//! Tests of the API as a whole: each route is described, its schemas hold, and the page shows it.

mod live;

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn document() -> Value {
    openapi::complete(routes().into_openapi())
}

/// Each operation as (method, path, description).
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, value)| (method.as_str(), path.as_str(), value))
        })
        .collect()
}

#[test]
fn every_route_of_the_contract_is_described() {
    let document = document();
    let described: BTreeSet<(&str, &str)> =
        operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    let contract = [
        ("get", "/api/integrations"),
        ("post", "/api/integrations"),
        ("post", "/api/integrations/check"),
        ("get", "/api/integrations/{slug}"),
        ("delete", "/api/integrations/{slug}"),
        ("get", "/api/integrations/{slug}/icon"),
        ("get", "/api/integrations/{slug}/package"),
        ("get", "/api/integrations/{slug}/oauth-apps"),
        ("get", "/api/integrations/{slug}/oauth-apps/{name}"),
        ("put", "/api/integrations/{slug}/oauth-apps/{name}"),
        ("delete", "/api/integrations/{slug}/oauth-apps/{name}"),
        ("post", "/api/integrations/{slug}/revoke-all"),
        ("get", "/api/tools/connections"),
        ("post", "/api/tools/connections"),
        ("get", "/api/tools/connections/{id}"),
        ("patch", "/api/tools/connections/{id}"),
        ("delete", "/api/tools/connections/{id}"),
        ("post", "/api/tools/connections/{id}/test"),
        ("post", "/api/tools/connections/{id}/refresh"),
        ("get", "/api/tools/catalog"),
        ("post", "/api/tools/run"),
        ("get", "/api/agents"),
        ("get", "/api/agents/{agent}"),
        ("put", "/api/agents/{agent}"),
        ("delete", "/api/agents/{agent}"),
        ("get", "/api/agents/{agent}/requirements"),
        ("get", "/api/agents/{agent}/connection-tools/catalog"),
        ("put", "/api/agents/{agent}/connection-tools"),
        ("get", "/api/agents/{agent}/tools"),
        ("post", "/api/agents/{agent}/run"),
        ("post", "/api/integrations/{slug}/revoke-all"),
        ("get", "/api/approvals"),
        ("get", "/api/approvals/{id}"),
        ("post", "/api/approvals/{id}/approve"),
        ("post", "/api/approvals/{id}/reject"),
        ("get", "/api/project"),
        ("patch", "/api/project"),
        ("get", "/api/executions"),
        ("get", "/api/executions/{id}"),
        ("get", "/api/secrets"),
        ("put", "/api/secrets/{name}"),
        ("delete", "/api/secrets/{name}"),
        ("get", "/api/keys"),
        ("post", "/api/keys"),
        ("delete", "/api/keys/{id}"),
        ("get", "/openapi.json"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    ];
    assert_eq!(described, BTreeSet::from(contract));
}

#[test]
fn every_operation_says_who_may_call_it_and_what_can_go_wrong() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let place = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{place}: its id stands twice");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{place}");
        assert!(operation["summary"].is_string(), "{place} has no summary");
        let guarded = path.starts_with("/api/");
        assert_eq!(operation["security"].is_array(), guarded, "{place}");
        let responses = &operation["responses"];
        for status in ["400", "401", "403", "429", "500", "503"] {
            assert!(!guarded || responses[status].is_object(), "{place} doesn't describe {status}");
        }
        let has_body = operation["requestBody"].is_object();
        assert_eq!(responses["415"].is_object(), has_body, "{place}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{} references", found.len());
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn no_parameter_can_be_null() {
    let document = document();
    for (method, path, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(!parameter["schema"].to_string().contains("null"), "{method} {path}: {parameter}");
        }
    }
}

#[test]
fn the_page_shows_every_operation_and_needs_nothing_from_elsewhere() {
    let document = document();
    let page = docs::page(&document);
    for (method, path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(page.contains(&format!("<article id=\"{id}\">")), "{method} {path}");
        assert!(page.contains(&format!("<code>{path}</code>")), "{method} {path}");
        assert!(page.contains(&format!("href=\"#{id}\"")), "{method} {path} isn't in the navigation");
    }
    for outside in ["<script", "src=", "href=\"http", "@import", "style=\""] {
        assert!(!page.contains(outside), "the page has {outside}");
    }
}
