//! At most once per interval.

use std::time::Duration;

use crate::contract::Why;
use crate::data::{Claimant, Error, Key, Mode, Options, Result};
use crate::engine::{Lease, Locks, Request};

/// Work that is to be done once for an interval, however many machines try.
///
/// Made by [`Locks::once`]; it does not run anything before [`every`](Self::every) has said the interval.
#[derive(Clone, Debug)]
pub struct Once {
    locks: Locks,
    key: Key,
    options: Options,
}

/// Runs work at most once per interval across all who use the key.
///
/// The interval counts from the start of a run that succeeded: a run that fails, is dropped, or dies does
/// not count, and the next caller runs. Between two starts that succeed the store measures the time, so
/// machines need not agree on it.
///
/// A run that ends without having said so is taken for one that failed: if the process dies, or the
/// store cannot be told, after the work is done, it is done again. Make the work so that it may be.
///
/// # Example
///
/// ```
/// # monban::block_on(async {
/// use std::time::Duration;
/// use monban::{Locks, Outcome};
///
/// const H3: Duration = Duration::from_secs(3 * 3600);
/// let locks = Locks::in_memory();
/// let report = locks.once("report")?.every(H3)?;
/// match report.run(async |_lease| Ok::<_, std::io::Error>("sent")).await? {
///     Outcome::Ran(what) => assert_eq!(what, "sent"),
///     other => panic!("{other:?}"),
/// }
/// let again = report.run(async |_lease| Ok::<_, std::io::Error>("sent")).await?;
/// assert!(matches!(again, Outcome::NotDue(wait) if wait <= H3));
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Interval {
    request: Request,
    every: Duration,
}

/// What became of a call of [`Interval::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T, E> {
    /// The work ran and succeeded; the interval counts from its start.
    Ran(T),
    /// The work ran elsewhere, or here, less than an interval ago. It is due after this time.
    NotDue(Duration),
    /// The work is running now; by whom, if the store can tell.
    Running(Option<Claimant>),
    /// The work ran and failed, with this; it is due at once.
    Failed(E),
}

impl Locks {
    /// Work that is to be done once for an interval, named by this key.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the key is empty or too long.
    pub fn once<K>(&self, key: K) -> Result<Once>
    where
        K: TryInto<Key>,
        Error: From<K::Error>,
    {
        Ok(Once {
            locks: self.clone(),
            key: key.try_into()?,
            options: Options::new(),
        })
    }
}

impl Once {
    /// The same work with other options. Their TTL is how soon another machine may run the work after one
    /// died in the middle; a linger among them is ignored.
    #[must_use]
    pub fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets the interval.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is zero or longer than [`Options::MAX`], or the options do not fit each
    /// other; [`Error::Unsupported`] if the store cannot keep the place of a released claim.
    pub fn every(self, interval: Duration) -> Result<Interval> {
        let Self {
            locks,
            key,
            mut options,
        } = self;
        if interval.is_zero() {
            return Err(Error::invalid(
                "an interval of zero has no meaning; use a mutex to run one at a time",
            ));
        }
        // Asked for a linger only to be told whether the store keeps one. A lease that is dropped must not
        // linger: its work did not succeed.
        let lingering = options.clone().linger(interval);
        locks.request(key.clone(), Mode::Exclusive, lingering)?;
        options.linger = None;
        Ok(Interval {
            request: locks.request(key, Mode::Exclusive, options)?,
            every: interval,
        })
    }
}

impl Interval {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.request.key
    }

    /// The interval.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.every
    }

    /// Runs the work if it is due and nobody runs it. If the lease is lost the work is dropped.
    ///
    /// A work that takes longer than the interval is due again when it ends.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock); [`Error::Lost`] if the lease was lost before the work
    /// was done. The work's own error is [`Outcome::Failed`]. If the work is done but the store cannot be
    /// told, that is logged and the answer is [`Outcome::Ran`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped: the work is dropped, the key released, and the run does not count.
    pub async fn run<T, E>(
        &self,
        work: impl AsyncFnOnce(&Lease) -> Result<T, E>,
    ) -> Result<Outcome<T, E>> {
        let lease = match self.request.clone().attempt().await? {
            Ok(lease) => lease,
            Err(busy) if busy.why == Why::Lingering => {
                return Ok(Outcome::NotDue(busy.free_in.unwrap_or_default()));
            }
            Err(busy) => return Ok(Outcome::Running(busy.who)),
        };
        let (outcome, linger) = match lease.run(work(&lease)).await? {
            Ok(output) => {
                let left = self.every.saturating_sub(lease.held_for());
                (Outcome::Ran(output), left)
            }
            Err(error) => (Outcome::Failed(error), Duration::ZERO),
        };
        let key = lease.key().clone();
        if let Err(error) = lease.release_lingering(linger).await {
            tracing::warn!(%key, %error, "the work is done, but the store could not be told");
        }
        Ok(outcome)
    }
}
