//! Running what was approved: taken before anything runs, compared with what was asked for, sent once, and its end kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::super::call::{ApprovedCall, Ran, ToolError};
use super::super::fairness::{Stop, Ticket};
use super::super::{Gateway, GatewayError};
use super::{Decided, Deciding, Outcome};
use crate::error::chain;
use crate::store::StoreError;
use crate::store::approvals::{Approval, ApprovalField, ApprovalStatus, Decision, End};
use crate::time::Timestamp;
use crate::vault::Binding;

/// How long what runs counts as running without a word from whoever runs it, and how often there is one.
const LEASE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));
/// The first pause before the end is stored once more, and how often that is tried: it doubles each time.
const INSIST: (Duration, u32) = (Duration::from_millis(100), 9);

/// A call that a person has approved, about to be taken.
pub(super) struct Approved {
    gateway: Gateway,
    approval: Approval,
    decision: Decision,
    request_id: String,
    /// Its place, kept until its end is stored.
    ticket: Arc<Ticket>,
    stop: Stop,
    started: Instant,
    /// This run's own name.
    holder: Uuid,
    /// Keeps others in this process from trying.
    _deciding: Deciding,
}

impl Approved {
    /// Finds it a place first: what finds none stays pending.
    pub(super) fn admitted(
        gateway: &Gateway,
        approval: &Approval,
        decision: Decision,
        request_id: &str,
        deciding: Deciding,
    ) -> Result<Self, GatewayError> {
        let stop = Stop::default();
        let ticket = gateway.inner.fairness.admit(approval.project, 1, &stop)?.pop();
        let ticket = ticket.ok_or_else(|| GatewayError::Unavailable("there is no room now".to_owned()))?;
        Ok(Self {
            gateway: gateway.clone(),
            approval: approval.clone(),
            decision,
            request_id: request_id.to_owned(),
            ticket: Arc::new(ticket),
            stop,
            started: Instant::now(),
            holder: Uuid::now_v7(),
            _deciding: deciding,
        })
    }

    /// Takes it, runs it, and keeps what came of it.
    pub(super) async fn carry_out(mut self) -> Result<Decided, GatewayError> {
        let (store, place) = (&self.gateway.inner.store, (self.approval.project, self.approval.id));
        let until = Timestamp::now().plus(LEASE.0);
        let Some(taken) = store.take_approval(place, self.holder, &self.decision, until).await? else {
            return Err(self.gateway.decided_meanwhile(&self.approval).await?);
        };
        self.approval = taken;
        let renewal = self.renew();
        let ran = self.run().await;
        let decided = match ran {
            Err(error) => Err(self.give_back(error).await?),
            Ok(Ran::Unready(error)) => Err(self.give_back(unready(&error)).await?),
            Ok(Ran::Stale(what)) => self.end_stale(&what).await,
            Ok(Ran::Ended { result, execution, was_cut_off }) => {
                self.end(result, execution, was_cut_off).await
            }
        };
        drop(renewal);
        decided
    }

