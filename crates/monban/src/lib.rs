//! One lock over the store you already run.
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod contract;
pub mod data;
pub mod keyed;
pub mod rule;
pub mod stores;
pub mod testing;

pub use data::{ClaimId, Claimant, Error, Fence, Key, Options, Result};
