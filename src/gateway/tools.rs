//! The tools that somebody can call at this moment, each with what a client must know to call it.

use serde_json::Value;
use tokio::sync::watch;

use super::catalog::{CatalogEntry, output_schema};
use super::resolve::View;
use super::{Gateway, GatewayError};
use crate::identity::Identity;

/// A tool whose connection is there and works, as far as is known.
pub(crate) struct CallableTool {
    pub(crate) entry: CatalogEntry,
    /// The slug of the connection that a call of it uses.
    pub(crate) connection: Option<String>,
    /// JSON Schema.
    pub(crate) input_schema: Value,
    /// JSON Schema, where something is known of the result.
    pub(crate) output_schema: Option<Value>,
}

impl Gateway {
    /// Those of the catalog that have what they need.
    pub(crate) async fn callable_tools(
        &self,
        identity: &Identity,
    ) -> Result<Vec<CallableTool>, GatewayError> {
        Ok(self.view(identity).await?.callable())
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
        let described = self.entries().into_iter().filter_map(|entry| {
            let target = self.resolve(&entry.slug).ok()?;
            let connection =
                target.connection.as_ref().ok()?.as_ref().map(|one| one.slug.as_str().to_owned());
            let output = output_schema(&target);
            Some(CallableTool {
                entry,
                connection,
                input_schema: target.operation().parameters.as_value().clone(),
                output_schema: output.as_object().is_some_and(|schema| !schema.is_empty()).then_some(output),
            })
        });
        described.collect()
    }
}
