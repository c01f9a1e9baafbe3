//! A held claim, as its owner sees it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::core::Handle;
use super::hold::{End, Hold, LeaseEvent};
use super::leave::{Departure, Leaving, Left};
use crate::contract::Renewal;
use crate::data::{ClaimId, Claimant, Error, Fence, Key, Loss, Mode, Options, Result, Token};
use crate::rule::Tick;

/// A held key. It is renewed in the background, and released when it is dropped.
///
/// A lease can be lost: the store may be silent for longer than its TTL, or somebody may free the key by
/// hand. Ask [`check`](Self::check) before a step that must not happen twice, run work under
/// [`run`](Self::run), and let the place that is written to refuse an old [`fence`](Self::fence): nothing
/// else holds against a process that is paused between the check and the write.
///
/// Share it among tasks by `Arc`. Dropping it releases the key in the background and logs a warning if
/// that fails; [`release`](Self::release) tells.
///
/// # Example
///
/// ```
/// # monban::block_on(async {
/// let locks = monban::Locks::in_memory();
/// let lease = locks.mutex("report")?.lock().await?;
/// assert!(lease.fence()?.as_i64() > 0);
/// lease.release().await?;
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// ```
#[must_use = "a lease that is dropped is released at once"]
pub struct Lease {
    handle: Arc<Handle>,
    hold: Arc<Hold>,
}

/// What the owner of a lease may believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// It is ours.
    Held,
    /// It is ours, but its last renewal is overdue.
    Doubtful,
    /// It must be taken for lost.
    Lost(Loss),
}

impl Lease {
    pub(super) fn new(handle: Arc<Handle>, hold: Arc<Hold>) -> Self {
        Self { handle, hold }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.hold.claim.key
    }

    /// The identity of the claim.
    #[must_use]
    pub fn id(&self) -> ClaimId {
        self.hold.claim.id
    }

    /// What others are shown of its owner.
    #[must_use]
    pub fn claimant(&self) -> &Claimant {
        &self.hold.claim.claimant
    }

    /// The fencing token, to be sent along with every write that the lease protects.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the lease is lost: stop. [`Error::Unsupported`] for a shared lease, which has
    /// none (a resource that refuses "lower than the highest seen" would refuse one of two live readers),
    /// and for a store without fences.
    pub fn fence(&self) -> Result<Fence> {
        self.check()?;
        self.hold.fence.ok_or_else(|| {
            Error::unsupported(
                self.handle.engine.store_name(),
                "this lease carries no fence",
            )
        })
    }

    /// The fence with the seat: what the guards of [`fenced`](crate::fenced) are shown.
    ///
    /// # Errors
    ///
    /// As [`fence`](Self::fence).
    pub fn token(&self) -> Result<Token> {
        Ok(Token::new(self.fence()?, self.seat()))
    }

    /// The seat of a lease on permits: a number below their count, unique among the holders.
    #[must_use]
    pub fn seat(&self) -> Option<u32> {
        self.hold.seat
    }

