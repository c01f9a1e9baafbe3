//! Every schedule of a few threads.

mod gates;
mod models;
mod sync;

#[path = "../../../monban/src/keyed/acquire.rs"]
mod acquire;
#[path = "../../../monban/src/keyed/all.rs"]
mod all;
#[path = "../../../monban/src/keyed/as_key.rs"]
mod as_key;
#[path = "../../../monban/src/engine/gate.rs"]
mod gate;
#[path = "../../../monban/src/keyed/guard.rs"]
mod guard;
#[path = "../../../monban/src/keyed/hold.rs"]
mod hold;
#[path = "../../../monban/src/keyed/line.rs"]
mod line;
#[path = "../../../monban/src/keyed/mutex.rs"]
mod mutex;
#[path = "../../../monban/src/keyed/rwlock.rs"]
mod rwlock;
#[path = "../../../monban/src/keyed/semaphore.rs"]
mod semaphore;
#[path = "sip.rs"]
mod sip;
#[path = "../../../monban/src/keyed/table.rs"]
mod table;

/// What the engine's gate is made of.
mod parts {
    pub(super) use super::guard::OwnedKeyedMutexGuard;
    pub(super) use super::mutex::KeyedMutex;
    pub(super) use super::sync::{Mutex, lock};
}
