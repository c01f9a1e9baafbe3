//! One store, a clock that the test moves, and the processes that use it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{Faults, FaultyStore};
use crate::contract::{Attempt, Store};
use crate::data::{Claim, ClaimId, Claimant, Entry, IfBusy, Key, Mode, ProcessId, Result};
use crate::engine::{Locks, block_on};
use crate::rule::Clock;
use crate::stores::memory::MemoryStore;

/// A store in memory on a clock that the test moves, and processes that use it, each with faults of its own.
///
/// Renewals and clean-up happen on a background thread of each process, as they do in a program. So a test
/// moves the clock with [`advance`](Self::advance), which lets them keep up, and waits for what they
/// bring about with [`eventually`](Self::eventually).
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use monban::testing::Rig;
///
/// let rig = Rig::new();
/// let (one, two) = (rig.process("one"), rig.process("two"));
/// let lease = one.locks().mutex("report")?.lock().wait()?;
///
/// one.faults().pause(); // the store does not answer it any more
/// rig.advance(Duration::from_secs(31)); // a TTL passes
/// assert!(lease.check().is_err());
/// let next = two.locks().mutex("report")?.lock().wait()?;
/// next.check()?;
/// # drop((lease, next));
/// # one.faults().resume();
/// # Ok::<(), monban::Error>(())
/// ```
#[derive(Debug)]
pub struct Rig {
    clock: Clock,
    store: Mutex<Arc<dyn Store>>,
    processes: Mutex<Vec<Process>>,
}

/// Stands for a process: it has locks of its own, and its connection has faults of its own.
#[derive(Clone, Debug)]
pub struct Process {
    locks: Locks,
    faults: Faults,
}

impl Process {
    /// What the code under test gets.
    #[must_use]
    pub fn locks(&self) -> &Locks {
        &self.locks
    }

    /// What goes wrong between this process and the store.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

/// How far the clock moves at once, so that what is due three times in a TTL is not jumped over.
const STEP: Duration = Duration::from_millis(100);
/// Real time for the background threads after each step.
const BREATH: Duration = Duration::from_millis(1);
/// Real time after which a test has failed.
const PATIENCE: Duration = Duration::from_secs(10);

impl Rig {
    /// An empty store, and nobody who uses it.
    #[must_use]
    pub fn new() -> Self {
        let clock = Clock::manual();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        Self {
            store: Mutex::new(store),
            clock,
            processes: Mutex::default(),
        }
    }

    /// The clock of the store and of all processes.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// One more process, which others are shown by this label.
    ///
    /// # Panics
    ///
    /// If no background thread can be started.
    #[must_use]
    pub fn process(&self, label: &str) -> Process {
        let faulty = FaultyStore::new(self.store(), self.clock.clone());
        let faults = faulty.faults();
        let open = self.builder(label).open(Arc::new(faulty));
        let locks = block_on(open).expect("a memory store opens");
        self.add(Process { locks, faults })
    }

    /// One more process, whose locks reach the store directly, as those over files do. Its faults do nothing.
    ///
    /// # Panics
    ///
    /// Never for the store in memory.
    #[must_use]
    pub fn direct_process(&self, label: &str) -> Process {
        let faults = FaultyStore::new(self.store(), self.clock.clone()).faults();
        let open = self.builder(label).open_local(self.store());
        let locks = open.expect("a memory store opens");
        self.add(Process { locks, faults })
    }

    fn builder(&self, label: &str) -> crate::engine::LocksBuilder {
        Locks::builder().clock(self.clock.clone()).label(label)
    }

    fn add(&self, process: Process) -> Process {
        lock(&self.processes).push(process.clone());
        process
    }

    /// The live claims of all keys whose bytes begin with `prefix`.
    ///
    /// # Panics
    ///
    /// Never for the store in memory.
    #[must_use]
    pub fn claims(&self, prefix: &str) -> Vec<Entry> {
        block_on(self.store().inspect(prefix.as_bytes())).expect("the memory store answers")
    }

    /// Leaves a claim in the line that nobody will renew or release: that of a process that was killed.
    ///
    /// # Errors
    ///
    /// What the store answers.
    pub fn leave_behind(&self, key: &Key, mode: Mode, ttl: Duration) -> Result<Attempt> {
        let claim = Claim {
            key: key.clone(),
            id: ClaimId::random(ProcessId::random()),
            mode,
            ttl,
            if_busy: IfBusy::Queue,
            claimant: Claimant::new("rig", 1, "killed"),
        };
        block_on(self.store().attempt(&[claim])).remove(0)
    }

    /// Moves the clock on, in steps, and gives the background threads a moment after each.
    pub fn advance(&self, by: Duration) {
        let end = self.clock.now().after(by);
        loop {
            let left = end.since(self.clock.now());
            if left.is_zero() {
                return;
            }
            self.clock.advance(left.min(STEP));
            thread::sleep(BREATH);
        }
    }

    /// Waits, in real time, until something holds that another thread brings about.
    ///
    /// # Panics
    ///
    /// If it does not hold after ten seconds.
    #[track_caller]
    pub fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let real = Clock::system();
        let patience = real.now().after(PATIENCE);
        while !holds() {
            assert!(real.now() < patience, "this did not come about: {what}");
            thread::sleep(BREATH);
        }
    }

    /// The store forgets every claim, as a server does that comes back, or is replaced, without its data.
    /// For processes with faults only: those made by [`process`](Self::process).
    pub fn fail_over(&self) {
        let fresh: Arc<dyn Store> = Arc::new(MemoryStore::new(self.clock.clone()));
        let old = std::mem::replace(&mut *lock(&self.store), Arc::clone(&fresh));
        for process in &*lock(&self.processes) {
            process.faults.fail_over(Arc::clone(&fresh));
        }
        drop(old);
    }

    /// Checks that nothing is left: no claim in the store, and no key or lease watched in any process.
    ///
    /// # Panics
    ///
    /// If something is left after ten seconds.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.eventually("nothing is left", || {
            let processes = lock(&self.processes);
            let residue = |process: &Process| process.locks.residue();
            self.claims("").is_empty() && processes.iter().map(residue).all(|left| left == (0, 0))
        });
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&lock(&self.store))
    }
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
