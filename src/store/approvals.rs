//! Approvals: calls that wait for a person, and what was decided about them.
//!
//! Invariant: an approval leaves PENDING once. Each change of its status is one UPDATE that names the status before.

mod ask;
mod decide;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::any::AnyRow;
use uuid::Uuid;

pub(crate) use self::ask::Asked;
pub(crate) use self::decide::End;
use super::database::Write;
use super::rows::{Fields, Statement, clean, clean_optional, id};
use super::{Store, StoreError};
use crate::identity::{ProjectId, Role, UserName};
use crate::time::Timestamp;
use crate::vault::Sealed;

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum ApprovalStatus {
    /// Nobody has decided yet.
    Pending,
    /// It was approved, and runs.
    Running,
    /// It ran, with a result.
    Done,
    /// It ran, with an error.
    Failed,
    Rejected,
    /// Nobody decided in time.
    Expired,
    /// What would have run isn't any more what was asked for; nothing ran.
    Stale,
    /// It was approved, and the process that ran it is gone: it may have been sent.
    Unknown,
}

impl ApprovalStatus {
    /// The status as it is stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
            Self::Stale => "STALE",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Whether nothing comes of it any more.
    pub(crate) fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// Who asked for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    /// On whose behalf.
    pub(crate) user: Option<UserName>,
    pub(crate) key: Uuid,
    pub(crate) role: Role,
    pub(crate) agent: Option<String>,
}

/// The connection that a call would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedConnection {
    pub(crate) id: Uuid,
    pub(crate) slug: String,
    /// Whose account it is, where the service has said.
    pub(crate) account: Option<String>,
}

/// Who decided, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) at: Timestamp,
    pub(crate) user: Option<UserName>,
    pub(crate) key: Uuid,
    pub(crate) reason: Option<String>,
}

/// A call that waits for a person, or did. What is said of it here is what was shown to that person.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Approval {
    pub(crate) project: ProjectId,
    /// UUIDv7: sorts by time.
    pub(crate) id: Uuid,
    pub(crate) status: ApprovalStatus,
    pub(crate) asker: Asker,
    pub(crate) integration: String,
    pub(crate) operation: String,
    /// `read` or `write`.
    pub(crate) operation_type: String,
    pub(crate) connection: Option<AskedConnection>,
    pub(crate) connector_version: u64,
    pub(crate) connector_digest: String,
    /// SHA-256 of what would run.
    pub(crate) hash: String,
    /// The arguments without secrets.
    pub(crate) arguments: Value,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) decision: Option<Decision>,
    pub(crate) ended_at: Option<Timestamp>,
    /// The record of what ran.
    pub(crate) execution: Option<Uuid>,
    /// The code of the error that it ended with.
    pub(crate) code: Option<String>,
}

/// Which approvals a list is to hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApprovalFilter {
    /// None: everyone's. `Some(None)`: those of nobody in particular.
    pub(crate) user: Option<Option<UserName>>,
    pub(crate) key: Option<Uuid>,
    pub(crate) status: Option<ApprovalStatus>,
    pub(crate) agent: Option<String>,
    /// Only what is older than this one: the cursor.
    pub(crate) before: Option<Uuid>,
    pub(crate) limit: u32,
}

/// The values that are sealed for an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApprovalField {
    Arguments,
    /// `{"ok": …}` or `{"error": …}`.
    Result,
}

impl ApprovalField {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Arguments => "arguments",
            Self::Result => "result",
        }
    }
}

/// The columns by name: a newer version of the program may have added some while this one runs.
const COLUMNS: &str = "project_id, id, status, user_name, asked_key, asked_role, agent, integration, operation, operation_type, \
                       connection_id, connection_slug, account, connector_version, connector_digest, hash, arguments, \
                       created_at, expires_at, running_until, decided_at, decided_user, decided_key, reason, ended_at, \
                       execution_id, code";
const FROM: &str = " FROM approvals WHERE project_id = ";

impl Store {
    /// An approval as it stands now.
    pub(crate) async fn approval(
        &self,
        project: ProjectId,
        approval: Uuid,
        now: Timestamp,
    ) -> Result<Option<Approval>, StoreError> {
        let mut select = Statement::new("SELECT ");
        select.push(COLUMNS).push(FROM).bind(id(project)).push(" AND id = ").bind(id(approval));
        let row = self.inner.database.row("read the approval", select.query()).await?;
        row.as_ref().map(|row| approval_of(row, now)).transpose()
    }

