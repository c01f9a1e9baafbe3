//! Every lock that is compared, behind two small traits: one hold by a thread, one hold by a task.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use dashmap::DashMap;
use lockable::LockPool;
use lockmap::LockMap;
use monban::keyed::{KeyedMutex, KeyedMutexGuard};

/// Takes a key on a thread.
#[expect(
    clippy::ptr_arg,
    reason = "half of the peers take a `String`, which is cloned"
)]
pub trait Blocking: Sync + Send + Sized + 'static {
    /// What holds the key.
    type Guard<'a>;
    /// Makes an empty one.
    fn fresh() -> Self;
    /// Takes the key.
    fn hold<'a>(&'a self, key: &'a String) -> Self::Guard<'a>;
}

/// Takes a key in a task.
#[expect(
    clippy::ptr_arg,
    reason = "half of the peers take a `String`, which is cloned"
)]
pub trait Tasks: Sync + Send + Sized + 'static {
    /// What holds the key.
    type Guard<'a>: Send;
    /// Makes an empty one.
    fn fresh() -> Self;
    /// Takes the key.
    fn hold<'a>(&'a self, key: &'a String) -> impl Future<Output = Self::Guard<'a>> + Send;
}

/// A hasher that starts the same in every run, for counting.
pub type Steady = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// The subject, with any hasher.
pub type Monban<S = monban::keyed::SipState> = KeyedMutex<String, (), S>;
/// The subject with lockmap's hasher.
pub type MonbanFold = Monban<foldhash::fast::RandomState>;
/// The peer with the standard hasher.
pub type LockMapSip = LockMap<String, (), RandomState>;
/// The peer as it comes.
pub type LockMapFold = LockMap<String, ()>;

impl<S: BuildHasher + Default + Send + Sync + 'static> Blocking for Monban<S> {
    type Guard<'a> = KeyedMutexGuard<'a, String, (), S>;

    fn fresh() -> Self {
        Self::with_hasher(S::default())
    }

    fn hold<'a>(&'a self, key: &'a String) -> Self::Guard<'a> {
        self.blocking_lock(key.as_str())
    }
}

impl<S: BuildHasher + Default + Send + Sync + 'static> Tasks for Monban<S> {
    type Guard<'a> = KeyedMutexGuard<'a, String, (), S>;

    fn fresh() -> Self {
        Self::with_hasher(S::default())
    }

    fn hold<'a>(&'a self, key: &'a String) -> impl Future<Output = Self::Guard<'a>> + Send {
        self.lock(key.as_str())
    }
}

impl<S: BuildHasher + Default + Send + Sync + 'static> Blocking for LockMap<String, (), S> {
    type Guard<'a> = lockmap::Entry<'a, String, (), S>;

    fn fresh() -> Self {
        Self::default()
    }

    fn hold<'a>(&'a self, key: &'a String) -> Self::Guard<'a> {
        self.entry_by_ref(key.as_str())
    }
}

impl Blocking for keyed_lock::sync::KeyedLock<String> {
    type Guard<'a> = keyed_lock::sync::Guard<'a, String>;

    fn fresh() -> Self {
        Self::new()
    }

    fn hold<'a>(&'a self, key: &'a String) -> Self::Guard<'a> {
        self.lock(key.clone())
    }
}

impl Tasks for keyed_lock::r#async::KeyedLock<String> {
    type Guard<'a> = keyed_lock::r#async::Guard<'a, String>;

    fn fresh() -> Self {
        Self::new()
    }

    fn hold<'a>(&'a self, key: &'a String) -> impl Future<Output = Self::Guard<'a>> + Send {
        self.lock(key.clone())
    }
}

impl Blocking for LockPool<String> {
    type Guard<'a> = <Self as lockable::Lockable<String, ()>>::Guard<'a>;

    fn fresh() -> Self {
        Self::new()
    }

    fn hold<'a>(&'a self, key: &'a String) -> Self::Guard<'a> {
        self.blocking_lock(key.clone())
    }
}

impl Tasks for LockPool<String> {
    type Guard<'a> = <Self as lockable::Lockable<String, ()>>::Guard<'a>;

