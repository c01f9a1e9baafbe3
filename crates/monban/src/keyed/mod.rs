//! The in-process lock per key: no store, no TTL, no task, no runtime.

mod acquire;
mod all;
mod as_key;
mod guard;
mod hold;
mod line;
mod mutex;
mod rwlock;
mod semaphore;
mod sip;
mod sync;
mod table;

pub use as_key::AsKey;
pub use guard::{KeyedMutexGuard, OwnedKeyedMutexGuard};
pub use mutex::KeyedMutex;
pub use rwlock::{
    KeyedReadGuard, KeyedRwLock, KeyedWriteGuard, OwnedKeyedReadGuard, OwnedKeyedWriteGuard,
};
pub use semaphore::{KeyedPermits, KeyedSemaphore, OwnedKeyedPermits};
pub use sip::{SipHasher, SipState};

#[cfg(test)]
mod tests;
