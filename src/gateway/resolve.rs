//! From a tool's name to an operation and the connection that it runs with.

use std::sync::Arc;

use portcullis_runtime::manifest::{AuthMethod, Operation};
use serde_json::json;

use uuid::Uuid;

use super::call::ToolError;
use super::names::{
    PROVIDER, ToolName, bound_slug, disambiguated_bound_name, disambiguated_function_name, function_name,
};
use super::{Gateway, GatewayError};
use crate::identity::{Identity, UserName};
use crate::integrations::{Integration, Served};
use crate::store::agents::AgentState;
use crate::store::connections::{Connection, ConnectionStatus, Viewer};

/// Operations that a message lists.
const MAX_LISTED: usize = 30;

/// What a tool's name is looked up in: what the acting user sees.
#[derive(Clone)]
pub(crate) struct View {
    /// The project's, by slug.
    pub(crate) integrations: Arc<Vec<Arc<Integration>>>,
    /// The acting user's own and those that the project shares, by slug.
    pub(crate) connections: Arc<Vec<Connection>>,
    /// The acting user.
    pub(crate) user: Option<UserName>,
    /// The agent that calls, where names lead to what it was granted alone.
    pub(crate) agent: Option<Arc<AgentState>>,
}

/// An operation that was found, and what it runs with.
pub(crate) struct Target {
    /// The version that the call keeps to its end.
    pub(crate) served: Arc<Served>,
    /// Where the operation stands in the manifest.
    index: usize,
    /// The connection; none where the integration needs none. Or why the call can't have one.
    pub(crate) connection: Result<Option<Connection>, ToolError>,
}

impl Target {
    /// The operation.
    pub(crate) fn operation(&self) -> &Operation {
        // The index comes from this very manifest, which never changes.
        &self.served.connector.manifest().operations[self.index]
    }

    /// The integration's slug.
    pub(crate) fn integration(&self) -> &str {
        self.served.connector.slug()
    }
}

/// What was asked for, as it is now.
pub(crate) enum Asked {
    /// There is none any more: what isn't there, in words.
    Gone(String),
    /// The connection stands here even if it can't be used.
    Found { target: Box<Target>, connection: Option<Box<Connection>> },
}

/// Whose connections a call or a catalog uses: those of the user that is acted for, for admins too.
pub(crate) fn viewer(identity: &Identity) -> Viewer {
    identity.user.clone().map_or(Viewer::Shared, Viewer::User)
}

impl Gateway {
    /// What the acting user sees now.
    pub(crate) async fn view(&self, identity: &Identity) -> Result<View, GatewayError> {
        let integrations = self.inner.registry.integrations(identity.project).await?;
        let connections = self.inner.store.visible_connections(identity.project, &viewer(identity)).await?;
        Ok(View { integrations, connections, user: identity.user.clone(), agent: None })
    }
}

impl View {
    /// The operation and the connection that a slug, a bound slug or a function name stands for.
    pub(crate) fn resolve(&self, name: &str) -> Result<Target, ToolError> {
        if self.agent.is_some() {
            return self.resolve_granted(name);
        }
        match ToolName::parse(name) {
            ToolName::Slug { provider: PROVIDER, integration, operation, connection } => {
                let served = self.served(integration)?;
                let index = index_of(&served, operation).ok_or_else(|| no_operation(&served, operation))?;
                let connection = match connection {
                    Some(slug) => self.bound(integration, slug),
                    None => self.chosen(&served, operation),
                };
                Ok(Target { served, index, connection })
            }
            ToolName::Function { prefix, operation } => self.resolve_function(name, prefix, operation),
            ToolName::Slug { .. } | ToolName::Other => Err(no_tool(name)),
        }
    }

    /// An operation of a connection; none if what is served has no such operation. The error is that nothing is served.
    pub(in crate::gateway) fn target(
        &self,
        connection: &Connection,
        operation: &str,
    ) -> Result<Option<Target>, ToolError> {
        let served = self.served(connection.integration.as_str())?;
        let index = index_of(&served, operation);
        Ok(index.map(|index| Target { served, index, connection: usable(connection) }))
    }

