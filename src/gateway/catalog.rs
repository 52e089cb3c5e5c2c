//! The catalog: every tool that the acting user can call, by the names that calls take.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use portcullis_runtime::manifest::{Kind, Operation, OperationType};
use serde::Serialize;
use serde_json::{Value, json};

use super::approvals::waits_for_a_person;
use super::names::{
    PROVIDER, bound_slug, disambiguated_bound_name, disambiguated_function_name, function_name, tool_slug,
};
use super::resolve::{Target, View, viewer};
use super::{Gateway, GatewayError};
use crate::identity::{Identity, ProjectId};
use crate::integrations::Served;
use crate::store::connections::{Connection, ConnectionStatus, Viewer};

/// Every entry's `kind`.
const KIND: &str = "tool";
/// Entries of all cached catalogs together, at most.
const MAX_CACHED: u64 = 200_000;
/// How long a catalog is kept that nobody asks for.
const KEPT: Duration = Duration::from_secs(600);

/// An entry of the catalog, as the contract's §6 spells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CatalogEntry {
    pub(crate) slug: String,
    /// Always `tool`.
    pub(crate) kind: &'static str,
    pub(crate) provider: &'static str,
    pub(crate) integration: String,
    pub(crate) name: String,
    pub(crate) display_name: String,
    pub(crate) description: Option<String>,
    /// `read` or `write`.
    pub(crate) operation_type: &'static str,
    pub(crate) requires_approval: bool,
    pub(crate) function_name: String,
    /// Bound entries: the connection's slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection_slug: Option<String>,
    /// When asked for by slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input_schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_schema: Option<Value>,
}

/// Which entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct CatalogFilter {
    pub(crate) provider: Option<String>,
    pub(crate) integration: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) search: Option<String>,
    /// Slugs or bound slugs; with any, entries have their schemas.
    pub(crate) slugs: Vec<String>,
}

/// Catalogs that were made, by what they were made of.
pub(crate) struct Catalogs {
    by_viewer: Cache<(ProjectId, Viewer), Made>,
}

/// A catalog without schemas, and the state that it was made of: the store's epoch and the registry's count of changes.
#[derive(Clone)]
struct Made {
    of: (u64, u64),
    entries: Arc<Vec<CatalogEntry>>,
}

impl Default for Catalogs {
    fn default() -> Self {
        let n_entries = |_: &_, made: &Made| u32::try_from(made.entries.len() + 1).unwrap_or(u32::MAX);
        let cache = Cache::builder().weigher(n_entries).max_capacity(MAX_CACHED).time_to_idle(KEPT);
        Self { by_viewer: cache.build() }
    }
}

impl Gateway {
    /// The entries that pass the filter, by slug. One asked for by the slug of an unbound tool that has only bound entries
    /// gives all of these.
    pub(crate) async fn catalog(
        &self,
        identity: &Identity,
        filter: &CatalogFilter,
    ) -> Result<Vec<CatalogEntry>, GatewayError> {
        // Looked at before anything is read, so that what is cached is never older than it says.
        let of = (self.inner.store.epoch(), *self.inner.registry.changes().borrow());
        let key = (identity.project, viewer(identity));
        let cached = self.inner.catalogs.by_viewer.get(&key).filter(|made| made.of == of);
        if let (Some(made), true) = (&cached, filter.slugs.is_empty()) {
            return Ok(filter.apply(&made.entries));
        }
        let view = self.view(identity).await?;
        let entries = match cached {
            Some(made) => made.entries,
            None => {
                let entries = Arc::new(view.entries());
                self.inner.catalogs.by_viewer.insert(key, Made { of, entries: Arc::clone(&entries) });
                entries
            }
        };
        Ok(if filter.slugs.is_empty() { filter.apply(&entries) } else { filter.described(&view, &entries) })
    }
}

impl View {
    /// Every entry, without schemas, by slug.
    pub(crate) fn entries(&self) -> Vec<CatalogEntry> {
        let served = self.integrations.iter().filter_map(|integration| integration.served.as_ref());
        let mut entries: Vec<CatalogEntry> = served.flat_map(|served| self.entries_of(served)).collect();
        entries.sort_unstable_by(|one, other| one.slug.cmp(&other.slug));
        entries
    }

    /// One entry each operation, or where several connections are active one each of these.
    fn entries_of(&self, served: &Served) -> Vec<CatalogEntry> {
        let slug = served.connector.slug();
        let active: Vec<&Connection> =
            self.connections_of(slug).filter(|one| one.status == ConnectionStatus::Active).collect();
        let operations = served.connector.manifest().operations.iter();
        match active.as_slice() {
            [] | [_] => operations.map(|operation| self.unbound_entry(slug, operation)).collect(),
            several => operations
                .flat_map(|operation| {
                    several.iter().map(move |connection| self.bound_entry(slug, operation, connection))
                })
                .collect(),
        }
    }

    fn unbound_entry(&self, integration: &str, operation: &Operation) -> CatalogEntry {
        let name = operation.name.as_str();
        let is_anothers = self
            .connections
            .iter()
            .any(|one| one.slug.as_str() == integration && one.integration.as_str() != integration);
        let function_name = match is_anothers {
            true => disambiguated_function_name(integration, name),
            false => function_name(integration, name),
        };
        entry(integration, operation, tool_slug(integration, name), function_name, None)
    }

