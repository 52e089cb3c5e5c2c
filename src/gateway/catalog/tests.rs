//! Tests of what the catalog lists, and under which names.

use std::collections::HashSet;

use super::super::resolve::tests::{connection, integration, operations, view};
use super::*;
use ConnectionStatus::{Active, Failed};

fn slugs(entries: &[CatalogEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.slug.as_str()).filter(|slug| !slug.contains("introspect")).collect()
}

fn described() -> Value {
    json!([
        {"name": "list", "title": "List messages", "description": "Newest FIRST", "query": "SELECT @limit",
         "parametersSchema": {"properties": {"limit": {"type": "integer", "required": true}}}},
        {"name": "send", "operationType": "write", "query": "SELECT 1"},
        {"name": "mark", "operationType": "write", "requiresApproval": false, "query": "SELECT 1"},
        {"name": "peek", "requiresApproval": true, "query": "SELECT 1"},
    ])
}

fn filter(search: &str) -> CatalogFilter {
    CatalogFilter { search: Some(search.to_owned()), ..CatalogFilter::default() }
}

fn asking(slug: &str) -> CatalogFilter {
    CatalogFilter { slugs: vec![slug.to_owned()], ..CatalogFilter::default() }
}

#[test]
fn an_entry_tells_what_the_contract_says() {
    let view = view(vec![integration("mail", "api_key", described())], Vec::new());
    let entries = view.entries();
    let entry = entries.iter().find(|entry| entry.name == "list").expect("an entry");
    assert_eq!(
        serde_json::to_value(entry).expect("JSON"),
        json!({
            "slug": "tools.gateway.connector.mail.list", "kind": "tool", "provider": "connector",
            "integration": "mail", "name": "list", "display_name": "List messages",
            "description": "Newest FIRST", "operation_type": "read", "requires_approval": false,
            "function_name": "mail__list",
        })
    );
    let approval =
        |name: &str| entries.iter().find(|entry| entry.name == name).map(|one| one.requires_approval);
    assert_eq!(approval("send"), Some(true));
    assert_eq!(approval("mark"), Some(false));
    assert_eq!(approval("peek"), Some(true));
    assert_eq!(approval("introspect_tables"), Some(false));
}

#[test]
fn several_active_connections_give_an_entry_each() {
    let mail = || integration("mail", "api_key", operations(&["send"]));
    let unbound = ["tools.gateway.connector.mail.send"];
    assert_eq!(slugs(&view(vec![mail()], Vec::new()).entries()), unbound);
    let one = view(vec![mail()], vec![connection("mail", "a", Active), connection("mail", "b", Failed)]);
    assert_eq!(slugs(&one.entries()), unbound);
    let two = view(vec![mail()], vec![connection("mail", "b", Active), connection("mail", "a", Active)]);
    let entries = two.entries();
    assert_eq!(
        slugs(&entries),
        ["tools.gateway.connector.mail.send.a", "tools.gateway.connector.mail.send.b"]
    );
    assert!(entries.iter().any(|entry| entry.function_name == "a__send" && entry.connection_slug.is_some()));
}

#[test]
fn every_entry_is_called_by_each_of_its_names() {
    let view = view(
        vec![
            integration("mail", "none", operations(&["send"])),
            integration("chat", "api_key", operations(&["send", "say"])),
            integration("calls", "api_key", operations(&["send"])),
        ],
        vec![
            connection("chat", "mail", Active),
            connection("calls", "calls", Active),
            connection("calls", "chat-2", Active),
        ],
    );
    let entries = view.entries();
    let names: HashSet<&str> = entries.iter().map(|entry| entry.function_name.as_str()).collect();
    assert_eq!(names.len(), entries.len());
    for entry in &entries {
        for name in [&entry.slug, &entry.function_name] {
            let target = view.resolve(name).expect("a tool");
            assert_eq!(target.integration(), entry.integration, "{name}");
            assert_eq!(target.operation().name.as_str(), entry.name, "{name}");
            let connection =
                target.connection.expect("a connection, or none").map(|one| one.slug.to_string());
            assert!(entry.connection_slug.is_none() || entry.connection_slug == connection, "{name}");
        }
    }
}

#[test]
fn filters_narrow_the_list() {
    let view = view(
        vec![integration("mail", "api_key", described()), integration("chat", "none", operations(&["say"]))],
        Vec::new(),
    );
    let entries = view.entries();
    let list = ["tools.gateway.connector.mail.list"];
    for search in ["list", "LIST messages", "first newest", "mail newest"] {
        assert_eq!(slugs(&filter(search).apply(&entries)), list, "{search}");
    }
    assert_eq!(slugs(&filter("newest chat").apply(&entries)), [""; 0]);
    assert_eq!(slugs(&filter("  ").apply(&entries)).len(), 5);
    let by = |change: fn(&mut CatalogFilter)| {
        let mut filter = CatalogFilter::default();
        change(&mut filter);
        slugs(&filter.apply(&entries)).len()
    };
    assert_eq!(by(|filter| filter.integration = Some("chat".to_owned())), 1);
    assert_eq!(by(|filter| filter.integration = Some("cha".to_owned())), 0);
    assert_eq!(by(|filter| filter.provider = Some("connector".to_owned())), 5);
    assert_eq!(by(|filter| filter.provider = Some("composio".to_owned())), 0);
    assert_eq!(by(|filter| filter.kind = Some("tool".to_owned())), 5);
    assert_eq!(by(|filter| filter.kind = Some("agent".to_owned())), 0);
}

#[test]
fn asked_for_by_slug_entries_have_schemas() {
    let view = view(vec![integration("mail", "api_key", described())], vec![connection("mail", "a", Active)]);
    let entries = view.entries();
    let found = asking("tools.gateway.connector.mail.list").described(&view, &entries);
    assert_eq!(slugs(&found), ["tools.gateway.connector.mail.list"]);
    let schema =
        json!({"type": "object", "properties": {"limit": {"type": "integer"}}, "required": ["limit"]});
    assert_eq!(found[0].input_schema, Some(schema));
    let output = found[0].output_schema.as_ref().expect("a schema");
    assert_eq!(output["required"], json!(["rows", "rowCount", "truncated", "columns"]));
    let any = asking("tools.gateway.connector.mail.peek").described(&view, &entries);
    assert_eq!(any[0].input_schema, Some(json!({"type": "object"})));
    // The bound slug of a lone connection isn't listed, but it is known.
    let bound = asking("tools.gateway.connector.mail.list.a").described(&view, &entries);
    assert_eq!(slugs(&bound), ["tools.gateway.connector.mail.list.a"]);
    assert!(bound[0].input_schema.is_some());
    for absent in
        ["tools.gateway.connector.mail.lis", "mail__list", "", "tools.gateway.connector.mail.list.b"]
    {
        assert_eq!(asking(absent).described(&view, &entries), [], "{absent}");
    }
}

#[test]
fn an_unbound_slug_gives_every_bound_entry() {
    let view = view(
        vec![integration("mail", "api_key", operations(&["send", "send_all"]))],
        vec![connection("mail", "a", Active), connection("mail", "b", Active)],
    );
    let slug = "tools.gateway.connector.mail.send";
    let filter =
        CatalogFilter { slugs: vec![slug.to_owned(), format!("{slug}.b")], ..CatalogFilter::default() };
    let found = filter.described(&view, &view.entries());
    assert_eq!(slugs(&found), [format!("{slug}.a"), format!("{slug}.b")]);
    assert!(found.iter().all(|entry| entry.input_schema.is_some()));
}
