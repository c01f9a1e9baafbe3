//! The mutex's guards: the value behind the key lives in them, so that reaching it needs no lookup.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::acquire::Grant;
use super::hold::Hold;
use super::mutex::KeyedMutex;
use super::sip::SipState;

/// Holds a key of a [`KeyedMutex`] until dropped, and gives access to the value behind it.
#[must_use = "the key is free again as soon as the guard is dropped"]
pub struct KeyedMutexGuard<'a, K, V = (), S = SipState>(Hold<&'a KeyedMutex<K, V, S>>);

/// As [`KeyedMutexGuard`], but keeps the mutex alive by itself: it may move to another task or thread.
#[must_use = "the key is free again as soon as the guard is dropped"]
pub struct OwnedKeyedMutexGuard<K, V = (), S = SipState>(Hold<Arc<KeyedMutex<K, V, S>>>);

impl<'a, K, V: Default, S> KeyedMutexGuard<'a, K, V, S> {
    #[inline]
    pub(super) fn new(home: &'a KeyedMutex<K, V, S>, grant: Grant<V>) -> Self {
        // The hold comes first: it frees the key if making the value panics.
        let mut hold = Hold::new(home, 1, grant);
        hold.value.get_or_insert_default();
        Self(hold)
    }
}

impl<K, V: Default, S> OwnedKeyedMutexGuard<K, V, S> {
    #[inline]
    pub(super) fn new(home: Arc<KeyedMutex<K, V, S>>, grant: Grant<V>) -> Self {
        let mut hold = Hold::new(home, 1, grant);
        hold.value.get_or_insert_default();
        Self(hold)
    }
}

const FILLED: &str = "a guard is made with its value";

impl<K, V, S> Deref for KeyedMutexGuard<'_, K, V, S> {
    type Target = V;

    fn deref(&self) -> &V {
        self.0.value.as_ref().expect(FILLED)
    }
}

impl<K, V, S> DerefMut for KeyedMutexGuard<'_, K, V, S> {
    fn deref_mut(&mut self) -> &mut V {
        self.0.value.as_mut().expect(FILLED)
    }
}

impl<K, V, S> Deref for OwnedKeyedMutexGuard<K, V, S> {
    type Target = V;

    fn deref(&self) -> &V {
        self.0.value.as_ref().expect(FILLED)
    }
}

impl<K, V, S> DerefMut for OwnedKeyedMutexGuard<K, V, S> {
    fn deref_mut(&mut self) -> &mut V {
        self.0.value.as_mut().expect(FILLED)
    }
}

impl<K, V: fmt::Debug, S> fmt::Debug for KeyedMutexGuard<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyedMutexGuard").field(&**self).finish()
    }
}

impl<K, V: fmt::Debug, S> fmt::Debug for OwnedKeyedMutexGuard<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedKeyedMutexGuard")
            .field(&**self)
            .finish()
    }
}
