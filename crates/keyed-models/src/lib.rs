//! The keyed locks of monban, compiled again with the mutexes and threads of two model checkers.
//!
//! Nothing is built from this but tests: `cargo test -p keyed-models --release`.

// What a model does not use would be reported as dead.
#![cfg(test)]
#![allow(dead_code, unreachable_pub)]

mod loom;
mod shuttle;
