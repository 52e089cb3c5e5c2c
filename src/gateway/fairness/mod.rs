//! Who may call now: room for calls in flight, of all and of each project, and connections' rate limits.
//!
//! A call has a [`Ticket`] from its arrival to its end, and [`Room`] while it runs. What waits for a rate limit holds no
//! room, and what waits for its project's room holds none of everybody's: others never wait for either.

mod rate;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_runtime::Cancellation;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

pub(crate) use rate::{RateKey, RateLimited};

use self::rate::RateLimits;
use super::{GatewayConfig, GatewayError};
use crate::identity::ProjectId;

/// How long calls that were cancelled at the end of [`Fairness::drain`] may take to end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Room for calls.
pub(crate) struct Fairness {
    shared: Arc<Shared>,
    everyone: Arc<Semaphore>,
    limits: Limits,
    rates: Arc<RateLimits>,
}

#[derive(Clone, Copy)]
struct Limits {
    calls: usize,
    per_project: usize,
    queued: usize,
    queue_time: Duration,
}

struct Shared {
    state: Mutex<State>,
    /// Woken when the last call has ended.
    idle: Notify,
}

#[derive(Default)]
struct State {
    is_draining: bool,
    next_ticket: u64,
    /// The calls that have a ticket, and how each is ended.
    calls: HashMap<u64, Stop>,
    projects: HashMap<ProjectId, Project>,
}

struct Project {
    /// Tickets out.
    n_calls: usize,
    room: Arc<Semaphore>,
}

/// Ends a call wherever it is: clones end the same calls.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    /// Ends what runs.
    pub(crate) cancellation: Cancellation,
    /// Ends what waits.
    pub(crate) token: CancellationToken,
}

impl Stop {
    /// Ends the calls that have this.
    pub(crate) fn stop(&self) {
        self.token.cancel();
        self.cancellation.cancel();
    }
}

/// A call's place in its project, from its arrival to its end.
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    project: ProjectId,
    id: u64,
    project_room: Arc<Semaphore>,
}

/// Room to run in, given back when it is dropped.
pub(crate) struct Room {
    _project: OwnedSemaphorePermit,
    _everyone: OwnedSemaphorePermit,
}

/// Why a call got no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// It waited too long while so many calls were in flight; `of_project` tells whether they were its own project's.
    Waited { in_flight: usize, of_project: bool, waited: Duration },
    /// It was told to stop.
    Stopped,
}

