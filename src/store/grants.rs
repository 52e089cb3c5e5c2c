//! Grants: which tools of which connection an agent may call, replaced as a whole.

use portcullis_runtime::manifest::name::Slug;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::database::Query;
use super::epochs::Change;
use super::rows::{Fields, Statement, clean, id};
use super::{Store, StoreError};
use crate::identity::{ProjectId, Role, UserName};
use crate::time::Timestamp;

/// What an agent may call of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) connection: Uuid,
    /// The connection's integration.
    pub(crate) integration: Slug,
    /// The connection's slug: its last one, where the connection is gone.
    pub(crate) slug: Slug,
    /// Names of operations, each once.
    pub(crate) tools: Vec<String>,
    pub(crate) approval: GrantApproval,
    /// The role of the key that granted it.
    pub(crate) granted_role: Role,
    /// The user who granted it; none where a key acted for nobody.
    pub(crate) granted_by: Option<UserName>,
    pub(crate) updated_at: Timestamp,
}

/// What a grant says about approvals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GrantApproval {
    /// What the operation says.
    #[default]
    Default,
    /// A person must approve each call.
    Always,
    /// Nobody need approve a call.
    Never,
}

impl GrantApproval {
    /// The word as it is stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// Which of an agent's grants are replaced.
#[derive(Clone, Debug)]
pub(crate) struct Replaced {
    /// Those on these connections.
    pub(crate) connections: Vec<Uuid>,
    /// Of those whose connection is gone, the ones that this user granted.
    pub(crate) gone_of: GoneOf,
}

/// Whose grants on connections that are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GoneOf {
    Everyone,
    User(Option<UserName>),
}

impl Store {
    /// Replaces some of an agent's grants by these, all or nothing; false if there is no such agent.
    pub(crate) async fn replace_grants(
        &self,
        project: ProjectId,
        agent: &str,
        replaced: &Replaced,
        grants: &[Grant],
    ) -> Result<bool, StoreError> {
        let mut change = self.begin_change("store the agent's grants").await?;
        // While this transaction lasts nobody deletes the agent.
        let found = sqlx::query("SELECT name FROM agents WHERE project_id = $1 AND name = $2")
            .bind(id(project))
            .bind(clean(agent));
        if change.row(found).await?.is_none() {
            return Ok(false);
        }
        for connection in &replaced.connections {
            let delete = sqlx::query(
                "DELETE FROM agent_grants WHERE project_id = $1 AND agent = $2 AND connection_id = $3",
            )
            .bind(id(project))
            .bind(clean(agent))
            .bind(id(connection));
            change.execute(delete).await?;
        }
        change.execute(delete_gone(project, agent, &replaced.gone_of)).await?;
        for grant in grants {
            change.execute(insertion(project, agent, grant)).await?;
        }
        change.commit().await?;
        Ok(true)
    }
}

/// Keeps the grants on a connection under its new slug, as a part of a transaction.
pub(super) async fn rename(
    change: &mut Change<'_>,
    project: ProjectId,
    connection: Uuid,
    slug: &Slug,
) -> Result<(), StoreError> {
    let query = sqlx::query("UPDATE agent_grants SET slug = $3 WHERE project_id = $1 AND connection_id = $2")
        .bind(id(project))
        .bind(id(connection))
        .bind(slug.as_str().to_owned());
    change.execute(query).await.map(drop)
}

/// An agent's grants, by slug.
pub(super) fn of_agent(project: ProjectId, agent: &str) -> Query {
    sqlx::query(
        "SELECT connection_id, integration, slug, tools, approval, granted_role, granted_by, updated_at \
         FROM agent_grants WHERE project_id = $1 AND agent = $2 ORDER BY slug, connection_id",
    )
    .bind(id(project))
    .bind(clean(agent))
}

pub(super) fn grant_of(row: &AnyRow) -> Result<Grant, StoreError> {
    let fields = Fields::of("agent's grant", row);
    Ok(Grant {
        connection: fields.uuid("connection_id")?,
        integration: fields.slug("integration")?,
        slug: fields.slug("slug")?,
        tools: fields.json("tools")?,
        approval: fields.word("approval")?,
        granted_role: fields.parsed("granted_role", Role::from_name)?,
        granted_by: fields.optional_user("granted_by")?,
        updated_at: fields.time("updated_at")?,
    })
}

fn delete_gone(project: ProjectId, agent: &str, whose: &GoneOf) -> Query {
    let mut delete = Statement::new("DELETE FROM agent_grants WHERE project_id = ");
    delete.bind(id(project)).push(" AND agent = ").bind(clean(agent)).push(
        " AND NOT EXISTS (SELECT 1 FROM connections WHERE connections.project_id = agent_grants.project_id \
         AND connections.id = agent_grants.connection_id)",
    );
    match whose {
        GoneOf::Everyone => {}
        GoneOf::User(None) => {
            delete.push(" AND granted_by IS NULL");
        }
        GoneOf::User(Some(user)) => {
            delete.push(" AND granted_by = ").bind(user.as_str());
        }
    }
    delete.query()
}

fn insertion(project: ProjectId, agent: &str, grant: &Grant) -> Query {
    sqlx::query(
        "INSERT INTO agent_grants (project_id, agent, connection_id, integration, slug, tools, approval, granted_role, \
         granted_by, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(id(project))
    .bind(clean(agent))
    .bind(id(grant.connection))
    .bind(grant.integration.as_str().to_owned())
    .bind(grant.slug.as_str().to_owned())
    .bind(serde_json::Value::from(grant.tools.clone()).to_string())
    .bind(grant.approval.as_str())
    .bind(grant.granted_role.as_str())
    .bind(grant.granted_by.as_ref().map(|user| user.as_str().to_owned()))
    .bind(grant.updated_at.0)
}
