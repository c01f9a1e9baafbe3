//! The mutex: one holder at a time.

use crate::data::{Error, Key, Mode, Options, Result};
use crate::engine::{Acquire, BusyInfo, Lease, Locks, Request};

/// A lock on one key with at most one holder at a time, as far as the store's guarantees go.
///
/// Cheap to make and to clone: make one where it is needed. It holds nothing; the [`Lease`] does.
///
/// # Example
///
/// ```
/// # monban::block_on(async {
/// use std::time::Duration;
/// use monban::{Key, Locks, Options};
///
/// let locks = Locks::in_memory();
/// let user = 42.to_string();
/// let mutex = locks.mutex(Key::join(["user-lock", &user])?)?;
/// let fence = mutex.run(async |lease| lease.fence()).await??;
/// assert!(fence.as_i64() > 0);
///
/// let mutex = mutex.with(Options::new().ttl(Duration::from_secs(10)))?;
/// let lease = mutex.lock().within(Duration::from_secs(2)).await?;
/// lease.release().await?;
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Mutex {
    locks: Locks,
    pub(super) request: Request,
}

impl Locks {
    /// A mutex on this key, with default options.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the key is empty or too long.
    pub fn mutex<K>(&self, key: K) -> Result<Mutex>
    where
        K: TryInto<Key>,
        Error: From<K::Error>,
    {
        let request = self.request(key.try_into()?, Mode::Exclusive, Options::new())?;
        Ok(Mutex {
            locks: self.clone(),
            request,
        })
    }
}

impl Mutex {
    /// The same mutex with other options.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the options do not fit each other; [`Error::Unsupported`] if the store cannot
    /// keep them.
    pub fn with(self, options: Options) -> Result<Self> {
        let Self { locks, request } = self;
        let request = locks.request(request.key, Mode::Exclusive, options)?;
        Ok(Self { locks, request })
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.request.key
    }

    /// Waits for the key; see [`Acquire`] for limits, errors, cancel safety and fairness.
    pub fn lock(&self) -> Acquire {
        Acquire::new(self.request.clone())
    }

    /// Takes the key if it is free; `None` if somebody has it or waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the store did not answer (what it may have granted is given back),
    /// [`Error::Rejected`], [`Error::Mismatch`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped: a grant that was on its way is given back.
    pub async fn try_lock(&self) -> Result<Option<Lease>> {
        Ok(self.try_lock_or_busy().await?.ok())
    }

    /// As [`try_lock`](Self::try_lock), and tells what is in the way.
    ///
    /// # Errors
    ///
    /// As [`try_lock`](Self::try_lock).
    ///
    /// # Cancel safety
    ///
    /// As [`try_lock`](Self::try_lock).
    pub async fn try_lock_or_busy(&self) -> Result<Result<Lease, BusyInfo>> {
        self.request.clone().attempt().await
    }

    /// Waits for the key, runs the work, and releases. If the lease is lost the work is dropped.
    ///
    /// A release that fails does not take the result away: it is logged.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`Error::Lost`] if the lease was lost before the work was done.
    ///
    /// # Cancel safety
    ///
    /// May be dropped: the work is dropped and the key released.
    pub async fn run<T>(&self, work: impl AsyncFnOnce(&Lease) -> T) -> Result<T> {
        let lease = self.lock().await?;
        let output = lease.run(work(&lease)).await?;
        let key = lease.key().clone();
        match lease.release().await {
            Err(error @ Error::Lost { .. }) => return Err(error),
            Err(error) => tracing::warn!(%key, %error, "the work is done, but its release failed"),
            Ok(()) => {}
        }
        Ok(output)
    }
}