    /// An operation, with the connection of this id, whatever that is called by now.
    pub(crate) fn asked(&self, integration: &str, operation: &str, connection: Option<Uuid>) -> Asked {
        let served = match self.served(integration) {
            Ok(served) => served,
            Err(error) => return Asked::Gone(error.message),
        };
        let Some(index) = index_of(&served, operation) else {
            return Asked::Gone(format!("{integration} has no operation {operation:?} any more"));
        };
        let found = match connection {
            None => None,
            Some(id) => match self.connections_of(integration).find(|one| one.id == id) {
                Some(connection) if self.agent.is_some() && !self.is_granted(connection, operation) => {
                    return Asked::Gone("the agent isn't granted it any more".to_owned());
                }
                Some(connection) => Some(connection.clone()),
                None => {
                    return Asked::Gone(
                        "the connection is gone, or can't be used any more by whom the call was for"
                            .to_owned(),
                    );
                }
            },
        };
        let connection = found.as_ref().map_or(Ok(None), usable);
        let target = Box::new(Target { served, index, connection });
        Asked::Found { target, connection: found.map(Box::new) }
    }

    /// A connection's slug comes before an integration's, but for one that would take over what its integration's name means
    /// to the acting user.
    fn resolve_function(&self, name: &str, prefix: &str, operation: &str) -> Result<Target, ToolError> {
        if let Some(connection) = self.connection(prefix)
            && let Ok(served) = self.served(connection.integration.as_str())
        {
            let index = match self.would_take_over(connection) {
                false => index_of_function(&served, prefix, operation, name),
                true => position(&served, |own| disambiguated_bound_name(prefix, own, prefix) == name),
            };
            if let Some(index) = index {
                return Ok(Target { served, index, connection: usable(connection) });
            }
        }
        let Some(integration) = self.integration(prefix) else { return Err(no_tool(name)) };
        let served = serving(integration)?;
        let index = index_of_function(&served, prefix, operation, name)
            .or_else(|| position(&served, |own| disambiguated_function_name(prefix, own) == name))
            .ok_or_else(|| no_operation(&served, operation))?;
        let operation = served.connector.manifest().operations[index].name.as_str();
        let connection = self.chosen(&served, operation);
        Ok(Target { served, index, connection })
    }

    /// Whether a connection of someone else has its integration's slug, though the acting user sees another one that is
    /// active: the name that stood for that one must not come to stand for a stranger's account.
    pub(crate) fn would_take_over(&self, connection: &Connection) -> bool {
        connection.slug == connection.integration
            && self.user.as_ref() != Some(&connection.owner)
            && self
                .connections_of(connection.integration.as_str())
                .any(|one| one.id != connection.id && one.status == ConnectionStatus::Active)
    }

    pub(in crate::gateway) fn integration(&self, slug: &str) -> Option<&Arc<Integration>> {
        let all = &self.integrations;
        let index = all.binary_search_by(|integration| integration.slug.as_str().cmp(slug)).ok()?;
        all.get(index)
    }

    pub(in crate::gateway) fn served(&self, slug: &str) -> Result<Arc<Served>, ToolError> {
        let integration = self.integration(slug).ok_or_else(|| {
            let slug: String = slug.chars().take(100).collect();
            ToolError::new(
                "TOOL_NOT_FOUND",
                format!("there is no integration {slug:?}; the catalog lists all"),
            )
        })?;
        serving(integration)
    }

    fn connection(&self, slug: &str) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.slug.as_str() == slug)
    }

    /// The integration's connections.
    pub(crate) fn connections_of<'v>(&'v self, integration: &'v str) -> impl Iterator<Item = &'v Connection> {
        self.connections.iter().filter(move |connection| connection.integration.as_str() == integration)
    }

    /// The connection that a bound slug names.
    fn bound(&self, integration: &str, slug: &str) -> Result<Option<Connection>, ToolError> {
        let connection = self.connection(slug).filter(|found| found.integration.as_str() == integration);
        connection.map_or_else(
            || {
                let slug: String = slug.chars().take(100).collect();
                let message = format!("there is no connection {slug:?} of {integration} that you can use");
                Err(ToolError::new("CONNECTION_NOT_FOUND", message))
            },
            usable,
        )
    }

    /// The connection of a call that names none: the only active one.
    fn chosen(&self, served: &Served, operation: &str) -> Result<Option<Connection>, ToolError> {
        let integration = served.connector.slug();
        let mut active =
            self.connections_of(integration).filter(|one| one.status == ConnectionStatus::Active);
        match (active.next(), active.next()) {
            (Some(one), None) => Ok(Some(one.clone())),
            (Some(_), Some(_)) => Err(self.ambiguous(integration, operation)),
            (None, _) if needs_none(served) => Ok(None),
            (None, _) => Err(self.without_active(integration)),
        }
    }

    fn ambiguous(&self, integration: &str, operation: &str) -> ToolError {
        let active = self.connections_of(integration).filter(|one| one.status == ConnectionStatus::Active);
        let slugs: Vec<String> =
            active.map(|one| bound_slug(integration, operation, one.slug.as_str())).collect();
        let message = format!(
            "{integration} has {} connections that you can use; name one of: {}",
            slugs.len(),
            slugs.join(", ")
        );
        ToolError::new("CONNECTION_AMBIGUOUS", message).with(json!({"connections": slugs}))
    }

    fn without_active(&self, integration: &str) -> ToolError {
        let all: Vec<&Connection> = self.connections_of(integration).collect();
        match all.as_slice() {
            [] => ToolError::new(
                "CONNECTION_NOT_FOUND",
                format!("you have no connection of {integration}; connect an account first"),
            ),
            [one] => unusable(one),
            several => {
                let slugs: Vec<&str> = several.iter().map(|one| one.slug.as_str()).collect();
                let (code, what) = match several.iter().all(|one| one.status == ConnectionStatus::Expired) {
                    true => ("CONNECTION_EXPIRED", "is expired: connect one of them anew"),
                    false => ("CONNECTION_INACTIVE", "is not active: test one, or update its credentials"),
                };
                let message = format!("each connection of {integration} ({}) {what}", slugs.join(", "));
                ToolError::new(code, message).with(json!({"connections": slugs}))
            }
        }
    }
}

