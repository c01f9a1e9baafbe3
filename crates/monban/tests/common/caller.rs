//! One process at a store, whichever it is: its claims, and what becomes of them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use monban::contract::{Attempt, Busy, Grant, Release, Renewal, Store, Wake};
use monban::data::{Claim, ClaimId, IfBusy, Keep, Leave, Mode, ProcessId};
use monban::{Claimant, Fence, Key, Result};

/// A store and the claims of one process.
pub(crate) struct Caller<S> {
    pub(crate) store: S,
    process: ProcessId,
    /// The TTL of its claims, unless a test says otherwise.
    ttl: Duration,
    /// Longer than anything takes on a busy machine, and shorter than the TTL that would hide a lost wake.
    soon: Duration,
    /// After this it gives up what it tries again and again.
    patience: Duration,
    /// The fences of the grants that it was told, by which it renews.
    granted: Mutex<HashMap<ClaimId, Option<Fence>>>,
}

impl<S: Store> Caller<S> {
    pub(crate) fn new(store: S, (ttl, soon, patience): (Duration, Duration, Duration)) -> Self {
        Self {
            store,
            process: ProcessId::random(),
            ttl,
            soon,
            patience,
            granted: Mutex::default(),
        }
    }

    pub(crate) fn claim(&self, key: &str, mode: Mode) -> Claim {
        Claim {
            key: Key::new(key).unwrap(),
            id: ClaimId::random(self.process),
            mode,
            ttl: self.ttl,
            if_busy: IfBusy::Queue,
            claimant: Claimant::new("host", 7, "test"),
        }
    }

    pub(crate) fn exclusive(&self, key: &str) -> Claim {
        self.claim(key, Mode::Exclusive)
    }

    pub(crate) async fn ask(&self, claim: &Claim) -> Result<Attempt> {
        only(self.attempts(std::slice::from_ref(claim)).await)
    }

    pub(crate) async fn attempts(&self, claims: &[Claim]) -> Vec<Result<Attempt>> {
        let answers = self.store.attempt(claims).await;
        let mut granted = self.granted.lock().unwrap();
        for (claim, answer) in claims.iter().zip(&answers) {
            if let Ok(Attempt::Granted(grant)) = answer {
                granted.insert(claim.id, grant.fence);
            }
        }
        answers
    }

    /// Renews claims by the grants that were told last.
    pub(crate) async fn renewals(&self, claims: &[Claim]) -> Vec<Result<Renewal>> {
        let keep = |claim: &Claim| Keep {
            claim: claim.clone(),
            fence: self
                .granted
                .lock()
                .unwrap()
                .get(&claim.id)
                .copied()
                .flatten(),
        };
        let keeping: Vec<Keep> = claims.iter().map(keep).collect();
        self.store.renew(&keeping).await
    }

    pub(crate) async fn takes(&self, claim: &Claim) -> Grant {
        match self.ask(claim).await.unwrap() {
            Attempt::Granted(grant) => grant,
            Attempt::Busy(busy) => panic!("busy: {busy:?}"),
        }
    }

    pub(crate) async fn fence(&self, claim: &Claim) -> Fence {
        self.takes(claim).await.fence.unwrap()
    }

    pub(crate) async fn waits(&self, claim: &Claim) -> Busy {
        match self.ask(claim).await.unwrap() {
            Attempt::Granted(grant) => panic!("granted: {grant:?}"),
            Attempt::Busy(busy) => busy,
        }
    }

    pub(crate) async fn tries_renewal(&self, claim: &Claim) -> Result<Renewal> {
        only(self.renewals(std::slice::from_ref(claim)).await)
    }

    pub(crate) async fn renews(&self, claim: &Claim) -> Renewal {
        self.tries_renewal(claim).await.unwrap()
    }

    /// Renews, and renews again while it is not known what became of it.
    pub(crate) async fn keeps(&self, claim: &Claim) -> Renewal {
        let start = Instant::now();
        loop {
            match self.tries_renewal(claim).await {
                Ok(renewal) => return renewal,
                Err(error) => {
                    let soon = start.elapsed() < self.soon;
                    assert!(error.is_transient() && soon, "{error}");
                }
            }
            pause(20).await;
        }
    }

    pub(crate) async fn tries_release(&self, claim: &Claim) -> Result<Release> {
        let leave = Leave {
            claim: claim.clone(),
            linger: None,
        };
        only(self.store.release(&[leave]).await)
    }

    pub(crate) async fn releases(&self, claim: &Claim) -> Release {
        self.tries_release(claim).await.unwrap()
    }

    /// Asks, and asks again when woken or when the time has come, until granted; gives up after a while.
    pub(crate) async fn comes_in(&self, claim: &Claim) -> Grant {
        let start = Instant::now();
        loop {
            match self.ask(claim).await {
                Ok(Attempt::Granted(grant)) => return grant,
                Ok(Attempt::Busy(busy)) => {
                    let longest = busy.free_in.unwrap_or(self.soon);
                    let _ = tokio::time::timeout(longest, busy.changed.unwrap()).await;
                }
                Err(error) if error.is_transient() => pause(20).await,
                Err(error) => panic!("{error}"),
            }
            assert!(start.elapsed() < self.patience, "not granted");
        }
    }

    /// Sees to it that the next claim is one command on a connection that stands.
    pub(crate) async fn warms_up(&self) {
        let warm = self.exclusive("warm");
        self.comes_in(&warm).await;
        self.is_rid_of(&warm).await;
    }

    /// Repeats a release whose outcome is not known.
    pub(crate) async fn is_rid_of(&self, claim: &Claim) {
        let start = Instant::now();
        while let Err(error) = self.tries_release(claim).await {
            assert!(error.is_transient(), "{error}");
            assert!(start.elapsed() < self.patience, "{error}");
        }
    }
}

/// The answer to a batch of one.
fn only<T>(answers: Vec<T>) -> T {
    assert_eq!(answers.len(), 1, "one answer for one claim");
    answers.into_iter().next().unwrap()
}

/// Opens a store that is to refuse, and shows no password while it does.
pub(crate) async fn refused_by<S: Store>(store: S) -> monban::Error {
    let error = store.open().await.unwrap_err();
    let shown = format!("{error} {error:?} {store:?}");
    assert!(!shown.contains("sentinel"), "a password is shown: {shown}");
    error
}

pub(crate) fn leave(mut claim: Claim) -> Claim {
    claim.if_busy = IfBusy::Leave;
    claim
}

pub(crate) async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Drives a test to its end, which must come within this time.
pub(crate) fn run_within(longest: Duration, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(longest, test)
            .await
            .expect("the test ends")
    });
}

/// The wake comes within this time.
pub(crate) async fn woken_within(longest: Duration, wake: Wake) {
    tokio::time::timeout(longest, wake)
        .await
        .expect("a wake comes");
}
