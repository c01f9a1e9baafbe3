//! One client of the store under test, and what it expects.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use super::report::{Failure, Verdict, ensure};
use super::together::within;
use crate::contract::{Attempt, Busy, Grant, Release, Renewal, Store, Wake};
use crate::data::{
    Claim, ClaimId, Claimant, Entry, EntryId, Fence, IfBusy, Keep, Key, Leave, Mode, ProcessId,
    Result,
};
use crate::rule::Clock;
use crate::testing::sleep;

/// A client: one process, as far as the store knows.
pub(super) struct Client {
    store: Arc<dyn Store>,
    process: ProcessId,
    claimant: Claimant,
    ttl: Duration,
    patience: Duration,
    /// The fences of the grants that it was told, by which it renews.
    granted: Mutex<HashMap<ClaimId, Option<Fence>>>,
}

/// The claim, refused rather than queued.
pub(super) fn or_leave(claim: Claim) -> Claim {
    Claim {
        if_busy: IfBusy::Leave,
        ..claim
    }
}

/// The claim with another TTL.
pub(super) fn lasting(claim: Claim, ttl: Duration) -> Claim {
    Claim { ttl, ..claim }
}

impl Client {
    pub(super) fn new(
        store: Arc<dyn Store>,
        claimant: Claimant,
        ttl: Duration,
        patience: Duration,
    ) -> Self {
        Self {
            store,
            process: ProcessId::random(),
            claimant,
            ttl,
            patience,
            granted: Mutex::default(),
        }
    }

    pub(super) fn into_store(self) -> Arc<dyn Store> {
        self.store
    }

    pub(super) fn claimant(&self) -> &Claimant {
        &self.claimant
    }

    /// A new claim that queues and outlasts the case.
    pub(super) fn claim(&self, key: &Key, mode: Mode) -> Claim {
        Claim {
            key: key.clone(),
            id: ClaimId::random(self.process),
            mode,
            ttl: self.ttl,
            if_busy: IfBusy::Queue,
            claimant: self.claimant.clone(),
        }
    }

    pub(super) fn exclusive(&self, key: &Key) -> Claim {
        self.claim(key, Mode::Exclusive)
    }

    pub(super) fn shared(&self, key: &Key) -> Claim {
        self.claim(key, Mode::Shared)
    }

    pub(super) fn permits(&self, key: &Key, n: u32, of: u32) -> Claim {
        self.claim(key, Mode::Permits { n, of })
    }

    // --- verbs, as the store answers them ---

    pub(super) async fn attempts(&self, claims: &[Claim]) -> Result<Vec<Result<Attempt>>, Failure> {
        let answers = whole(claims.len(), self.store.attempt(claims).await)?;
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        for (claim, answer) in claims.iter().zip(&answers) {
            if let Ok(Attempt::Granted(grant)) = answer {
                granted.insert(claim.id, grant.fence);
            }
        }
        Ok(answers)
    }

    /// The grant that it was told of without asking, if it was.
    pub(super) fn told(&self, claim: &Claim) -> Option<Grant> {
        let grant = self.store.told(claim)?;
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.insert(claim.id, grant.fence);
        Some(grant)
    }

    /// By the grants that it was told last.
    pub(super) async fn renewals(&self, claims: &[Claim]) -> Result<Vec<Result<Renewal>>, Failure> {
        let keeping: Vec<Keep> = {
            let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
            let keep = |claim: &Claim| Keep {
                claim: claim.clone(),
                fence: granted.get(&claim.id).copied().flatten(),
            };
            claims.iter().map(keep).collect()
        };
        whole(claims.len(), self.store.renew(&keeping).await)
    }

    pub(super) async fn releases(
        &self,
        leaving: &[Leave],
    ) -> Result<Vec<Result<Release>>, Failure> {
        whole(leaving.len(), self.store.release(leaving).await)
    }

    pub(super) async fn answer(&self, claim: &Claim) -> Result<Result<Attempt>, Failure> {
        one(self.attempts(std::slice::from_ref(claim)).await?)
    }

    pub(super) async fn release_answer(
        &self,
        claim: &Claim,
        linger: Option<Duration>,
    ) -> Result<Result<Release>, Failure> {
        let claim = claim.clone();
        one(self.releases(&[Leave { claim, linger }]).await?)
    }

    pub(super) async fn evict_answer(&self, entry: &Entry) -> Result<Release> {
        self.store.evict(entry).await
    }

    pub(super) async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>, Failure> {
        Ok(self.store.inspect(prefix).await?)
    }

    // --- verbs that must not fail ---

    /// The grant, or `None` if somebody is ahead.
    pub(super) async fn tries(&self, claim: &Claim) -> Result<Option<Grant>, Failure> {
        match self.answer(claim).await?? {
            Attempt::Granted(grant) => Ok(Some(grant)),
            Attempt::Busy(_) => Ok(None),
        }
    }

    /// Must be granted at once.
    pub(super) async fn takes(&self, claim: &Claim) -> Result<Grant, Failure> {
        match self.answer(claim).await?? {
            Attempt::Granted(grant) => Ok(grant),
            Attempt::Busy(busy) => Err(self.failed("is refused", claim, &busy)),
        }
    }

