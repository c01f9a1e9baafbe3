//! One at a time, per key.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use super::acquire::{Acquire, either};
use super::as_key::AsKey;
use super::guard::{KeyedMutexGuard, OwnedKeyedMutexGuard};
use super::hold::Tabled;
use super::sip::SipState;
use super::sync;
use super::table::Table;

/// Lets one at a time hold a key, within this process.
///
/// A value of type `V` lives behind a key as long as somebody holds the key or waits for it: made with `Default` for the
/// first holder, reached through the guard, handed on from holder to holder, dropped just after the key is free.
///
/// # Fairness
/// First come, first served, tasks and threads alike: a released key is handed to the first in line and never lies about.
///
/// # Panics and poison
/// A panic in a holder frees the key, and the next holder gets the value as it is.
///
/// # Example
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let users = monban::keyed::KeyedMutex::<String>::new();
/// let mia = users.lock("mia").await;
/// assert!(users.try_lock("mia").is_none());
/// assert!(users.try_lock("ben").is_some());
/// drop(mia);
/// assert!(users.is_empty());
/// # });
/// ```
pub struct KeyedMutex<K, V = (), S = SipState> {
    table: Table<K, V, S>,
}

impl<K, V> KeyedMutex<K, V> {
    /// Makes a mutex with no key held.
    #[must_use]
    pub fn new() -> Self {
        Self::with_hasher(SipState::default())
    }
}

impl<K, V, S> KeyedMutex<K, V, S> {
    /// Makes a mutex that hashes keys its own way.
    ///
    /// The default, [`SipState`], withstands keys chosen by an adversary; a faster one is worth it for keys of your own making.
    pub fn with_hasher(hasher: S) -> Self {
        Self::with_shards(sync::shards(), hasher)
    }

    /// With so many shards, a power of two, and without asking how many processors there are: that reads files.
    pub(crate) fn with_shards(shards: usize, hasher: S) -> Self {
        Self {
            table: Table::new(shards, 1, hasher),
        }
    }

    /// Counts the keys that are held or waited for. Others come and go meanwhile.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.table.room()
    }

    /// Says whether no key is held or waited for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, V, S> KeyedMutex<K, V, S>
