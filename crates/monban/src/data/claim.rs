//! One caller's wish for a key.

use std::time::Duration;

use super::{ClaimId, Claimant, Fence, Key, Mode};

/// One caller's wish for a key, waiting or holding.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What is claimed.
    pub key: Key,
    /// Identifies the claim for ever.
    pub id: ClaimId,
    /// How it is claimed.
    pub mode: Mode,
    /// How long it lives without renewal, from when the store executes a verb for it. Stores that learn
    /// of a process's death by themselves ignore it.
    pub ttl: Duration,
    /// What to do if it is not granted at once.
    pub if_busy: IfBusy,
    /// Who asks, for people.
    pub claimant: Claimant,
}

/// What a store does with a claim that it cannot grant at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfBusy {
    /// Refuse it; it leaves no trace.
    Leave,
    /// Let it join the line, or keep its place there.
    Queue,
}

/// A claim that is believed to hold, and is to be kept.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The claim.
    pub claim: Claim,
    /// The fence of the grant by which it holds, as the store told it; `None` if it told none. So the grant is told
    /// from a later one of the same claim.
    pub fence: Option<Fence>,
}

/// A claim that leaves its line.
#[derive(Clone, Debug)]
pub struct Leave {
    /// The claim, waiting or holding.
    pub claim: Claim,
    /// Keep its place for this long with no owner, counted from when the store executes it; only for a
    /// claim that holds in [`Mode::Exclusive`].
    pub linger: Option<Duration>,
}
