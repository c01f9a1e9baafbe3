//! The suite that holds any store to the contract: monban's own, and one of yours.
//!
//! A store author implements [`Subject`] (how another client of the same lines is connected, and how time
//! passes) and runs every case as a test of its own with [`conformance_tests!`],
//! or all of them with [`run`]. What a store promises ([`Guarantees`](crate::contract::Guarantees)) selects what is asserted; what it
//! does not promise is asserted to be refused with `Unsupported`, never skipped.
//!
//! The suite needs no runtime: it polls the store's futures where the caller drives it. Tries are made at
//! the same instant from several threads for a store of [`Reach::Local`](crate::contract::Reach::Local),
//! and as requests under way at once for one of `Remote`.
//!
//! It does not test faults of networks, servers and machines, nor the performance of a store.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use monban::conformance::{self, Subject, Time};
//! use monban::contract::Store;
//! use monban::stores::memory::MemoryStore;
//! use monban::testing::Clock;
//!
//! struct Memory {
//!     clock: Clock,
//!     store: MemoryStore,
//! }
//!
//! #[async_trait::async_trait]
//! impl Subject for Memory {
//!     async fn connect(&self) -> monban::Result<Arc<dyn Store>> {
//!         Ok(Arc::new(self.store.clone()))
//!     }
//!     fn time(&self) -> Time {
//!         Time::Manual(self.clock.clone())
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! let clock = Clock::manual();
//! let subject = Memory { store: MemoryStore::new(clock.clone()), clock };
//! let report = runtime.block_on(conformance::run(&subject));
//! assert!(report.passed(), "{report}");
//! ```
//!
//! As one `#[test]` for each case, each on a new subject, in a test module of its own:
//!
//! ```
//! mod my_store_keeps_the_contract {
//!     fn run(case: impl Future<Output = ()>) {
//!         let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
//!         runtime.unwrap().block_on(case);
//!     }
//!
//!     monban::conformance_tests! { subject: super::MySubject::new(), run: run }
//! }
//! # fn main() {}
//! ```

#[doc(hidden)]
pub mod cases;
mod client;
mod list;
mod report;
mod stage;
mod subject;
mod together;

#[cfg(test)]
mod tests;

pub use list::{Case, cases, conformance_tests};
pub use report::{Failure, Outcome, Report};
#[doc(hidden)]
pub use stage::Stage;
pub use subject::{Subject, Time, Wakes};

/// Runs every case on one subject, one after the other.
pub async fn run(subject: &dyn Subject) -> Report {
    let mut outcomes = Vec::new();
    for case in cases() {
        outcomes.push(case.run(subject).await);
    }
    Report::of(outcomes)
}

/// Runs the case of this name, for [`conformance_tests!`].
///
/// # Panics
///
/// If the store fails the case, saying how; or if there is no such case.
pub async fn check(name: &str, subject: &dyn Subject) {
    let case = cases().iter().find(|case| case.name() == name);
    let case = case.unwrap_or_else(|| panic!("there is no case {name}"));
    let outcome = case.run(subject).await;
    assert!(outcome.failure().is_none(), "{outcome}");
}
