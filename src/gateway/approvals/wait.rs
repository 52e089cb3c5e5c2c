//! Waiting for decisions: a caller who asks for that is answered as if its calls had run at once.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::Gateway;
use super::super::call::Answer;
use super::{Decided, told};
use crate::store::approvals::Approval;
use crate::time::Timestamp;

/// The longest that a caller can wait.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);
/// How often it is looked for what another process did.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Gateway {
    /// The answers, with what came of those that waited for a person, as far as it comes within `wait`, and before the server
    /// goes down. Waiting takes no room from other calls.
    pub(crate) async fn await_decisions(
        &self,
        mut answers: Vec<Answer>,
        wait: Duration,
        shutdown: &CancellationToken,
    ) -> Vec<Answer> {
        // One after the other is all at once: they have the same time.
        let until = Instant::now() + wait.min(MAX_WAIT);
        for answer in &mut answers {
            let Some(approval) = &answer.approval else { continue };
            let told = tokio::select! {
                told = self.await_decision(approval, until) => told,
                () = shutdown.cancelled() => None,
            };
            if let Some((approval, result)) = told {
                answer.execution = approval.execution.unwrap_or(answer.execution);
                answer.result = result;
                answer.approval = None;
            }
        }
        answers
    }

    async fn await_decision(
        &self,
        asked: &Approval,
        until: Instant,
    ) -> Option<(Approval, Result<serde_json::Value, super::ToolError>)> {
        let mut changes = self.inner.approvals.changes.subscribe();
        loop {
            changes.mark_unchanged();
            // A store that is away for a moment is no reason to give up.
            let now = self.inner.store.approval(asked.project, asked.id, Timestamp::now()).await;
            if let Ok(Some(approval)) = now
                && approval.status.is_final()
                && let Ok(outcome) = self.stored_outcome(&approval).await
            {
                let decided = Decided { approval: approval.clone(), outcome };
                return told(decided).map(|result| (approval, result));
            }
            if Instant::now() >= until {
                return None;
            }
            let look_again = until.min(Instant::now() + LOOK_EVERY);
            // The gateway holds the sender as long as this borrows it.
            let _ = tokio::time::timeout_at(look_again, changes.changed()).await;
        }
    }
}