    /// The approvals that pass the filter, as they stand now, newest first.
    pub(crate) async fn approvals(
        &self,
        project: ProjectId,
        filter: &ApprovalFilter,
        now: Timestamp,
    ) -> Result<Vec<Approval>, StoreError> {
        let mut select = Statement::new("SELECT ");
        select.push(COLUMNS).push(FROM).bind(id(project));
        match &filter.user {
            None => {}
            Some(None) => {
                select.push(" AND user_name IS NULL");
            }
            Some(Some(user)) => {
                select.push(" AND user_name = ").bind(user.as_str());
            }
        }
        if let Some(status) = filter.status {
            with_status(&mut select, status, now);
        }
        select
            .and(" AND asked_key = ", filter.key.map(id))
            .and(" AND agent = ", clean_optional(filter.agent.as_deref()))
            .and(" AND id < ", filter.before.map(id))
            .push(" ORDER BY id DESC LIMIT ")
            .bind(i64::from(filter.limit));
        let rows = self.inner.database.rows("read the approvals", select.query()).await?;
        rows.iter().map(|row| approval_of(row, now)).collect()
    }

    /// One of an approval's sealed values.
    pub(crate) async fn approval_value(
        &self,
        project: ProjectId,
        approval: Uuid,
        field: ApprovalField,
    ) -> Result<Option<Sealed>, StoreError> {
        let query = sqlx::query(
            "SELECT key_id, nonce, ciphertext FROM approval_values \
             WHERE project_id = $1 AND approval_id = $2 AND field = $3",
        )
        .bind(id(project))
        .bind(id(approval))
        .bind(field.as_str());
        let row = self.inner.database.row("read the approval", query).await?;
        row.map(|row| Fields::of("approval's value", &row).sealed()).transpose()
    }
}

/// Compares with the status that is shown: what has lapsed and wasn't swept yet stands as something else.
fn with_status(select: &mut Statement, status: ApprovalStatus, now: Timestamp) {
    use ApprovalStatus::{Expired, Pending, Running, Unknown};
    match status {
        Pending => select.push(" AND status = 'PENDING' AND expires_at > ").bind(now.0),
        Running => select.push(" AND status = 'RUNNING' AND running_until > ").bind(now.0),
        Expired => select
            .push(" AND (status = 'EXPIRED' OR status = 'PENDING' AND expires_at <= ")
            .bind(now.0)
            .push(")"),
        Unknown => select
            .push(" AND (status = 'UNKNOWN' OR status = 'RUNNING' AND running_until <= ")
            .bind(now.0)
            .push(")"),
        other => select.push(" AND status = ").bind(other.as_str()),
    };
}

async fn insert_value(
    write: &mut Write<'_>,
    approval: &Approval,
    field: ApprovalField,
    sealed: &Sealed,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO approval_values (project_id, approval_id, field, key_id, nonce, ciphertext) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id(approval.project))
    .bind(id(approval.id))
    .bind(field.as_str())
    .bind(clean(&sealed.key_id))
    .bind(sealed.nonce.to_vec())
    .bind(sealed.ciphertext.clone());
    write.execute(query).await.map(drop)
}

/// Deletes the arguments: what isn't going to run needs none.
async fn forget_arguments(write: &mut Write<'_>, approval: &Approval) -> Result<(), StoreError> {
    let query = sqlx::query(
        "DELETE FROM approval_values WHERE project_id = $1 AND approval_id = $2 AND field = 'arguments'",
    )
    .bind(id(approval.project))
    .bind(id(approval.id));
    write.execute(query).await.map(drop)
}

/// The approval as it stands at this moment: what has lapsed counts as swept.
fn approval_of(row: &AnyRow, now: Timestamp) -> Result<Approval, StoreError> {
    let fields = Fields::of("approval", row);
    let expires_at = fields.time("expires_at")?;
    let running_until = fields.optional_time("running_until")?;
    let status = match fields.word("status")? {
        ApprovalStatus::Pending if expires_at <= now => ApprovalStatus::Expired,
        ApprovalStatus::Running if running_until.is_none_or(|until| until <= now) => ApprovalStatus::Unknown,
        status => status,
    };
    let connection = match (fields.optional_uuid("connection_id")?, fields.optional_text("connection_slug")?)
    {
        (Some(id), Some(slug)) => {
            Some(AskedConnection { id, slug, account: fields.optional_text("account")? })
        }
        _ => None,
    };
    let decision = match (fields.optional_time("decided_at")?, fields.optional_uuid("decided_key")?) {
        (Some(at), Some(key)) => Some(Decision {
            at,
            user: fields.optional_user("decided_user")?,
            key,
            reason: fields.optional_text("reason")?,
        }),
        _ => None,
    };
    Ok(Approval {
        project: fields.project()?,
        id: fields.uuid("id")?,
        status,
        asker: Asker {
            user: fields.optional_user("user_name")?,
            key: fields.uuid("asked_key")?,
            role: fields.word("asked_role")?,
            agent: fields.optional_text("agent")?,
        },
        integration: fields.text("integration")?,
        operation: fields.text("operation")?,
        operation_type: fields.text("operation_type")?,
        connection,
        connector_version: fields.count("connector_version")?,
        connector_digest: fields.text("connector_digest")?,
        hash: fields.text("hash")?,
        arguments: fields.json("arguments")?,
        created_at: fields.time("created_at")?,
        expires_at,
        decision,
        ended_at: fields.optional_time("ended_at")?,
        execution: fields.optional_uuid("execution_id")?,
        code: fields.optional_text("code")?,
    })
}
