//! The test's handle: what goes wrong, and when.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::contract::{Release, Store};
use crate::data::{Entry, EntryId, Key, Result, Standing};

/// A verb of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// [`Store::open`]
    Open,
    /// [`Store::attempt`]
    Attempt,
    /// [`Store::renew`]
    Renew,
    /// [`Store::release`]
    Release,
    /// [`Store::evict`]
    Evict,
    /// [`Store::inspect`]
    Inspect,
}

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It never arrives: not executed, answered `Unavailable`.
    RequestLost,
    /// It is executed, but its reply never arrives: answered `Unavailable`.
    ReplyLost,
    /// It arrives this much later, by the clock of the faulty store.
    RequestLate(Duration),
    /// It is executed at once, but its reply arrives this much later, by the clock of the faulty store.
    ReplyLate(Duration),
    /// The store will not do it: not executed, answered `Rejected`.
    Refused,
}

/// Commands the faults of a [`FaultyStore`](super::FaultyStore), and counts what was asked of it. Clones
/// command the same store.
#[derive(Clone, Debug)]
pub struct Faults {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Where requests go now.
    store: Mutex<Arc<dyn Store>>,
    plan: Mutex<Plan>,
    paused: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Plan {
    /// In the order they were commanded.
    faults: Vec<(Verb, Fault)>,
    requests: HashMap<Verb, u64>,
    elements: HashMap<Verb, u64>,
    muted: bool,
}

impl Faults {
    pub(super) fn of(inner: Arc<dyn Store>) -> Self {
        let state = State {
            store: Mutex::new(inner),
            plan: Mutex::default(),
            paused: watch::Sender::new(false),
        };
        Self {
            state: Arc::new(state),
        }
    }

    /// From now on another store answers: a replica that knows less, or one that has forgotten everything.
    ///
    /// Requests that wait for a [`resume`](Self::resume) go there too. Wakes that the old store has given
    /// come, or not, as it behaves when it is dropped.
    pub fn fail_over(&self, to: Arc<dyn Store>) {
        let mut store = self
            .state
            .store
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *store, to);
        drop(store);
        drop(old); // may run wakers, which may ask the new store
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        let store = self
            .state
            .store
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&store)
    }

    /// Makes the next request of this verb fail so. Called several times, it concerns as many requests, in
    /// order; a batch is one request.
    pub fn inject(&self, verb: Verb, fault: Fault) {
        self.plan().faults.push((verb, fault));
    }

    /// Makes the next `times` requests of this verb fail so.
    pub fn inject_times(&self, times: usize, verb: Verb, fault: Fault) {
        let faults = std::iter::repeat_n((verb, fault), times);
        self.plan().faults.extend(faults);
    }

    /// Forgets the faults that have not happened yet. A pause goes on.
    pub fn clear(&self) {
        self.plan().faults.clear();
    }

    /// How many commanded faults have not happened yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.plan().faults.len()
    }

    /// Stops the store: requests are taken but neither executed nor answered, until
    /// [`resume`](Self::resume). As a server does that is stopped, or out of reach without an error.
    pub fn pause(&self) {
        self.state.paused.send_replace(true);
    }

    /// Ends a pause: what was asked meanwhile is executed now, as if it had been long on its way.
    pub fn resume(&self) {
        self.state.paused.send_replace(false);
    }

    /// From now on grants and refusals carry no wake, so that whoever waits depends on its own timers.
    pub fn mute(&self) {
        self.plan().muted = true;
    }

    /// Ends [`mute`](Self::mute).
    pub fn unmute(&self) {
        self.plan().muted = false;
    }

    /// Takes the key away from all who hold it, or linger on it, at this instant; says how many they were.
    ///
    /// It goes to the store directly, through a pause and past all faults.
    ///
    /// # Errors
    ///
    /// `Unsupported` if nothing can be freed by hand there; else what the store answers.
    pub async fn lose(&self, key: &Key) -> Result<usize> {
        let store = self.store();
        let mut lost = 0;
        for entry in store.inspect(key.as_bytes()).await? {
            let waits = matches!(entry.standing, Standing::Waiting { .. });
            if entry.key == *key && !waits && store.evict(&entry).await? == Release::Done {
                lost += 1;
            }
        }
        Ok(lost)
    }

    /// Takes one claim out of its line, waiting or holding; `false` if it is not there.
    ///
    /// # Errors
    ///
    /// As [`lose`](Self::lose).
    pub async fn lose_claim(&self, id: &EntryId) -> Result<bool> {
        let entry = self.find(|entry| entry.id == *id).await?;
        match entry {
            Some(entry) => Ok(self.store().evict(&entry).await? == Release::Done),
            None => Ok(false),
        }
    }

    /// How many requests of this verb the store was sent, those with a fault included.
    #[must_use]
    pub fn requests(&self, verb: Verb) -> u64 {
        self.plan().requests.get(&verb).copied().unwrap_or(0)
    }

    /// How many claims those requests were about.
    #[must_use]
    pub fn claims(&self, verb: Verb) -> u64 {
        self.plan().elements.get(&verb).copied().unwrap_or(0)
    }

    async fn find(&self, is_it: impl Fn(&Entry) -> bool + Send) -> Result<Option<Entry>> {
        let all = self.store().inspect(b"").await?;
        Ok(all.into_iter().find(|entry| is_it(entry)))
    }

    /// Counts a request and takes the fault that was commanded for it.
    pub(super) fn next(&self, verb: Verb, elements: usize) -> Option<Fault> {
        let mut plan = self.plan();
        *plan.requests.entry(verb).or_default() += 1;
        *plan.elements.entry(verb).or_default() += u64::try_from(elements).unwrap_or(u64::MAX);
        let at = plan.faults.iter().position(|(of, _)| *of == verb)?;
        Some(plan.faults.remove(at).1)
    }

    pub(super) fn is_muted(&self) -> bool {
        self.plan().muted
    }

    /// Waits while the store is paused.
    pub(super) async fn awake(&self) {
        let mut paused = self.state.paused.subscribe();
        // An error would mean that the sender is gone, and it is in `self`.
        let _ = paused.wait_for(|paused| !paused).await;
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.state
            .plan
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