    /// Must be told that somebody is ahead.
    pub(super) async fn waits(&self, claim: &Claim) -> Result<Busy, Failure> {
        match self.answer(claim).await?? {
            Attempt::Busy(busy) => Ok(busy),
            Attempt::Granted(grant) => Err(self.failed("is granted", claim, &grant)),
        }
    }

    /// Must be granted soon: waits for wakes, with a poll beside it.
    pub(super) async fn gets(&self, claim: &Claim) -> Result<Grant, Failure> {
        self.gets_after(claim, || false).await
    }

    /// As [`gets`](Self::gets), behind others who take turns. Time does not count until `others` says that none of them is inside
    /// or has been since it was asked last: how long they take, on a machine that is busy, is no matter of the next grant.
    pub(super) async fn gets_after(
        &self,
        claim: &Claim,
        mut others: impl FnMut() -> bool,
    ) -> Result<Grant, Failure> {
        let (clock, poll) = (Clock::system(), Duration::from_millis(5));
        let mut start = clock.now();
        loop {
            let busy = match self.answer(claim).await?? {
                Attempt::Granted(grant) => return Ok(grant),
                Attempt::Busy(busy) => busy,
            };
            if others() {
                start = clock.now();
            }
            if clock.now().since(start) > self.patience {
                return Err(self.failed("is still refused", claim, &busy));
            }
            match busy.changed {
                Some(wake) => {
                    within(poll, wake).await;
                }
                None => sleep(poll).await,
            }
        }
    }

    pub(super) async fn renew(&self, claim: &Claim) -> Result<Renewal, Failure> {
        Ok(one(self.renewals(std::slice::from_ref(claim)).await?)??)
    }

    /// Must be kept by its renewal.
    pub(super) async fn keeps(&self, claim: &Claim) -> Verdict {
        let answer = self.renew(claim).await?;
        ensure(
            answer == Renewal::Kept,
            self.failed("is told that it lost", claim, &answer),
        )
    }

    /// Must be told by its renewal that it is gone.
    pub(super) async fn has_lost(&self, claim: &Claim) -> Verdict {
        let answer = self.renew(claim).await?;
        ensure(
            answer == Renewal::Lost,
            self.failed("is told that it keeps, having lost,", claim, &answer),
        )
    }

    pub(super) async fn release(&self, claim: &Claim) -> Result<Release, Failure> {
        Ok(self.release_answer(claim, None).await??)
    }

    /// Must be in line, and leaves it.
    pub(super) async fn leaves(&self, claim: &Claim) -> Verdict {
        let answer = self.release(claim).await?;
        ensure(
            answer == Release::Done,
            self.failed(
                "is told that it was not in line on releasing",
                claim,
                &answer,
            ),
        )
    }

    /// Must hold, and leaves its place behind.
    pub(super) async fn lingers(&self, claim: &Claim, linger: Duration) -> Verdict {
        let answer = self.release_answer(claim, Some(linger)).await??;
        ensure(
            answer == Release::Done,
            self.failed(
                "is told that it was not in line on lingering",
                claim,
                &answer,
            ),
        )
    }

    pub(super) async fn evicts(&self, entry: &Entry) -> Result<Release, Failure> {
        Ok(self.store.evict(entry).await?)
    }

    pub(super) async fn closes(&self) {
        self.store.close().await;
    }

    /// The line of one key.
    pub(super) async fn line(&self, key: &Key) -> Result<Vec<Entry>, Failure> {
        Ok(self.store.inspect_key(key).await?)
    }

    /// The entry of a claim that must be in its line.
    pub(super) async fn entry(&self, claim: &Claim) -> Result<Entry, Failure> {
        let line = self.line(&claim.key).await?;
        let mut its = line
            .iter()
            .filter(|entry| entry.id == EntryId::Claim(claim.id));
        match (its.next(), its.next()) {
            (Some(entry), None) => Ok(entry.clone()),
            (None, _) => Err(self.failed("is not shown", claim, &line)),
            _ => Err(self.failed("is shown twice", claim, &line)),
        }
    }

    /// Must be woken soon, if the store wakes at all.
    pub(super) async fn is_woken(&self, wake: Option<Wake>) -> Verdict {
        let Some(wake) = wake else { return Ok(()) };
        let woken = within(self.patience, wake).await.is_some();
        let who = &self.claimant;
        ensure(woken, format_args!("{who} is not woken"))
    }

    fn failed(&self, what: &str, claim: &Claim, by: &dyn fmt::Debug) -> Failure {
        let (who, key, mode) = (&self.claimant, &claim.key, claim.mode);
        Failure::new(format_args!("{who} {what} on {key} ({mode:?}): {by:?}"))
    }
}

/// Whether a wake has come.
pub(super) fn has_come(wake: &mut Wake) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    wake.as_mut().poll(&mut context).is_ready()
}

fn whole<T>(asked: usize, answers: Vec<T>) -> Result<Vec<T>, Failure> {
    let answered = answers.len();
    let text = format_args!("{answered} answers to a batch of {asked}");
    ensure(answered == asked, text).map(|()| answers)
}

fn one<T>(answers: Vec<T>) -> Result<T, Failure> {
    answers
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new("no answer"))
}
