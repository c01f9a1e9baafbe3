//! The read-write lock: many readers, or one writer.

use crate::data::{Error, Key, Mode, Options, Result};
use crate::engine::{Acquire, BusyInfo, Lease, Locks, Request};

/// A lock on one key with many readers at a time, or one writer.
///
/// A writer is a claim like that of a [`Mutex`](crate::Mutex), and carries a fence; both exclude each
/// other on one key. A reader carries none: a resource that refuses "lower than the highest seen" would
/// refuse one of two live readers.
///
/// There is no upgrade from reader to writer: two readers that both want it would wait for each other for
/// ever. Release, then take the write lock, and look again at what was read.
///
/// # Fairness
///
/// First come, first served: a waiting writer is not overtaken by readers that come later.
///
/// # Example
///
/// ```
/// # monban::block_on(async {
/// let locks = monban::Locks::in_memory();
/// let prices = locks.rwlock("prices")?;
/// let (one, two) = (prices.read().await?, prices.read().await?);
/// assert!(prices.try_write().await?.is_none());
/// drop((one, two));
/// prices.write().await?.release().await?;
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct RwLock {
    locks: Locks,
    pub(super) reader: Request,
    pub(super) writer: Request,
}

impl Locks {
    /// A read-write lock on this key, with default options.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the key is empty or too long; [`Error::Unsupported`] if the store offers
    /// exclusive claims only.
    pub fn rwlock<K>(&self, key: K) -> Result<RwLock>
    where
        K: TryInto<Key>,
        Error: From<K::Error>,
    {
        RwLock::new(self.clone(), key.try_into()?, Options::new())
    }
}

impl RwLock {
    fn new(locks: Locks, key: Key, options: Options) -> Result<Self> {
        let reader = locks.request(key.clone(), Mode::Shared, options.clone())?;
        let writer = locks.request(key, Mode::Exclusive, options)?;
        Ok(Self {
            locks,
            reader,
            writer,
        })
    }

    /// The same lock with other options.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the options do not fit each other, or readers (who cannot linger).
    pub fn with(self, options: Options) -> Result<Self> {
        Self::new(self.locks, self.reader.key, options)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.reader.key
    }

    /// Waits until no writer is ahead; see [`Acquire`] for limits, errors and cancel safety.
    pub fn read(&self) -> Acquire {
        Acquire::new(self.reader.clone())
    }

    /// Waits until nobody is ahead; see [`Acquire`] for limits, errors and cancel safety.
    pub fn write(&self) -> Acquire {
        Acquire::new(self.writer.clone())
    }

    /// Takes a share if no writer holds or waits; `None` otherwise.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    ///
    /// # Cancel safety
    ///
    /// May be dropped: a grant that was on its way is given back.
    pub async fn try_read(&self) -> Result<Option<Lease>> {
        Ok(self.try_read_or_busy().await?.ok())
    }

    /// As [`try_read`](Self::try_read), and tells what is in the way.
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read).
    pub async fn try_read_or_busy(&self) -> Result<Result<Lease, BusyInfo>> {
        self.reader.clone().attempt().await
    }

    /// Takes the key alone if nobody holds or waits; `None` otherwise.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    ///
    /// # Cancel safety
    ///
    /// May be dropped: a grant that was on its way is given back.
    pub async fn try_write(&self) -> Result<Option<Lease>> {
        Ok(self.try_write_or_busy().await?.ok())
    }

    /// As [`try_write`](Self::try_write), and tells what is in the way.
    ///
    /// # Errors
    ///
    /// As [`try_write`](Self::try_write).
    pub async fn try_write_or_busy(&self) -> Result<Result<Lease, BusyInfo>> {
        self.writer.clone().attempt().await
    }
}
