//! Where a case plays: clients, keys of its own, and time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::client::{Client, or_leave};
use super::report::{Failure, Verdict, ensure};
use super::{Subject, Time, Wakes};
use crate::contract::{Grant, Guarantees, Reach};
use crate::data::{Claim, Claimant, Entry, Error, Key, Mode, ProcessId, Result};
use crate::rule::{Clock, Lifetime, Tick};
use crate::testing::sleep;

/// One case's clients, keys and time.
pub struct Stage<'a> {
    subject: &'a dyn Subject,
    promises: Guarantees,
    reach: Reach,
    clock: Clock,
    token: String,
    clients: AtomicU32,
}

impl<'a> Stage<'a> {
    pub(super) async fn set(subject: &'a dyn Subject) -> Result<Self> {
        let store = subject.connect().await?;
        let promises = store.open().await?;
        let clock = match subject.time() {
            Time::Manual(clock) => clock,
            Time::Real { .. } => Clock::system(),
        };
        Ok(Self {
            subject,
            promises,
            reach: store.reach(),
            clock,
            token: ProcessId::random().to_string(),
            clients: AtomicU32::new(0),
        })
    }

    /// Nothing may be left when a case has ended.
    pub(super) async fn clear(&self) -> Verdict {
        let left = self.client().await?.inspect(b"").await?;
        let mine = |entry: &&Entry| contains(entry.key.as_bytes(), self.token.as_bytes());
        let left: Vec<_> = left.iter().filter(mine).collect();
        ensure(left.is_empty(), format_args!("claims are left: {left:?}"))?;
        let left = self.subject.residue().await;
        ensure(left.is_empty(), format_args!("residue is left: {left:?}"))
    }

    pub(super) fn promises(&self) -> &Guarantees {
        &self.promises
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// Whether claims end by their TTL.
    pub(super) fn has_ttl(&self) -> bool {
        self.promises.liveness.has_ttl()
    }

    pub(super) fn is_fifo(&self) -> bool {
        self.promises.order.is_fifo()
    }

    pub(super) fn wakes_only_next(&self) -> bool {
        self.subject.wakes() == Wakes::Next
    }

    /// A key that no other case uses.
    pub(super) fn key(&self, name: &str) -> Key {
        self.key_of(format!("{}-{name}", self.token).as_bytes())
    }

    /// A key that begins with these bytes and that no other case uses.
    pub(super) fn key_from(&self, start: &[u8]) -> Key {
        self.key_of(&[start, b"-", self.token.as_bytes()].concat())
    }

    fn key_of(&self, bytes: &[u8]) -> Key {
        Key::new(bytes).expect("a key of at most 1024 bytes")
    }

    /// What all keys made by [`key`](Self::key) begin with.
    pub(super) fn prefix(&self) -> &[u8] {
        self.token.as_bytes()
    }

    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        let claimant = Claimant::new("conformance", number, &format!("client {number}"));
        self.client_as(claimant).await
    }

    pub(super) async fn client_as(&self, claimant: Claimant) -> Result<Client, Failure> {
        let store = self.subject.connect().await?;
        let promises = store.open().await?;
        let same = promises == self.promises && store.reach() == self.reach;
        ensure(same, "two clients of one store promise different things")?;
        Ok(Client::new(store, claimant, self.long(), self.patience()))
    }

    pub(super) async fn clients<const N: usize>(&self) -> Result<[Client; N], Failure> {
        let mut all = Vec::with_capacity(N);
        for _ in 0..N {
            all.push(self.client().await?);
        }
        all.try_into()
            .map_err(|_| Failure::new("not so many clients"))
    }

    /// Ends a client as if its process were killed.
    pub(super) async fn kill(&self, client: Client) {
        self.subject.kill(client.into_store()).await;
    }

    /// A short TTL.
    pub(super) fn unit(&self) -> Duration {
        match self.subject.time() {
            Time::Manual(_) => Duration::from_secs(10),
            Time::Real { unit, .. } => unit,
        }
    }

    /// A TTL that no case outlasts; and no longer than what is usual, since a store may treat longer ones in another way.
    pub(super) fn long(&self) -> Duration {
        match self.subject.time() {
            Time::Manual(_) => Duration::from_secs(3_600),
            Time::Real { .. } => Duration::from_secs(60),
        }
    }

    /// Whether time passes only as the suite commands.
    pub(super) fn moves_time(&self) -> bool {
        matches!(self.subject.time(), Time::Manual(_))
    }

