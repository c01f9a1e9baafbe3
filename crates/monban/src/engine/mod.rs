//! The engine: makes leases of what stores grant. It knows no particular store.
//!
//! * [`Locks`] is the handle; a [`Lease`] is a held claim; [`Acquire`] is the future that waits for one.
//! * The *gate* is the queue of this process before the store: one claim a key waits there, not hundreds.
//! * The *keeper* is a background thread with a small runtime of its own. It drives a remote store,
//!   renews leases, notices losses, and gives back what dropped futures leave behind. It starts when it
//!   is first needed: over files that is when somebody has to wait.

mod acquire;
mod alarm;
mod ask;
mod batch;
mod block;
mod core;
mod deadline;
mod gate;
mod hold;
mod inbox;
mod keeper;
mod lease;
mod leave;
mod locks;
mod look;
mod schedule;
mod wait;

/// What the gate is made of.
mod parts {
    pub(super) use std::sync::Mutex;

    pub(super) use super::hold::lock;
    pub(super) use crate::keyed::{KeyedMutex, OwnedKeyedMutexGuard};
}

#[cfg(test)]
mod tests;

pub use acquire::{Acquire, BusyInfo};
pub use block::block_on;
pub use hold::LeaseEvent;
pub use lease::{Lease, LeaseState};
pub use locks::{Locks, LocksBuilder};

pub(crate) use acquire::Request;
pub(crate) use batch::{attempt_all, give_back, release_all};
