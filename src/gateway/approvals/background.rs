//! What is done for approvals while nobody asks: ending those that have lapsed, telling webhooks, and forgetting old ones.

use std::sync::Weak;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::super::{Gateway, GatewayError, Parts};
use crate::error::chain;
use crate::time::Timestamp;

/// How often it is looked for work.
const TICK: Duration = Duration::from_secs(1);
/// How often for approvals that have lapsed, and for those that are old.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Begins to work for the gateway; ends with the handle, or with the gateway.
pub(in crate::gateway) fn start(gateway: Weak<Parts>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut swept, mut pruned) = (None, None);
        loop {
            ticks.tick().await;
            let Some(inner) = gateway.upgrade() else { return };
            let gateway = Gateway { inner };
            report(gateway.tell_webhooks().await);
            if is_due(&mut swept, SWEEP_EVERY) {
                report(gateway.sweep_approvals().await);
            }
            if is_due(&mut pruned, PRUNE_EVERY) {
                report(gateway.prune_approvals().await);
            }
        }
    }))
}

/// Whether so long has passed since it last was.
fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= every);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

/// A store that is away is away for every tick, and says so elsewhere.
fn report(done: Result<(), GatewayError>) {
    if let Err(error) = done {
        tracing::debug!(error = chain(&error), "work for approvals is put off");
    }
}

impl Gateway {
    async fn sweep_approvals(&self) -> Result<(), GatewayError> {
        let lapsed = self.inner.store.sweep_approvals(Timestamp::now(), false).await?;
        for (n, status) in [(lapsed.n_expired, "EXPIRED"), (lapsed.n_unknown, "UNKNOWN")] {
            if n > 0 {
                metrics::counter!("portcullis_approvals_total", "status" => status).increment(n);
                self.inner.approvals.changes.send_modify(|n| *n = n.wrapping_add(1));
            }
        }
        if lapsed.n_unknown > 0 {
            tracing::warn!(
                approvals = lapsed.n_unknown,
                "approved calls were never ended: whether they were sent isn't known, and they don't run again"
            );
        }
        Ok(())
    }

    /// What was decided is kept as long as the records of calls are.
    async fn prune_approvals(&self) -> Result<(), GatewayError> {
        let oldest = Timestamp::now().minus(self.inner.config.execution_age);
        match self.inner.store.prune_approvals(oldest).await? {
            0 => {}
            approvals => tracing::info!(approvals, "old approvals were deleted"),
        }
        Ok(())
    }
}
