//! Asking the store for a claim, so that no grant is lost on the way back.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::Engine;
use super::hold::lock;
use super::leave::Leaving;
use crate::contract::{Attempt, Reach};
use crate::data::{Claim, IfBusy, Result};
use crate::rule::Tick;

/// A claim on its way to the store.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(super) claim: Claim,
    pub(super) reply: oneshot::Sender<Parcel>,
}

/// The store's answer on its way to the caller. If nobody opens it, what it brings is given back.
#[derive(Debug)]
pub(crate) struct Parcel {
    engine: Arc<Engine>,
    claim: Claim,
    sent: Tick,
    answer: Option<Result<Attempt>>,
}

impl Parcel {
    pub(super) fn new(
        engine: Arc<Engine>,
        claim: Claim,
        sent: Tick,
        answer: Result<Attempt>,
    ) -> Self {
        Self {
            engine,
            claim,
            sent,
            answer: Some(answer),
        }
    }

    /// Takes the answer, and with it the duty to give back what is not wanted. The instant is from before
    /// the request was sent.
    pub(crate) fn open(mut self) -> (Tick, Result<Attempt>) {
        let answer = self
            .answer
            .take()
            .expect("a parcel is opened once, by value");
        (self.sent, answer)
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        let leave = match self.answer.take() {
            None => false,
            Some(Ok(Attempt::Granted(_))) => true,
            Some(Ok(Attempt::Busy(_))) => self.claim.if_busy == IfBusy::Queue,
            Some(Err(error)) => error.is_transient(), // it may have been executed
        };
        if leave {
            self.engine.leave(Leaving::behind(&self.claim, self.sent));
        }
    }
}

impl Engine {
    /// Asks the store once.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped while the request is under way, the claim is released behind it.
    pub(crate) async fn ask(self: &Arc<Self>, claim: &Claim) -> Result<Parcel> {
        if self.reach == Reach::Local {
            let sent = self.clock.now();
            let mut answers = self.store.attempt(std::slice::from_ref(claim)).await;
            let answer = answers.pop().unwrap_or_else(|| Err(self.no_answer()));
            return Ok(Parcel::new(Arc::clone(self), claim.clone(), sent, answer));
        }
        self.keeper()?;
        let (reply, answer) = oneshot::channel();
        lock(&self.inbox).asks.push(Ask {
            claim: claim.clone(),
            reply,
        });
        self.work.notify_one();
        answer.await.map_err(|_| self.keeper_is_gone())
    }

    /// A store that answers less than it was asked breaks the contract.
    pub(crate) fn no_answer(&self) -> crate::data::Error {
        crate::data::Error::unavailable(
            self.store_name(),
            "the store gave no answer for this claim",
        )
    }
}