    fn fresh() -> Self {
        Self::new()
    }

    fn hold<'a>(&'a self, key: &'a String) -> impl Future<Output = Self::Guard<'a>> + Send {
        self.async_lock(key.clone())
    }
}

/// What people write by hand: a map of counted mutexes, with the clean-up that is often forgotten.
pub struct DashTasks(DashMap<String, Arc<tokio::sync::Mutex<()>>>);

/// Frees the mutex, then the entry if nobody else has it.
pub struct DashGuard<'a, M: HasGuard> {
    guard: Option<M::Owned>,
    map: &'a DashMap<String, Arc<M>>,
    key: &'a String,
}

/// A mutex with an owned guard.
pub trait HasGuard {
    /// The guard.
    type Owned;
}

impl HasGuard for tokio::sync::Mutex<()> {
    type Owned = tokio::sync::OwnedMutexGuard<()>;
}

impl HasGuard for parking_lot::Mutex<()> {
    type Owned = parking_lot::ArcMutexGuard<parking_lot::RawMutex, ()>;
}

impl<M: HasGuard> Drop for DashGuard<'_, M> {
    fn drop(&mut self) {
        self.guard = None;
        // Counted under the shard's lock, under which alone others can come to share it.
        self.map
            .remove_if(self.key, |_, mutex| Arc::strong_count(mutex) == 1);
    }
}

impl Tasks for DashTasks {
    type Guard<'a> = DashGuard<'a, tokio::sync::Mutex<()>>;

    fn fresh() -> Self {
        Self(DashMap::new())
    }

    async fn hold<'a>(&'a self, key: &'a String) -> Self::Guard<'a> {
        let mutex = Arc::clone(&self.0.entry(key.clone()).or_default());
        DashGuard {
            guard: Some(mutex.lock_owned().await),
            map: &self.0,
            key,
        }
    }
}

/// The same for threads.
pub struct DashThreads(DashMap<String, Arc<parking_lot::Mutex<()>>>);

impl Blocking for DashThreads {
    type Guard<'a> = DashGuard<'a, parking_lot::Mutex<()>>;

    fn fresh() -> Self {
        Self(DashMap::new())
    }

    fn hold<'a>(&'a self, key: &'a String) -> Self::Guard<'a> {
        let mutex = Arc::clone(&self.0.entry(key.clone()).or_default());
        DashGuard {
            guard: Some(mutex.lock_arc()),
            map: &self.0,
            key,
        }
    }
}

/// Inserts the key and removes it: what any table costs, without a lock in it.
pub struct Bare(DashMap<String, ()>);

/// Removes the key.
pub struct BareGuard<'a>(&'a DashMap<String, ()>, &'a String);

impl Drop for BareGuard<'_> {
    fn drop(&mut self) {
        self.0.remove(self.1);
    }
}

impl Blocking for Bare {
    type Guard<'a> = BareGuard<'a>;

    fn fresh() -> Self {
        Self(DashMap::new())
    }

    fn hold<'a>(&'a self, key: &'a String) -> Self::Guard<'a> {
        self.0.insert(key.clone(), ());
        BareGuard(&self.0, key)
    }
}

impl Tasks for Bare {
    type Guard<'a> = BareGuard<'a>;

    fn fresh() -> Self {
        Self(DashMap::new())
    }

    async fn hold<'a>(&'a self, key: &'a String) -> Self::Guard<'a> {
        self.0.insert(key.clone(), ());
        BareGuard(&self.0, key)
    }
}

impl Blocking for parking_lot::Mutex<()> {
    type Guard<'a> = parking_lot::MutexGuard<'a, ()>;

    fn fresh() -> Self {
        Self::new(())
    }

    fn hold<'a>(&'a self, _: &'a String) -> Self::Guard<'a> {
        self.lock()
    }
}

impl Tasks for tokio::sync::Mutex<()> {
    type Guard<'a> = tokio::sync::MutexGuard<'a, ()>;

    fn fresh() -> Self {
        Self::new(())
    }

    fn hold<'a>(&'a self, _: &'a String) -> impl Future<Output = Self::Guard<'a>> + Send {
        self.lock()
    }
}