    /// How long the lease may be relied on from now if nothing renews it, its maximum hold included; zero
    /// once it is lost. `None`:
    /// as long as the process, or the session with the store, lives.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        if self.hold.end().is_some() {
            return Some(Duration::ZERO);
        }
        let now = self.handle.engine.clock.now();
        self.hold.watch_at().map(|until| until.since(now))
    }

    /// The TTL that the store has given: at least what was asked for; over etcd, which counts whole seconds, rounded up. It
    /// counts from before the last renewal was sent. `None`: the lease has none.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.hold.ttl()
    }

    /// For how long it has been held.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        self.handle.engine.clock.now().since(self.hold.granted)
    }

    /// What may be believed of it now. Read from the clock at the call: also right just after a pause.
    #[must_use]
    pub fn state(&self) -> LeaseState {
        self.state_at(self.handle.engine.clock.now())
    }

    fn state_at(&self, now: Tick) -> LeaseState {
        if let Some(End::Lost(why)) = self.hold.end() {
            return LeaseState::Lost(why);
        }
        let past = |at: Option<Tick>| at.is_some_and(|at| now >= at);
        if past(self.hold.limit()) {
            LeaseState::Lost(Loss::MaxHold)
        } else if past(self.hold.deadline()) {
            LeaseState::Lost(Loss::Expired)
        } else if past(self.hold.doubtful_from()) {
            LeaseState::Doubtful
        } else {
            LeaseState::Held
        }
    }

    /// Checks that the lease is not lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`]: stop the work.
    pub fn check(&self) -> Result<()> {
        match self.state() {
            LeaseState::Lost(why) => Err(self.hold.lost_error(why)),
            LeaseState::Held | LeaseState::Doubtful => Ok(()),
        }
    }

    /// Completes when the lease is lost, with the [`Error::Lost`] that says how. Never for a lease that
    /// is not lost.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub fn lost(&self) -> impl Future<Output = Error> + Send + 'static {
        let hold = Arc::clone(&self.hold);
        async move {
            match hold.until_ended().await {
                End::Lost(why) => hold.lost_error(why),
                End::Released => std::future::pending().await,
            }
        }
    }

    /// Calls this on every renewal and on loss, on the background thread: do not block in it. For code that
    /// passes the deadline on, to a watchdog in another process, say. Only the first observer counts. A loss
    /// may be told twice.
    pub fn observe(&self, observer: impl Fn(LeaseEvent) + Send + Sync + 'static) {
        self.hold.observe(Box::new(observer));
    }

    /// Renews the lease now, for its whole TTL.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if it is not ours any more; [`Error::Unavailable`] if the store did not answer: the
    /// lease stands as before, until its deadline.
    ///
    /// # Cancel safety
    ///
    /// May be dropped; the renewal may take effect all the same.
    pub async fn renew(&self) -> Result<()> {
        self.check()?;
        match self.handle.engine.renew_now(&self.hold).await? {
            Renewal::Kept => self.check(),
            Renewal::Lost => Err(self.hold.lost_error(Loss::Taken)),
        }
    }

    /// Runs a future under this lease, and drops it if the lease is lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the lease was lost before the future was ready.
    ///
    /// # Cancel safety
    ///
    /// As the future's.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output> {
        self.check()?;
        tokio::select! {
            biased;
            error = self.lost() => Err(error),
            // By the clock: the background thread may be late after a pause of the machine.
            output = work => self.check().map(|()| output),
        }
    }

    /// Releases the key and says whether it was ours until now.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if it was lost before; [`Error::Unavailable`] if the store did not answer until the
    /// TTL had run out, which frees the key.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped the release goes on in the background.
    pub async fn release(self) -> Result<()> {
        let linger = self.hold.linger;
        self.leave(linger).await
    }

    /// Releases the key, but keeps it taken for this long with no owner. Zero: releases it entirely.
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release); also [`Error::Unsupported`] if the store, or the kind of lease, cannot
    /// linger, and [`Error::Invalid`] for more than [`Options::MAX`]: the key is then still released.
    ///
    /// # Cancel safety
    ///
    /// As [`release`](Self::release).
    pub async fn release_lingering(self, linger: Duration) -> Result<()> {
        let refused = self.refuses(linger);
        let linger = (!linger.is_zero() && refused.is_none()).then_some(linger);
        let left = self.leave(linger).await;
        refused.map_or(left, Err)
    }

    /// Why it cannot linger for so long.
    fn refuses(&self, linger: Duration) -> Option<Error> {
        let promised = self.handle.engine.guarantees();
        if linger.is_zero() {
            None
        } else if linger > Options::MAX {
            Some(Error::invalid(
                "a linger of more than ten years is too long; the key was released",
            ))
        } else if self.hold.claim.mode != Mode::Exclusive {
            Some(Error::unsupported(
                promised.store,
                "only an exclusive lease can linger; it was released",
            ))
        } else if !promised.linger {
            Some(Error::unsupported(
                promised.store,
                "a lease cannot linger there; it was released",
            ))
        } else {
            None
        }
    }

    async fn leave(self, linger: Option<Duration>) -> Result<()> {
        let (leaving, answer) = self.depart(linger)?;
        self.handle.engine.leave(leaving);
        self.departed(answer).await
    }

    /// Ends the lease here; what is returned is to be sent to the store.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if it was lost before; dropping the lease cleans up.
    pub(super) fn depart(&self, linger: Option<Duration>) -> Result<(Leaving, Answer)> {
        let engine = &self.handle.engine;
        let now = engine.clock.now();
        if let LeaseState::Lost(why) = self.state_at(now) {
            return Err(self.hold.lost_error(why));
        }
        if !engine.finish(&self.hold, End::Released) {
            return Err(self.hold.lost_error(Loss::Taken));
        }
        let mut leaving = Leaving::of(&self.hold, linger, now);
        let (reply, answer) = oneshot::channel();
        leaving.after.reply = Some(reply);
        Ok((leaving, answer))
    }

    /// Says what the store answered. The lease is kept until then: the keeper must not end before.
    pub(super) async fn departed(&self, answer: Answer) -> Result<()> {
        let engine = &self.handle.engine;
        match answer.await.map_err(|_| engine.keeper_is_gone())?? {
            Departure::Ours | Departure::Unknown => Ok(()),
            Departure::Gone => Err(self.hold.lost_error(Loss::Taken)),
        }
    }

    /// Ends a lease that is not lost, with nobody waiting for the store's answer.
    pub(super) fn abandon(&self) -> Option<Leaving> {
        let engine = &self.handle.engine;
        let now = engine.clock.now();
        match self.state_at(now) {
            LeaseState::Lost(_) => None,
            LeaseState::Held | LeaseState::Doubtful => engine
                .finish(&self.hold, End::Released)
                .then(|| Leaving::of(&self.hold, self.hold.linger, now)),
        }
    }

    pub(super) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(super) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }
}

/// Brings the store's answer to a release.
pub(super) type Answer = oneshot::Receiver<Left>;

impl Drop for Lease {
    fn drop(&mut self) {
        if self.hold.end() == Some(End::Released) {
            return;
        }
        let engine = &self.handle.engine;
        match self.state() {
            LeaseState::Lost(why) => {
                // The store may have it still, or again: nothing stays that can be cleaned up.
                engine.lose(&self.hold, why);
                if self.hold.end() == Some(End::Lost(why)) {
                    engine.leave(Leaving::behind(&self.hold.claim, engine.clock.now()));
                }
            }
            LeaseState::Held | LeaseState::Doubtful => {
                if let Some(leaving) = self.abandon() {
                    engine.leave(leaving);
                }
            }
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", self.key())
            .field("fence", &self.hold.fence)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
