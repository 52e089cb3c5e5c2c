//! What an agent still needs from whom it acts for: each item with what a person does about it.

use std::cmp::Reverse;

use portcullis_runtime::manifest::{AuthMethod, Manifest};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::connections::mode_name;
use super::super::credentials::{Opened, missing_of};
use super::super::resolve::View;
use super::super::{Gateway, GatewayError};
use crate::identity::Identity;
use crate::store::agents::{ConnectionSource, DeclaredConnection};
use crate::store::connections::{Connection, ConnectionStatus};

/// What stands for a value that a person fills in.
const BLANK: &str = "…";

/// Something that an agent declares and that isn't there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Requirement {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) source: ConnectionSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) status: RequirementStatus,
    /// What a person does about it.
    pub(crate) message: String,
    /// The integration to connect; none where it isn't one.
    pub(crate) integration: Option<String>,
    /// The request that fulfils it; none where no single one does.
    pub(crate) connect: Option<Connect>,
}

/// In what way something isn't there. Of several connections that might do, the one is told of that lacks least: later ones lack
/// less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RequirementStatus {
    /// This server never provides it.
    Unsupported,
    /// There is none.
    Missing,
    /// The integration lacks tools that are declared.
    Tools,
    /// It is there, and switched off, failed, or still waiting for consent.
    Inactive,
    /// Its token or credentials aren't accepted any more.
    Expired,
    /// It was granted fewer scopes than its tools need.
    Scope,
}

/// A request of this API.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Connect {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// With `…` where a person fills something in; null where there is no JSON body.
    pub(crate) body: Value,
}

/// What an agent lacks, and whether it can run.
pub(crate) struct Requirements {
    pub(crate) agent: String,
    pub(crate) items: Vec<Requirement>,
}

impl Gateway {
    /// What the acting user must still connect, or an admin must set, before the agent can run.
    pub(crate) async fn requirements(
        &self,
        identity: &Identity,
        agent: &str,
    ) -> Result<Requirements, GatewayError> {
        let view = self.agent_view(identity, agent).await?;
        let items = self.unmet(identity, &view).await?;
        Ok(Requirements { agent: agent.to_owned(), items })
    }

    /// What of its declaration the view's agent lacks.
    pub(super) async fn unmet(
        &self,
        identity: &Identity,
        view: &View,
    ) -> Result<Vec<Requirement>, GatewayError> {
        let Some(state) = &view.agent else { return Ok(Vec::new()) };
        let mut items = Vec::new();
        for declared in &state.agent.connections {
            let item = match declared.source {
                ConnectionSource::Connector => self.lacking_connection(identity, view, declared).await?,
                ConnectionSource::Secret => self.lacking_secret(identity, declared).await?,
                ConnectionSource::NativeMcp | ConnectionSource::Composio => Some(unsupported(declared)),
            };
            items.extend(item);
        }
        Ok(items)
    }

    async fn lacking_connection(
        &self,
        identity: &Identity,
        view: &View,
        declared: &DeclaredConnection,
    ) -> Result<Option<Requirement>, GatewayError> {
        let Some(integration) = view.integration(&declared.kind) else {
            return Ok(Some(not_installed(declared)));
        };
        let Some(served) = &integration.served else {
            let why = integration.problem.as_ref().map_or("it was never loaded", |problem| &problem.message);
            let message =
                format!("the integration {} doesn't work: {why}; an admin must mend it", declared.kind);
            return Ok(Some(item(declared, RequirementStatus::Inactive, message, None)));
        };
        let manifest = served.connector.manifest();
        if let Some(item) = lacking_tools(declared, manifest) {
            return Ok(Some(item));
        }
        if manifest.auth_method == AuthMethod::None {
            return Ok(None);
        }
        let mut lacking: Vec<Requirement> = Vec::new();
        for connection in view.connections_of(&declared.kind).filter(|one| is_named(declared, one)) {
            let connection = self.shown(connection.clone()).await?;
            let scopes = lacking_scopes(&needed_scopes(view, declared, manifest, &connection), &connection);
            if connection.status == ConnectionStatus::Active && scopes.is_empty() {
                return Ok(None);
            }
            lacking.push(unusable(identity, declared, manifest, &connection, &scopes));
        }
        lacking.sort_by_key(|item| Reverse(item.status));
        Ok(Some(lacking.into_iter().next().unwrap_or_else(|| not_connected(declared, manifest))))
    }