where
    V: Default,
    S: BuildHasher,
{
    /// Waits until the key is ours.
    ///
    /// The future does nothing until it is polled, and has its place in line from then on. It works on any executor.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line, or hands on the key if it had been granted. Nobody is stranded.
    #[inline]
    pub fn lock<'a, 'q, Q>(
        &'a self,
        key: &'q Q,
    ) -> impl Future<Output = KeyedMutexGuard<'a, K, V, S>> + Unpin + use<'a, 'q, K, V, S, Q>
    where
        Q: AsKey<K> + ?Sized,
    {
        self.acquire(key)
            .then(|grant| KeyedMutexGuard::new(self, grant))
    }

    /// As [`lock`](Self::lock), with a guard that borrows nothing.
    #[inline]
    pub fn lock_owned<'a, 'q, Q>(
        self: &'a Arc<Self>,
        key: &'q Q,
    ) -> impl Future<Output = OwnedKeyedMutexGuard<K, V, S>> + Unpin + use<'a, 'q, K, V, S, Q>
    where
        Q: AsKey<K> + ?Sized,
    {
        let guard = |grant| OwnedKeyedMutexGuard::new(Arc::clone(self), grant);
        self.acquire(key).then(guard)
    }

    /// Waits until the key is ours or `stop` is ready, whose output is then the error.
    ///
    /// This is the timed lock of async code, and needs no runtime of its own: `stop` is any timer, a cancellation
    /// token, the end of a connection. If both are ready the key wins, so a stop that is ready at once makes this a try.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line and strands nobody.
    ///
    /// # Example
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    /// # runtime.block_on(async {
    /// use std::time::Duration;
    /// let reports = monban::keyed::KeyedMutex::<u64>::new();
    /// let _held = reports.lock(&7).await;
    /// let patience = tokio::time::sleep(Duration::from_millis(5));
    /// assert!(reports.lock_unless(&7, patience).await.is_err());
    /// # });
    /// ```
    pub async fn lock_unless<Q, F>(
        &self,
        key: &Q,
        stop: F,
    ) -> Result<KeyedMutexGuard<'_, K, V, S>, F::Output>
    where
        Q: AsKey<K> + ?Sized,
        F: Future,
    {
        either(self.lock(key), stop).await
    }

    /// As [`lock_unless`](Self::lock_unless), with a guard that borrows nothing.
    pub async fn lock_owned_unless<Q, F>(
        self: &Arc<Self>,
        key: &Q,
        stop: F,
    ) -> Result<OwnedKeyedMutexGuard<K, V, S>, F::Output>
    where
        Q: AsKey<K> + ?Sized,
        F: Future,
    {
        either(self.lock_owned(key), stop).await
    }

    /// Takes the key if nobody holds it or waits for it.
    #[inline]
    pub fn try_lock<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Option<KeyedMutexGuard<'_, K, V, S>> {
        let grant = self.acquire(key).at_once()?;
        Some(KeyedMutexGuard::new(self, grant))
    }

    /// As [`try_lock`](Self::try_lock), with a guard that borrows nothing.
    pub fn try_lock_owned<Q: AsKey<K> + ?Sized>(
        self: &Arc<Self>,
        key: &Q,
    ) -> Option<OwnedKeyedMutexGuard<K, V, S>> {
        let grant = self.acquire(key).at_once()?;
        Some(OwnedKeyedMutexGuard::new(Arc::clone(self), grant))
    }

    /// Blocks this thread until the key is ours.
    ///
    /// Not from a task: it would stop the executor's thread, and with it perhaps the holder.
    #[inline]
    pub fn blocking_lock<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> KeyedMutexGuard<'_, K, V, S> {
        KeyedMutexGuard::new(self, self.acquire(key).blocking())
    }

    /// As [`blocking_lock`](Self::blocking_lock), with a guard that borrows nothing.
    pub fn blocking_lock_owned<Q: AsKey<K> + ?Sized>(
        self: &Arc<Self>,
        key: &Q,
    ) -> OwnedKeyedMutexGuard<K, V, S> {
        let grant = self.acquire(key).blocking();
        OwnedKeyedMutexGuard::new(Arc::clone(self), grant)
    }

    /// Blocks this thread until the key is ours, at most `within`, counted from the call.
    pub fn blocking_lock_timeout<Q: AsKey<K> + ?Sized>(
        &self,
        key: &Q,
        within: Duration,
    ) -> Option<KeyedMutexGuard<'_, K, V, S>> {
        let grant = self.acquire(key).blocking_within(within)?;
        Some(KeyedMutexGuard::new(self, grant))
    }

    /// As [`blocking_lock_timeout`](Self::blocking_lock_timeout), with a guard that borrows nothing.
    pub fn blocking_lock_owned_timeout<Q: AsKey<K> + ?Sized>(
        self: &Arc<Self>,
        key: &Q,
        within: Duration,
    ) -> Option<OwnedKeyedMutexGuard<K, V, S>> {
        let grant = self.acquire(key).blocking_within(within)?;
        Some(OwnedKeyedMutexGuard::new(Arc::clone(self), grant))
    }

    #[inline]
    fn acquire<'a, 'q, Q>(&'a self, key: &'q Q) -> Acquire<'a, 'q, K, V, S, Q>
    where
        Q: AsKey<K> + ?Sized,
    {
        Acquire::new(&self.table, key, 1)
    }
}

impl<K, V, S> Tabled for KeyedMutex<K, V, S> {
    type Key = K;
    type Value = V;
    type Hasher = S;

    fn table(&self) -> &Table<K, V, S> {
        &self.table
    }
}

impl<K, V, S: Default> Default for KeyedMutex<K, V, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<K, V, S> fmt::Debug for KeyedMutex<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedMutex")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
