//! The torture test of monban: real processes take and release keys through the public API, faults are injected by a
//! seeded plan, everything that happens goes to one history, and pure checkers look for what must not be.
//!
//! `cargo run --release -p monban-torture -- --store URL` runs it. What is checked, and how, stands in
//! [`checkers`]; that the checkers can fail is shown by hand-written histories and by [`naive`] locks.

pub mod checkers;
pub mod clock;
mod command;
pub mod event;
pub mod load;
pub mod naive;
pub mod plan;
pub mod proxy;
pub mod report;
pub mod resource;
pub mod run;
pub mod story;
pub mod verdict;
pub mod worker;

pub use command::{Args, main};

/// What this process was started for by another of its kind, if it was: a worker, or a part of a load. Asked before
/// anything else in `main`.
#[must_use]
pub fn requested() -> Option<fn() -> std::process::ExitCode> {
    if worker::requested() {
        Some(worker::main)
    } else if load::requested() {
        Some(load::main)
    } else {
        None
    }
}
