//! The fencing token.

use std::fmt;

/// A number that grows with every exclusive grant of a key, to be checked where the write lands.
///
/// A resource that remembers the greatest fence it has seen, and refuses a lower one, never accepts the
/// write of a holder after that of a later holder: with no assumption on clocks or pauses. It is at most
/// `i64::MAX`, since SQL has no unsigned 64-bit number.
/// Source of the idea: Martin Kleppmann, "How to do distributed locking", 2016.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence(i64);

impl Fence {
    /// A fence with this number; `None` if it is negative.
    #[must_use]
    pub fn new(number: i64) -> Option<Self> {
        (number >= 0).then_some(Self(number))
    }

    /// The number, for an SQL parameter or a header.
    #[must_use]
    pub fn as_i64(self) -> i64 {
        self.0
    }

    /// The fence after this one, or after `floor` if that is greater; `None` past `i64::MAX`.
    #[must_use]
    pub fn after(last: Option<Self>, floor: i64) -> Option<Self> {
        let next = match last {
            Some(last) => last.0.checked_add(1)?,
            None => 1,
        };
        Self::new(next.max(floor))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence({})", self.0)
    }
}
