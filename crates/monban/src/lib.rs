//! One lock over the store you already run.
#[cfg(feature = "conformance")]
pub mod conformance;
mod connect;
pub mod contract;
pub mod data;
pub mod engine;
pub mod faces;
pub mod keyed;
pub mod rule;
pub mod stores;
pub mod testing;

pub use connect::all_guarantees;
pub use data::{ClaimId, Claimant, Error, Fence, Key, Loss, Options, Result};
pub use engine::{Acquire, BusyInfo, Lease, LeaseEvent, LeaseState, Locks, block_on};
pub use faces::{Mutex, RwLock, Semaphore};
