//! When the keeper looks at which hold.
//!
//! Renewals are rounded down to a grain of a thirty-second of the TTL, so that holds which are due at about
//! the same time are renewed by one request; deadlines are exact. Taking a hold out costs no search: it
//! knows its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use super::hold::Hold;
use crate::rule::Tick;

#[derive(Debug, Default)]
pub(crate) struct Schedule {
    buckets: BTreeMap<u64, Vec<Arc<Hold>>>,
    /// Callers that want to be woken, by when and by a number of their own.
    alarms: BTreeMap<(Tick, u64), Waker>,
    /// The number of the last alarm.
    numbered: u64,
    /// When the keeper looks here next, if nobody tells it to.
    armed: Option<Tick>,
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
/// A look that turned out to be for nothing is put off no further than this.
const IDLE: Duration = Duration::from_secs(1);

impl Schedule {
    /// Plans the next look at a hold, instead of any planned before. Says whether the keeper would come too late.
    pub(crate) fn put(&mut self, hold: &Arc<Hold>, look: Look) -> bool {
        self.take(hold);
        let bucket = match look {
            Look::About(at) => at.as_nanos() & !(grain(hold.ttl()) - 1),
            Look::At(at) => at.as_nanos().min(NOWHERE - 1),
        };
        let holds = self.buckets.entry(bucket).or_default();
        hold.bucket.store(bucket, Ordering::Relaxed);
        hold.position.store(holds.len(), Ordering::Relaxed);
        holds.push(Arc::clone(hold));
        self.comes_after(Tick::from_nanos(bucket))
    }

    fn comes_after(&self, at: Tick) -> bool {
        self.armed.is_none_or(|armed| at < armed)
    }

    /// Wakes a caller at an instant; the same alarm again if it has a number. Gives the number, and says whether the
    /// keeper would come too late.
    pub(super) fn set_alarm(
        &mut self,
        at: Tick,
        number: Option<u64>,
        waker: &Waker,
    ) -> (u64, bool) {
        let number = number.unwrap_or_else(|| {
            self.numbered += 1;
            self.numbered
        });
        self.alarms
            .entry((at, number))
            .and_modify(|known| known.clone_from(waker))
            .or_insert_with(|| waker.clone());
        (number, self.comes_after(at))
    }

    /// Takes an alarm back.
    pub(super) fn stop_alarm(&mut self, at: Tick, number: u64) -> Option<Waker> {
        self.alarms.remove(&(at, number))
    }

    /// Takes all alarms that are due.
    pub(super) fn alarms_due(&mut self, now: Tick) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(first) = self.alarms.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        due
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

    /// Decides when the keeper looks here next.
    ///
    /// Not later than it would have anyway: in a process that takes and frees keys the first entry comes and goes all the
    /// time, and telling the keeper each time costs more than a look for nothing now and then.
    pub(super) fn arm(&mut self, now: Tick) -> Option<Tick> {
        let hold = self.buckets.first_key_value();
        let alarm = self.alarms.first_key_value();
        let first = [
            hold.map(|(at, _)| Tick::from_nanos(*at)),
            alarm.map(|((at, _), _)| *at),
        ];
        let planned = self.armed.filter(|armed| *armed > now);
        let idle = planned.map(|planned| planned.min(now.after(IDLE)));
        self.armed = first.into_iter().flatten().chain(idle).min();
        self.armed
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
