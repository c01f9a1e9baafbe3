//! What `inspect` shows of a line.

use std::fmt;
use std::time::Duration;

use super::{ClaimId, Claimant, Fence, Key, Mode, id};

/// One live claim as a store shows it to people and tests; nothing is decided by it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Which claim, or which foreign value.
    pub id: EntryId,
    /// How it is claimed; `None` for a foreign holder.
    pub mode: Option<Mode>,
    /// Where it stands.
    pub standing: Standing,
    /// Who asks; `None` if the store cannot tell.
    pub claimant: Option<Claimant>,
    /// Since when it waits, holds or lingers, if the store can tell.
    pub age: Option<Duration>,
    /// When it leaves by itself if nobody renews it; `None`: not by itself.
    pub expires_in: Option<Duration>,
    /// The fence of its grant.
    pub fence: Option<Fence>,
    /// The seat of its grant.
    pub seat: Option<u32>,
}

/// Where an entry stands in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds the key.
    Holding,
    /// It waits; so many claims are before it, holders included.
    Waiting {
        /// The number of claims ahead.
        ahead: usize,
    },
    /// It was released and keeps its place with no owner.
    Lingering,
    /// Held by a program that is not monban, or by what cannot be read.
    Foreign,
}

/// Identifies an entry for [`evict`](crate::contract::Store::evict).
#[derive(Clone, PartialEq, Eq)]
pub enum EntryId {
    /// A claim of monban's.
    Claim(ClaimId),
    /// What a program that is not monban left at the key, as the store has it.
    Foreign(Box<[u8]>),
    /// What cannot be read as a lock or as its line, in words that say what it is. The store leaves it alone:
    /// [`evict`](crate::contract::Store::evict) answers with `Unsupported`.
    Unreadable(Box<str>),
}

impl EntryId {
    /// Twelve hexadecimal digits by which people name the entry.
    #[must_use]
    pub fn digest(&self) -> String {
        match self {
            EntryId::Claim(claim) => claim.digest(),
            EntryId::Foreign(value) => id::digest(value),
            EntryId::Unreadable(what) => id::digest(what.as_bytes()),
        }
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            EntryId::Claim(_) => "Claim",
            EntryId::Foreign(_) => "Foreign",
            EntryId::Unreadable(_) => "Unreadable",
        };
        write!(f, "{kind}(digest {})", self.digest())
    }
}
