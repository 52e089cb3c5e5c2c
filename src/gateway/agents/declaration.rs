//! What an agent may declare: names that could name something, and each thing once.

use std::collections::HashSet;

use portcullis_runtime::manifest::name::{OperationName, Slug};

use super::problems::Problems;
use crate::gateway::GatewayError;
use crate::gateway::secrets::is_secret_name;
use crate::store::agents::{ConnectionSource, DeclaredConnection};

/// Refuses a declaration that nothing could ever fulfil; all that is wrong with it is told.
pub(super) fn check(connections: &[DeclaredConnection]) -> Result<(), GatewayError> {
    let mut problems = Problems::default();
    let mut seen = HashSet::new();
    for (index, declared) in connections.iter().enumerate() {
        let at = |rest: &str| format!("/connections/{index}{rest}");
        match declared.source {
            ConnectionSource::Connector => {
                if let Err(error) = Slug::parse(&declared.kind) {
                    problems.push(at("/type"), format!("an integration's slug stands here: {error}"));
                }
            }
            ConnectionSource::Secret => {
                let (field, name) = match &declared.name {
                    Some(name) => ("/name", name),
                    None => ("/type", &declared.kind),
                };
                if !is_secret_name(name) {
                    problems.push(
                        at(field),
                        "a workspace secret's name stands here: a letter, then up to 99 letters, digits, `_`, `.` or `-`",
                    );
                }
            }
            ConnectionSource::NativeMcp | ConnectionSource::Composio => {}
        }
        for (tool, name) in declared.tools.iter().flatten().enumerate() {
            match declared.source {
                ConnectionSource::Secret => problems.push(at("/tools"), "a secret has no tools"),
                ConnectionSource::Connector => {
                    if let Err(error) = OperationName::parse(name) {
                        problems.push(at(&format!("/tools/{tool}")), error.to_string());
                    }
                }
                ConnectionSource::NativeMcp | ConnectionSource::Composio => {}
            }
        }
        if !seen.insert((&declared.kind, declared.source, &declared.name)) {
            problems.push(at(""), "the same is declared further up; give one of them another name");
        }
    }
    problems.into_result("the declaration isn't valid")
}
