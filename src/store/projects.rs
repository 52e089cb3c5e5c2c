//! Projects, and the users that were seen in them.

use sqlx::any::AnyRow;
use uuid::Uuid;

use super::rows::{Fields, clean, id};
use super::{Store, StoreError};
use crate::identity::{ProjectId, UserName};
use crate::time::Timestamp;

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Project {
    pub(crate) id: ProjectId,
    /// Unique; 1 to 100 characters.
    pub(crate) name: String,
    /// Whether people may approve the calls that were asked for on their own behalf.
    pub(crate) approve_own_calls: bool,
    pub(crate) created_at: Timestamp,
}

impl Store {
    /// Makes a project; [`StoreError::Taken`] if there is one of this name.
    pub(crate) async fn create_project(&self, name: &str) -> Result<Project, StoreError> {
        let project = Project {
            id: ProjectId(Uuid::now_v7()),
            name: clean(name),
            approve_own_calls: true,
            created_at: Timestamp::now(),
        };
        let query = sqlx::query("INSERT INTO projects (id, name, created_at) VALUES ($1, $2, $3)")
            .bind(id(project.id))
            .bind(project.name.clone())
            .bind(project.created_at.0);
        let mut change = self.begin_change("make the project").await?;
        change.insert(query, || format!("project name {:?}", project.name)).await?;
        change.commit().await?;
        Ok(project)
    }

    /// All projects, by name.
    pub(crate) async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        let query = sqlx::query("SELECT id, name, approve_own_calls, created_at FROM projects ORDER BY name");
        self.inner.database.rows("read the projects", query).await?.iter().map(project_of).collect()
    }

    /// The project of this name.
    pub(crate) async fn project_named(&self, name: &str) -> Result<Option<Project>, StoreError> {
        let query =
            sqlx::query("SELECT id, name, approve_own_calls, created_at FROM projects WHERE name = $1")
                .bind(clean(name));
        self.inner.database.row("read the project", query).await?.as_ref().map(project_of).transpose()
    }

    /// The project with this id.
    pub(crate) async fn project(&self, project: ProjectId) -> Result<Option<Project>, StoreError> {
        let query = sqlx::query("SELECT id, name, approve_own_calls, created_at FROM projects WHERE id = $1")
            .bind(id(project));
        self.inner.database.row("read the project", query).await?.as_ref().map(project_of).transpose()
    }

    /// Lets people approve the calls that were asked for on their own behalf, or not.
    pub(crate) async fn set_approve_own_calls(
        &self,
        project: ProjectId,
        approve_own_calls: bool,
    ) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE projects SET approve_own_calls = $1 WHERE id = $2")
            .bind(i64::from(approve_own_calls))
            .bind(id(project));
        let mut write = self.inner.database.begin("change the project").await?;
        write.execute(query).await?;
        write.commit().await
    }

    /// Deletes a project and all that is in it; whether there was one.
    pub(crate) async fn delete_project(&self, project: ProjectId) -> Result<bool, StoreError> {
        let mut change = self.begin_change("delete the project").await?;
        let query = sqlx::query("DELETE FROM projects WHERE id = $1").bind(id(project));
        if change.execute(query).await? == 0 {
            return Ok(false);
        }
        change.commit().await?;
        // There may be a million: in the transaction before, everyone else would wait for it. What is left if this stops is
        // nobody's, and pruned.
        self.delete_executions(project).await?;
        Ok(true)
    }

    /// Everyone who owns a connection or a key in the project, by name.
    pub(crate) async fn users(&self, project: ProjectId) -> Result<Vec<UserName>, StoreError> {
        let query = sqlx::query(
            "SELECT owner AS user_name FROM connections WHERE project_id = $1 \
             UNION SELECT user_name FROM api_keys WHERE project_id = $1 AND user_name IS NOT NULL ORDER BY user_name",
        )
        .bind(id(project));
        let rows = self.inner.database.rows("read the users", query).await?;
        rows.iter().map(|row| Fields::of("user", row).user("user_name")).collect()
    }
}

fn project_of(row: &AnyRow) -> Result<Project, StoreError> {
    let fields = Fields::of("project", row);
    Ok(Project {
        id: fields.uuid("id").map(ProjectId)?,
        name: fields.text("name")?,
        approve_own_calls: fields.integer("approve_own_calls")? != 0,
        created_at: fields.time("created_at")?,
    })
}
