//! What becomes of an approval: taken to be run by one, ended, rejected, or lapsed.

use uuid::Uuid;

use super::super::database::Write;
use super::super::rows::{Statement, clean, id};
use super::super::webhooks::{Event, leave};
use super::super::{Store, StoreError};
use super::{
    Approval, ApprovalField, ApprovalStatus, COLUMNS, Decision, approval_of, forget_arguments, insert_value,
};
use crate::identity::ProjectId;
use crate::time::Timestamp;
use crate::vault::Sealed;

/// How an approval that ran, or was about to, ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// DONE, FAILED, STALE or UNKNOWN.
    pub(crate) status: ApprovalStatus,
    pub(crate) execution: Option<Uuid>,
    pub(crate) code: Option<String>,
    /// What came of it.
    pub(crate) result: Option<Sealed>,
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lapsed {
    pub(crate) n_expired: u64,
    pub(crate) n_unknown: u64,
}

/// How many approvals one transaction of a sweep ends.
const SWEPT_AT_ONCE: i64 = 100;

impl Store {
    /// Makes a pending approval `holder`'s to run, committed when this returns; none if it isn't pending any more.
    pub(crate) async fn take_approval(
        &self,
        (project, approval): (ProjectId, Uuid),
        holder: Uuid,
        decision: &Decision,
        until: Timestamp,
    ) -> Result<Option<Approval>, StoreError> {
        let mut update = Statement::new("UPDATE approvals SET status = 'RUNNING', holder = ");
        update.bind(id(holder)).push(", running_until = ").bind(until.0);
        decide(&mut update, decision);
        pending(&mut update, (project, approval), decision.at);
        let mut write = self.inner.database.begin("take the approval").await?;
        let Some(row) = write.row(update.query()).await? else { return Ok(None) };
        let taken = approval_of(&row, decision.at)?;
        write.commit().await?;
        Ok(Some(taken))
    }

    /// Says that the holder still runs it.
    pub(crate) async fn renew_approval(
        &self,
        project: ProjectId,
        approval: Uuid,
        holder: Uuid,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let mut update = Statement::new("UPDATE approvals SET running_until = ");
        update.bind(until.0).push(" WHERE status = 'RUNNING'");
        held(&mut update, (project, approval), holder);
        let mut write = self.inner.database.begin("note that the approval runs").await?;
        write.execute(update.query()).await?;
        write.commit().await
    }

    /// Makes an approval pending again of which nothing was sent; false if it can't be: the same call waits anew.
    pub(crate) async fn give_back_approval(
        &self,
        project: ProjectId,
        approval: Uuid,
        holder: Uuid,
    ) -> Result<bool, StoreError> {
        let mut update = Statement::new(
            "UPDATE approvals SET status = 'PENDING', holder = NULL, running_until = NULL, decided_at = NULL, \
             decided_user = NULL, decided_key = NULL, reason = NULL WHERE status = 'RUNNING' AND NOT EXISTS (SELECT 1 \
             FROM approvals AS other WHERE other.project_id = approvals.project_id \
             AND other.fingerprint = approvals.fingerprint AND other.status = 'PENDING')",
        );
        held(&mut update, (project, approval), holder);
        let mut write = self.inner.database.begin("give the approval back").await?;
        let n_changed = write.execute(update.query()).await?;
        write.commit().await?;
        Ok(n_changed == 1)
    }

    /// Ends what the holder ran, also where it was given up meanwhile, and has the project told; none if another holds it.
    /// [`StoreError::KeyRotated`] if the result is under a replaced key.
    pub(crate) async fn end_approval(
        &self,
        project: ProjectId,
        approval: Uuid,
        holder: Uuid,
        end: &End,
    ) -> Result<Option<Approval>, StoreError> {
        let now = Timestamp::now();
        let mut update = Statement::new("UPDATE approvals SET running_until = NULL, status = ");
        update.bind(end.status.as_str()).push(", ended_at = ").bind(now.0);
        update.push(", execution_id = ").bind(end.execution.map(id));
        update.push(", code = ").bind(end.code.as_deref().map(clean));
        update.push(" WHERE status IN ('RUNNING', 'UNKNOWN')");
        held(&mut update, (project, approval), holder);
        update.push(" RETURNING ").push(COLUMNS);
        let mut write = self.inner.database.begin("store what came of the approval").await?;
        write.lock_master_key(&end.result).await?;
        let Some(row) = write.row(update.query()).await? else { return Ok(None) };
        let ended = approval_of(&row, now)?;
        forget_arguments(&mut write, &ended).await?;
        if let Some(result) = &end.result {
            insert_value(&mut write, &ended, ApprovalField::Result, result).await?;
        }
        leave(&mut write, Event::Decided, &ended, now).await?;
        write.commit().await?;
        Ok(Some(ended))
    }

