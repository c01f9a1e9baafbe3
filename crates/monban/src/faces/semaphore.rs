//! The semaphore: a number of permits.

use crate::data::{Error, Key, Mode, Options, Result};
use crate::engine::{Acquire, BusyInfo, Lease, Locks};

/// A number of permits on one key, of which callers take one or more.
///
/// Every caller must name the same number: another one, while the key is in use, is
/// [`Error::Mismatch`]. Each lease carries a [`seat`](Lease::seat), a number below the count that no other
/// holder has, and a fence that orders the grants of that seat.
///
/// # Fairness
///
/// First come, first served: a claim for many permits is not overtaken by claims for few.
///
/// # Example
///
/// ```
/// # monban::block_on(async {
/// let locks = monban::Locks::in_memory();
/// let workers = locks.semaphore("workers", 2)?;
/// let (one, two) = (workers.take(1)?.await?, workers.take(1)?.await?);
/// assert_eq!((one.seat(), two.seat()), (Some(0), Some(1)));
/// assert!(workers.try_take(1).await?.is_none());
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Semaphore {
    locks: Locks,
    key: Key,
    of: u32,
    options: Options,
}

impl Locks {
    /// A semaphore of so many permits on this key, with default options.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the key is empty or too long, or there are no permits or more than
    /// [`Mode::MAX_PERMITS`]; [`Error::Unsupported`] if the store offers exclusive claims only.
    pub fn semaphore<K>(&self, key: K, permits: u32) -> Result<Semaphore>
    where
        K: TryInto<Key>,
        Error: From<K::Error>,
    {
        Semaphore::new(self.clone(), key.try_into()?, permits, Options::new())
    }
}

impl Semaphore {
    fn new(locks: Locks, key: Key, of: u32, options: Options) -> Result<Self> {
        locks.request(key.clone(), Mode::Permits { n: 1, of }, options.clone())?;
        Ok(Self {
            locks,
            key,
            of,
            options,
        })
    }

    /// The same semaphore with other options.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the options do not fit each other, or permits (which cannot linger).
    pub fn with(self, options: Options) -> Result<Self> {
        Self::new(self.locks, self.key, self.of, options)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// How many permits there are.
    #[must_use]
    pub fn permits(&self) -> u32 {
        self.of
    }

    /// Waits for `n` permits; see [`Acquire`] for limits, errors and cancel safety.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] at once if `n` is zero, or more than there are.
    pub fn take(&self, n: u32) -> Result<Acquire> {
        let mode = Mode::Permits { n, of: self.of };
        Ok(Acquire::new(self.locks.request(
            self.key.clone(),
            mode,
            self.options.clone(),
        )?))
    }

    /// Takes `n` permits if they are free and nobody waits; `None` otherwise.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take) and [`Mutex::try_lock`](crate::Mutex::try_lock).
    ///
    /// # Cancel safety
    ///
    /// May be dropped: a grant that was on its way is given back.
    pub async fn try_take(&self, n: u32) -> Result<Option<Lease>> {
        Ok(self.try_take_or_busy(n).await?.ok())
    }

    /// As [`try_take`](Self::try_take), and tells what is in the way.
    ///
    /// # Errors
    ///
    /// As [`try_take`](Self::try_take).
    pub async fn try_take_or_busy(&self, n: u32) -> Result<Result<Lease, BusyInfo>> {
        let mode = Mode::Permits { n, of: self.of };
        let request = self
            .locks
            .request(self.key.clone(), mode, self.options.clone())?;
        request.attempt().await
    }
}