    fn bound_entry(&self, integration: &str, operation: &Operation, connection: &Connection) -> CatalogEntry {
        let (name, connection_slug) = (operation.name.as_str(), connection.slug.as_str());
        let function_name = match self.would_take_over(connection) {
            true => disambiguated_bound_name(integration, name, connection_slug),
            false => function_name(connection_slug, name),
        };
        let slug = bound_slug(integration, name, connection_slug);
        entry(integration, operation, slug, function_name, Some(connection_slug.to_owned()))
    }
}

fn entry(
    integration: &str,
    operation: &Operation,
    slug: String,
    function_name: String,
    connection_slug: Option<String>,
) -> CatalogEntry {
    let name = operation.name.as_str();
    CatalogEntry {
        slug,
        kind: KIND,
        provider: PROVIDER,
        integration: integration.to_owned(),
        name: name.to_owned(),
        display_name: operation.title.clone().unwrap_or_else(|| name.to_owned()),
        description: operation.description.clone(),
        operation_type: match operation.operation_type {
            OperationType::Read => "read",
            OperationType::Write => "write",
        },
        requires_approval: waits_for_a_person(operation),
        function_name,
        connection_slug,
        input_schema: None,
        output_schema: None,
    }
}

impl CatalogFilter {
    fn apply(&self, entries: &[CatalogEntry]) -> Vec<CatalogEntry> {
        let words = self.words();
        entries.iter().filter(|entry| self.passes(entry, &words)).cloned().collect()
    }

    /// The entries asked for by slug that pass, with their schemas.
    fn described(&self, view: &View, entries: &[CatalogEntry]) -> Vec<CatalogEntry> {
        let words = self.words();
        let mut found: Vec<CatalogEntry> =
            self.slugs.iter().flat_map(|slug| asked_for(slug, view, entries)).collect();
        found.retain(|entry| self.passes(entry, &words));
        found.sort_unstable_by(|one, other| one.slug.cmp(&other.slug));
        found.dedup_by(|one, other| one.slug == other.slug);
        for entry in &mut found {
            if let Ok(target) = view.resolve(&entry.slug) {
                entry.input_schema = Some(target.operation().parameters.as_value().clone());
                entry.output_schema = Some(output_schema(&target));
            }
        }
        found
    }

    fn words(&self) -> Vec<String> {
        self.search.iter().flat_map(|search| search.split_whitespace()).map(str::to_lowercase).collect()
    }

    fn passes(&self, entry: &CatalogEntry, words: &[String]) -> bool {
        let is = |wanted: &Option<String>, own: &str| wanted.as_ref().is_none_or(|wanted| wanted == own);
        is(&self.provider, entry.provider)
            && is(&self.integration, &entry.integration)
            && is(&self.kind, entry.kind)
            && (words.is_empty() || entry.has_words(words))
    }
}

impl CatalogEntry {
    /// Whether each word is in the entry's texts. The words are lower-case.
    fn has_words(&self, words: &[String]) -> bool {
        let texts = [&self.name, &self.display_name, &self.integration].into_iter().chain(&self.description);
        let text = texts.fold(String::new(), |text, part| text + &part.to_lowercase() + "\n");
        words.iter().all(|word| text.contains(word))
    }
}

/// The entry of this slug, the bound entries of this unbound slug, or that of the bound slug of a lone connection.
fn asked_for(slug: &str, view: &View, entries: &[CatalogEntry]) -> Vec<CatalogEntry> {
    let first = entries.partition_point(|entry| entry.slug.as_str() < slug);
    let found: Vec<CatalogEntry> = entries[first..]
        .iter()
        .take_while(|entry| entry.slug.starts_with(slug))
        .filter(|entry| slug == entry.slug || slug == tool_slug(&entry.integration, &entry.name))
        .cloned()
        .collect();
    if !found.is_empty() {
        return found;
    }
    let Ok(target) = view.resolve(slug) else { return found };
    let connection = target.connection.as_ref().ok().and_then(Option::as_ref);
    let bound = connection.map(|one| view.bound_entry(target.integration(), target.operation(), one));
    bound.into_iter().filter(|entry| entry.slug == slug).collect()
}

/// What a result looks like. A connector's code may return anything.
pub(super) fn output_schema(target: &Target) -> Value {
    match target.served.connector.manifest().kind {
        Kind::Rest => json!({}),
        Kind::Sql(_) => json!({
            "type": "object",
            "properties": {
                "rows": {"type": "array", "items": {"type": "object"}},
                "rowCount": {"type": "integer", "minimum": 0},
                "rowsAffected": {"type": "integer", "minimum": 0},
                "truncated": {"type": "boolean"},
                "columns": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"name": {"type": "string"}, "type": {"type": "string"}},
                        "required": ["name", "type"]
                    }
                }
            },
            "required": ["rows", "rowCount", "truncated", "columns"]
        }),
    }
}

#[cfg(test)]
mod tests;
