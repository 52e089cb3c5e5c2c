//! The tools that somebody can call at this moment, each with what a client must know to call it.

use portcullis_runtime::manifest::OperationType;
use serde_json::Value;
use tokio::sync::watch;

use super::agents::OfferedTool;
use super::catalog::{CatalogEntry, output_schema};
use super::resolve::{Target, View};
use super::{Gateway, GatewayError};
use crate::identity::Identity;

/// A tool whose connection is there and works, as far as is known.
pub(crate) struct CallableTool {
    /// What calls name it by.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) description: Option<String>,
    pub(crate) is_write: bool,
    pub(crate) integration: String,
    /// The slug of the connection that a call of it uses.
    pub(crate) connection: Option<String>,
    /// JSON Schema.
    pub(crate) input_schema: Value,
    /// JSON Schema, where something is known of the result.
    pub(crate) output_schema: Option<Value>,
}

impl Gateway {
    /// Those of the catalog that have what they need; of an agent, those that it was granted.
    pub(crate) async fn callable_tools(
        &self,
        identity: &Identity,
        agent: Option<&str>,
    ) -> Result<Vec<CallableTool>, GatewayError> {
        Ok(match agent {
            Some(agent) => self.agent_view(identity, agent).await?.granted(),
            None => self.view(identity).await?.callable(),
        })
    }

    /// What lists of tools depend on: the store's epoch, and the count of changes of integrations. Taken before something is
    /// read, it never makes that look newer than it is.
    pub(crate) fn tools_state(&self) -> (u64, u64) {
        (self.inner.store.epoch(), *self.inner.registry.changes().borrow())
    }

    /// Each wakes when lists of tools may have changed.
    pub(crate) fn tools_changes(&self) -> [watch::Receiver<u64>; 2] {
        [self.inner.store.epochs(), self.inner.registry.changes()]
    }
}

impl View {
    fn callable(&self) -> Vec<CallableTool> {
        let entries = self.entries().into_iter();
        let described = entries.filter_map(|entry| {
            let target = self.resolve(&entry.slug).ok()?;
            let description = told_apart(&entry);
            callable(&target, entry.function_name, description)
        });
        described.collect()
    }

    fn granted(&self) -> Vec<CallableTool> {
        let offered = self.offered().into_iter();
        let described = offered.filter_map(|OfferedTool { name, description, .. }| {
            callable(&self.resolve_granted(&name).ok()?, name, Some(description))
        });
        described.collect()
    }
}

/// The target's tool, unless it lacks its connection.
fn callable(target: &Target, name: String, description: Option<String>) -> Option<CallableTool> {
    let connection = target.connection.as_ref().ok()?.as_ref();
    let (operation, output) = (target.operation(), output_schema(target));
    Some(CallableTool {
        name,
        title: operation.title.clone().unwrap_or_else(|| operation.name.as_str().to_owned()),
        description,
        is_write: operation.operation_type == OperationType::Write,
        integration: target.integration().to_owned(),
        connection: connection.map(|connection| connection.slug.as_str().to_owned()),
        input_schema: operation.parameters.as_value().clone(),
        output_schema: output.as_object().is_some_and(|schema| !schema.is_empty()).then_some(output),
    })
}

/// The entry's description. Where a tool stands beside the same of another account, a model must be told which is which.
fn told_apart(entry: &CatalogEntry) -> Option<String> {
    match (&entry.description, &entry.connection_slug) {
        (Some(description), Some(slug)) => Some(format!("{description} (connection: {slug})")),
        (None, Some(slug)) => Some(format!("{} (connection: {slug})", entry.display_name)),
        (description, None) => description.clone(),
    }
}
