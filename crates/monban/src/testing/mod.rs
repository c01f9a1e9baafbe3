//! For users' tests: a clock that the test moves, and a store whose faults the test commands.
//!
//! A test needs no server and no sleeping: [`MemoryStore`](crate::stores::memory::MemoryStore) on a
//! [`Clock::manual`] keeps the contract of every store, and [`FaultyStore`] before it (or before any other
//! store) makes happen what is hard to bring about: a lease that is lost at this instant, a store that does
//! not answer, a reply that never arrives though the request was executed.
//!
//! * [`Rig`] puts these together: one store, a clock, and as many processes as the test needs.
//! * [`Script`] makes faults happen at instants of that clock.
//! * [`Witness`] sees whether two holders overlapped.
//!
//! This module does not hold a store to the contract: that is the conformance suite's (feature
//! `conformance`).
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use monban::contract::Store;
//! use monban::stores::memory::MemoryStore;
//! use monban::testing::{Clock, Fault, FaultyStore, Verb};
//!
//! let clock = Clock::manual();
//! let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
//! let store = FaultyStore::new(memory, clock.clone());
//! let faults = store.faults();
//! let store: Arc<dyn Store> = Arc::new(store); // what the code under test gets
//!
//! faults.inject(Verb::Attempt, Fault::ReplyLost); // granted, but the caller does not hear of it
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! # use monban::data::{Claim, IfBusy, Mode, ProcessId};
//! # let claim = Claim {
//! #     key: monban::Key::new("report")?,
//! #     id: monban::ClaimId::random(ProcessId::random()),
//! #     mode: Mode::Exclusive,
//! #     ttl: std::time::Duration::from_secs(30),
//! #     if_busy: IfBusy::Leave,
//! #     claimant: monban::Claimant::new("test", 1, ""),
//! # };
//! assert!(store.attempt(&[claim.clone()]).await[0].is_err());
//! assert!(store.attempt(&[claim.clone()]).await[0].is_ok()); // the same claim, asked again
//! faults.lose(&claim.key).await?; // and now it is somebody else's turn
//! # Ok::<(), monban::Error>(()) }).unwrap();
//! assert_eq!(faults.requests(Verb::Attempt), 2);
//! ```

mod faults;
mod faulty;
mod rig;
mod script;
mod sleep;
mod witness;

#[cfg(test)]
mod tests;

pub use crate::rule::Clock;
pub use faults::{Fault, Faults, Verb};
pub use faulty::FaultyStore;
pub use rig::{Process, Rig};
pub use script::Script;
#[cfg(feature = "conformance")]
pub(crate) use sleep::sleep;
pub use witness::{Inside, Witness};
