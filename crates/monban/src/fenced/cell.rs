//! A value of this process that refuses the writes of overtaken holders.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{HighWater, Stale};
use crate::data::Token;

/// A value that is written only under a token as high as any it has seen.
///
/// # Example
///
/// A holder is paused, loses its lease, and wakes when the next holder has written:
///
/// ```
/// # monban::block_on(async {
/// use monban::{Fenced, Locks};
///
/// let balance = Fenced::new(100);
/// let locks = Locks::in_memory();
/// let account = locks.mutex("account")?;
///
/// let paused = account.lock().await?;
/// let old = paused.token()?;
/// # drop(paused);
/// # /*
/// // … the paused holder's lease runs out …
/// # */
/// let next = account.lock().await?;
/// balance.write(next.token()?, |b| *b -= 30).expect("the holder writes");
///
/// assert!(balance.write(old, |b| *b = 1_000).is_err());
/// assert_eq!(balance.read(|b| *b), 70);
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// ```
pub struct Fenced<T> {
    state: Mutex<(HighWater, T)>,
}

impl<T> Fenced<T> {
    /// Guards a value; no token has been seen yet.
    pub fn new(value: T) -> Self {
        Self {
            state: Mutex::new((HighWater::new(), value)),
        }
    }

    /// Changes the value, unless a higher token of the same seat has been shown before.
    ///
    /// Check and change are one step. The closure runs under a lock: do not call this value in it.
    ///
    /// # Errors
    ///
    /// [`Stale`]: nothing was changed; stop the work.
    pub fn write<R>(
        &self,
        token: impl Into<Token>,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, Stale> {
        let mut state = self.lock();
        state.0.admit(token)?;
        Ok(change(&mut state.1))
    }

    /// Shows the value. Reading needs no token.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock().1)
    }

    /// The value.
    pub fn into_inner(self) -> T {
        let state = self.state.into_inner();
        state.unwrap_or_else(PoisonError::into_inner).1
    }

    fn lock(&self) -> MutexGuard<'_, (HighWater, T)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: fmt::Debug> fmt::Debug for Fenced<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|value| f.debug_tuple("Fenced").field(value).finish())
    }
}
