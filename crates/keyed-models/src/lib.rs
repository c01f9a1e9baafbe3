//! The keyed locks of monban, and the gate of its engine, compiled again with the mutexes and threads of two model checkers.
//!
//! Nothing is built from this but tests: `cargo test -p keyed-models --release`.

#![cfg(test)]
// What a model does not use would be reported as dead.
#![allow(dead_code, unreachable_pub)]
// Twice is the point: each checker has its own `sync`.
#![allow(clippy::duplicate_mod)]

mod loom;
mod shuttle;
mod verdict;
