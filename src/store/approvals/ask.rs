//! Asking for an approval: the call is stored, once, with what is sealed of it and with the event that tells of it.

use super::super::database::Query;
use super::super::rows::{Statement, clean, clean_optional, id, stored_count};
use super::super::webhooks::{Event, leave};
use super::super::{Store, StoreError};
use super::{Approval, ApprovalField, COLUMNS, FROM, approval_of, forget_arguments, insert_value};
use crate::identity::ProjectId;
use crate::vault::Sealed;

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Asked {
    /// It waits from now on.
    New,
    /// The same call, asked for by the same, waits already.
    Waiting(Box<Approval>),
    /// So many wait in the project that no more may.
    TooMany,
}

/// How often the same call is looked for that was decided just then.
const ATTEMPTS: usize = 3;

impl Store {
    /// Leaves a call to be approved, with its sealed arguments, and has the project told; unless the same one waits already
    /// (`fingerprint`), or `max_pending` do. [`StoreError::KeyRotated`] if `arguments` is under a replaced key.
    pub(crate) async fn ask(
        &self,
        approval: &Approval,
        fingerprint: &str,
        arguments: &Sealed,
        max_pending: u64,
    ) -> Result<Asked, StoreError> {
        let mut write = self.inner.database.begin("store the approval").await?;
        write.lock_master_key([arguments]).await?;
        let now = approval.created_at;
        for _ in 0..ATTEMPTS {
            // One that has expired and wasn't swept yet is none any more.
            let mut expire = Statement::new("UPDATE approvals SET status = 'EXPIRED', ended_at = expires_at");
            expire.push(" WHERE project_id = ").bind(id(approval.project));
            expire.push(" AND fingerprint = ").bind(fingerprint);
            expire.push(" AND status = 'PENDING' AND expires_at <= ").bind(now.0);
            expire.push(" RETURNING ").push(COLUMNS);
            if let Some(row) = write.row(expire.query()).await? {
                let expired = approval_of(&row, now)?;
                forget_arguments(&mut write, &expired).await?;
                leave(&mut write, Event::Decided, &expired, now).await?;
            }
            if write.execute(insertion(approval, fingerprint, max_pending)).await? == 1 {
                insert_value(&mut write, approval, ApprovalField::Arguments, arguments).await?;
                leave(&mut write, Event::Created, approval, now).await?;
                write.commit().await?;
                return Ok(Asked::New);
            }
            let mut waiting = Statement::new("SELECT ");
            waiting.push(COLUMNS).push(FROM).bind(id(approval.project));
            waiting.push(" AND fingerprint = ").bind(fingerprint).push(" AND status = 'PENDING'");
            if let Some(row) = write.row(waiting.query()).await? {
                return Ok(Asked::Waiting(Box::new(approval_of(&row, now)?)));
            }
            if write.number(n_pending(approval.project)).await? >= stored_count(max_pending) {
                return Ok(Asked::TooMany);
            }
        }
        Err(StoreError::Unavailable {
            operation: "store the approval",
            source: "the same call is asked for and decided at once, again and again".into(),
        })
    }
}

fn n_pending(project: ProjectId) -> Query {
    sqlx::query("SELECT COUNT(*) FROM approvals WHERE project_id = $1 AND status = 'PENDING'")
        .bind(id(project))
}

/// Adds the row, unless the same call waits or too many do.
fn insertion(approval: &Approval, fingerprint: &str, max_pending: u64) -> Query {
    let Approval { asker, connection, .. } = approval;
    let mut insert = Statement::new(
        "INSERT INTO approvals (project_id, id, status, user_name, asked_key, asked_role, agent, integration, operation, \
         operation_type, connection_id, connection_slug, account, connector_version, connector_digest, hash, fingerprint, \
         arguments, created_at, expires_at) SELECT ",
    );
    insert.bind(id(approval.project)).push(", ").bind(id(approval.id)).push(", 'PENDING', ");
    let user = asker.user.as_ref().map(|user| user.as_str().to_owned());
    let texts = [
        user,
        Some(id(asker.key)),
        Some(asker.role.as_str().to_owned()),
        clean_optional(asker.agent.as_deref()),
        Some(clean(&approval.integration)),
        Some(clean(&approval.operation)),
        Some(clean(&approval.operation_type)),
        connection.as_ref().map(|connection| id(connection.id)),
        connection.as_ref().map(|connection| clean(&connection.slug)),
        clean_optional(connection.as_ref().and_then(|connection| connection.account.as_deref())),
    ];
    for text in texts {
        insert.bind(text).push(", ");
    }
    insert.bind(stored_count(approval.connector_version)).push(", ");
    insert.bind(clean(&approval.connector_digest)).push(", ").bind(clean(&approval.hash)).push(", ");
    insert.bind(fingerprint).push(", ").bind(clean(&approval.arguments.to_string())).push(", ");
    insert.bind(approval.created_at.0).push(", ").bind(approval.expires_at.0);
    insert.push(" WHERE (SELECT COUNT(*) FROM approvals WHERE project_id = ");
    insert.bind(id(approval.project)).push(" AND status = 'PENDING') < ").bind(stored_count(max_pending));
    insert.push(" ON CONFLICT DO NOTHING");
    insert.query()
}
