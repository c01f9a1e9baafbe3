//! The lines in this process's memory: for tests, for programs of one process, and as the example of a store.
//!
//! It applies [`Line`](crate::rule::Line) under a mutex and adds nothing to the rule but wake-ups. It starts
//! no task and has no timer: what has expired is found by the next verb that looks at its key, and a waiter
//! is told by [`Busy::free_in`](crate::contract::Busy::free_in) when that is worth while.

mod slot;
mod table;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::contract::{
    Attempt, Exclusion, Fencing, Grant, Guarantees, Liveness, Order, Reach, Release, Renewal, Store,
};
use crate::data::{Barred, Claim, Entry, EntryId, Error, Keep, Key, Leave, Result};
use crate::rule::Clock;
use table::{Table, Turn};

/// Keeps the lines of all keys in memory. Clones share them.
///
/// Exclusion is among those who use one `MemoryStore` or its clones; nothing is kept when the last is gone.
/// Fences start at the machine's wall clock in microseconds, so they grow through a restart of the process
/// too, unless that clock went back meanwhile or more than a million claims a second were granted.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    table: Mutex<Table>,
}

impl MemoryStore {
    /// What this store promises.
    pub const GUARANTEES: Guarantees = Guarantees {
        store: Self::NAME,
        exclusion: Exclusion::Process,
        order: Order::Fifo,
        liveness: Liveness::Ttl,
        fencing: Fencing::WhileDataLives,
        permits: true,
        linger: true,
        release_by_hand: true,
    };

    /// The name by which errors and guarantees call this store.
    pub const NAME: &'static str = "memory";

    /// Makes a store with no claims in it, whose time is that of `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let table = Mutex::new(Table::new(clock.wall_micros()));
        Self {
            shared: Arc::new(Shared { clock, table }),
        }
    }

    /// How many keys it keeps anything for: those with a live claim, and some whose last claim has expired
    /// (never more than the greater of 64 and twice those that were live).
    #[must_use]
    pub fn keys(&self) -> usize {
        self.with(|turn| turn.keys())
    }

    /// Does `work` on the lines at one instant, then wakes whom it concerns.
    fn with<T>(&self, work: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        let mut table = self
            .shared
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Read under the mutex: time must not go back between two verbs.
        let mut turn = Turn::new(&mut table, self.shared.clock.now());
        let result = work(&mut turn);
        let rung = turn.finish();
        drop(table);
        drop(rung); // a waker runs foreign code, which may call this store again
        result
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn open(&self) -> Result<Guarantees> {
        Ok(Self::GUARANTEES)
    }

    fn reach(&self) -> Reach {
        Reach::Local
    }

    async fn attempt(&self, claims: &[Claim]) -> Vec<Result<Attempt>> {
        self.with(|turn| claims.iter().map(|claim| turn.attempt(claim)).collect())
    }

    async fn renew(&self, keeping: &[Keep]) -> Vec<Result<Renewal>> {
        self.with(|turn| keeping.iter().map(|keep| Ok(turn.renew(keep))).collect())
    }

    async fn release(&self, leaving: &[Leave]) -> Vec<Result<Release>> {
        self.with(|turn| {
            leaving
                .iter()
                .map(|leave| Ok(turn.release(leave)))
                .collect()
        })
    }

    async fn evict(&self, entry: &Entry) -> Result<Release> {
        let EntryId::Claim(id) = &entry.id else {
            return Ok(Release::Gone); // nothing foreign ever gets in here
        };
        Ok(self.with(|turn| turn.evict(&entry.key, id)))
    }

    async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>> {
        Ok(self.with(|turn| turn.inspect(prefix)))
    }

    async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>> {
        let mut entries = self.inspect(key.as_bytes()).await?;
        entries.retain(|entry| entry.key == *key);
        Ok(entries)
    }

    async fn recovers_in(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    async fn barred(&self, _: &[u8]) -> Result<Vec<Barred>> {
        Ok(Vec::new())
    }

    fn told(&self, _: &Claim) -> Option<Grant> {
        None
    }

    fn trouble(&self) -> Option<Error> {
        None
    }

    async fn close(&self) {}
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}
