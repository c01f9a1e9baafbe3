//! Asking the store for a claim, so that no grant is lost on the way back.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::Engine;
use super::hold::lock;
use super::leave::{Leaving, Pending};
use crate::contract::{Attempt, Reach};
use crate::data::{Claim, IfBusy, Result};
use crate::rule::Tick;

/// A claim on its way to the store.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(super) claim: Claim,
    pub(super) reply: oneshot::Sender<Parcel>,
    /// Until its parcel is opened, or what it brings is given back, `close` waits for it.
    pub(super) token: Pending,
}

/// The store's answer on its way to the caller. If nobody opens it, what it brings is given back.
#[derive(Debug)]
pub(crate) struct Parcel {
    engine: Arc<Engine>,
    sent: Tick,
    brought: Option<(Claim, Result<Attempt>)>,
    /// Dropped last: after a release that the drop of the parcel has brought about is counted.
    token: Option<Pending>,
}

impl Parcel {
    pub(super) fn new(
        engine: &Arc<Engine>,
        claim: Claim,
        sent: Tick,
        answer: Result<Attempt>,
    ) -> Self {
        let engine = Arc::clone(engine);
        Self {
            engine,
            sent,
            brought: Some((claim, answer)),
            token: None,
        }
    }

    /// The same, counted by the token of its request.
    pub(super) fn counted(mut self, token: Pending) -> Self {
        self.token = Some(token);
        self
    }

    /// The token by which it was counted, for who opens it.
    pub(super) fn take_token(&mut self) -> Option<Pending> {
        self.token.take()
    }

    /// Takes the answer, and with it the duty to give back what is not wanted. The instant is from before
    /// the request was sent.
    pub(crate) fn open(mut self) -> (Tick, Claim, Result<Attempt>) {
        let (claim, answer) = self
            .brought
            .take()
            .expect("a parcel is opened once, by value");
        (self.sent, claim, answer)
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        let Some((claim, answer)) = self.brought.take() else {
            return;
        };
        let leave = match answer {
            Ok(Attempt::Granted(_)) => true,
            Ok(Attempt::Busy(_)) => claim.if_busy == IfBusy::Queue,
            Err(error) => error.may_have_been_executed(),
        };
        if leave {
            let now = self.engine.clock.now();
            self.engine.leave(Leaving::behind(&claim, now));
        }
    }
}

impl Engine {
    /// Asks the store once. By the token, which comes back with the parcel, a remote store's request is counted.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped while the request is under way, the claim is released behind it.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        claim: &Claim,
        token: Option<Pending>,
    ) -> Result<Parcel> {
        if self.reach == Reach::Local {
            let sent = self.clock.now();
            let mut answers = self.store.attempt(std::slice::from_ref(claim)).await;
            let answer = answers.pop().unwrap_or_else(|| Err(self.no_answer()));
            return Ok(Parcel::new(self, claim.clone(), sent, answer));
        }
        self.keeper()?;
        let (reply, answer) = oneshot::channel();
        let token = token.unwrap_or_else(|| Pending::new(self));
        self.post([Ask {
            claim: claim.clone(),
            reply,
            token,
        }]);
        answer.await.map_err(|_| self.keeper_is_gone())
    }

    /// The grant that a message has brought for a claim that waits, if one has.
    pub(super) fn told(self: &Arc<Self>, claim: &Claim) -> Option<Parcel> {
        let now = self.clock.now();
        let grant = self.store.told(claim)?;
        Some(Parcel::new(
            self,
            claim.clone(),
            now,
            Ok(Attempt::Granted(grant)),
        ))
    }

    /// Leaves claims for the keeper, and tells it unless it looks there by itself before it can send more.
    pub(super) fn post(&self, asks: impl IntoIterator<Item = Ask>) {
        let may_go = lock(&self.inbox).asks.add(asks);
        if may_go {
            self.work.notify_one();
        }
    }

    /// The store does not answer for longer than the caller waits; why, if it knows.
    pub(crate) fn silent(&self) -> crate::data::Error {
        self.store.trouble().unwrap_or_else(|| {
            crate::data::Error::unavailable(self.store_name(), "no answer within the time given")
        })
    }

    /// A store that answers less than it was asked breaks the contract.
    pub(crate) fn no_answer(&self) -> crate::data::Error {
        crate::data::Error::unavailable(
            self.store_name(),
            "the store gave no answer for this claim",
        )
    }
}
