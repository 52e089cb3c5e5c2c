//! Connections' rate limits: never more requests in any minute than their `rateLimit`.
//!
//! Requests are counted in slots of 100 ms over the last minute. A call that finds the minute full reserves the first
//! free place after those that came before it and waits for it; one whose place is too far off fails at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::identity::ProjectId;

/// How finely requests are counted.
const SLOT: Duration = Duration::from_millis(100);
/// A request counts for the slot that it was made in and for so many more: a minute from anywhere in the slot.
const SLOTS_PER_MINUTE: u64 = 600;

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RateKey {
    /// A connection's.
    Connection(Uuid),
    /// A project's at an integration that needs no connection.
    Integration(ProjectId, Arc<str>),
}

/// Why a call may not be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RateLimited {
    /// Its place is too far off: so long.
    TooLong(Duration),
    /// It was told to stop.
    Stopped,
}

/// All counts; those of connections that were idle for a minute are forgotten.
pub(super) struct RateLimits {
    started: Instant,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    by_key: HashMap<RateKey, Bucket>,
    swept_in: u64,
}

/// The requests of one minute: slots that have any, and places reserved in slots to come, in order.
#[derive(Debug, Default)]
struct Bucket {
    slots: VecDeque<(u64, u32)>,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { started: Instant::now(), buckets: Mutex::default() }
    }
}

impl RateLimits {
    /// Waits for a place, no longer than `patience`.
    pub(super) async fn wait(
        &self,
        key: RateKey,
        limit: u32,
        patience: Duration,
        stopped: &CancellationToken,
    ) -> Result<(), RateLimited> {
        let now = Instant::now();
        let (slot, at) = {
            let mut buckets = self.lock();
            let this = self.slot(now);
            buckets.sweep(this);
            let bucket = buckets.by_key.entry(key.clone()).or_default();
            let slot = bucket.next_place(this, limit);
            let at = self.start_of(slot).max(now);
            if at - now > patience {
                return Err(RateLimited::TooLong(at - now));
            }
            bucket.count(slot, 1);
            (slot, at)
        };
        if at <= now {
            return Ok(());
        }
        let mut place = Place { limits: self, key: Some(key), slot };
        tokio::select! {
            biased;
            // The place goes back with `place`.
            () = stopped.cancelled() => Err(RateLimited::Stopped),
            () = tokio::time::sleep_until(at) => {
                place.key = None;
                Ok(())
            }
        }
    }

    /// Counts requests that were made without asking.
    pub(super) fn debit(&self, key: RateKey, n_requests: u32) {
        let slot = self.slot(Instant::now());
        self.lock().by_key.entry(key).or_default().count(slot, n_requests);
    }

    fn slot(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.started);
        u64::try_from(since.as_millis() / SLOT.as_millis()).unwrap_or(u64::MAX)
    }

    fn start_of(&self, slot: u64) -> Instant {
        // Slots come from instants, and lie at most minutes ahead of them.
        self.started + SLOT * u32::try_from(slot).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reserved place; given back unless it was used.
struct Place<'r> {
    limits: &'r RateLimits,
    key: Option<RateKey>,
    slot: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key
            && let Some(bucket) = self.limits.lock().by_key.get_mut(key)
        {
            bucket.give_back(self.slot);
        }
    }
}

impl Buckets {
    fn sweep(&mut self, now: u64) {
        if now >= self.swept_in + SLOTS_PER_MINUTE {
            self.swept_in = now;
            self.by_key.retain(|_, bucket| !bucket.is_idle(now));
        }
    }
}

impl Bucket {
    /// The first slot, not before `now` nor before any place that is reserved, in which one more request leaves every
    /// minute with `limit` requests at most.
    fn next_place(&mut self, now: u64, limit: u32) -> u64 {
        while self.slots.front().is_some_and(|(slot, _)| slot + SLOTS_PER_MINUTE < now) {
            self.slots.pop_front();
        }
        let earliest = self.slots.back().map_or(now, |(slot, _)| now.max(*slot));
        let mut n_requests = 0_u32;
        for (slot, count) in self.slots.iter().rev() {
            n_requests = n_requests.saturating_add(*count);
            if n_requests >= limit {
                return earliest.max(slot + SLOTS_PER_MINUTE + 1);
            }
        }
        earliest
    }

    fn count(&mut self, slot: u64, n_requests: u32) {
        let index = self.slots.partition_point(|(own, _)| *own < slot);
        match self.slots.get_mut(index) {
            Some((own, count)) if *own == slot => *count = count.saturating_add(n_requests),
            _ => self.slots.insert(index, (slot, n_requests)),
        }
    }

