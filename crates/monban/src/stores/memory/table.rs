//! All lines of a store, and one verb's turn at them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as At;

use super::slot::{Bell, Slot};
use crate::contract::{Attempt, Release, Renewal};
use crate::data::{Claim, ClaimId, Entry, Fence, IfBusy, Keep, Key, Leave, Result};
use crate::rule::line::Verdict;
use crate::rule::{Line, Tick};

/// Below so many keys nothing is swept or shrunk.
const SMALL: usize = 64;

/// The lines, by key. A key is in it only while its line has a claim, expired or not.
pub(super) struct Table {
    slots: HashMap<Key, Slot>,
    fences: Fences,
    /// At so many keys those whose claims have all expired are removed, so that keys of dead holders and
    /// lingering claims which nobody asks for again do not pile up.
    sweep_at: usize,
}

/// The counter of fences, one for all keys.
struct Fences {
    last: Option<Fence>,
    floor: i64,
}

impl Fences {
    fn mint(&mut self) -> Fence {
        // From microseconds since 1970, a million grants a second take 290,000 years to the end.
        let next = Fence::after(self.last, self.floor).expect("fewer than 2^63 grants");
        self.last = Some(next);
        next
    }
}

impl Table {
    pub(super) fn new(floor: i64) -> Self {
        Self {
            slots: HashMap::new(),
            fences: Fences { last: None, floor },
            sweep_at: SMALL,
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        self.slots.values().map(Slot::listeners).sum()
    }

    /// Gives memory back once most of the table is empty: a table does not shrink by itself.
    fn shrink(&mut self) {
        if self.slots.capacity() > SMALL && self.slots.len() * 8 < self.slots.capacity() {
            self.slots.shrink_to(self.slots.len() * 2);
        }
    }
}

/// One batch's access to the table at one instant.
pub(super) struct Turn<'a> {
    table: &'a mut Table,
    now: Tick,
    rung: Vec<Bell>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(table: &'a mut Table, now: Tick) -> Self {
        let rung = Vec::new();
        Self { table, now, rung }
    }

    /// What is to be dropped, and wakes thereby, once the table is unlocked.
    pub(super) fn finish(self) -> Vec<Bell> {
        self.rung
    }

    pub(super) fn keys(&self) -> usize {
        self.table.slots.len()
    }

    pub(super) fn attempt(&mut self, claim: &Claim) -> Result<Attempt> {
        self.sweep();
        let now = self.now;
        let slot = self.table.slots.entry(claim.key.clone()).or_default();
        let before = slot.before();
        let fences = &mut self.table.fences;
        let verdict = slot.line.attempt(claim, now, &mut || fences.mint());
        slot.ring(&before, &mut self.rung);
        let answer = verdict.map(|verdict| match verdict {
            Verdict::Granted { fence, seat } => Attempt::Granted(slot.grant(claim, fence, seat)),
            Verdict::Busy { ahead } => Attempt::Busy(slot.busy(claim, ahead, now)),
        });
        self.tidy(&claim.key);
        answer
    }

    pub(super) fn renew(&mut self, keep: &Keep) -> Renewal {
        let now = self.now;
        let kept = self.on(&keep.claim.key, |line, mint| line.renew(keep, now, mint));
        match kept {
            true => Renewal::Kept,
            false => Renewal::Lost,
        }
    }

    pub(super) fn release(&mut self, leave: &Leave) -> Release {
        let (claim, now) = (&leave.claim, self.now);
        let was_there = self.on(&claim.key, |line, mint| {
            line.release(&claim.id, leave.linger, now, mint)
        });
        told(was_there)
    }

    pub(super) fn evict(&mut self, key: &Key, id: &ClaimId) -> Release {
        let now = self.now;
        let was_there = self.on(key, |line, mint| {
            line.settle(now, mint);
            line.evict(id, now, mint)
        });
        told(was_there)
    }

    pub(super) fn inspect(&mut self, prefix: &[u8]) -> Vec<Entry> {
        let keys = self.table.slots.keys();
        let mut keys: Vec<_> = keys
            .filter(|key| key.as_bytes().starts_with(prefix))
            .cloned()
            .collect();
        keys.sort_unstable();
        let mut entries = Vec::new();
        let now = self.now;
        for key in keys {
            self.on(&key, |line, mint| {
                line.settle(now, mint);
                true
            });
            if let Some(slot) = self.table.slots.get(&key) {
                entries.extend(slot.entries(now));
            }
        }
        entries
    }

    /// Changes the line of a key, if it has one; `false` if not.
    fn on(
        &mut self,
        key: &Key,
        change: impl FnOnce(&mut Line, &mut dyn FnMut() -> Fence) -> bool,
    ) -> bool {
        let Some(slot) = self.table.slots.get_mut(key) else {
            return false;
        };
        let before = slot.before();
        let fences = &mut self.table.fences;
        let result = change(&mut slot.line, &mut || fences.mint());
        slot.ring(&before, &mut self.rung);
        self.tidy(key);
        result
    }

    /// Removes the key if its line has become empty; whoever still listens there is woken.
    fn tidy(&mut self, key: &Key) {
        if let At::Occupied(at) = self.table.slots.entry(key.clone())
            && at.get().line.is_empty()
        {
            self.rung.extend(at.remove().into_bells());
            self.table.shrink();
        }
    }

    fn sweep(&mut self) {
        if self.table.slots.len() < self.table.sweep_at {
            return;
        }
        let (now, fences, rung) = (self.now, &mut self.table.fences, &mut self.rung);
        self.table.slots.retain(|_, slot| {
            let before = slot.before();
            slot.line.settle(now, &mut || fences.mint());
            slot.ring(&before, rung);
            let keep = !slot.line.is_empty();
            if !keep {
                rung.extend(std::mem::take(slot).into_bells());
            }
            keep
        });
        self.table.sweep_at = SMALL.max(self.table.slots.len() * 2);
        self.table.shrink();
    }
}

fn told(was_there: bool) -> Release {
    match was_there {
        true => Release::Done,
        false => Release::Gone,
    }
}

/// Whether a refused claim stays in line.
pub(super) fn stays(claim: &Claim) -> bool {
    claim.if_busy == IfBusy::Queue
}
