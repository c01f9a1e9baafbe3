//! The kinds of lock: each chooses a mode and calls the engine.

mod all_of;
mod election;
mod interval;
mod lease_set;
mod mutex;
mod owner;
mod rwlock;
mod semaphore;

#[cfg(test)]
mod tests;

pub use all_of::{AcquireAll, AllOf};
pub use election::{Changes, Election, Leader, Leadership};
pub use interval::{Begun, Interval, NextTurn, Once, Outcome, Turn};
pub use lease_set::LeaseSet;
pub use mutex::Mutex;
pub use owner::{Owner, Reentrant};
pub use rwlock::RwLock;
pub use semaphore::Semaphore;
