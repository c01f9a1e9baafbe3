//! Deadlines for what a lease guards: steps, futures, and the time-outs of other systems' calls.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::lease::Lease;
use crate::data::{Error, Result};

/// The grain of the time-outs that databases and HTTP clients take.
const MILLISECOND: Duration = Duration::from_millis(1);

impl Lease {
    /// Checks that the lease can be relied on for this much longer, even if nothing renews it.
    ///
    /// Call it before a step that takes about so long and must not be cut off in the middle.
    ///
    /// # Errors
    ///
    /// [`Error::TooShort`] if its deadline, or its maximum hold, comes sooner: do not begin the step.
    /// [`Error::Lost`]: stop.
    ///
    /// # Example
    ///
    /// ```
    /// # monban::block_on(async {
    /// use std::time::Duration;
    ///
    /// let lease = monban::Locks::in_memory().mutex("report")?.lock().await?;
    /// lease.require(Duration::from_millis(200))?;
    /// assert!(lease.require(Duration::from_secs(3600)).is_err()); // its TTL is 30 s
    /// # Ok::<(), monban::Error>(()) }).unwrap();
    /// ```
    pub fn require(&self, needed: Duration) -> Result<()> {
        self.check()?;
        match self.left() {
            Some(left) if left < needed => Err(self.too_short(left, needed)),
            _ => Ok(()),
        }
    }

    /// A time-out for a database statement or an HTTP call that must not outlive the lease: `longest`, or
    /// what is left of the lease if that is less.
    ///
    /// It is in whole milliseconds and never zero, which for PostgreSQL and others means "no limit". It
    /// starts at this call: hand it over at once. Counting on the other side begins later, by the time that
    /// the call travels; where that matters, let the other side check the [`token`](Self::token).
    ///
    /// # Errors
    ///
    /// [`Error::TooShort`] if less than a millisecond is left; [`Error::Lost`]; [`Error::Invalid`] if
    /// `longest` is less than a millisecond.
    pub fn timeout_for(&self, longest: Duration) -> Result<Duration> {
        if longest < MILLISECOND {
            return Err(Error::invalid(
                "a time-out of less than 1ms cannot be handed on",
            ));
        }
        self.check()?;
        let left = self.left().unwrap_or(longest);
        if left < MILLISECOND {
            return Err(self.too_short(left, MILLISECOND));
        }
        let whole = left.min(longest).as_millis();
        Ok(Duration::from_millis(
            u64::try_from(whole).unwrap_or(u64::MAX),
        ))
    }

    /// Runs a future that must not outlive the lease.
    ///
    /// As [`run`](Self::run), which drops the work when the keeper reports the loss; here the clock is read
    /// at every poll too. So no step of the work begins after the deadline, also not the first one after
    /// the process was paused, and what is returned was ready while the lease was ours.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the lease was lost before the future was ready, or while it finished: its last
    /// step may have been taken all the same.
    ///
    /// # Cancel safety
    ///
    /// As the future's.
    pub async fn scope<F: Future>(&self, work: F) -> Result<F::Output> {
        let mut work = pin!(work);
        let mut lost = pin!(self.lost());
        poll_fn(|context| {
            if let Poll::Ready(error) = lost.as_mut().poll(context) {
                return Poll::Ready(Err(error));
            }
            if let Err(error) = self.check() {
                return Poll::Ready(Err(error));
            }
            let output = std::task::ready!(work.as_mut().poll(context));
            Poll::Ready(self.check().map(|()| output))
        })
        .await
    }

    /// How long it is to the deadline or the maximum hold, whichever is sooner.
    fn left(&self) -> Option<Duration> {
        let now = self.handle().engine.clock.now();
        self.hold().watch_at().map(|at| at.since(now))
    }

    fn too_short(&self, left: Duration, needed: Duration) -> Error {
        Error::TooShort {
            key: self.key().clone(),
            left,
            needed,
        }
    }
}
