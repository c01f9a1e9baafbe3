//! The stores, one folder each. They see neither each other nor the engine.

pub mod file;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;

use crate::contract::Guarantees;

/// What the stores of this build promise, without asking any of them.
#[must_use]
pub fn all_guarantees() -> Vec<Guarantees> {
    vec![memory::MemoryStore::GUARANTEES, file::FileStore::GUARANTEES]
}
