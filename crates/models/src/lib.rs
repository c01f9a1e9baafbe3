//! The line of one key, the real one, in the midst of clients that crash and pause and of messages that are late, lost
//! or repeated: every order of events, within bounds, is looked at.
//!
//! Nothing is built from this but tests: `cargo test -p models`.

#![cfg(test)]

mod checks;
mod client;
mod queue;
mod world;
