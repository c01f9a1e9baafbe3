//! The gate: of the callers of this process who want one key, one at a time asks the store.
//!
//! What it is made of comes from `parts`: the models of `crates/keyed-models` put a checker's in its stead.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use super::parts::{KeyedMutex, Mutex, OwnedKeyedMutexGuard, lock};

/// The way through the gate of one key: as long as it lives, nobody else of this process gets it.
pub(crate) type Pass<K> = OwnedKeyedMutexGuard<K>;

/// The gates of all keys.
pub(crate) struct Gate<K> {
    keys: Arc<KeyedMutex<K>>,
}

impl<K: Hash + Eq + Clone> Gate<K> {
    pub(super) fn over(keys: KeyedMutex<K>) -> Self {
        Self {
            keys: Arc::new(keys),
        }
    }

    /// For a try, which stands behind nobody.
    pub(super) fn try_pass(&self, key: &K) -> Option<Pass<K>> {
        self.keys.try_lock_owned(key)
    }

    /// Waits behind others of this process, until `stop` is ready.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves the line, or hands the gate on.
    pub(super) async fn pass_unless<F: Future>(
        &self,
        key: &K,
        stop: F,
    ) -> Result<Pass<K>, F::Output> {
        match self.try_pass(key) {
            Some(pass) => Ok(pass),
            None => self.keys.lock_owned_unless(key, stop).await,
        }
    }

    /// For how many keys somebody asks or holds.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// A gate that is shut by a hold, and opened by whichever comes first: the release that sets off (one that
/// lingers: its answer), or its loss.
pub(crate) struct Shut<K> {
    pass: Mutex<Option<Pass<K>>>,
}

impl<K: Hash + Eq + Clone> Shut<K> {
    pub(super) fn by(pass: Option<Pass<K>>) -> Self {
        Self {
            pass: Mutex::new(pass),
        }
    }

    /// Lets the next of this process in; again, it changes nothing.
    pub(super) fn open(&self) {
        let pass = lock(&self.pass).take();
        drop(pass); // which wakes the next, and so not under the mutex
    }
}