    async fn lacking_secret(
        &self,
        identity: &Identity,
        declared: &DeclaredConnection,
    ) -> Result<Option<Requirement>, GatewayError> {
        let name = declared.name.as_deref().unwrap_or(&declared.kind);
        if self.inner.store.secret(identity.project, name).await?.is_some() {
            return Ok(None);
        }
        let connect =
            Connect { method: "PUT", path: format!("/api/secrets/{name}"), body: json!({"value": BLANK}) };
        let message = format!("an admin must set the workspace secret {name}");
        Ok(Some(item(declared, RequirementStatus::Missing, message, Some(connect))))
    }
}

fn item(
    declared: &DeclaredConnection,
    status: RequirementStatus,
    message: String,
    connect: Option<Connect>,
) -> Requirement {
    Requirement {
        kind: declared.kind.clone(),
        source: declared.source,
        name: declared.name.clone(),
        status,
        message,
        integration: (declared.source == ConnectionSource::Connector).then(|| declared.kind.clone()),
        connect,
    }
}

fn unsupported(declared: &DeclaredConnection) -> Requirement {
    let what = match declared.source {
        ConnectionSource::NativeMcp => "MCP servers of other systems",
        _ => "Composio's toolkits",
    };
    let message = format!(
        "this server doesn't provide {what}: take {} out of the agent's declaration, or declare an integration in its place",
        declared.kind
    );
    item(declared, RequirementStatus::Unsupported, message, None)
}

fn not_installed(declared: &DeclaredConnection) -> Requirement {
    let connect = Connect { method: "POST", path: "/api/integrations".to_owned(), body: Value::Null };
    let message = format!("there is no integration {}: an admin must install it", declared.kind);
    item(declared, RequirementStatus::Missing, message, Some(connect))
}

fn lacking_tools(declared: &DeclaredConnection, manifest: &Manifest) -> Option<Requirement> {
    let has = |tool: &String| manifest.operations.iter().any(|own| own.name.as_str() == tool);
    let lacking: Vec<&str> =
        declared.tools.iter().flatten().filter(|tool| !has(tool)).map(String::as_str).collect();
    if lacking.is_empty() {
        return None;
    }
    let message = format!(
        "version {} of {} hasn't got what the agent needs: {}; an admin must install a version that has, or change the \
         agent's declaration",
        manifest.version,
        declared.kind,
        lacking.join(", ")
    );
    Some(item(declared, RequirementStatus::Tools, message, None))
}

/// A declared name is a connection's slug, or its name among its owner's.
fn is_named(declared: &DeclaredConnection, connection: &Connection) -> bool {
    declared.name.as_ref().is_none_or(|name| connection.slug.as_str() == name || connection.name == *name)
}

/// The scopes that the declared tools need; where none are declared, those that the agent was granted.
fn needed_scopes<'m>(
    view: &View,
    declared: &DeclaredConnection,
    manifest: &'m Manifest,
    connection: &Connection,
) -> Vec<&'m str> {
    let grants = view.agent.iter().flat_map(|state| &state.grants);
    let granted = grants.filter(|grant| grant.connection == connection.id).flat_map(|grant| &grant.tools);
    let tools: Vec<&String> = match &declared.tools {
        Some(tools) => tools.iter().collect(),
        None => granted.collect(),
    };
    let needed = manifest.operations.iter().filter(|own| tools.iter().any(|tool| *tool == own.name.as_str()));
    let mut scopes: Vec<&str> =
        needed.flat_map(|operation| &operation.required_scopes).map(String::as_str).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}

