//! Leaving the line: releases are kept until the store has answered, or the TTL has freed the key.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::block::poll_once;
use super::core::Engine;
use super::hold::{Hold, lock};
use crate::contract::{Reach, Release};
use crate::data::{Claim, Error, Leave, Result};
use crate::rule::{Tick, backoff::Jitter};

/// A claim that is to leave the line.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(super) leave: Leave,
    pub(super) after: After,
}

/// What depends on the answer to a release.
#[derive(Debug)]
pub(crate) struct After {
    /// Whose gate opens: when the release is on its way, or, if it keeps its place for a time, has been answered.
    pub(super) hold: Option<Arc<Hold>>,
    pub(super) reply: Option<oneshot::Sender<Left>>,
    /// From when the store has freed the key by itself.
    pub(super) until: Tick,
    /// An earlier request for it was lost on the way: `Gone` then means nothing.
    pub(super) ambiguous: bool,
    /// Until the store has answered, `close` waits for it.
    token: Option<Pending>,
}

/// Something for which `close`, and the end of the keeper, must wait. Counted from its making to its drop.
pub(crate) struct Pending(Arc<Engine>);

impl Pending {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        engine.pending.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(engine))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.0.pending.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.settled.notify_waiters();
            // Either this sees the end of the handles, or their end sees that nothing is pending.
            if self.0.ending.load(Ordering::SeqCst) {
                self.0.work.notify_one();
            }
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

/// How a claim left.
pub(crate) type Left = Result<Departure>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// It was in line until now.
    Ours,
    /// It was not in line any more.
    Gone,
    /// A reply was lost on the way: it has left, but nobody knows whether now or before.
    Unknown,
}

/// The least time for which a release is tried again.
const PATIENCE: Duration = Duration::from_secs(1);

impl Leaving {
    /// Releases whatever a request has left in the store, held or waiting, with nobody waiting for it.
    ///
    /// The request may have been executed as late as now, however long ago it was sent: so the TTL counts from now.
    pub(crate) fn behind(claim: &Claim, now: Tick) -> Self {
        Self {
            leave: Leave {
                claim: claim.clone(),
                linger: None,
            },
            after: After {
                until: now.after(claim.ttl.max(PATIENCE)),
                hold: None,
                reply: None,
                ambiguous: true,
                token: None,
            },
        }
    }

    /// Releases a hold.
    pub(crate) fn of(hold: &Arc<Hold>, linger: Option<Duration>, now: Tick) -> Self {
        let until = hold.deadline().unwrap_or(now).max(now.after(PATIENCE));
        Self {
            leave: Leave {
                claim: hold.claim.clone(),
                linger,
            },
            after: After {
                hold: Some(Arc::clone(hold)),
                reply: None,
                until,
                ambiguous: false,
                token: None,
            },
        }
    }

    /// Notes what the store says; gives the release back if it is to be tried again.
    pub(super) fn answered(mut self, answer: Result<Release>, now: Tick) -> Option<(Self, Error)> {
        let left = match answer {
            Ok(Release::Done) => Ok(Departure::Ours),
            Ok(Release::Gone) if self.after.ambiguous => Ok(Departure::Unknown),
            Ok(Release::Gone) => Ok(Departure::Gone),
            Err(error) if error.is_transient() && now < self.after.until => {
                self.after.ambiguous = true;
                return Some((self, error));
            }
            Err(error) => Err(error.of_key(&self.leave.claim.key)),
        };
        if let Some(hold) = &self.after.hold {
            hold.open_gate();
        }
        match self.after.reply.take() {
            Some(reply) => drop(reply.send(left)),
            None => {
                if let Err(error) = left {
                    tracing::warn!(key = %self.leave.claim.key, %error, "a lease could not be released");
                }
            }
        }
        None
    }
}

impl Engine {
    /// Releases in the background, or at once where the store is local.
    pub(crate) fn leave(self: &Arc<Self>, leaving: Leaving) {
        self.leave_all(std::iter::once(leaving));
    }

    /// As [`leave`](Self::leave), for several claims that travel together.
    pub(crate) fn leave_all(self: &Arc<Self>, all: impl IntoIterator<Item = Leaving>) {
        if self.reach == Reach::Local {
            return all.into_iter().for_each(|leaving| self.leave_now(leaving));
        }
        if self.keeper().is_err() {
            return drop(all); // nobody is left to send it: the TTL frees the key
        }
        let mut holds = Vec::new();
        let counted = all.into_iter().map(|mut leaving| {
            let token = &mut leaving.after.token;
            token.get_or_insert_with(|| Pending::new(self));
            if leaving.leave.linger.is_none() {
                holds.extend(leaving.after.hold.clone());
            }
            leaving
        });
        // One lock for all: the keeper must not set off with the first of them.
        let may_go = lock(&self.inbox).leaves.add(counted);
        // The next of this process need not wait for the answer: its request sets off behind this one, or with it. If
        // it overtakes, the store finds the key busy, and wakes it.
        holds.iter().for_each(|hold| hold.open_gate());
        if may_go {
            self.work.notify_one();
        }
    }

    fn leave_now(self: &Arc<Self>, leaving: Leaving) {
        let store = Arc::clone(&self.store);
        let leave = leaving.leave.clone();
        let release = Box::pin(async move { store.release(std::slice::from_ref(&leave)).await });
        let mut answers = poll_once(release).unwrap_or_default();
        let answer = answers.pop().unwrap_or_else(|| Err(self.no_answer()));
        if let Some((mut again, error)) = leaving.answered(answer, self.clock.now()) {
            // A local store has nothing to wait for: what it says once it says again.
            again.after.until = Tick::default();
            again.answered(Err(error), self.clock.now());
        }
    }

    /// Tries a release again after a pause that keeps clients from coming back together.
    pub(super) fn leave_again(self: &Arc<Self>, leaving: Leaving) {
        let pause = Jitter::new().up_to(Duration::from_millis(200));
        let at = self.clock.now().after(pause);
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            super::keeper::sleep_until(&engine.clock, at).await;
            engine.leave(leaving);
        });
    }

    /// Completes when the store has answered every release.
    pub(crate) async fn settled(&self) {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            if self.pending.load(Ordering::SeqCst) == 0 {
                return;
            }
            settled.await;
        }
    }
}
