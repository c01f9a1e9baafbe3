//! What a claim asks of its key.

use super::{Error, Result};

/// What a claim asks of its key: all of it, a share, or some permits.
///
/// Every line has a capacity. Readers share a key of very many permits; `Permits` names its own number;
/// `Exclusive` takes whatever there is. So claims for shares and for permits, or for different numbers of
/// permits, do not meet on one key: that is [`Error::Mismatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Alone: a mutex, or the writer of a read-write lock.
    Exclusive,
    /// Beside other shares: the reader of a read-write lock.
    Shared,
    /// `n` of `of` permits: a semaphore.
    Permits {
        /// How many this claim takes, 1 to `of`.
        n: u32,
        /// How many there are, 1 to [`Mode::MAX_PERMITS`].
        of: u32,
    },
}

impl Mode {
    /// The greatest number of permits a key may have.
    pub const MAX_PERMITS: u32 = 1_000_000;

    /// The number of permits that readers share; a line never has as many claims.
    pub const SHARES: u32 = u32::MAX;

    /// Checks the numbers of permits.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if `of` or `n` is zero, `n` exceeds `of`, or `of` exceeds [`Mode::MAX_PERMITS`].
    pub fn check(self) -> Result<()> {
        let Mode::Permits { n, of } = self else {
            return Ok(());
        };
        if of == 0 || n == 0 {
            return Err(Error::invalid(format!(
                "{n} of {of} permits: both must be at least 1"
            )));
        }
        if n > of {
            return Err(Error::invalid(format!(
                "{n} of {of} permits can never be granted; ask for at most {of}"
            )));
        }
        if of > Self::MAX_PERMITS {
            return Err(Error::invalid(format!(
                "{of} permits are more than the {} that a key may have",
                Self::MAX_PERMITS
            )));
        }
        Ok(())
    }

    /// The capacity that this mode wants its line to have; `None` for `Exclusive`, which takes any.
    #[must_use]
    pub fn capacity(self) -> Option<u32> {
        match self {
            Mode::Exclusive => None,
            Mode::Shared => Some(Self::SHARES),
            Mode::Permits { of, .. } => Some(of),
        }
    }

    /// How much of `capacity` this mode takes.
    #[must_use]
    pub fn weight(self, capacity: u32) -> u32 {
        match self {
            Mode::Exclusive => capacity,
            Mode::Shared => 1,
            Mode::Permits { n, .. } => n,
        }
    }
}
