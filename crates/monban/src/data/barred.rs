//! What bars a key that nobody need hold.

use std::time::Duration;

use super::Key;

/// A key of which nobody is granted anything before a transaction has ended that has checked its fence, as a store shows
/// it to people and tests; nothing is decided by it.
#[derive(Clone, Debug)]
pub struct Barred {
    /// The key.
    pub key: Key,
    /// Whose transaction it is, in words. They may hold what a stranger has chosen.
    pub by: Box<str>,
    /// Since when the transaction is open, if the store can tell.
    pub age: Option<Duration>,
    /// How somebody with the right to it ends the transaction, as the store's own statement; the transaction is rolled back.
    pub end: Option<Box<str>>,
}
