//! Executions: the record of each call.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::database::Query;
use super::rows::{Fields, Statement, Value as Stored, clean, clean_optional, id, stored_count};
use super::{Store, StoreError};
use crate::identity::{ProjectId, UserName};
use crate::time::Timestamp;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExecutionOutcome {
    /// With a result.
    Ok,
    /// With an error of the connector, the provider or the arguments, or a crash of its process.
    Failed,
    /// At a host or address that isn't allowed.
    Blocked,
    /// Before it ran: no such tool, no usable connection, no room.
    Denied,
    /// At its deadline, or at a query's.
    TimedOut,
    /// Before it ran: a person must approve it.
    ApprovalRequired,
}

impl ExecutionOutcome {
    /// The outcome as it is stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Denied => "denied",
            Self::TimedOut => "timed_out",
            Self::ApprovalRequired => "approval_required",
        }
    }
}

/// The record of a call; nothing in it holds a secret's value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Execution {
    /// UUIDv7: sorts by time.
    pub(crate) id: Uuid,
    #[serde(skip)]
    pub(crate) project: ProjectId,
    pub(crate) user: Option<UserName>,
    pub(crate) key_id: Uuid,
    pub(crate) agent: Option<String>,
    /// The approval that the call waits for, or that let it run.
    pub(crate) approval_id: Option<Uuid>,
    pub(crate) connection_id: Option<Uuid>,
    pub(crate) connection_slug: Option<String>,
    pub(crate) integration: Option<String>,
    /// As the caller named it.
    pub(crate) tool: String,
    /// The operation's name, where the tool was found.
    pub(crate) operation: Option<String>,
    /// The manifest's version.
    pub(crate) connector_version: Option<u64>,
    /// The package's digest.
    pub(crate) connector_digest: Option<String>,
    pub(crate) outcome: ExecutionOutcome,
    /// The error's code, such as `PROVIDER_ERROR`.
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) started_at: Timestamp,
    /// From request to answer, in milliseconds.
    pub(crate) duration_ms: u64,
    /// Of that, waiting for room, in milliseconds.
    pub(crate) queue_ms: u64,
    /// How often the connector was called: 1, and the retries.
    pub(crate) attempts: u32,
    /// The request's id, as the answer's header `x-request-id` names it.
    pub(crate) request_id: Option<String>,
    /// `[{method, host, path, status, ms, bytes, error?}]`.
    pub(crate) http: Value,
    /// `[{level, message}]`.
    pub(crate) logs: Value,
    /// The arguments, redacted.
    pub(crate) arguments: Value,
}

/// Which executions a list is to hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExecutionFilter {
    /// None: everyone's. `Some(None)`: those of nobody in particular.
    pub(crate) user: Option<Option<UserName>>,
    pub(crate) outcome: Option<ExecutionOutcome>,
    pub(crate) integration: Option<String>,
    pub(crate) connection_id: Option<Uuid>,
    pub(crate) tool: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    /// Only what is older than this one: the cursor.
    pub(crate) before: Option<Uuid>,
    pub(crate) limit: u32,
}

/// The columns by name: a newer version of the program may have added some while this one runs.
const SELECT: &str = "SELECT project_id, id, user_name, key_id, agent, connection_id, connection_slug, integration, tool, \
                      operation, connector_version, connector_digest, outcome, code, started_at, duration_ms, queue_ms, \
                      attempts, request_id, message, http, logs, arguments, approval_id FROM executions WHERE project_id = ";
/// Rows that one transaction deletes.
const N_DELETED_AT_ONCE: i64 = 1_000;

impl Store {
    /// Adds records, in one transaction. Begins no new epoch.
    pub(crate) async fn insert_executions(&self, executions: &[Execution]) -> Result<(), StoreError> {
        if executions.is_empty() {
            return Ok(());
        }
        let mut write = self.inner.database.begin("store executions").await?;
        for some in executions.chunks(self.inner.database.rows_at_once()) {
            write.execute(insertion(some)).await?;
        }
        write.commit().await
    }

