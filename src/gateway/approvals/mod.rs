//! Approvals: calls that a person must confirm before anything of them is sent.
//!
//! A call is stored before its caller is told that it waits. Who approves it takes it, in the store and for good, before it
//! runs: so it runs once, whoever else approves it, and whenever the process is killed.

mod ask;
pub(crate) mod background;
mod decide;
mod hash;
pub(crate) mod project;
pub(crate) mod rule;
mod run;
mod wait;
mod webhook;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) use ask::approval_required;
pub(crate) use decide::Verdict;
pub(in crate::gateway) use hash::call_hash;
pub(crate) use rule::{ApprovalRule, waits_for_a_person};
pub(crate) use wait::MAX_WAIT;

use super::call::ToolError;
use super::{Gateway, GatewayError};
use crate::identity::{Identity, Role};
use crate::store::approvals::{Approval, ApprovalField, ApprovalFilter, ApprovalStatus};
use crate::time::Timestamp;
use crate::vault::{Binding, VaultError};

/// What approvals need beside the store.
pub(crate) struct Approvals {
    /// Counts what this process does with approvals, for those who wait.
    changes: watch::Sender<u64>,
    /// What this process is deciding about. The store has the last word; this spares it a crowd that approves the same.
    deciding: Arc<Mutex<HashSet<Uuid>>>,
}

/// The only one in this process who decides about an approval, as long as it lives.
struct Deciding {
    all: Arc<Mutex<HashSet<Uuid>>>,
    id: Uuid,
}

impl Approvals {
    /// None while another decides about it.
    fn begin_to_decide(&self, id: Uuid) -> Option<Deciding> {
        let is_first = self.deciding.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        is_first.then(|| Deciding { all: Arc::clone(&self.deciding), id })
    }
}

impl Drop for Deciding {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Default for Approvals {
    fn default() -> Self {
        Self { changes: watch::Sender::new(0), deciding: Arc::default() }
    }
}

/// What came of a call that was approved, as it is sealed.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ok(Value),
    Error(ToolError),
}

/// An approval, and what came of its call.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) approval: Approval,
    /// None while nothing has, and for a call that never ran.
    pub(crate) outcome: Option<Result<Value, ToolError>>,
}

impl Gateway {
    /// The approvals that the caller sees, newest first: with an admin's key the project's (`filter.user` counts for these
    /// alone), otherwise those on the user's own behalf; with a service key, of these what that key asked for.
    pub(crate) async fn approvals(
        &self,
        identity: &Identity,
        filter: ApprovalFilter,
    ) -> Result<Vec<Approval>, GatewayError> {
        let user = if identity.is_admin() { filter.user } else { Some(identity.user.clone()) };
        let key = (identity.role == Role::Service).then_some(identity.key);
        let filter = ApprovalFilter { user, key, ..filter };
        Ok(self.inner.store.approvals(identity.project, &filter, Timestamp::now()).await?)
    }

    /// One of them, with what came of it.
    pub(crate) async fn approval(&self, identity: &Identity, id: Uuid) -> Result<Decided, GatewayError> {
        let approval = self.visible_approval(identity, id).await?;
        let outcome = self.stored_outcome(&approval).await?;
        Ok(Decided { approval, outcome })
    }

    async fn visible_approval(&self, identity: &Identity, id: Uuid) -> Result<Approval, GatewayError> {
        let approval = self.inner.store.approval(identity.project, id, Timestamp::now()).await?;
        let is_visible = |approval: &Approval| match identity.role {
            Role::Admin => true,
            Role::User => approval.asker.user == identity.user,
            Role::Service => approval.asker.user == identity.user && approval.asker.key == identity.key,
        };
        approval.filter(is_visible).ok_or_else(|| GatewayError::NotFound(format!("approval {id}")))
    }

    /// What the call of an approval that ran gave.
    async fn stored_outcome(
        &self,
        approval: &Approval,
    ) -> Result<Option<Result<Value, ToolError>>, GatewayError> {
        if !matches!(approval.status, ApprovalStatus::Done | ApprovalStatus::Failed) {
            return Ok(None);
        }
        let Some(text) = self.open_approval(approval, ApprovalField::Result).await? else { return Ok(None) };
        let outcome: Outcome =
            serde_json::from_slice(&text).map_err(|_| VaultError::Refused { kind: "approval".to_owned() })?;
        Ok(Some(match outcome {
            Outcome::Ok(value) => Ok(value),
            Outcome::Error(error) => Err(error),
        }))
    }

    /// One of an approval's sealed values; none if it has none any more.
    async fn open_approval(
        &self,
        approval: &Approval,
        field: ApprovalField,
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, GatewayError> {
        let sealed = self.inner.store.approval_value(approval.project, approval.id, field).await?;
        let owner = approval.id.to_string();
        let binding = Binding::approval(approval.project, &owner, field.as_str());
        Ok(sealed.map(|sealed| self.inner.vault.open(&binding, &sealed)).transpose()?)
    }

    /// Counts what became of an approval, and wakes those who wait.
    fn note_approval(&self, approval: &Approval) {
        metrics::counter!("portcullis_approvals_total", "status" => approval.status.as_str()).increment(1);
        self.inner.approvals.changes.send_modify(|n| *n = n.wrapping_add(1));
    }
}

impl Decided {
    /// What whoever asked for the call is told; none while there is nothing to tell.
    pub(crate) fn told(self) -> Option<Result<Value, ToolError>> {
        told(self)
    }
}

/// What whoever waits for a decision is told; none while there is nothing to tell. A call that ran has its own outcome.
fn told(decided: Decided) -> Option<Result<Value, ToolError>> {
    let Decided { approval, outcome } = decided;
    let error = |code: &str, message: String| {
        let reason = approval.decision.as_ref().and_then(|decision| decision.reason.as_ref());
        let details = json!({"approval_id": approval.id, "status": approval.status, "reason": reason});
        Some(Err(ToolError::new(code, message).with(details)))
    };
    match approval.status {
        ApprovalStatus::Pending | ApprovalStatus::Running => None,
        ApprovalStatus::Done | ApprovalStatus::Failed => outcome.or_else(|| {
            error("APPROVAL_OUTCOME_UNKNOWN", "the call ran; what came of it is no longer kept".to_owned())
        }),
        ApprovalStatus::Rejected => {
            let decision = approval.decision.as_ref();
            let reason = decision.and_then(|decision| decision.reason.as_deref());
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            error("APPROVAL_REJECTED", format!("a person rejected the call{reason}. Nothing was sent"))
        }
        ApprovalStatus::Expired => {
            error("APPROVAL_EXPIRED", "nobody approved the call in time. Nothing was sent".to_owned())
        }
        ApprovalStatus::Stale => error(
            "APPROVAL_STALE",
            "what would have run was no longer what was asked for. Nothing was sent; call it again to ask anew".to_owned(),
        ),
        ApprovalStatus::Unknown => error("APPROVAL_OUTCOME_UNKNOWN", OUTCOME_UNKNOWN.to_owned()),
    }
}

/// What is said of a call that was approved and whose end nobody saw.
pub(crate) const OUTCOME_UNKNOWN: &str =
    "outcome unknown: the call may have been sent; it won't be run again";
