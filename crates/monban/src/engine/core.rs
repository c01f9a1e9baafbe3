//! What all parts of the engine share.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{Notify, oneshot};

use super::acquire::Request;
use super::gate::{Gate, Pass};
use super::hold::{End, Hold, lock};
use super::inbox::Inbox;
use super::keeper;
use super::leave::Pending;
use super::schedule::{Look, Schedule};
use super::wait::woken;
use crate::contract::{Guarantees, Reach, Store, Wake};
use crate::data::{Claim, ClaimId, Claimant, Error, IfBusy, Key, Loss, Options, ProcessId, Result};
use crate::keyed::KeyedMutex;
use crate::rule::{Clock, Tick};

/// The place of one caller at the head of the queue of this process.
pub(crate) type GateGuard = Pass<Key>;

/// A store and everything that the process needs to use it.
pub(crate) struct Engine {
    pub(super) store: Arc<dyn Store>,
    pub(super) reach: Reach,
    pub(super) clock: Clock,
    pub(super) gate: Gate<Key>,
    pub(super) inbox: Mutex<Inbox>,
    pub(super) schedule: Mutex<Schedule>,
    /// Tells the keeper to look at inbox and schedule.
    pub(super) work: Notify,
    guarantees: OnceLock<Guarantees>,
    process: ProcessId,
    /// Of claims without a label of their own.
    claimant: Claimant,
    keeper: OnceLock<tokio::runtime::Handle>,
    starting: Mutex<()>,
    /// The keeper has panicked.
    failed: AtomicBool,
    /// The process that made it: a forked child has the memory, but neither keeper nor connection.
    pid: u32,
    /// No further acquisitions.
    closed: AtomicBool,
    closing: Notify,
    /// No handle is left: the keeper ends when nothing is pending.
    pub(super) ending: AtomicBool,
    /// What `close` waits for: acquisitions, requests and releases that are not done yet.
    pub(super) pending: AtomicUsize,
    pub(super) settled: Notify,
}

/// Keeps the keeper alive: held by locks and leases, not by the keeper itself.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) engine: Arc<Engine>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.engine.ending.store(true, Ordering::SeqCst);
        self.engine.work.notify_one();
    }
}