    /// How late others may see what happened.
    pub(super) fn slack(&self) -> Duration {
        match self.subject.time() {
            Time::Manual(_) => Duration::ZERO,
            Time::Real { slack, .. } => slack,
        }
    }

    /// How long, in real time, to wait for what happens without time passing for the store.
    pub(super) fn patience(&self) -> Duration {
        match self.subject.time() {
            Time::Manual(_) => Duration::from_secs(5),
            Time::Real { slack, .. } => slack,
        }
    }

    pub(super) fn now(&self) -> Tick {
        self.clock.now()
    }

    /// Lets so much time pass for the store.
    pub(super) async fn pass(&self, d: Duration) {
        match self.subject.time() {
            Time::Manual(clock) => clock.advance(d),
            Time::Real { .. } => sleep(d).await,
        }
    }

    /// Lets time pass until a claim of this TTL, not renewed since now, is gone for everybody.
    pub(super) async fn outlive(&self, ttl: Duration) {
        self.pass(ttl + self.slack()).await;
    }

    /// Asks again and again while time passes, until the claim is granted: not before `ttl` after `from`,
    /// and not later than is right after it.
    pub(super) async fn gets_by_expiry(
        &self,
        client: &Client,
        claim: &Claim,
        from: Tick,
        ttl: Duration,
    ) -> Result<Grant, Failure> {
        let step = ttl / 20;
        let latest = from.after(ttl + self.slack() + 2 * step);
        loop {
            let asked = self.now();
            if let Some(grant) = client.tries(claim).await? {
                let early = self.now().since(from) < Lifetime::validity(ttl);
                let after = self.now().since(from);
                ensure(
                    !early,
                    format_args!("granted {after:?} after a claim with a TTL of {ttl:?}"),
                )?;
                return Ok(grant);
            }
            ensure(
                asked <= latest,
                format_args!("still busy long after a TTL of {ttl:?}"),
            )?;
            self.pass(step).await;
        }
    }

    /// Whether shared and counted claims are promised; if not, they must be refused.
    pub(super) async fn has_permits(&self) -> Result<bool, Failure> {
        if self.promises.permits {
            return Ok(true);
        }
        let client = self.client().await?;
        let key = self.key("refused");
        for claim in [client.shared(&key), client.permits(&key, 1, 3)] {
            let answer = client.answer(&or_leave(claim.clone())).await?;
            must_be_unsupported(&claim.mode, answer)?;
        }
        Ok(false)
    }

    /// The modes that are promised, one of each.
    pub(super) async fn modes(&self) -> Result<Vec<Mode>, Failure> {
        Ok(match self.has_permits().await? {
            true => vec![Mode::Exclusive, Mode::Shared, Mode::Permits { n: 1, of: 2 }],
            false => vec![Mode::Exclusive],
        })
    }

    /// Whether linger is promised; if not, it must be refused.
    pub(super) async fn has_linger(&self) -> Result<bool, Failure> {
        if self.promises.linger {
            return Ok(true);
        }
        let client = self.client().await?;
        let claim = client.exclusive(&self.key("refused"));
        client.takes(&claim).await?;
        let answer = client.release_answer(&claim, Some(self.long())).await?;
        must_be_unsupported(&"linger", answer)?;
        client.release(&claim).await?;
        Ok(false)
    }

    /// Whether claims can be freed by hand; if not, it must be refused, and the claim stays.
    pub(super) async fn has_eviction(&self) -> Result<bool, Failure> {
        if self.promises.release_by_hand {
            return Ok(true);
        }
        let client = self.client().await?;
        let claim = client.exclusive(&self.key("refused"));
        client.takes(&claim).await?;
        let entry = client.entry(&claim).await?;
        let answer = client.evict_answer(&entry).await;
        must_be_unsupported(&"release by hand", answer)?;
        client.keeps(&claim).await?;
        client.leaves(&claim).await?;
        Ok(false)
    }
}

/// What is not promised must be refused as that.
fn must_be_unsupported<T>(what: &dyn std::fmt::Debug, answer: Result<T>) -> Verdict {
    match answer {
        Err(Error::Unsupported { .. }) => Ok(()),
        Err(other) => Err(Failure::new(format_args!(
            "{what:?} is not promised, but refused as {other:?} instead of Unsupported"
        ))),
        Ok(_) => Err(Failure::new(format_args!(
            "{what:?} is not promised, but not refused"
        ))),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
