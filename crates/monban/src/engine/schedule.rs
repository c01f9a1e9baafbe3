//! When the keeper looks at which hold.
//!
//! Renewals are rounded down to a grain of a thirty-second of the TTL, so that holds which are due at about
//! the same time are renewed by one request; deadlines are exact. Taking a hold out costs no search: it
//! knows its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::hold::Hold;
use crate::rule::Tick;

#[derive(Debug, Default)]
pub(crate) struct Schedule {
    buckets: BTreeMap<u64, Vec<Arc<Hold>>>,
}

/// When to look at a hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    /// At this instant or somewhat earlier, together with others.
    About(Tick),
    /// At this instant.
    At(Tick),
}

const NOWHERE: u64 = u64::MAX;

impl Schedule {
    /// Plans the next look at a hold, instead of any planned before. Says whether it is now the first.
    pub(crate) fn put(&mut self, hold: &Arc<Hold>, look: Look) -> bool {
        self.take(hold);
        let bucket = match look {
            Look::About(at) => at.as_nanos() & !(grain(hold.ttl()) - 1),
            Look::At(at) => at.as_nanos().min(NOWHERE - 1),
        };
        let first = self
            .buckets
            .first_key_value()
            .is_none_or(|(first, _)| bucket < *first);
        let holds = self.buckets.entry(bucket).or_default();
        hold.bucket.store(bucket, Ordering::Relaxed);
        hold.position.store(holds.len(), Ordering::Relaxed);
        holds.push(Arc::clone(hold));
        first
    }

    /// Forgets a hold.
    pub(crate) fn take(&mut self, hold: &Arc<Hold>) {
        let bucket = hold.bucket.swap(NOWHERE, Ordering::Relaxed);
        let Some(holds) = self.buckets.get_mut(&bucket) else {
            return;
        };
        let at = hold.position.load(Ordering::Relaxed);
        let taken = holds.swap_remove(at);
        debug_assert!(Arc::ptr_eq(&taken, hold));
        if let Some(moved) = holds.get(at) {
            moved.position.store(at, Ordering::Relaxed);
        }
        if holds.is_empty() {
            self.buckets.remove(&bucket);
        }
    }

    /// Takes all holds that are due.
    pub(crate) fn due(&mut self, now: Tick) -> Vec<Arc<Hold>> {
        let mut due = Vec::new();
        while let Some(first) = self.buckets.first_entry() {
            if *first.key() > now.as_nanos() {
                break;
            }
            due.append(&mut first.remove());
        }
        for hold in &due {
            hold.bucket.store(NOWHERE, Ordering::Relaxed);
        }
        due
    }

    /// When the first hold is due.
    pub(crate) fn next(&self) -> Option<Tick> {
        self.buckets
            .first_key_value()
            .map(|(at, _)| Tick::from_nanos(*at))
    }

    pub(crate) fn len(&self) -> usize {
        self.buckets.values().map(Vec::len).sum()
    }
}

/// The greatest power of two nanoseconds below a thirty-second of the TTL.
fn grain(ttl: Option<Duration>) -> u64 {
    let part = ttl.map_or(1, |ttl| {
        u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX) / 32
    });
    1 << part.max(1).ilog2()
}
