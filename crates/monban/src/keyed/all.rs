//! Several keys of one mutex at once.

use std::future::Future;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::as_key::AsKey;
use super::guard::{KeyedMutexGuard, OwnedKeyedMutexGuard};
use super::mutex::KeyedMutex;

/// Whoever takes several keys must do so in one order, or two of them wait for each other.
fn in_order<'q, Q: Ord + ?Sized + 'q>(keys: impl IntoIterator<Item = &'q Q>) -> Vec<&'q Q> {
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

impl<K, V, S> KeyedMutex<K, V, S>
where
    V: Default,
    S: BuildHasher,
{
    /// Waits until all keys are ours, taking them in ascending order, each once.
    ///
    /// Guards come in that order. Callers that take all they need in one such call cannot deadlock among
    /// themselves; a caller that already holds a key of this mutex can.
    ///
    /// # Cancel safety
    /// Dropping the future frees the keys that it holds and leaves the line it waits in.
    ///
    /// # Example
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let accounts = monban::keyed::KeyedMutex::<String>::new();
    /// let (from, to) = ("mia", "ben");
    /// let both = accounts.lock_all([from, to]).await;
    /// assert_eq!(both.len(), 2);
    /// # });
    /// ```
    pub fn lock_all<'a, 'q, Q>(
        &'a self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> impl Future<Output = Vec<KeyedMutexGuard<'a, K, V, S>>>
    where
        Q: AsKey<K> + Ord + ?Sized + 'q,
    {
        let keys = in_order(keys);
        async move {
            let mut held = Vec::with_capacity(keys.len());
            for key in keys {
                held.push(self.lock(key).await);
            }
            held
        }
    }

    /// As [`lock_all`](Self::lock_all), with guards that borrow nothing.
    pub fn lock_all_owned<'a, 'q, Q>(
        self: &'a Arc<Self>,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> impl Future<Output = Vec<OwnedKeyedMutexGuard<K, V, S>>>
    where
        Q: AsKey<K> + Ord + ?Sized + 'q,
    {
        let keys = in_order(keys);
        async move {
            let mut held = Vec::with_capacity(keys.len());
            for key in keys {
                held.push(self.lock_owned(key).await);
            }
            held
        }
    }

    /// Takes all keys, each once, or none: `None` if any is held or waited for.
    pub fn try_lock_all<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Option<Vec<KeyedMutexGuard<'_, K, V, S>>>
    where
        Q: AsKey<K> + Ord + ?Sized + 'q,
    {
        in_order(keys)
            .into_iter()
            .map(|key| self.try_lock(key))
            .collect()
    }

    /// Blocks this thread until all keys are ours, as [`lock_all`](Self::lock_all) does.
    pub fn blocking_lock_all<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Vec<KeyedMutexGuard<'_, K, V, S>>
    where
        Q: AsKey<K> + Ord + ?Sized + 'q,
    {
        in_order(keys)
            .into_iter()
            .map(|key| self.blocking_lock(key))
            .collect()
    }
}