    fn give_back(&mut self, slot: u64) {
        let index = self.slots.partition_point(|(own, _)| *own < slot);
        if let Some((own, count)) = self.slots.get_mut(index)
            && *own == slot
        {
            *count -= 1;
            if *count == 0 {
                self.slots.remove(index);
            }
        }
    }

    fn is_idle(&self, now: u64) -> bool {
        self.slots.back().is_none_or(|(slot, _)| slot + SLOTS_PER_MINUTE < now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes a place at `now` and says which.
    fn take(bucket: &mut Bucket, now: u64, limit: u32) -> u64 {
        let slot = bucket.next_place(now, limit);
        bucket.count(slot, 1);
        slot
    }

    #[test]
    fn a_minutes_worth_goes_at_once_and_the_rest_a_minute_later() {
        let mut bucket = Bucket::default();
        let places: Vec<u64> = (0..7).map(|_| take(&mut bucket, 5, 3)).collect();
        assert_eq!(places, [5, 5, 5, 606, 606, 606, 1207]);
        assert_eq!(take(&mut bucket, 2000, 3), 2000);
    }

    #[test]
    fn what_a_call_requests_beyond_its_first_counts() {
        let mut bucket = Bucket::default();
        assert_eq!(take(&mut bucket, 0, 5), 0);
        bucket.count(10, 4);
        assert_eq!(take(&mut bucket, 20, 5), 601, "the first one's minute is over");
        assert_eq!(take(&mut bucket, 20, 5), 611, "then those that were debited");
    }

    #[test]
    fn a_place_that_is_given_back_is_anothers() {
        let mut bucket = Bucket::default();
        assert_eq!(take(&mut bucket, 0, 1), 0);
        assert_eq!(take(&mut bucket, 1, 1), 601);
        bucket.give_back(601);
        assert_eq!(take(&mut bucket, 2, 1), 601);
        bucket.give_back(9999);
        assert_eq!(take(&mut bucket, 2, 1), 1202);
    }

    proptest! {
        #[test]
        fn no_minute_has_more_than_the_limit(
            limit in 1_u32..20,
            steps in proptest::collection::vec(0_u64..400, 1..120),
        ) {
            let (mut bucket, mut now, mut places) = (Bucket::default(), 0, Vec::new());
            for step in steps {
                now += step;
                let place = take(&mut bucket, now, limit);
                prop_assert!(place >= now);
                places.push(place);
            }
            prop_assert!(places.is_sorted(), "in order");
            for (index, place) in places.iter().enumerate() {
                let within = places[index..].iter().take_while(|later| **later <= place + SLOTS_PER_MINUTE);
                prop_assert!(within.count() <= limit as usize);
            }
        }
    }

    #[tokio::test]
    async fn one_that_would_wait_too_long_fails_at_once_and_others_go_on() {
        let (limits, stop) = (RateLimits::default(), CancellationToken::new());
        let (busy, other) =
            (RateKey::Connection(Uuid::from_u128(1)), RateKey::Connection(Uuid::from_u128(2)));
        let patience = Duration::from_secs(10);
        limits.wait(busy.clone(), 2, patience, &stop).await.expect("the first");
        limits.wait(busy.clone(), 2, patience, &stop).await.expect("the second");
        let Err(RateLimited::TooLong(wait)) = limits.wait(busy.clone(), 2, patience, &stop).await else {
            panic!("the third went");
        };
        assert!(wait > patience && wait <= Duration::from_secs(61), "{wait:?}");
        limits.wait(other, 2, patience, &stop).await.expect("another connection");
        limits.wait(busy, 3, patience, &stop).await.expect("a higher limit");
    }

    #[tokio::test]
    async fn one_that_is_stopped_gives_its_place_back() {
        let (limits, stop) = (RateLimits::default(), CancellationToken::new());
        let (key, patience) = (RateKey::Connection(Uuid::from_u128(1)), Duration::from_secs(90));
        limits.wait(key.clone(), 1, patience, &stop).await.expect("the first");
        stop.cancel();
        let outcome = limits.wait(key.clone(), 1, patience, &stop).await;
        assert_eq!(outcome, Err(RateLimited::Stopped));
        assert_eq!(limits.lock().by_key[&key].slots.len(), 1);
    }

    #[test]
    fn idle_connections_are_forgotten() {
        let mut buckets = Buckets::default();
        for id in 0..100 {
            buckets.by_key.entry(RateKey::Connection(Uuid::from_u128(id))).or_default().count(10, 1);
        }
        buckets.by_key.entry(RateKey::Connection(Uuid::from_u128(7))).or_default().count(500, 1);
        buckets.sweep(599);
        assert_eq!(buckets.by_key.len(), 100);
        buckets.sweep(700);
        assert_eq!(buckets.by_key.len(), 1);
    }
}
