//! The decorator that makes the faults happen.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::sleep::sleep_by;
use super::{Fault, Faults, Verb};
use crate::contract::{Attempt, Grant, Guarantees, Reach, Release, Renewal, Store};
use crate::data::{Barred, Claim, Entry, Error, Keep, Key, Leave, Result};
use crate::rule::Clock;

/// Passes everything on to another store, but for the faults that the test commands by [`Faults`].
///
/// It says it is [`Reach::Remote`], whatever the other store is, since a paused or late verb is not
/// finished by its first poll.
#[derive(Debug)]
pub struct FaultyStore {
    faults: Faults,
    clock: Clock,
}

impl FaultyStore {
    /// Stands before `inner`; what is late is late by `clock`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            faults: Faults::of(inner),
            clock,
        }
    }

    /// The handle by which the test commands the faults.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Executes one request with the fault that is its turn.
    async fn request<T, F>(&self, verb: Verb, elements: usize, execute: F) -> Result<T>
    where
        F: Future<Output = T> + Send,
        T: Send,
    {
        let fault = self.faults.next(verb, elements);
        self.faults.awake().await;
        match fault {
            Some(Fault::RequestLost) => return Err(unavailable("the request was lost")),
            Some(Fault::Refused) => return Err(Error::rejected(NAME, "a test wants it so")),
            Some(Fault::RequestLate(by)) => sleep_by(&self.clock, by).await,
            _ => {}
        }
        let answer = execute.await;
        match fault {
            Some(Fault::ReplyLost) => return Err(unavailable("the reply was lost")),
            Some(Fault::ReplyLate(by)) => sleep_by(&self.clock, by).await,
            _ => {}
        }
        Ok(answer)
    }

    fn muffle(&self, mut answers: Vec<Result<Attempt>>) -> Vec<Result<Attempt>> {
        if self.faults.is_muted() {
            for answer in answers.iter_mut().flatten() {
                match answer {
                    Attempt::Granted(grant) => grant.lost = None,
                    Attempt::Busy(busy) => busy.changed = None,
                }
            }
        }
        answers
    }
}

/// What errors of commanded faults call the store.
const NAME: &str = "faulty";

fn unavailable(what: &'static str) -> Error {
    Error::unavailable(NAME, what)
}

/// One answer for each element, also when the request as a whole failed.
fn each<T>(answer: Result<Vec<Result<T>>>, elements: usize) -> Vec<Result<T>> {
    answer.unwrap_or_else(|error| (0..elements).map(|_| Err(error.clone())).collect())
}

#[async_trait]
impl Store for FaultyStore {
    async fn open(&self) -> Result<Guarantees> {
        let work = async { self.faults.store().open().await };
        self.request(Verb::Open, 0, work).await?
    }

    fn reach(&self) -> Reach {
        Reach::Remote
    }

    async fn attempt(&self, claims: &[Claim]) -> Vec<Result<Attempt>> {
        let work = async { self.faults.store().attempt(claims).await };
        let answer = self.request(Verb::Attempt, claims.len(), work).await;
        self.muffle(each(answer, claims.len()))
    }

    async fn renew(&self, keeping: &[Keep]) -> Vec<Result<Renewal>> {
        let work = async { self.faults.store().renew(keeping).await };
        let answer = self.request(Verb::Renew, keeping.len(), work).await;
        each(answer, keeping.len())
    }

    async fn release(&self, leaving: &[Leave]) -> Vec<Result<Release>> {
        let work = async { self.faults.store().release(leaving).await };
        let answer = self.request(Verb::Release, leaving.len(), work).await;
        each(answer, leaving.len())
    }

    async fn evict(&self, entry: &Entry) -> Result<Release> {
        let work = async { self.faults.store().evict(entry).await };
        self.request(Verb::Evict, 1, work).await?
    }

    async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>> {
        let work = async { self.faults.store().inspect(prefix).await };
        self.request(Verb::Inspect, 0, work).await?
    }

    async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>> {
        let work = async { self.faults.store().inspect_key(key).await };
        self.request(Verb::Inspect, 0, work).await?
    }

    async fn recovers_in(&self) -> Result<Option<Duration>> {
        let work = async { self.faults.store().recovers_in().await };
        self.request(Verb::Inspect, 0, work).await?
    }

    async fn barred(&self, prefix: &[u8]) -> Result<Vec<Barred>> {
        let work = async { self.faults.store().barred(prefix).await };
        self.request(Verb::Inspect, 0, work).await?
    }

    fn told(&self, claim: &Claim) -> Option<Grant> {
        self.faults.store().told(claim)
    }

    fn trouble(&self) -> Option<Error> {
        self.faults.store().trouble()
    }

    async fn close(&self) {
        self.faults.store().close().await;
    }
}