    /// The records that pass the filter, newest first.
    pub(crate) async fn executions(
        &self,
        project: ProjectId,
        filter: &ExecutionFilter,
    ) -> Result<Vec<Execution>, StoreError> {
        let mut select = Statement::new(SELECT);
        select.bind(id(project));
        match &filter.user {
            None => {}
            Some(None) => {
                select.push(" AND user_name IS NULL");
            }
            Some(Some(user)) => {
                select.push(" AND user_name = ").bind(user.as_str());
            }
        }
        select
            .and(" AND outcome = ", filter.outcome.map(ExecutionOutcome::as_str))
            .and(" AND integration = ", clean_optional(filter.integration.as_deref()))
            .and(" AND connection_id = ", filter.connection_id.map(id))
            .and(" AND tool = ", clean_optional(filter.tool.as_deref()))
            .and(" AND code = ", clean_optional(filter.code.as_deref()))
            .and(" AND started_at >= ", filter.since.map(|time| time.0))
            .and(" AND started_at <= ", filter.until.map(|time| time.0))
            .and(" AND id < ", filter.before.map(id))
            .push(" ORDER BY id DESC LIMIT ")
            .bind(i64::from(filter.limit));
        self.inner
            .database
            .rows("read the executions", select.query())
            .await?
            .iter()
            .map(execution_of)
            .collect()
    }

    /// One record.
    pub(crate) async fn execution(
        &self,
        project: ProjectId,
        execution: Uuid,
    ) -> Result<Option<Execution>, StoreError> {
        let mut select = Statement::new(SELECT);
        select.bind(id(project)).push(" AND id = ").bind(id(execution));
        let row = self.inner.database.row("read the execution", select.query()).await?;
        row.as_ref().map(execution_of).transpose()
    }

    /// Deletes what is older than `keep_for`, and all but the newest `keep_count` of each project; in batches, so that no
    /// writer waits long. How many were deleted.
    pub(crate) async fn prune_executions(
        &self,
        keep_for: Duration,
        keep_count: u64,
    ) -> Result<u64, StoreError> {
        let oldest = Timestamp::now().minus(keep_for);
        let mut n_deleted = self.delete_in_batches(|| batch("started_at < ", oldest.0)).await?;
        let query = sqlx::query(
            "SELECT found.project_id, projects.id FROM (SELECT DISTINCT project_id FROM executions) AS found \
             LEFT JOIN projects ON projects.id = found.project_id",
        );
        for row in self.inner.database.rows("prune executions", query).await? {
            let fields = Fields::of("project", &row);
            let project = fields.project()?;
            n_deleted += match fields.optional_text("id")? {
                Some(_) => self.delete_all_but_newest(project, keep_count).await?,
                // Recorded after its project was deleted.
                None => self.delete_executions(project).await?,
            };
        }
        self.inner.database.give_back_space().await?;
        Ok(n_deleted)
    }

    /// Deletes a project's executions; how many.
    pub(super) async fn delete_executions(&self, project: ProjectId) -> Result<u64, StoreError> {
        self.delete_in_batches(|| batch("project_id = ", id(project))).await
    }

    async fn delete_all_but_newest(&self, project: ProjectId, keep_count: u64) -> Result<u64, StoreError> {
        let query =
            sqlx::query("SELECT id FROM executions WHERE project_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2")
                .bind(id(project))
                .bind(stored_count(keep_count));
        let Some(row) = self.inner.database.row("prune executions", query).await? else { return Ok(0) };
        let newest_of_rest = Fields::of("execution", &row).text("id")?;
        self.delete_in_batches(|| {
            let mut delete = Statement::new(DELETE);
            delete.push("project_id = ").bind(id(project)).push(" AND id <= ").bind(newest_of_rest.clone());
            delete.push(" LIMIT ").bind(N_DELETED_AT_ONCE).push(")");
            delete.query()
        })
        .await
    }

    /// Runs a statement that deletes a batch until one isn't full; how many rows it deleted in all.
    async fn delete_in_batches(&self, batch: impl Fn() -> Query) -> Result<u64, StoreError> {
        let mut n_deleted = 0;
        loop {
            let mut write = self.inner.database.begin("prune executions").await?;
            let n = write.execute(batch()).await?;
            write.commit().await?;
            n_deleted += n;
            if n < N_DELETED_AT_ONCE.unsigned_abs() {
                return Ok(n_deleted);
            }
        }
    }
}

