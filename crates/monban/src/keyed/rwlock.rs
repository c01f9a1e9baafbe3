//! Many readers or one writer, per key.

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

const ONE: u32 = 1;
const ALL: u32 = u32::MAX;

/// Lets many readers or one writer at a time hold a key, within this process.
///
/// # Fairness
/// Readers and writers wait in one line, first come, first served: a reader behind a waiting writer waits for it,
/// so writers do not starve. For the same reason a task that holds a key for reading must not ask to read it
/// again: with a writer between the two it would wait for itself.
///
/// # Example
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let files = monban::keyed::KeyedRwLock::<String>::new();
/// let one = files.read("report.csv").await;
/// let two = files.read("report.csv").await;
/// assert!(files.try_write("report.csv").is_none());
/// drop((one, two));
/// let rewriting = files.write("report.csv").await;
/// # });
/// ```
pub struct KeyedRwLock<K, S = SipState> {
    table: Table<K, (), S>,
}

/// Holds a key of a [`KeyedRwLock`] for reading until dropped.
#[must_use = "the key is free again as soon as the guard is dropped"]
pub struct KeyedReadGuard<'a, K, S = SipState> {
    _hold: Hold<&'a KeyedRwLock<K, S>>,
}

/// Holds a key of a [`KeyedRwLock`] for writing until dropped.
#[must_use = "the key is free again as soon as the guard is dropped"]
pub struct KeyedWriteGuard<'a, K, S = SipState> {
    hold: Hold<&'a KeyedRwLock<K, S>>,
}

/// As [`KeyedReadGuard`], but keeps the lock alive by itself.
#[must_use = "the key is free again as soon as the guard is dropped"]
pub struct OwnedKeyedReadGuard<K, S = SipState> {
    _hold: Hold<Arc<KeyedRwLock<K, S>>>,
}

/// As [`KeyedWriteGuard`], but keeps the lock alive by itself.
#[must_use = "the key is free again as soon as the guard is dropped"]
pub struct OwnedKeyedWriteGuard<K, S = SipState> {
    hold: Hold<Arc<KeyedRwLock<K, S>>>,
}

impl<K> KeyedRwLock<K> {
    /// Makes a lock with no key held.
    #[must_use]
    pub fn new() -> Self {
        Self::with_hasher(SipState::default())
    }
}

impl<K, S> KeyedRwLock<K, S> {
    /// Makes a lock that hashes keys its own way.
    pub fn with_hasher(hasher: S) -> Self {
        Self::with_shards(sync::shards(), hasher)
    }

    pub(super) fn with_shards(shards: usize, hasher: S) -> Self {
        Self {
            table: Table::new(shards, ALL, hasher),
        }
    }

