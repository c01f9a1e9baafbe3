//! The kinds of lock: each chooses a mode and calls the engine.

mod mutex;
mod rwlock;
mod semaphore;

pub use mutex::Mutex;
pub use rwlock::RwLock;
pub use semaphore::Semaphore;
