//! Whether a call waits for a person: what its operation says, and what the grant that it is made under adds or lifts.

use portcullis_runtime::manifest::{Operation, OperationType};

/// What a grant says about approvals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ApprovalRule {
    /// What the operation says itself.
    #[default]
    Default,
    /// Each call waits.
    Always,
    /// No call waits that would only for changing something. What a manifest demands in so many words is lifted where an
    /// admin has said so.
    Never { by_admin: bool },
}

impl ApprovalRule {
    /// Whether a call of the operation waits for a person.
    pub(crate) fn holds(self, operation: &Operation) -> bool {
        match self {
            Self::Default => waits_for_a_person(operation),
            Self::Always => true,
            Self::Never { by_admin } => operation.requires_approval == Some(true) && !by_admin,
        }
    }
}

/// Whether calls of the operation wait for a person, where no grant says otherwise.
pub(crate) fn waits_for_a_person(operation: &Operation) -> bool {
    operation.requires_approval.unwrap_or(operation.operation_type == OperationType::Write)
}

#[cfg(test)]
mod tests {
    use portcullis_runtime::manifest::Manifest;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_rule_holds_what_it_says() {
        let operations = json!([
            {"name": "read"}, {"name": "write", "operationType": "write"},
            {"name": "lifted", "operationType": "write", "requiresApproval": false},
            {"name": "demanded", "requiresApproval": true},
        ]);
        let manifest = json!({"title": "T", "authMethod": "none", "operations": operations}).to_string();
        let (manifest, _) = Manifest::parse(&manifest).unwrap_or_else(|errors| panic!("{:?}", errors.0));
        let held = |rule: ApprovalRule| {
            let held = manifest.operations.iter().filter(|operation| rule.holds(operation));
            held.map(|operation| operation.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(held(ApprovalRule::Default), ["write", "demanded"]);
        assert_eq!(held(ApprovalRule::Always), ["read", "write", "lifted", "demanded"]);
        assert_eq!(held(ApprovalRule::Never { by_admin: false }), ["demanded"]);
        assert!(held(ApprovalRule::Never { by_admin: true }).is_empty());
    }
}