    /// Counts the keys that are held or waited for. Others come and go meanwhile.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Says whether no key is held or waited for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, S: BuildHasher> KeyedRwLock<K, S> {
    /// Waits until the key is ours for reading.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line and strands nobody.
    pub async fn read<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> KeyedReadGuard<'_, K, S> {
        let grant = self.acquire(key, ONE).await;
        let _hold = Hold::new(self, ONE, grant);
        KeyedReadGuard { _hold }
    }

    /// Waits until the key is ours for writing.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line and strands nobody.
    pub async fn write<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> KeyedWriteGuard<'_, K, S> {
        let grant = self.acquire(key, ALL).await;
        let hold = Hold::new(self, ALL, grant);
        KeyedWriteGuard { hold }
    }

    /// As [`read`](Self::read), with a guard that borrows nothing.
    pub async fn read_owned<Q: AsKey<K> + ?Sized>(
        self: &Arc<Self>,
        key: &Q,
    ) -> OwnedKeyedReadGuard<K, S> {
        let grant = self.acquire(key, ONE).await;
        let _hold = Hold::new(Arc::clone(self), ONE, grant);
        OwnedKeyedReadGuard { _hold }
    }

    /// As [`write`](Self::write), with a guard that borrows nothing.
    pub async fn write_owned<Q: AsKey<K> + ?Sized>(
        self: &Arc<Self>,
        key: &Q,
    ) -> OwnedKeyedWriteGuard<K, S> {
        let grant = self.acquire(key, ALL).await;
        let hold = Hold::new(Arc::clone(self), ALL, grant);
        OwnedKeyedWriteGuard { hold }
    }

    /// Takes the key for reading if nobody writes or waits.
    pub fn try_read<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Option<KeyedReadGuard<'_, K, S>> {
        let grant = self.acquire(key, ONE).at_once()?;
        let _hold = Hold::new(self, ONE, grant);
        Some(KeyedReadGuard { _hold })
    }

    /// Takes the key for writing if nobody reads, writes or waits.
    pub fn try_write<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Option<KeyedWriteGuard<'_, K, S>> {
        let grant = self.acquire(key, ALL).at_once()?;
        let hold = Hold::new(self, ALL, grant);
        Some(KeyedWriteGuard { hold })
    }

    /// As [`try_read`](Self::try_read), with a guard that borrows nothing.
    pub fn try_read_owned<Q: AsKey<K> + ?Sized>(
        self: &Arc<Self>,
        key: &Q,
    ) -> Option<OwnedKeyedReadGuard<K, S>> {
        let grant = self.acquire(key, ONE).at_once()?;
        let _hold = Hold::new(Arc::clone(self), ONE, grant);
        Some(OwnedKeyedReadGuard { _hold })
    }

    /// As [`try_write`](Self::try_write), with a guard that borrows nothing.
    pub fn try_write_owned<Q: AsKey<K> + ?Sized>(
        self: &Arc<Self>,
        key: &Q,
    ) -> Option<OwnedKeyedWriteGuard<K, S>> {
        let grant = self.acquire(key, ALL).at_once()?;
        let hold = Hold::new(Arc::clone(self), ALL, grant);
        Some(OwnedKeyedWriteGuard { hold })
    }

    /// Blocks this thread until the key is ours for reading.
    pub fn blocking_read<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> KeyedReadGuard<'_, K, S> {
        let _hold = Hold::new(self, ONE, self.acquire(key, ONE).blocking());
        KeyedReadGuard { _hold }
    }

    /// Blocks this thread until the key is ours for writing.
    pub fn blocking_write<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> KeyedWriteGuard<'_, K, S> {
        let hold = Hold::new(self, ALL, self.acquire(key, ALL).blocking());
        KeyedWriteGuard { hold }
    }

    /// Blocks this thread until the key is ours for reading, at most `within`, counted from the call.
    pub fn blocking_read_timeout<Q: AsKey<K> + ?Sized>(
        &self,
        key: &Q,
        within: Duration,
    ) -> Option<KeyedReadGuard<'_, K, S>> {
        let grant = self.acquire(key, ONE).blocking_within(within)?;
        let _hold = Hold::new(self, ONE, grant);
        Some(KeyedReadGuard { _hold })
    }

    /// Blocks this thread until the key is ours for writing, at most `within`, counted from the call.
    pub fn blocking_write_timeout<Q: AsKey<K> + ?Sized>(
        &self,
        key: &Q,
        within: Duration,
    ) -> Option<KeyedWriteGuard<'_, K, S>> {
        let grant = self.acquire(key, ALL).blocking_within(within)?;
        let hold = Hold::new(self, ALL, grant);
        Some(KeyedWriteGuard { hold })
    }

    fn acquire<'a, 'q, Q>(&'a self, key: &'q Q, permits: u32) -> Acquire<'a, 'q, K, (), S, Q>
    where
        Q: AsKey<K> + ?Sized,
    {
        Acquire::new(&self.table, key, permits)
    }
}

impl<'a, K, S> KeyedWriteGuard<'a, K, S> {
    /// Turns writing into reading, with no moment between in which another could write.
    ///
    /// There is no way back up: two readers that both wait to become the writer would wait for ever.
    pub fn downgrade(mut self) -> KeyedReadGuard<'a, K, S> {
        self.hold.keep(ONE);
        KeyedReadGuard { _hold: self.hold }
    }
}

impl<K, S> OwnedKeyedWriteGuard<K, S> {
    /// Turns writing into reading, with no moment between in which another could write.
    pub fn downgrade(mut self) -> OwnedKeyedReadGuard<K, S> {
        self.hold.keep(ONE);
        OwnedKeyedReadGuard { _hold: self.hold }
    }
}

impl<K, S> Tabled for KeyedRwLock<K, S> {
    type Key = K;
    type Value = ();
    type Hasher = S;

    fn table(&self) -> &Table<K, (), S> {
        &self.table
    }
}

impl<K, S: Default> Default for KeyedRwLock<K, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<K, S> fmt::Debug for KeyedRwLock<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRwLock")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