impl Engine {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Clock, label: &str) -> Arc<Self> {
        Arc::new(Self {
            reach: store.reach(),
            store,
            clock,
            // Processors need not be counted, which reads files: behind the gate is a store.
            gate: Gate::over(KeyedMutex::with_shards(64, Default::default())),
            inbox: Mutex::default(),
            schedule: Mutex::default(),
            work: Notify::new(),
            guarantees: OnceLock::new(),
            process: ProcessId::random(),
            claimant: Claimant::this_process(label),
            keeper: OnceLock::new(),
            starting: Mutex::default(),
            failed: AtomicBool::new(false),
            pid: std::process::id(),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            ending: AtomicBool::new(false),
            pending: AtomicUsize::new(0),
            settled: Notify::new(),
        })
    }

    /// Opens the store and keeps what it promises.
    pub(crate) async fn open(self: &Arc<Self>) -> Result<()> {
        let guarantees = match self.reach {
            Reach::Local => self.store.open().await?,
            Reach::Remote => {
                let store = Arc::clone(&self.store);
                self.on_keeper(async move { store.open().await }).await??
            }
        };
        // Only the first of several openings counts; they say the same.
        let _ = self.guarantees.set(guarantees);
        Ok(())
    }

    pub(crate) fn guarantees(&self) -> &Guarantees {
        self.guarantees
            .get()
            .expect("locks are handed out only after their store has been opened")
    }

    /// A new claim of this process. Only where [`check_open`](Self::check_open) has just seen that this is no forked child:
    /// its id would be drawn from a copy of what its parent draws from.
    pub(crate) fn claim(&self, request: &Request, if_busy: IfBusy) -> Claim {
        Claim {
            key: request.key.clone(),
            id: ClaimId::random_in(self.process, self.pid),
            mode: request.mode,
            ttl: request.options.ttl,
            if_busy,
            claimant: request.claimant.clone(),
        }
    }

    /// Who asks, by these options.
    pub(crate) fn claimant(&self, options: &Options) -> Claimant {
        match &options.label {
            Some(label) => Claimant::this_process(label),
            None => self.claimant.clone(),
        }
    }

    /// Whether further claims may be made.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.check_not_closed()?;
        self.check_process()
    }

    /// A system call: once for each acquisition that waits for nothing.
    fn check_process(&self) -> Result<()> {
        if self.pid != std::process::id() {
            return Err(Error::rejected(
                self.store_name(),
                "these locks were opened before a fork; open others in the child",
            ));
        }
        Ok(())
    }

    fn check_not_closed(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::rejected(
                self.store_name(),
                "these locks have been closed",
            ));
        }
        Ok(())
    }

    /// Begins an acquisition, for which `close` waits from now on unless these locks are closed already.
    ///
    /// Not with a local store, whose verbs are done at once: a caller of `close` may have a wait of its own in hand
    /// that nobody polls meanwhile.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Option<Pending>> {
        let counted = self.enter_checked()?;
        self.check_process()?;
        Ok(counted)
    }

    /// As [`enter`](Self::enter), right after [`check_open`](Self::check_open).
    pub(super) fn enter_checked(self: &Arc<Self>) -> Result<Option<Pending>> {
        // Counted first: either `close` sees the count, or this sees that they are closed.
        let counted = (self.reach == Reach::Remote).then(|| Pending::new(self));
        self.check_not_closed()?;
        Ok(counted)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.closing.notify_waiters();
    }

    /// Lets the store give back what it keeps between claims.
    pub(super) async fn close_store(self: &Arc<Self>) {
        if self.pid != std::process::id() {
            return; // what is kept there is the parent's, and the keeper is not here
        }
        match self.reach {
            Reach::Local => self.store.close().await,
            Reach::Remote if self.keeper.get().is_some() => {
                let store = Arc::clone(&self.store);
                // Without a keeper nothing can be said to the store; what it keeps ends by itself.
                let _ = self.on_keeper(async move { store.close().await }).await;
            }
            Reach::Remote => {}
        }
    }

    /// Completes when these locks are closed, with what a caller is told who waits.
    pub(super) async fn until_closed(&self) -> Error {
        loop {
            let mut closing = std::pin::pin!(self.closing.notified());
            closing.as_mut().enable();
            if let Err(error) = self.check_not_closed() {
                return error;
            }
            closing.await;
        }
    }

    /// The keeper's runtime; starts it if it does not run yet.
    pub(crate) fn keeper(self: &Arc<Self>) -> Result<&tokio::runtime::Handle> {
        if self.failed.load(Ordering::Acquire) {
            return Err(self.keeper_is_gone());
        }
        if let Some(keeper) = self.keeper.get() {
            return Ok(keeper);
        }
        let _starting = lock(&self.starting);
        if let Some(keeper) = self.keeper.get() {
            return Ok(keeper);
        }
        let keeper = keeper::start(Arc::clone(self)).map_err(|error| {
            Error::unavailable(
                self.store_name(),
                "no thread can be started to keep leases; look at the limits of the process",
            )
            .because(error)
        })?;
        Ok(self.keeper.get_or_init(|| keeper))
    }

    /// Runs the keeper on this runtime, not on a thread of its own: for tests that decide what runs when.
    #[cfg(test)]
    pub(super) fn keep_on(
        self: &Arc<Self>,
        runtime: &tokio::runtime::Handle,
    ) -> tokio::task::JoinHandle<()> {
        let keeper = self.keeper.get_or_init(|| runtime.clone());
        keeper.spawn(keeper::run(Arc::clone(self)))
    }

    /// The keeper's thread has panicked: leases that nobody keeps are lost, and nobody waits for ever.
    pub(super) fn keeper_failed(&self) {
        self.failed.store(true, Ordering::SeqCst);
        let left = lock(&self.inbox).empty();
        drop(left); // not under the mutex
        let end = Tick::from_nanos(u64::MAX);
        self.ring(end);
        let holds = lock(&self.schedule).due(end);
        for hold in holds {
            if hold.finish(End::Lost(Loss::Expired)) {
                hold.open_gate();
            }
        }
    }

    /// Runs a future to its end on the keeper, whatever becomes of the caller.
    pub(crate) async fn on_keeper<T: Send + 'static>(
        self: &Arc<Self>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.keeper()?.spawn(async move {
            let _ = sender.send(future.await); // a caller that has gone does not want it
        });
        receiver.await.map_err(|_| self.keeper_is_gone())
    }

    /// Completes when the store wakes, or at an instant of the clock, on any executor.
    pub(crate) async fn woken_or_at(self: &Arc<Self>, wake: Option<Wake>, at: Tick) -> Result<()> {
        let (mut sender, receiver) = oneshot::channel();
        let clock = self.clock.clone();
        self.keeper()?.spawn(async move {
            tokio::select! {
                () = woken(wake) => { let _ = sender.send(()); }
                () = keeper::sleep_until(&clock, at) => { let _ = sender.send(()); }
                () = sender.closed() => {}
            }
        });
        receiver.await.map_err(|_| self.keeper_is_gone())
    }

    pub(super) fn keeper_is_well(&self) -> bool {
        !self.failed.load(Ordering::SeqCst)
    }

    pub(crate) fn keeper_is_gone(&self) -> Error {
        Error::unavailable(
            self.store_name(),
            "the background thread of these locks has ended",
        )
    }

    pub(crate) fn store_name(&self) -> &'static str {
        self.guarantees
            .get()
            .map_or("chosen", |guarantees| guarantees.store)
    }

    /// Puts a hold under the keeper's watch, if anything about it needs watching.
    pub(crate) fn watch(self: &Arc<Self>, hold: &Arc<Hold>) -> Result<()> {
        hold.arm_loss_notice();
        let look = match (hold.renew_at(), hold.watch_at()) {
            (Some(renew), Some(watch)) if renew < watch => Look::About(renew),
            (_, Some(watch)) => Look::At(watch),
            (Some(renew), None) => Look::About(renew),
            (None, None) => return Ok(()),
        };
        self.keeper()?;
        self.plan(hold, look);
        Ok(())
    }

    /// Plans the keeper's next look at a hold, unless it has ended meanwhile.
    pub(crate) fn plan(&self, hold: &Arc<Hold>, look: Look) {
        let mut schedule = lock(&self.schedule);
        if hold.end().is_some() {
            return; // forgotten under this same lock, never to come back
        }
        if schedule.put(hold, look) {
            drop(schedule);
            self.work.notify_one();
        }
    }

    /// Ends a hold and forgets it; says whether it was alive until now.
    pub(crate) fn finish(&self, hold: &Arc<Hold>, end: End) -> bool {
        let first = hold.finish(end);
        lock(&self.schedule).take(hold);
        first
    }

    /// Takes a lease for lost: its owner is told, and the next caller of this process may try.
    pub(crate) fn lose(&self, hold: &Arc<Hold>, why: Loss) {
        if self.finish(hold, End::Lost(why)) {
            hold.open_gate();
        }
    }

    /// Asks the keeper to look whether a hold is still ours.
    pub(crate) fn suspect(self: &Arc<Self>, hold: Arc<Hold>) {
        if self.keeper().is_err() {
            return; // it stays watched by its deadline
        }
        lock(&self.inbox).suspects.push(hold);
        self.work.notify_one();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("store", &self.store)
            .field("held", &lock(&self.schedule).len())
            .field("pending_releases", &self.pending.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
