//! The version rule: whoever changes operations or their parameters counts the manifest's version up.

use std::collections::BTreeSet;

use portcullis_runtime::Connector;
use portcullis_runtime::manifest::Operation;

/// How many operations are named before the rest is counted.
const MAX_NAMED: usize = 8;

/// What changed without a new version, in words (`operation "list" has other parameters`); none if nothing did.
pub(super) fn drift(old: &Connector, new: &Connector) -> Option<String> {
    if new.manifest().version > old.manifest().version {
        return None;
    }
    let changes = changes(old.declared_operations(), new.declared_operations());
    match changes.as_slice() {
        [] => None,
        few if few.len() <= MAX_NAMED => Some(few.join("; ")),
        many => Some(format!("{}; and {} more", many[..MAX_NAMED].join("; "), many.len() - MAX_NAMED)),
    }
}

fn changes(old: &[Operation], new: &[Operation]) -> Vec<String> {
    let named = |operations: &[Operation], name: &str| {
        operations.iter().find(|operation| operation.name.as_str() == name).cloned()
    };
    let changed = new.iter().filter_map(|new| {
        let name = new.name.as_str();
        match named(old, name) {
            None => Some(format!("operation {name:?} is new")),
            Some(old) => differences(&old, new).map(|found| format!("operation {name:?} has {found}")),
        }
    });
    let removed = old.iter().filter(|old| named(new, old.name.as_str()).is_none());
    changed.chain(removed.map(|old| format!("operation {:?} is gone", old.name.as_str()))).collect()
}

fn differences(old: &Operation, new: &Operation) -> Option<String> {
    let scopes = |operation: &Operation| operation.required_scopes.iter().cloned().collect::<BTreeSet<_>>();
    let found: Vec<&str> = [
        ("another operationType", old.operation_type != new.operation_type),
        ("other parameters", old.parameters != new.parameters),
        ("another query", old.query != new.query),
        ("another requiresApproval", old.requires_approval != new.requires_approval),
        ("other requiredScopes", scopes(old) != scopes(new)),
    ]
    .into_iter()
    .filter_map(|(what, differs)| differs.then_some(what))
    .collect();
    (!found.is_empty()).then(|| found.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::integrations::testing::{engine, manifest, package};

    fn connector(version: u64, operations: Value) -> Connector {
        engine().load(&package("db", &manifest(version, operations))).unwrap()
    }

    fn words(old: Value, new: Value) -> Option<String> {
        drift(&connector(3, old), &connector(3, new))
    }

    fn operation(field: &str, value: Value) -> Value {
        let mut operation = json!({"name": "list", "query": "SELECT 1"});
        operation[field] = value;
        json!([operation])
    }

    #[test]
    fn each_kind_of_change_is_told() {
        let list = || operation("title", json!("List"));
        assert_eq!(words(list(), list()), None);
        for (field, value, what) in [
            ("operationType", json!("write"), "another operationType"),
            ("parametersSchema", json!({"properties": {"a": {"type": "string"}}}), "other parameters"),
            ("query", json!("SELECT 2"), "another query"),
            ("requiresApproval", json!(true), "another requiresApproval"),
            ("requiredScopes", json!(["a"]), "other requiredScopes"),
        ] {
            let told = words(list(), operation(field, value));
            assert_eq!(told.as_deref(), Some(format!("operation \"list\" has {what}").as_str()));
        }
        let renamed = operation("name", json!("rows"));
        assert_eq!(
            words(list(), renamed).as_deref(),
            Some("operation \"rows\" is new; operation \"list\" is gone")
        );
    }

    #[test]
    fn words_for_people_and_the_order_are_no_drift() {
        let (a, b) = (json!({"name": "a", "query": "SELECT 1"}), json!({"name": "b", "query": "SELECT 1"}));
        assert_eq!(words(json!([a, b]), json!([b, a])), None);
        assert_eq!(words(operation("description", json!("x")), operation("description", json!("y"))), None);
        assert_eq!(
            words(
                operation("requiredScopes", json!(["a", "b"])),
                operation("requiredScopes", json!(["b", "a"]))
            ),
            None
        );
    }

    #[test]
    fn a_new_version_may_change_anything_and_an_old_one_nothing() {
        let old = connector(3, operation("title", json!("List")));
        let changed = |version| connector(version, operation("query", json!("SELECT 2")));
        assert_eq!(drift(&old, &changed(4)), None);
        assert!(drift(&old, &changed(3)).is_some());
        assert!(drift(&old, &changed(2)).is_some());
    }

    #[test]
    fn of_many_changes_the_first_are_named() {
        let operations = |n: usize| {
            (0..n).map(|i| json!({"name": format!("o{i}"), "query": "SELECT 1"})).collect::<Value>()
        };
        let told = words(operations(1), operations(12)).unwrap();
        assert!(told.ends_with("operation \"o8\" is new; and 3 more"), "{told}");
    }
}
