//! The cases, by what they are about. A bug found in one store becomes a case here, for all.

pub(super) use super::client::{Client, has_come, lasting, or_leave};
pub(super) use super::report::{Failure, Verdict, ensure};
pub(super) use super::stage::Stage;
pub(super) use super::together;

pub mod batch;
pub mod capacity;
pub mod closing;
pub mod evict;
pub mod exclusion;
pub mod expiry;
pub mod fencing;
pub mod inspect;
pub mod linger;
pub mod model;
pub mod order;
pub mod repetition;
pub mod wake;
