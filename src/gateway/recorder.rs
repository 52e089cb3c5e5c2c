//! Writes executions beside the calls: in batches, from a bounded queue, and counts what it had to drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::GatewayConfig;
use super::call::Redactors;
use crate::error::chain;
use crate::store::executions::Execution;
use crate::store::{Store, StoreError};

/// Records that wait to be written at most.
const CAPACITY: usize = 10_000;
/// Records of one transaction at most.
const MAX_BATCH: usize = 256;
/// How long a record waits for others to be written with.
const MAX_WAIT: Duration = Duration::from_millis(50);
/// The first pause after the store failed, and the longest: it doubles each time.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long [`Recorder::flush`] waits.
const MAX_FLUSH: Duration = Duration::from_secs(2);
/// How often old records are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Where calls leave their records.
pub(crate) struct Recorder {
    records: Sender<Box<Execution>>,
    /// Records that were taken into the queue.
    n_taken: AtomicU64,
    /// Records that are written, or given up.
    n_done: watch::Receiver<u64>,
    /// Has what is queued written at once.
    hurry: Arc<Notify>,
    /// Ends the pruning with this.
    _pruning: DropGuard,
    /// What makes arguments fit to be recorded.
    pub(crate) redactors: Redactors,
}

impl Recorder {
    /// Begins to write, and to prune what is too old or too much.
    pub(crate) fn start(store: Store, config: &GatewayConfig) -> Self {
        let ended = CancellationToken::new();
        tokio::spawn(prune(store.clone(), config.execution_age, config.execution_count, ended.clone()));
        let (sender, records) = mpsc::channel(CAPACITY);
        let (done, n_done) = watch::channel(0);
        let hurry = Arc::new(Notify::new());
        let writer = Writer { store, records, done, hurry: Arc::clone(&hurry) };
        tokio::spawn(writer.run());
        Self {
            records: sender,
            n_taken: AtomicU64::new(0),
            n_done,
            hurry,
            _pruning: ended.drop_guard(),
            redactors: Redactors::default(),
        }
    }

    /// Leaves a record; never waits. Where the queue is full the record is dropped and counted (a metric, and a log line).
    pub(crate) fn record(&self, execution: Execution) {
        match self.records.try_reserve() {
            Ok(place) => {
                // Counted before it can be written, so that a flush never overlooks it.
                self.n_taken.fetch_add(1, Ordering::SeqCst);
                place.send(Box::new(execution));
            }
            Err(_) => dropped(&execution, "the store is too slow or fails, and the queue is full"),
        }
    }

    /// Waits until what was left before has been written, for two seconds at most.
    pub(crate) async fn flush(&self) {
        let target = self.n_taken.load(Ordering::SeqCst);
        let mut n_done = self.n_done.clone();
        if *n_done.borrow_and_update() >= target {
            return;
        }
        self.hurry.notify_one();
        let written = n_done.wait_for(|n_done| *n_done >= target);
        if tokio::time::timeout(MAX_FLUSH, written).await.is_err() {
            tracing::warn!("executions are still being written after {MAX_FLUSH:?}");
        }
    }
}

fn dropped(execution: &Execution, why: &str) {
    metrics::counter!("portcullis_executions_dropped_total").increment(1);
    tracing::warn!(execution = %execution.id, "the record of an execution was dropped: {why}");
}

struct Writer {
    store: Store,
    records: Receiver<Box<Execution>>,
    done: watch::Sender<u64>,
    hurry: Arc<Notify>,
}

impl Writer {
    /// Until the recorder is gone and the queue is empty.
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while self.collect(&mut batch).await {
            self.write(&batch).await;
            self.done.send_modify(|n_done| *n_done += batch.len() as u64);
            batch.clear();
        }
    }

    /// Fills the batch; false at the end.
    async fn collect(&mut self, batch: &mut Vec<Execution>) -> bool {
        let Some(first) = self.records.recv().await else { return false };
        batch.push(*first);
        let until = tokio::time::Instant::now() + MAX_WAIT;
        while batch.len() < MAX_BATCH {
            tokio::select! {
                biased;
                record = self.records.recv() => match record {
                    Some(record) => batch.push(*record),
                    None => break,
                },
                () = self.hurry.notified() => break,
                () = tokio::time::sleep_until(until) => break,
            }
        }
        true
    }

    /// Writes the batch, and tries again until it is written. Meanwhile the queue fills.
    async fn write(&self, batch: &[Execution]) {
        let mut pause = PAUSES.0;
        while let Err(error) = self.store.insert_executions(batch).await {
            tracing::error!(executions = batch.len(), error = chain(&error), "executions can't be written");
            if self.store.ping().await.is_ok() {
                // It isn't the store, then: one of these can't be written, and must not keep back the others.
                return self.write_each(batch).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn write_each(&self, batch: &[Execution]) {
        for execution in batch {
            if let Err(error) = self.store.insert_executions(std::slice::from_ref(execution)).await {
                dropped(execution, &chain(&error));
            }
        }
    }
}

async fn prune(store: Store, keep_for: Duration, keep_count: u64, ended: CancellationToken) {
    let mut interval = tokio::time::interval(PRUNE_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            _ = interval.tick() => report(store.prune_executions(keep_for, keep_count).await),
        }
    }
}

fn report(pruned: Result<u64, StoreError>) {
    match pruned {
        Ok(0) => {}
        Ok(n_pruned) => tracing::info!(executions = n_pruned, "old executions were deleted"),
        Err(error) => tracing::error!(error = chain(&error), "old executions can't be deleted"),
    }
}

#[cfg(test)]
mod tests;
