//! The resource's side of fencing: guards that refuse the write of a holder that has been overtaken.
//!
//! A lock alone cannot protect a write: a holder may be paused between its last check and the write for
//! longer than its lease lives, and wake when somebody else holds the key. What can refuse the late write is
//! the place where it lands, by remembering the highest [`Fence`] it has seen and refusing a
//! lower one. That needs no clock and no assumption on pauses.
//! Source: Martin Kleppmann, "How to do distributed locking", 2016.
//!
//! | the write lands in | guard |
//! |---|---|
//! | a value of this process | [`Fenced`] |
//! | PostgreSQL, MariaDB, SQLite | [`sql`]: a table and a conditional statement |
//! | Redis | [`redis`]: a script |
//! | a file | [`FencedFile`] |
//! | an HTTP service | `FencingLayer` (feature `tower`): the header `Fencing-Token` |
//!
//! Every guard is shown a [`Token`] (from [`Lease::token`](crate::Lease::token), or from a
//! fence alone). It accepts the highest it has seen, however often, and any higher one. Seats are compared
//! each with its own: two live holders of permits are both accepted. A shared lease has no token. Grants of
//! a whole key and grants of its seats are not compared with each other: guard a resource by one kind.
//!
//! Nothing here asks a store whether a lease still lives.

mod cell;
mod file;
pub mod redis;
pub mod sql;
#[cfg(feature = "tower")]
mod tower;

use std::collections::BTreeMap;
use std::fmt;

use crate::data::{Fence, Token};

pub use cell::Fenced;
pub use file::{FencedFile, WriteError};
#[cfg(feature = "tower")]
pub use tower::{FENCING_TOKEN, FencingFuture, FencingLayer, FencingService};

/// Remembers the highest fence of every seat: what the guards of this module are made of.
///
/// # Example
///
/// ```
/// use monban::Fence;
/// use monban::fenced::HighWater;
///
/// let mut seen = HighWater::new();
/// assert!(seen.admit(Fence::new(34).unwrap()).is_ok());
/// assert!(seen.admit(Fence::new(33).unwrap()).is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct HighWater {
    highest: BTreeMap<Option<u32>, Fence>,
}

impl HighWater {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts a token, and remembers it, unless a higher one of its seat has been seen.
    ///
    /// # Errors
    ///
    /// [`Stale`]: do not write; the holder has been overtaken.
    pub fn admit(&mut self, token: impl Into<Token>) -> Result<(), Stale> {
        let token = token.into();
        let highest = self.highest.entry(token.seat()).or_insert(token.fence());
        if token.fence() < *highest {
            return Err(Stale {
                token,
                highest: *highest,
            });
        }
        *highest = token.fence();
        Ok(())
    }

    /// The highest fence seen of this seat (`None`: of exclusive leases).
    #[must_use]
    pub fn highest(&self, seat: Option<u32>) -> Option<Fence> {
        self.highest.get(&seat).copied()
    }

    fn iter(&self) -> impl Iterator<Item = Token> {
        let token = |(seat, fence): (&Option<u32>, &Fence)| Token::new(*fence, *seat);
        self.highest.iter().map(token)
    }
}

/// A write was refused: a later holder has written before. *Reaction: stop the work; it is somebody else's.*
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    token: Token,
    highest: Fence,
}

impl Stale {
    /// What the writer showed.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// The highest fence that has been seen of its seat.
    #[must_use]
    pub fn highest(&self) -> Fence {
        self.highest
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (token, highest) = (self.token, self.highest);
        write!(
            f,
            "the write with fence {token} is refused: fence {highest} has been seen"
        )
    }
}

impl std::error::Error for Stale {}
