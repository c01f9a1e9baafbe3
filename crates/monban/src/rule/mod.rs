//! The rules: the line, back-off, and time. No input or output; only [`clock`] reads a clock.

pub mod backoff;
pub mod clock;
mod lifetime;
pub mod line;

pub use clock::{Clock, Tick};
pub use lifetime::Lifetime;
pub use line::Line;