fn serving(integration: &Integration) -> Result<Arc<Served>, ToolError> {
    integration.served.clone().ok_or_else(|| {
        let why = integration.problem.as_ref().map_or("it was never loaded", |problem| &problem.message);
        ToolError::new(
            "TOOL_NOT_FOUND",
            format!("the integration {} is broken and has no tools: {why}", integration.slug),
        )
    })
}

/// Whether the integration's operations can be called without a connection.
fn needs_none(served: &Served) -> bool {
    served.connector.manifest().auth_method == AuthMethod::None
}

fn usable(connection: &Connection) -> Result<Option<Connection>, ToolError> {
    match connection.status {
        ConnectionStatus::Active => Ok(Some(connection.clone())),
        _ => Err(unusable(connection)),
    }
}

fn unusable(connection: &Connection) -> ToolError {
    let slug = connection.slug.as_str();
    let why = connection.last_error.as_ref().map_or(String::new(), |error| format!(" ({error})"));
    let (code, message) = match connection.status {
        ConnectionStatus::Expired => (
            "CONNECTION_EXPIRED",
            format!("the connection {slug:?} is no longer accepted{why}: connect it anew"),
        ),
        ConnectionStatus::Disabled => (
            "CONNECTION_INACTIVE",
            format!("the connection {slug:?} is switched off: set its status to ACTIVE"),
        ),
        ConnectionStatus::Pending => {
            ("CONNECTION_INACTIVE", format!("the connection {slug:?} still waits for its user's consent"))
        }
        ConnectionStatus::Failed | ConnectionStatus::Active => (
            "CONNECTION_INACTIVE",
            format!("the connection {slug:?} failed{why}: test it, or update its credentials"),
        ),
    };
    ToolError::new(code, message).with(json!({"connection": slug, "status": connection.status}))
}

fn index_of(served: &Served, operation: &str) -> Option<usize> {
    position(served, |own| own == operation)
}

/// The operation that a function name stands for, in full or shortened.
fn index_of_function(served: &Served, prefix: &str, operation: &str, name: &str) -> Option<usize> {
    index_of(served, operation).or_else(|| position(served, |own| function_name(prefix, own) == name))
}

fn position(served: &Served, is_it: impl Fn(&str) -> bool) -> Option<usize> {
    served.connector.manifest().operations.iter().position(|operation| is_it(operation.name.as_str()))
}

fn no_tool(name: &str) -> ToolError {
    let shown: String = name.chars().take(200).collect();
    ToolError::new("TOOL_NOT_FOUND", format!("there is no tool {shown:?}; the catalog lists all"))
}

fn no_operation(served: &Served, operation: &str) -> ToolError {
    let operations = &served.connector.manifest().operations;
    let mut listed: Vec<&str> =
        operations.iter().take(MAX_LISTED).map(|operation| operation.name.as_str()).collect();
    if operations.len() > MAX_LISTED {
        listed.push("…");
    }
    let shown: String = operation.chars().take(100).collect();
    let (slug, listed) = (served.connector.slug(), listed.join(", "));
    ToolError::new("TOOL_NOT_FOUND", format!("{slug} has no operation {shown:?}; it has: {listed}"))
}

#[cfg(test)]
pub(crate) mod tests;
