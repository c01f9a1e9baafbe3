//! Several leases held as one.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use crate::data::{Error, Key, Result};
use crate::engine::{Lease, give_back, release_all};

/// Several keys, held together: what [`AllOf`](crate::AllOf) takes.
///
/// It is lost as soon as any of its leases is lost. Dropping it releases all of them in the background.
#[derive(Debug, Default)]
#[must_use = "leases that are dropped are released at once"]
pub struct LeaseSet {
    /// In the order of their keys.
    leases: Vec<Lease>,
}

impl LeaseSet {
    pub(super) fn new(leases: Vec<Lease>) -> Self {
        Self { leases }
    }

    pub(super) fn push(&mut self, lease: Lease) {
        self.leases.push(lease);
    }

    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// The leases, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter()
    }

    /// The lease on this key, for its fence and seat; `None` if it is not one of the set's.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.key() == key)
    }

    /// Checks that none of the leases is lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] for the first that is: stop the work.
    pub fn check(&self) -> Result<()> {
        self.leases.iter().try_for_each(Lease::check)
    }

    /// Checks that all leases can be relied on for this much longer; see [`Lease::require`].
    ///
    /// # Errors
    ///
    /// [`Error::TooShort`], [`Error::Lost`].
    pub fn require(&self, needed: Duration) -> Result<()> {
        self.leases
            .iter()
            .try_for_each(|lease| lease.require(needed))
    }

    /// Completes when any of the leases is lost, with the [`Error::Lost`] that says which and how.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub fn lost(&self) -> impl Future<Output = Error> + Send + 'static {
        let mut all: Vec<_> = self
            .leases
            .iter()
            .map(|lease| Box::pin(lease.lost()))
            .collect();
        poll_fn(move |context| {
            for lost in &mut all {
                if let Poll::Ready(error) = lost.as_mut().poll(context) {
                    return Poll::Ready(error);
                }
            }
            Poll::Pending
        })
    }

    /// Runs a future under these leases, and drops it if any is lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if a lease was lost before the future was ready.
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

    /// Releases all keys, by one request, and says whether all were ours until now.
    ///
    /// # Errors
    ///
    /// As [`Lease::release`]'s, the first in the order of the keys; all are released whatever becomes of one.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped the releases go on in the background.
    pub async fn release(mut self) -> Result<()> {
        release_all(std::mem::take(&mut self.leases)).await
    }
}

impl Drop for LeaseSet {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.leases));
    }
}