    /// Says again and again that it runs, until this is dropped.
    fn renew(&self) -> AbortOnDropHandle<()> {
        let (store, holder) = (self.gateway.inner.store.clone(), self.holder);
        let (project, id) = (self.approval.project, self.approval.id);
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(LEASE.1).await;
                let until = Timestamp::now().plus(LEASE.0);
                if let Err(error) = store.renew_approval(project, id, holder, until).await {
                    tracing::warn!(approval = %id, error = chain(&error), "can't say that an approved call still runs");
                }
            }
        }))
    }

    async fn run(&self) -> Result<Ran, GatewayError> {
        let arguments = self.gateway.open_approval(&self.approval, ApprovalField::Arguments).await?;
        let arguments: Option<Value> = arguments.and_then(|text| serde_json::from_slice(&text).ok());
        let Some(arguments) = arguments else {
            return Ok(Ran::Stale("its arguments can't be read any more".to_owned()));
        };
        let call = ApprovedCall {
            approval: &self.approval,
            arguments,
            request_id: &self.request_id,
            started: self.started,
            ticket: &self.ticket,
            stop: &self.stop,
        };
        Box::pin(self.gateway.run_approved(call)).await
    }

    /// Nothing was sent: it is pending again, and the caller is told why. Where the same call waits anew, that one is left.
    async fn give_back(&self, why: GatewayError) -> Result<GatewayError, GatewayError> {
        let (project, id) = (self.approval.project, self.approval.id);
        let mut patience = Patience::with(id);
        let is_back = loop {
            match self.gateway.inner.store.give_back_approval(project, id, self.holder).await {
                Err(error) if patience.lasts(&error).await => {}
                done => break done?,
            }
        };
        if !is_back {
            drop(self.end_stale("the same call was asked for again meanwhile").await);
        }
        Ok(why)
    }

    async fn end_stale(&self, what: &str) -> Result<Decided, GatewayError> {
        let id = self.approval.id;
        let code = Some("APPROVAL_STALE".to_owned());
        let end = End { status: ApprovalStatus::Stale, execution: None, code, result: None };
        if let Some(approval) = self.store_end(end, None).await? {
            self.gateway.note_approval(&approval);
        }
        Err(GatewayError::Conflict {
            code: "APPROVAL_STALE",
            message: format!(
                "approval {id} can't be given: {what}, so that what would run isn't what was asked for. Nothing was sent; the \
                 call must be made anew"
            ),
            details: Some(json!({"status": ApprovalStatus::Stale})),
        })
    }

    async fn end(
        &self,
        result: Result<Value, ToolError>,
        execution: Uuid,
        was_cut_off: bool,
    ) -> Result<Decided, GatewayError> {
        let (status, code) = match &result {
            Ok(_) => (ApprovalStatus::Done, None),
            Err(error) if was_cut_off => (ApprovalStatus::Unknown, Some(error.code.clone())),
            Err(error) => (ApprovalStatus::Failed, Some(error.code.clone())),
        };
        let outcome = match result.clone() {
            Ok(value) => Outcome::Ok(value),
            Err(error) => Outcome::Error(error),
        };
        let outcome = Zeroizing::new(json!(outcome).to_string());
        let end = End { status, execution: Some(execution), code, result: None };
        let Some(approval) = self.store_end(end, Some(&outcome)).await? else {
            return Err(self.gateway.decided_meanwhile(&self.approval).await?);
        };
        self.gateway.note_approval(&approval);
        let outcome = (approval.status != ApprovalStatus::Unknown).then_some(result);
        Ok(Decided { approval, outcome })
    }

    /// Stores the end, and goes on trying while the store is away: what came of a call is known here alone.
    async fn store_end(&self, end: End, outcome: Option<&str>) -> Result<Option<Approval>, GatewayError> {
        let (project, id) = (self.approval.project, self.approval.id);
        let owner = id.to_string();
        let binding = Binding::approval(project, &owner, ApprovalField::Result.as_str());
        let (store, vault) = (&self.gateway.inner.store, &self.gateway.inner.vault);
        let seal = || {
            let result = outcome.map(|outcome| vault.seal(&binding, outcome.as_bytes())).transpose()?;
            Ok(End { result, ..end.clone() })
        };
        let mut patience = Patience::with(id);
        loop {
            let write = async |end: End| store.end_approval(project, id, self.holder, &end).await;
            match vault.sealed_write::<_, _, GatewayError, _>(store, seal, write).await {
                Err(GatewayError::Store(error)) => {
                    if !patience.lasts(&error).await {
                        return Err(error.into());
                    }
                }
                done => return done,
            }
        }
    }
}

/// How long a store that is away is tried again.
struct Patience {
    approval: Uuid,
    pause: Duration,
    n_left: u32,
}

impl Patience {
    fn with(approval: Uuid) -> Self {
        Self { approval, pause: INSIST.0, n_left: INSIST.1 }
    }

    /// Waits before the next try, if there is to be one.
    async fn lasts(&mut self, error: &StoreError) -> bool {
        if self.n_left == 0 || !matches!(error, StoreError::Unavailable { .. }) {
            return false;
        }
        let approval = self.approval;
        tracing::warn!(%approval, error = chain(error), "what came of an approval can't be stored yet");
        tokio::time::sleep(self.pause).await;
        self.pause *= 2;
        self.n_left -= 1;
        true
    }
}

/// What was asked for is what would run, and yet it can't.
fn unready(error: &ToolError) -> GatewayError {
    GatewayError::Conflict {
        code: "APPROVAL_NOT_READY",
        message: format!("{}. Nothing was sent, and the approval is still pending", error.message),
        details: Some(json!({"status": ApprovalStatus::Pending, "error": error})),
    }
}