/// The beginning of a statement that deletes what a subquery selects.
const DELETE: &str =
    "DELETE FROM executions WHERE (project_id, id) IN (SELECT project_id, id FROM executions WHERE ";

/// Deletes a batch of those that fulfil a condition.
fn batch(condition: &'static str, value: impl Into<Stored>) -> Query {
    let mut delete = Statement::new(DELETE);
    delete.push(condition).bind(value).push(" LIMIT ").bind(N_DELETED_AT_ONCE).push(")");
    delete.query()
}

/// Adds rows. One that is there already stays: a batch whose commit got no answer is sent again.
fn insertion(executions: &[Execution]) -> Query {
    let mut insert = Statement::new(
        "INSERT INTO executions (project_id, id, user_name, key_id, agent, connection_id, connection_slug, integration, tool, \
         operation, connector_version, connector_digest, outcome, code, started_at, duration_ms, queue_ms, attempts, \
         request_id, message, http, logs, arguments, approval_id) VALUES ",
    );
    for (n, execution) in executions.iter().enumerate() {
        insert.push(if n == 0 { "(" } else { ", (" });
        for (n, value) in values(execution).into_iter().enumerate() {
            insert.push(if n == 0 { "" } else { ", " }).bind(value);
        }
        insert.push(")");
    }
    insert.push(" ON CONFLICT (project_id, id) DO NOTHING");
    insert.query().persistent(false)
}

fn values(execution: &Execution) -> [Stored; 24] {
    [
        id(execution.project).into(),
        id(execution.id).into(),
        execution.user.as_ref().map(|user| user.as_str().to_owned()).into(),
        id(execution.key_id).into(),
        clean_optional(execution.agent.as_deref()).into(),
        execution.connection_id.map(id).into(),
        clean_optional(execution.connection_slug.as_deref()).into(),
        clean_optional(execution.integration.as_deref()).into(),
        clean(&execution.tool).into(),
        clean_optional(execution.operation.as_deref()).into(),
        execution.connector_version.map(stored_count).into(),
        clean_optional(execution.connector_digest.as_deref()).into(),
        execution.outcome.as_str().into(),
        clean_optional(execution.code.as_deref()).into(),
        execution.started_at.0.into(),
        stored_count(execution.duration_ms).into(),
        stored_count(execution.queue_ms).into(),
        i64::from(execution.attempts).into(),
        clean_optional(execution.request_id.as_deref()).into(),
        clean_optional(execution.message.as_deref()).into(),
        execution.http.to_string().into(),
        execution.logs.to_string().into(),
        execution.arguments.to_string().into(),
        execution.approval_id.map(id).into(),
    ]
}

fn execution_of(row: &AnyRow) -> Result<Execution, StoreError> {
    let fields = Fields::of("execution", row);
    Ok(Execution {
        id: fields.uuid("id")?,
        project: fields.project()?,
        user: fields.optional_user("user_name")?,
        key_id: fields.uuid("key_id")?,
        agent: fields.optional_text("agent")?,
        approval_id: fields.optional_uuid("approval_id")?,
        connection_id: fields.optional_uuid("connection_id")?,
        connection_slug: fields.optional_text("connection_slug")?,
        integration: fields.optional_text("integration")?,
        tool: fields.text("tool")?,
        operation: fields.optional_text("operation")?,
        connector_version: fields.optional_count("connector_version")?,
        connector_digest: fields.optional_text("connector_digest")?,
        outcome: fields.word("outcome")?,
        code: fields.optional_text("code")?,
        message: fields.optional_text("message")?,
        started_at: fields.time("started_at")?,
        duration_ms: fields.count("duration_ms")?,
        queue_ms: fields.count("queue_ms")?,
        attempts: fields.count("attempts")?,
        request_id: fields.optional_text("request_id")?,
        http: fields.json("http")?,
        logs: fields.json("logs")?,
        arguments: fields.json("arguments")?,
    })
}
