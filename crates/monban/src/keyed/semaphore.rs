//! So many at once, per key.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use super::acquire::Acquire;
use super::as_key::AsKey;
use super::hold::{Hold, Tabled};
use super::sip::SipState;
use super::sync;
use super::table::Table;

/// Gives out so many permits for every key, within this process.
///
/// # Fairness
/// First come, first served: a claim on few permits never overtakes one on many.
///
/// # Example
/// At most two downloads from one host at a time:
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let downloads = monban::keyed::KeyedSemaphore::<String>::new(2);
/// let one = downloads.acquire("example.org", 1).await;
/// let two = downloads.acquire("example.org", 1).await;
/// assert!(downloads.try_acquire("example.org", 1).is_none());
/// assert!(downloads.try_acquire("example.com", 2).is_some());
/// # });
/// ```
pub struct KeyedSemaphore<K, S = SipState> {
    table: Table<K, (), S>,
}

/// Holds permits of a key of a [`KeyedSemaphore`] until dropped.
#[must_use = "the permits are given back as soon as the guard is dropped"]
pub struct KeyedPermits<'a, K, S = SipState> {
    hold: Hold<&'a KeyedSemaphore<K, S>>,
}

/// As [`KeyedPermits`], but keeps the semaphore alive by itself.
#[must_use = "the permits are given back as soon as the guard is dropped"]
pub struct OwnedKeyedPermits<K, S = SipState> {
    hold: Hold<Arc<KeyedSemaphore<K, S>>>,
}

impl<K> KeyedSemaphore<K> {
    /// Makes a semaphore with so many permits for every key.
    ///
    /// # Panics
    /// If `permits` is zero: nobody could ever hold a key.
    #[must_use]
    pub fn new(permits: u32) -> Self {
        Self::with_hasher(permits, SipState::default())
    }
}

impl<K, S> KeyedSemaphore<K, S> {
    /// Makes a semaphore that hashes keys its own way.
    ///
    /// # Panics
    /// If `permits` is zero.
    pub fn with_hasher(permits: u32, hasher: S) -> Self {
        Self::with_shards(sync::shards(), permits, hasher)
    }

    pub(super) fn with_shards(shards: usize, permits: u32, hasher: S) -> Self {
        assert!(permits > 0, "a keyed semaphore needs at least one permit");
        Self {
            table: Table::new(shards, permits, hasher),
        }
    }

    /// Says how many permits every key has.
    pub fn permits(&self) -> u32 {
        self.table.capacity()
    }

    /// Counts the keys of which permits are held or waited for. Others come and go meanwhile.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Says whether no key is held or waited for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, S: BuildHasher> KeyedSemaphore<K, S> {
    /// Waits until so many permits of the key are ours.
    ///
    /// # Panics
    /// If `permits` is zero or more than a key has.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line and strands nobody.
    pub async fn acquire<Q>(&self, key: &Q, permits: u32) -> KeyedPermits<'_, K, S>
    where
        Q: AsKey<K> + ?Sized,
    {
        let grant = self.wish(key, permits).await;
        KeyedPermits {
            hold: Hold::new(self, permits, grant),
        }
    }

    /// As [`acquire`](Self::acquire), with a guard that borrows nothing.
    ///
    /// # Panics
    /// If `permits` is zero or more than a key has.
    pub async fn acquire_owned<Q>(
        self: &Arc<Self>,
        key: &Q,
        permits: u32,
    ) -> OwnedKeyedPermits<K, S>
    where
        Q: AsKey<K> + ?Sized,
    {
        let grant = self.wish(key, permits).await;
        OwnedKeyedPermits {
            hold: Hold::new(Arc::clone(self), permits, grant),
        }
    }

    /// Takes so many permits if they are free and nobody waits.
    ///
    /// # Panics
    /// If `permits` is zero or more than a key has.
    pub fn try_acquire<Q>(&self, key: &Q, permits: u32) -> Option<KeyedPermits<'_, K, S>>
    where
        Q: AsKey<K> + ?Sized,
    {
        let grant = self.wish(key, permits).at_once()?;
        Some(KeyedPermits {
            hold: Hold::new(self, permits, grant),
        })
    }

    /// As [`try_acquire`](Self::try_acquire), with a guard that borrows nothing.
    ///
    /// # Panics
    /// If `permits` is zero or more than a key has.
    pub fn try_acquire_owned<Q>(
        self: &Arc<Self>,
        key: &Q,
        permits: u32,
    ) -> Option<OwnedKeyedPermits<K, S>>
    where
        Q: AsKey<K> + ?Sized,
    {
        let grant = self.wish(key, permits).at_once()?;
        Some(OwnedKeyedPermits {
            hold: Hold::new(Arc::clone(self), permits, grant),
        })
    }

    /// Blocks this thread until so many permits of the key are ours.
    ///
    /// # Panics
    /// If `permits` is zero or more than a key has.
    pub fn blocking_acquire<Q>(&self, key: &Q, permits: u32) -> KeyedPermits<'_, K, S>
    where
        Q: AsKey<K> + ?Sized,
    {
        let grant = self.wish(key, permits).blocking();
        KeyedPermits {
            hold: Hold::new(self, permits, grant),
        }
    }

    /// Blocks this thread until so many permits of the key are ours, at most `within`, counted from the call.
    ///
    /// # Panics
    /// If `permits` is zero or more than a key has.
    pub fn blocking_acquire_timeout<Q>(
        &self,
        key: &Q,
        permits: u32,
        within: Duration,
    ) -> Option<KeyedPermits<'_, K, S>>
    where
        Q: AsKey<K> + ?Sized,
    {
        let grant = self.wish(key, permits).blocking_within(within)?;
        Some(KeyedPermits {
            hold: Hold::new(self, permits, grant),
        })
    }

    fn wish<'a, 'q, Q>(&'a self, key: &'q Q, permits: u32) -> Acquire<'a, 'q, K, (), S, Q>
    where
        Q: AsKey<K> + ?Sized,
    {
        let all = self.permits();
        assert!(
            (1..=all).contains(&permits),
            "{permits} permits of a key that has {all}"
        );
        Acquire::new(&self.table, key, permits)
    }
}

impl<K, S> KeyedPermits<'_, K, S> {
    /// Says how many permits this guard holds.
    pub fn permits(&self) -> u32 {
        self.hold.permits()
    }

    /// Gives back all but `permits`, which must be at least one and at most as many as it holds.
    ///
    /// # Panics
    /// If `permits` is zero or more than are held.
    pub fn keep(&mut self, permits: u32) {
        self.hold.keep(permits);
    }
}

impl<K, S> OwnedKeyedPermits<K, S> {
    /// Says how many permits this guard holds.
    pub fn permits(&self) -> u32 {
        self.hold.permits()
    }

    /// Gives back all but `permits`, which must be at least one and at most as many as it holds.
    ///
    /// # Panics
    /// If `permits` is zero or more than are held.
    pub fn keep(&mut self, permits: u32) {
        self.hold.keep(permits);
    }
}

impl<K, S> Tabled for KeyedSemaphore<K, S> {
    type Key = K;
    type Value = ();
    type Hasher = S;

    fn table(&self) -> &Table<K, (), S> {
        &self.table
    }
}

impl<K, S> fmt::Debug for KeyedSemaphore<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedSemaphore")
            .field("permits", &self.permits())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
