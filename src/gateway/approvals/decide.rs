//! Deciding: who may, and what becomes of the approval.

use serde_json::json;
use uuid::Uuid;

use super::super::{Gateway, GatewayError};
use super::run::Approved;
use super::{Decided, Deciding};
use crate::identity::{Identity, Role};
use crate::store::approvals::{Approval, ApprovalStatus, Decision};
use crate::time::Timestamp;

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Approve,
    Reject,
}

impl Gateway {
    /// Approves a pending call and runs it, or rejects it. Once begun, the call goes on to its end even if the caller doesn't
    /// wait for it.
    pub(crate) async fn decide(
        &self,
        identity: &Identity,
        id: Uuid,
        verdict: Verdict,
        reason: Option<String>,
        request_id: &str,
    ) -> Result<Decided, GatewayError> {
        let approval = self.visible_approval(identity, id).await?;
        self.check_may_decide(identity, &approval, verdict).await?;
        if approval.status != ApprovalStatus::Pending {
            return Err(not_pending(&approval));
        }
        let Some(deciding) = self.inner.approvals.begin_to_decide(id) else {
            return Err(not_pending(&approval));
        };
        let (user, key) = (identity.user.clone(), identity.key);
        let decision = Decision { at: Timestamp::now(), user, key, reason };
        match verdict {
            Verdict::Approve => self.approve(&approval, decision, request_id, deciding).await,
            Verdict::Reject => self.reject(&approval, &decision).await,
        }
    }

    /// Whether the caller may approve this call; a store that doesn't answer says no.
    pub(crate) async fn may_approve(&self, identity: &Identity, approval: &Approval) -> bool {
        self.check_may_decide(identity, approval, Verdict::Approve).await.is_ok()
    }

    /// Admins may. A person may reject what was asked for on their behalf, and approve it if the project lets them. A service
    /// key, which is an agent's, may neither.
    async fn check_may_decide(
        &self,
        identity: &Identity,
        approval: &Approval,
        verdict: Verdict,
    ) -> Result<(), GatewayError> {
        match identity.role {
            Role::Admin => return Ok(()),
            Role::Service => {
                return Err(GatewayError::Forbidden(
                    "a service key can't decide about calls: a person does, with a key of their own"
                        .to_owned(),
                ));
            }
            Role::User if verdict == Verdict::Reject => return Ok(()),
            Role::User => {}
        }
        let project = self.inner.store.project(approval.project).await?;
        if project.is_some_and(|project| project.approve_own_calls) {
            return Ok(());
        }
        Err(GatewayError::Forbidden(
            "in this project people don't approve calls made on their own behalf: an admin does".to_owned(),
        ))
    }

    async fn approve(
        &self,
        approval: &Approval,
        decision: Decision,
        request_id: &str,
        deciding: Deciding,
    ) -> Result<Decided, GatewayError> {
        let approved = Approved::admitted(self, approval, decision, request_id, deciding)?;
        // A task of its own: a person has decided, and doesn't take that back by going away.
        match tokio::spawn(approved.carry_out()).await {
            Ok(decided) => decided,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(GatewayError::Unavailable("the server is shutting down".to_owned())),
            },
        }
    }

    async fn reject(&self, approval: &Approval, decision: &Decision) -> Result<Decided, GatewayError> {
        let (project, id) = (approval.project, approval.id);
        match self.inner.store.reject_approval(project, id, decision).await? {
            Some(approval) => {
                self.note_approval(&approval);
                Ok(Decided { approval, outcome: None })
            }
            None => Err(self.decided_meanwhile(approval).await?),
        }
    }

    /// Why a decision came too late.
    pub(super) async fn decided_meanwhile(&self, approval: &Approval) -> Result<GatewayError, GatewayError> {
        let now = self.inner.store.approval(approval.project, approval.id, Timestamp::now()).await?;
        Ok(now.map_or_else(
            || GatewayError::NotFound(format!("approval {}", approval.id)),
            |approval| not_pending(&approval),
        ))
    }
}

/// A second decision, or one that came too late.
fn not_pending(approval: &Approval) -> GatewayError {
    let what = match approval.status {
        ApprovalStatus::Running => "was approved and is running",
        ApprovalStatus::Done | ApprovalStatus::Failed => "was approved and has run",
        ApprovalStatus::Unknown => {
            "was approved, and its outcome is unknown: it may have been sent, and won't be run again"
        }
        ApprovalStatus::Rejected => "was rejected",
        ApprovalStatus::Expired => "has expired",
        ApprovalStatus::Stale => "is of a call that would no longer be what was asked for",
        ApprovalStatus::Pending => "is being decided about by someone else at this moment",
    };
    GatewayError::Conflict {
        code: "APPROVAL_NOT_PENDING",
        message: format!("approval {} {what}", approval.id),
        details: Some(json!({"status": approval.status})),
    }
}
