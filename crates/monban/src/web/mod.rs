//! For web services: one request per user at a time, as a layer for tower, axum and what is built on them.
//!
//! It does not know a user: the program says who sends a request. It does not make a request idempotent
//! either: it keeps two from running side by side.

mod layer;

#[cfg(test)]
mod tests;

pub use layer::{OneAtATime, OneAtATimeService};