impl Fairness {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        let limits = Limits {
            calls: config.max_calls.max(1),
            per_project: config.max_calls_per_project.max(1),
            queued: config.max_queued_per_project,
            queue_time: config.max_queue_time,
        };
        Self {
            shared: Arc::new(Shared { state: Mutex::default(), idle: Notify::new() }),
            everyone: Arc::new(Semaphore::new(limits.calls)),
            limits,
            rates: Arc::new(RateLimits::default()),
        }
    }

    /// Tickets for a request's calls, or none for any of them: where its project has as many calls as may run and wait
    /// ([`GatewayError::TooBusy`]), or where the server is going down. `stop` ends them all.
    pub(crate) fn admit(
        &self,
        project: ProjectId,
        n_calls: usize,
        stop: &Stop,
    ) -> Result<Vec<Ticket>, GatewayError> {
        let mut state = self.shared.lock();
        if state.is_draining {
            return Err(GatewayError::Unavailable("the server is shutting down".to_owned()));
        }
        let Limits { per_project, queued, .. } = self.limits;
        if n_calls > per_project + queued {
            // Waiting would never help.
            let message = format!(
                "{n_calls} calls in one request are more than this server takes of a project, {} in flight and waiting: \
                 send fewer at once",
                per_project + queued
            );
            return Err(GatewayError::Invalid { code: "INVALID_REQUEST", message, details: None });
        }
        let n_before = state.projects.get(&project).map_or(0, |project| project.n_calls);
        if n_before + n_calls > per_project + queued {
            return Err(GatewayError::TooBusy {
                message: format!(
                    "the project has {n_before} calls under way, and {n_calls} more would be past its \
                     {per_project} in flight and {queued} waiting"
                ),
                retry_after: Duration::from_secs(1),
            });
        }
        let entry = state
            .projects
            .entry(project)
            .or_insert_with(|| Project { n_calls: 0, room: Arc::new(Semaphore::new(per_project)) });
        entry.n_calls += n_calls;
        let room = Arc::clone(&entry.room);
        let first = state.next_ticket;
        let ids = (first..).take(n_calls);
        let tickets = ids.map(|id| {
            state.calls.insert(id, stop.clone());
            Ticket { shared: Arc::clone(&self.shared), project, id, project_room: Arc::clone(&room) }
        });
        let tickets: Vec<Ticket> = tickets.collect();
        state.next_ticket = first.wrapping_add(n_calls as u64);
        Ok(tickets)
    }

    /// Waits for room, in order: first in the project, then among all.
    pub(crate) async fn room(&self, ticket: &Ticket, stop: &Stop) -> Result<Room, NoRoom> {
        let Limits { calls, per_project, queue_time, .. } = self.limits;
        let waited = |in_flight, of_project| NoRoom::Waited { in_flight, of_project, waited: queue_time };
        // The common case takes no timer.
        let project_room = &ticket.project_room;
        if let Ok(project) = Arc::clone(project_room).try_acquire_owned()
            && let Ok(everyone) = Arc::clone(&self.everyone).try_acquire_owned()
        {
            return Ok(Room { _project: project, _everyone: everyone });
        }
        let until = tokio::time::Instant::now() + queue_time;
        let acquire = async |semaphore: &Arc<Semaphore>, too_long: NoRoom| {
            tokio::select! {
                biased;
                () = stop.token.cancelled() => Err(NoRoom::Stopped),
                permit = Arc::clone(semaphore).acquire_owned() => permit.map_err(|_| NoRoom::Stopped),
                () = tokio::time::sleep_until(until) => Err(too_long),
            }
        };
        let project = acquire(project_room, waited(per_project, true)).await?;
        let everyone = acquire(&self.everyone, waited(calls, false)).await?;
        Ok(Room { _project: project, _everyone: everyone })
    }

    /// Waits, in order, until a connection may be used under its limit of requests a minute.
    pub(crate) async fn rate(&self, key: RateKey, limit: u32, stop: &Stop) -> Result<(), RateLimited> {
        self.rates.wait(key, limit, self.limits.queue_time, &stop.token).await
    }

    /// Counts requests that a call made beyond its first.
    pub(crate) fn debit(&self, key: RateKey, n_requests: u32) {
        self.rates.debit(key, n_requests);
    }

    /// Calls that wait or run.
    #[cfg(test)]
    pub(crate) fn n_calls(&self) -> usize {
        self.shared.lock().calls.len()
    }

    /// Takes no new calls, and waits for those in flight; past `patience` they are cancelled and waited for.
    pub(crate) async fn drain(&self, patience: Duration) {
        self.shared.lock().is_draining = true;
        if tokio::time::timeout(patience, self.shared.until_idle()).await.is_ok() {
            return;
        }
        let calls: Vec<Stop> = self.shared.lock().calls.values().cloned().collect();
        tracing::warn!(
            calls = calls.len(),
            "calls were still in flight after {patience:?} and are cancelled"
        );
        calls.iter().for_each(Stop::stop);
        if tokio::time::timeout(LAST_WORDS, self.shared.until_idle()).await.is_err() {
            tracing::warn!("some calls did not end within {LAST_WORDS:?} of being cancelled");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // Enabled before looking, so that an end in between isn't missed.
            idle.as_mut().enable();
            if self.lock().calls.is_empty() {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.calls.remove(&self.id);
        if let Some(project) = state.projects.get_mut(&self.project) {
            project.n_calls -= 1;
            if project.n_calls == 0 {
                state.projects.remove(&self.project);
            }
        }
        let is_last = state.is_draining && state.calls.is_empty();
        drop(state);
        if is_last {
            self.shared.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