    /// Rejects a pending approval, and has the project told; none if it isn't pending any more.
    pub(crate) async fn reject_approval(
        &self,
        project: ProjectId,
        approval: Uuid,
        decision: &Decision,
    ) -> Result<Option<Approval>, StoreError> {
        let mut update = Statement::new("UPDATE approvals SET status = 'REJECTED', ended_at = ");
        update.bind(decision.at.0);
        decide(&mut update, decision);
        pending(&mut update, (project, approval), decision.at);
        let mut write = self.inner.database.begin("reject the approval").await?;
        let Some(row) = write.row(update.query()).await? else { return Ok(None) };
        let rejected = approval_of(&row, decision.at)?;
        end_without_run(&mut write, &rejected, decision.at).await?;
        write.commit().await?;
        Ok(Some(rejected))
    }

    /// Ends what nobody decided in time, and what whoever ran it never ended; with `all_running`, whatever runs, for a process
    /// that knows itself to be the only one.
    pub(crate) async fn sweep_approvals(
        &self,
        now: Timestamp,
        all_running: bool,
    ) -> Result<Lapsed, StoreError> {
        let running_since = if all_running { Timestamp(i64::MAX) } else { now };
        Ok(Lapsed {
            n_expired: self.sweep("'EXPIRED'", "status = 'PENDING' AND expires_at <= ", now, now).await?,
            n_unknown: self
                .sweep("'UNKNOWN'", "status = 'RUNNING' AND running_until <= ", running_since, now)
                .await?,
        })
    }

    async fn sweep(
        &self,
        to: &'static str,
        lapsed: &'static str,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        const OPERATION: &str = "end lapsed approvals";
        let mut n_swept = 0;
        loop {
            // Looked for outside a transaction: nearly always there are none, and nobody need wait for that.
            let mut select = Statement::new("SELECT project_id, id FROM approvals WHERE ");
            select.push(lapsed).bind(before.0).push(" LIMIT ").bind(SWEPT_AT_ONCE);
            let rows = self.inner.database.rows(OPERATION, select.query()).await?;
            let n_found = rows.len();
            if n_found == 0 {
                return Ok(n_swept);
            }
            let mut write = self.inner.database.begin(OPERATION).await?;
            for row in rows {
                let fields = super::Fields::of("approval", &row);
                let mut update = Statement::new("UPDATE approvals SET status = ");
                update.push(to).push(", ended_at = ").bind(now.0).push(" WHERE ").push(lapsed).bind(before.0);
                update.push(" AND project_id = ").bind(id(fields.project()?));
                update.push(" AND id = ").bind(id(fields.uuid("id")?)).push(" RETURNING ").push(COLUMNS);
                if let Some(row) = write.row(update.query()).await? {
                    end_without_run(&mut write, &approval_of(&row, now)?, now).await?;
                    n_swept += 1;
                }
            }
            write.commit().await?;
            if n_found < usize::try_from(SWEPT_AT_ONCE).unwrap_or(usize::MAX) {
                return Ok(n_swept);
            }
        }
    }

    /// Deletes approvals that ended before this.
    pub(crate) async fn prune_approvals(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut n_deleted = 0;
        loop {
            let query = sqlx::query(
                "DELETE FROM approvals WHERE (project_id, id) IN (SELECT project_id, id FROM approvals \
                 WHERE ended_at < $1 LIMIT $2)",
            )
            .bind(before.0)
            .bind(SWEPT_AT_ONCE);
            let mut write = self.inner.database.begin("prune approvals").await?;
            let n = write.execute(query).await?;
            write.commit().await?;
            n_deleted += n;
            if n < SWEPT_AT_ONCE.unsigned_abs() {
                return Ok(n_deleted);
            }
        }
    }
}

/// What follows the end of an approval that this process doesn't run.
async fn end_without_run(
    write: &mut Write<'_>,
    approval: &Approval,
    now: Timestamp,
) -> Result<(), StoreError> {
    forget_arguments(write, approval).await?;
    leave(write, Event::Decided, approval, now).await
}

fn decide(update: &mut Statement, decision: &Decision) {
    update.push(", decided_at = ").bind(decision.at.0);
    update.push(", decided_user = ").bind(decision.user.as_ref().map(|user| user.as_str().to_owned()));
    update.push(", decided_key = ").bind(id(decision.key));
    update.push(", reason = ").bind(decision.reason.as_deref().map(clean));
}

/// The condition of an update of what is still pending.
fn pending(update: &mut Statement, (project, approval): (ProjectId, Uuid), now: Timestamp) {
    update.push(" WHERE project_id = ").bind(id(project)).push(" AND id = ").bind(id(approval));
    update.push(" AND status = 'PENDING' AND expires_at > ").bind(now.0).push(" RETURNING ").push(COLUMNS);
}

/// The rest of the condition of an update of what this holder has.
fn held(update: &mut Statement, (project, approval): (ProjectId, Uuid), holder: Uuid) {
    update.push(" AND project_id = ").bind(id(project)).push(" AND id = ").bind(id(approval));
    update.push(" AND holder = ").bind(id(holder));
}
