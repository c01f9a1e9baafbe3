//! One lock over the store you already run.
#[cfg(feature = "conformance")]
pub mod conformance;
mod connect;
pub mod contract;
pub mod data;
#[cfg(test)]
mod dice;
pub mod engine;
pub mod faces;
pub mod fenced;
pub mod keyed;
#[cfg(any(feature = "etcd", feature = "postgres", feature = "redis"))]
mod net;
pub mod rule;
pub mod stores;
pub mod testing;
#[cfg(feature = "tower")]
pub mod web;

pub use connect::all_guarantees;
pub use data::{ClaimId, Claimant, Error, Fence, Key, Loss, Options, Result, Token};
pub use engine::{Acquire, BusyInfo, Lease, LeaseEvent, LeaseState, Locks, block_on};
pub use faces::{
    AcquireAll, AllOf, Begun, Changes, Election, Interval, Leader, Leadership, LeaseSet, Mutex,
    NextTurn, Once, Outcome, Owner, Reentrant, RwLock, Semaphore, Turn,
};
pub use fenced::Fenced;
