//! The contract between the engine and the stores.

pub(crate) mod blocked;
mod guarantees;
mod store;

pub use guarantees::{Exclusion, Fencing, Guarantees, Liveness, Order};
pub use store::{Attempt, Busy, Ends, Grant, Reach, Release, Renewal, Store, Wake, Why};
