//! The in-process lock per key: no store, no TTL, no task, no runtime.

mod acquire;
mod guard;
mod hold;
mod line;
mod mutex;
mod sync;
mod table;

pub use guard::{KeyedMutexGuard, OwnedKeyedMutexGuard};
pub use mutex::KeyedMutex;

#[cfg(test)]
mod tests;
