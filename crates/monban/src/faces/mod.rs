//! The kinds of lock: each chooses a mode and calls the engine.

mod mutex;

pub use mutex::Mutex;
