//! The engine over the memory store, with a clock and faults that the tests command.

mod cancel;
mod endings;
mod faults;
mod leases;
mod sim;
mod waiting;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Locks, block_on};
use crate::contract::Store;
use crate::data::Standing;
use crate::rule::Clock;
use crate::stores::memory::MemoryStore;
use crate::testing::{Faults, FaultyStore};

/// Two processes on one store, each with its own connection, and the means to disturb the first.
struct World {
    clock: Clock,
    memory: MemoryStore,
    /// Reaches the store by way of the keeper.
    remote: Locks,
    faults: Faults,
    /// Reaches the store directly.
    local: Locks,
}

impl World {
    fn new() -> Self {
        let clock = Clock::manual();
        let memory = MemoryStore::new(clock.clone());
        let inner: Arc<dyn Store> = Arc::new(memory.clone());
        let faulty = FaultyStore::new(Arc::clone(&inner), clock.clone());
        let faults = faulty.faults();
        let remote = open(Arc::new(faulty), &clock);
        let local = open(inner, &clock);
        Self {
            clock,
            memory,
            remote,
            faults,
            local,
        }
    }

    fn both(&self) -> [&Locks; 2] {
        [&self.local, &self.remote]
    }

    /// Waits until something holds while little time passes on the clock: much less than a TTL, after which what
    /// nobody gave back is free all the same.
    fn soon(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = self.clock.now().after(secs(10));
        eventually(what, || {
            if self.clock.now() < end {
                self.clock.advance(Duration::from_millis(20));
            }
            holds()
        });
    }

    /// Whether somebody waits in line, and was told so.
    fn waits_in_line(&self) -> bool {
        let entries = block_on(self.local.inspect("")).unwrap();
        entries
            .iter()
            .any(|entry| matches!(entry.standing, Standing::Waiting { .. }))
            && self.faults.outstanding() == 0
    }

    /// Nothing is left in store, gate and schedule.
    fn assert_clean(&self, what: &str) {
        eventually(what, || {
            let entries = block_on(self.local.inspect("")).unwrap();
            entries.is_empty() && self.both().iter().all(|locks| locks.residue() == (0, 0))
        });
    }
}

fn open(store: Arc<dyn Store>, clock: &Clock) -> Locks {
    block_on(
        Locks::builder()
            .clock(clock.clone())
            .label("test")
            .open(store),
    )
    .unwrap()
}

/// Waits until something holds that another thread brings about.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < patience, "this did not come about: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a future on a thread of its own.
fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || block_on(future))
}

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}