/// Those that the connection wasn't granted. What it was granted isn't known of every one.
fn lacking_scopes(needed: &[&str], connection: &Connection) -> Vec<String> {
    let Some(granted) = &connection.scopes else { return Vec::new() };
    needed
        .iter()
        .filter(|scope| !granted.iter().any(|own| own == *scope))
        .map(|scope| (*scope).to_owned())
        .collect()
}

fn not_connected(declared: &DeclaredConnection, manifest: &Manifest) -> Requirement {
    let which = declared.name.as_ref().map_or(String::new(), |name| format!(", under the name {name:?}"));
    let message = format!("connect an account of {} ({}){which}", manifest.title, declared.kind);
    item(declared, RequirementStatus::Missing, message, Some(connecting(declared, manifest)))
}

/// The request that makes a connection, with blanks for its credentials.
fn connecting(declared: &DeclaredConnection, manifest: &Manifest) -> Connect {
    let mode = manifest.auth_method;
    let mut body = json!({
        "integration": declared.kind,
        "mode": mode_name(mode),
        "name": declared.name.as_deref().unwrap_or(&manifest.title),
    });
    if let (true, Some(members)) = (mode != AuthMethod::OAuth2, body.as_object_mut()) {
        members.insert("credentials".to_owned(), blanks(manifest, mode));
    }
    Connect { method: "POST", path: "/api/tools/connections".to_owned(), body }
}

/// The credentials that a mode needs, each blank.
fn blanks(manifest: &Manifest, mode: AuthMethod) -> Value {
    let keys = missing_of(manifest, mode, &Opened::default());
    keys.into_iter().map(|key| (key, Value::from(BLANK))).collect::<Map<String, Value>>().into()
}

/// What is to be done about a connection that can't be used, or that lacks scopes.
fn unusable(
    identity: &Identity,
    declared: &DeclaredConnection,
    manifest: &Manifest,
    connection: &Connection,
    scopes: &[String],
) -> Requirement {
    use ConnectionStatus::{Active, Disabled, Expired, Failed, Pending};
    let (slug, integration) = (connection.slug.as_str(), declared.kind.as_str());
    let why = connection.last_error.as_ref().map_or(String::new(), |error| format!(" ({error})"));
    let (status, what, remedy) = match connection.status {
        Active => (
            RequirementStatus::Scope,
            format!("was granted fewer rights than the agent needs; it lacks: {}", scopes.join(", ")),
            "connect it again and allow them",
        ),
        Expired => (RequirementStatus::Expired, format!("is no longer accepted{why}"), "connect it again"),
        Pending => (RequirementStatus::Inactive, "still waits for consent".to_owned(), "give it"),
        Failed => (RequirementStatus::Inactive, format!("doesn't work{why}"), "update its credentials"),
        Disabled => (RequirementStatus::Inactive, "is switched off".to_owned(), "switch it on"),
    };
    let is_managed = identity.is_admin() || identity.user.as_ref() == Some(&connection.owner);
    let subject = format!("the connection {slug:?} of {integration} {what}");
    if !is_managed {
        let message = format!("{subject}: ask its owner to mend it, or connect an account of your own");
        return item(declared, status, message, Some(connecting(declared, manifest)));
    }
    item(declared, status, format!("{subject}: {remedy}"), Some(mending(manifest, connection)))
}

/// The request that makes a connection usable again.
fn mending(manifest: &Manifest, connection: &Connection) -> Connect {
    let path = format!("/api/tools/connections/{}", connection.id);
    if connection.status == ConnectionStatus::Disabled {
        return Connect { method: "PATCH", path, body: json!({"status": "ACTIVE"}) };
    }
    match connection.mode {
        AuthMethod::OAuth2 => {
            Connect { method: "POST", path: format!("{path}/refresh"), body: json!({"force": true}) }
        }
        mode => Connect { method: "PATCH", path, body: json!({"credentials": blanks(manifest, mode)}) },
    }
}
