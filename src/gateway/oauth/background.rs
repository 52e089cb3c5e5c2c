//! What is done for tokens while nobody waits: refreshing those that are used, keeping alive those that aren't, revoking
//! those of connections that are gone, and asking for those that somebody consents to on another device.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::super::{Gateway, GatewayError, Parts};
use super::due::LONGEST_MARGIN;
use super::refresh::{LATELY, MAX_IDLE, Need, Used};
use crate::error::chain;
use crate::identity::ProjectId;
use crate::time::Timestamp;

/// How often it is looked for work.
const TICK: Duration = Duration::from_secs(1);
/// How often for tokens that nobody has used for long, and how many of them are then refreshed.
const IDLE_EVERY: Duration = Duration::from_secs(600);
const MAX_IDLE_AT_ONCE: u32 = 50;
/// Refreshes side by side, of those that nobody waits for.
const MAX_AT_ONCE: usize = 16;

/// Begins to work for the gateway; ends with the handle, or with the gateway.
pub(in crate::gateway) fn start(gateway: Weak<Parts>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let room = Arc::new(Semaphore::new(MAX_AT_ONCE));
        let mut idle_seen = Instant::now();
        loop {
            ticks.tick().await;
            let Some(inner) = gateway.upgrade() else { return };
            let gateway = Gateway { inner };
            gateway.refresh_ahead(&room);
            if idle_seen.elapsed() > IDLE_EVERY {
                idle_seen = Instant::now();
                report(gateway.refresh_idle(&room).await);
            }
            report(gateway.revoke_due().await);
            report(gateway.poll_devices().await);
        }
    }))
}

/// A store that is away is away for every tick, and says so elsewhere.
fn report(done: Result<(), GatewayError>) {
    if let Err(error) = done {
        tracing::debug!(error = chain(&error), "work for tokens is put off");
    }
}

impl Gateway {
    /// Refreshes tokens that calls used lately before a call has to wait for that.
    fn refresh_ahead(&self, room: &Arc<Semaphore>) {
        let now = Timestamp::now();
        let (soon, lately) = (now.plus(LONGEST_MARGIN * 2), now.minus(LATELY));
        for (connection, used) in &self.inner.tokens.used_lately {
            if used.expires_at <= soon && used.at > lately {
                self.spawn_renewal(room, used.project, *connection, Need::Ahead);
            }
        }
    }

    async fn refresh_idle(&self, room: &Arc<Semaphore>) -> Result<(), GatewayError> {
        let now = Timestamp::now();
        for (project, connection) in
            self.inner.store.idle_grants(now.minus(MAX_IDLE), now, MAX_IDLE_AT_ONCE).await?
        {
            self.spawn_renewal(room, project, connection, Need::Idle);
        }
        Ok(())
    }

    /// Nobody waits for these: what has no room now is looked at again at the next tick.
    fn spawn_renewal(&self, room: &Arc<Semaphore>, project: ProjectId, connection: Uuid, need: Need) {
        let Ok(place) = Arc::clone(room).try_acquire_owned() else { return };
        let gateway = self.clone();
        tokio::spawn(async move {
            let _place = place;
            let used_lately = &gateway.inner.tokens.used_lately;
            let renewed = gateway.renew(project, connection, need).await;
            let expires_at = renewed.ok().and_then(|held| held.connection.expires_at);
            match (expires_at, used_lately.get(&connection)) {
                (Some(expires_at), Some(used)) => used_lately.insert(connection, Used { expires_at, ..used }),
                // Where it failed the next call tries by itself, and says what is wrong.
                _ => used_lately.invalidate(&connection),
            }
        });
    }
}
