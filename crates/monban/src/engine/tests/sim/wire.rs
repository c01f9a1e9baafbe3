//! The way to the store, on which everything goes wrong that may.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::Dice;
use crate::contract::{Attempt, Grant, Guarantees, Reach, Release, Renewal, Store};
use crate::data::{Barred, Claim, Entry, Error, Keep, Key, Leave, Result};
use crate::engine::hold::lock;
use crate::engine::keeper::sleep_until;
use crate::rule::Clock;
use crate::stores::memory::MemoryStore;

/// The longest time that a request, or a reply, is on its way.
pub(super) const LATEST: Duration = Duration::from_millis(300);
/// After so long without an answer a verb gives up, as the contract demands.
const PATIENCE: Duration = Duration::from_secs(2);

/// One process's connection. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Wire(Arc<State>);

#[derive(Debug)]
struct State {
    store: MemoryStore,
    clock: Clock,
    dice: Mutex<Dice>,
    /// How many requests of a hundred go wrong.
    faults: AtomicUsize,
    /// Requests are taken, and stay on their way.
    stopped: AtomicBool,
    /// Not a `watch`, which wakes those who wait in random order.
    moved: Notify,
    muted: AtomicBool,
    /// Requests that were executed when nobody waited for them any more, or twice.
    ghosts: AtomicUsize,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Done,
    RequestLost,
    ReplyLost,
    /// Given up, and executed so much later.
    Late(Duration),
    /// Executed, and so much later again, as a client library does that sends again on its own.
    Twice(Duration),
}

impl Wire {
    pub(super) fn new(store: MemoryStore, clock: Clock, dice: Dice, faults: usize) -> Self {
        Self(Arc::new(State {
            store,
            clock,
            dice: Mutex::new(dice),
            faults: AtomicUsize::new(faults),
            stopped: AtomicBool::new(false),
            moved: Notify::new(),
            muted: AtomicBool::new(false),
            ghosts: AtomicUsize::new(0),
        }))
    }

    pub(super) fn stop(&self, stopped: bool) {
        self.0.stopped.store(stopped, Ordering::Relaxed);
        self.0.moved.notify_waiters();
    }

    pub(super) fn mute(&self, muted: bool) {
        self.0.muted.store(muted, Ordering::Relaxed);
    }

    /// From now on nothing goes wrong any more.
    pub(super) fn calm(&self) {
        self.0.faults.store(0, Ordering::Relaxed);
        self.stop(false);
    }

    pub(super) fn ghosts(&self) -> usize {
        self.0.ghosts.load(Ordering::Relaxed)
    }

    async fn pass(&self, time: Duration) {
        sleep_until(&self.0.clock, self.0.clock.now().after(time)).await;
    }

    /// Completes when the wire is not stopped.
    async fn open(&self) {
        loop {
            let mut moved = pin!(self.0.moved.notified());
            moved.as_mut().enable();
            if !self.0.stopped.load(Ordering::Relaxed) {
                return;
            }
            moved.await;
        }
    }

    fn draw(&self) -> (Duration, Fate, Duration) {
        let mut dice = lock(&self.0.dice);
        let most = usize::try_from(LATEST.as_millis()).unwrap();
        let (there, back) = (dice.millis(most), dice.millis(most));
        let fate = if dice.percent(self.0.faults.load(Ordering::Relaxed)) {
            match dice.below(4) {
                0 => Fate::RequestLost,
                1 => Fate::ReplyLost,
                2 => Fate::Late(dice.millis(6_000)),
                _ => Fate::Twice(dice.millis(6_000)),
            }
        } else {
            Fate::Done
        };
        (there, fate, back)
    }

    /// Executes it later, whoever waits for it.
    fn haunt<F>(&self, after: Duration, request: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.0.ghosts.fetch_add(1, Ordering::Relaxed);
        let wire = self.clone();
        tokio::spawn(async move {
            wire.pass(after).await;
            wire.open().await;
            request.await;
        });
    }

    async fn send<T, F>(&self, request: impl Fn(MemoryStore) -> F) -> Result<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let request = || request(self.0.store.clone());
        let (there, fate, back) = self.draw();
        self.pass(there).await;
        tokio::select! {
            biased;
            () = self.open() => {}
            () = self.pass(PATIENCE) => {
                self.haunt(Duration::ZERO, request());
                return Err(silent());
            }
        }
        match fate {
            Fate::RequestLost => {
                self.pass(back).await;
                return Err(silent());
            }
            Fate::Late(by) => {
                self.haunt(by, request());
                self.pass(back).await;
                return Err(silent());
            }
            Fate::Done | Fate::ReplyLost | Fate::Twice(_) => {}
        }
        let answer = request().await;
        if let Fate::Twice(later) = fate {
            self.haunt(later, request());
        }
        self.pass(back).await;
        match fate {
            Fate::ReplyLost => Err(silent()),
            _ => Ok(answer),
        }
    }
}

fn silent() -> Error {
    Error::unavailable("simulated", "no answer")
}

fn each<T>(answer: Result<Vec<Result<T>>>, elements: usize) -> Vec<Result<T>> {
    answer.unwrap_or_else(|error| (0..elements).map(|_| Err(error.clone())).collect())
}

#[async_trait]
impl Store for Wire {
    async fn open(&self) -> Result<Guarantees> {
        Ok(MemoryStore::GUARANTEES)
    }

    fn reach(&self) -> Reach {
        Reach::Remote
    }

    async fn attempt(&self, claims: &[Claim]) -> Vec<Result<Attempt>> {
        let all = claims.to_vec();
        let answer = self.send(|store| {
            let all = all.clone();
            async move { store.attempt(&all).await }
        });
        let mut answers = each(answer.await, claims.len());
        if self.0.muted.load(Ordering::Relaxed) {
            for answer in answers.iter_mut().flatten() {
                match answer {
                    Attempt::Granted(grant) => grant.lost = None,
                    Attempt::Busy(busy) => busy.changed = None,
                }
            }
        }
        answers
    }

    async fn renew(&self, keeping: &[Keep]) -> Vec<Result<Renewal>> {
        let all = keeping.to_vec();
        let answer = self.send(|store| {
            let all = all.clone();
            async move { store.renew(&all).await }
        });
        each(answer.await, keeping.len())
    }

    async fn release(&self, leaving: &[Leave]) -> Vec<Result<Release>> {
        let all = leaving.to_vec();
        let answer = self.send(|store| {
            let all = all.clone();
            async move { store.release(&all).await }
        });
        each(answer.await, leaving.len())
    }

    async fn evict(&self, entry: &Entry) -> Result<Release> {
        self.0.store.evict(entry).await
    }

    async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>> {
        self.0.store.inspect(prefix).await
    }

    async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>> {
        self.0.store.inspect_key(key).await
    }

    async fn recovers_in(&self) -> Result<Option<Duration>> {
        self.0.store.recovers_in().await
    }

    async fn barred(&self, prefix: &[u8]) -> Result<Vec<Barred>> {
        self.0.store.barred(prefix).await
    }

    fn told(&self, claim: &Claim) -> Option<Grant> {
        self.0.store.told(claim)
    }

    fn trouble(&self) -> Option<Error> {
        self.0.store.trouble()
    }

    async fn close(&self) {
        self.0.store.close().await;
    }
}
