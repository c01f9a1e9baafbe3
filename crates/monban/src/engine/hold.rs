//! What the lease and the keeper share about one held claim.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake as TaskWake, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use super::core::{Engine, GateGuard};
use super::gate::Shut;
use crate::contract::Wake;
use crate::data::{Claim, Error, Fence, Keep, Key, Loss, Options, RenewalPolicy};
use crate::rule::{Lifetime, Tick};

/// One held claim: its times, and whether it has ended.
pub(crate) struct Hold {
    pub(crate) claim: Claim,
    pub(crate) fence: Option<Fence>,
    pub(crate) seat: Option<u32>,
    pub(crate) granted: Tick,
    pub(crate) linger: Option<Duration>,
    /// `None`: lives as long as the process or session, nothing is renewed.
    ttl: Option<Duration>,
    renewal: RenewalPolicy,
    limit: Option<Tick>,
    /// When the last confirmed request was sent.
    sent: AtomicU64,
    end: OnceLock<End>,
    ended: Notify,
    /// Shut by an exclusive claim until its release sets off, or, if it lingers, is answered.
    gate: Shut<Key>,
    loss_notice: Mutex<Option<Wake>>,
    last_error: Mutex<Option<Error>>,
    observer: OnceLock<Observer>,
    /// Where it stands in the schedule; written under the schedule's lock only.
    pub(super) bucket: AtomicU64,
    pub(super) position: AtomicUsize,
    engine: Weak<Engine>,
}

/// What becomes of a lease, for [`Lease::observe`](super::Lease::observe).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseEvent {
    /// It was renewed, and may be relied on for so long from now.
    Renewed {
        /// As [`Lease::remaining`](super::Lease::remaining).
        remaining: Duration,
    },
    /// It is lost.
    Lost(Loss),
}

type Observer = Box<dyn Fn(LeaseEvent) + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Released,
    Lost(Loss),
}

/// What a new hold is made of.
pub(crate) struct Granted {
    pub(crate) claim: Claim,
    pub(crate) fence: Option<Fence>,
    pub(crate) seat: Option<u32>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) sent: Tick,
    pub(crate) now: Tick,
    pub(crate) gate: Option<GateGuard>,
    pub(crate) lost: Option<Wake>,
}

impl Hold {
    pub(crate) fn new(granted: Granted, options: &Options, engine: Weak<Engine>) -> Arc<Self> {
        Arc::new(Self {
            claim: granted.claim,
            fence: granted.fence,
            seat: granted.seat,
            granted: granted.now,
            linger: options.linger,
            ttl: granted.ttl,
            renewal: options.renewal,
            limit: options.max_hold.map(|longest| granted.now.after(longest)),
            sent: AtomicU64::new(granted.sent.as_nanos()),
            end: OnceLock::new(),
            ended: Notify::new(),
            gate: Shut::by(granted.gate),
            loss_notice: Mutex::new(granted.lost),
            last_error: Mutex::default(),
            observer: OnceLock::new(),
            bucket: AtomicU64::new(u64::MAX),
            position: AtomicUsize::new(0),
            engine,
        })
    }

    fn life(&self) -> Option<Lifetime> {
        let sent = Tick::from_nanos(self.sent.load(Ordering::Acquire));
        self.ttl.map(|ttl| Lifetime { sent, ttl })
    }

    /// What the store is asked to keep.
    pub(super) fn keep(&self) -> Keep {
        Keep {
            claim: self.claim.clone(),
            fence: self.fence,
        }
    }

    /// From when it must be taken for lost; `None`: the store's process or session rule.
    pub(crate) fn deadline(&self) -> Option<Tick> {
        self.life().map(Lifetime::deadline)
    }

    pub(crate) fn doubtful_from(&self) -> Option<Tick> {
        self.life().map(Lifetime::doubtful_from)
    }

    pub(crate) fn limit(&self) -> Option<Tick> {
        self.limit
    }

    pub(crate) fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// When the keeper renews it; `None` if it does not.
    pub(crate) fn renew_at(&self) -> Option<Tick> {
        match self.renewal {
            RenewalPolicy::Automatic => self.life().map(Lifetime::renew_at),
            RenewalPolicy::ByHand => None,
        }
    }

    /// When the keeper has to look at it whatever happens.
    pub(crate) fn watch_at(&self) -> Option<Tick> {
        [self.deadline(), self.limit].into_iter().flatten().min()
    }

    /// Notes that a renewal which was sent then has succeeded.
    pub(crate) fn renewed(&self, sent: Tick, now: Tick) {
        self.sent.fetch_max(sent.as_nanos(), Ordering::AcqRel);
        *lock(&self.last_error) = None;
        if let (Some(observer), Some(deadline)) = (self.observer.get(), self.watch_at()) {
            tell(
                observer,
                LeaseEvent::Renewed {
                    remaining: deadline.since(now),
                },
            );
        }
    }

    /// Shows the observer what becomes of the lease; only the first counts.
    pub(crate) fn observe(&self, observer: Observer) {
        if self.observer.set(observer).is_ok()
            && let Some(End::Lost(why)) = self.end()
            && let Some(observer) = self.observer.get()
        {
            tell(observer, LeaseEvent::Lost(why)); // it was lost before anybody looked
        }
    }

    pub(crate) fn renewal_failed(&self, error: Error) {
        *lock(&self.last_error) = Some(error);
    }

    pub(crate) fn end(&self) -> Option<End> {
        self.end.get().copied()
    }

    /// Ends it; the first call decides. Says whether this was the first.
    pub(crate) fn finish(&self, end: End) -> bool {
        let first = self.end.set(end).is_ok();
        if first {
            self.ended.notify_waiters();
            if let (Some(observer), End::Lost(why)) = (self.observer.get(), end) {
                tell(observer, LeaseEvent::Lost(why));
            }
            // Breaks the cycle of hold, notice and waker.
            lock(&self.loss_notice).take();
        }
        first
    }

    pub(crate) fn open_gate(&self) {
        self.gate.open();
    }

    /// Completes when it has ended, with the way it ended.
    pub(crate) async fn until_ended(&self) -> End {
        loop {
            let notified = self.ended.notified();
            let mut notified = std::pin::pin!(notified);
            notified.as_mut().enable();
            if let Some(end) = self.end() {
                return end;
            }
            notified.await;
        }
    }

    pub(crate) fn lost_error(&self, why: Loss) -> Error {
        let source = lock(&self.last_error)
            .clone()
            .map(|error| Arc::new(error) as Arc<dyn std::error::Error + Send + Sync>);
        Error::Lost {
            key: self.claim.key.clone(),
            fence: self.fence,
            why,
            source,
        }
    }

    /// Arms the store's notice of loss: when it fires the keeper looks after this hold.
    pub(crate) fn arm_loss_notice(self: &Arc<Self>) {
        let mut notice = lock(&self.loss_notice);
        let Some(wake) = notice.as_mut() else { return };
        let waker = Waker::from(Arc::clone(self));
        if wake.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(()) {
            *notice = None;
            drop(notice);
            waker.wake();
        }
    }
}

/// The waker of the store's notice of loss.
impl TaskWake for Hold {
    fn wake(self: Arc<Self>) {
        if let Some(engine) = self.engine.upgrade() {
            engine.suspect(self);
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("key", &self.claim.key)
            .field("id", &self.claim.id)
            .field("fence", &self.fence)
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

/// Calls foreign code on the keeper: a panic in it must not take the keeper along.
fn tell(observer: &Observer, event: LeaseEvent) {
    if catch_unwind(AssertUnwindSafe(|| observer(event))).is_err() {
        tracing::error!("the observer of a lease has panicked");
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
