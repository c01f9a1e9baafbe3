//! What the examples share: the store to run on.

use std::sync::OnceLock;

use monban::{Locks, Result, block_on};

/// Locks on the store that `MONBAN_STORE` names, or in memory.
///
/// Each call is a connection of its own, as if from another machine; those in memory share the memory.
pub(crate) fn connect() -> Result<Locks> {
    static MEMORY: OnceLock<Locks> = OnceLock::new();
    match std::env::var("MONBAN_STORE") {
        Ok(url) => block_on(Locks::connect(&url)),
        Err(_) => Ok(MEMORY.get_or_init(Locks::in_memory).clone()),
    }
}
