//! The contract between the engine and the stores.

mod guarantees;
mod store;

pub use guarantees::{Exclusion, Fencing, Guarantees, Liveness, Order};
pub use store::{Attempt, Busy, Grant, Reach, Release, Renewal, Store, Wake, Why};
