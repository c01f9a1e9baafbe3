//! Puts claims into the arguments of a script, and keeps track of which answer is whose.

use std::time::Duration;

use redis::Cmd;

use super::names::{self, Sides};
use super::scripts::Script;
use crate::data::{Claim, Claimant, Mode, Result};

/// The claims of one batch that go into one call.
///
/// On one primary that is all of them. In a cluster it would be those of one slot: this is the place to part them.
pub(super) struct Batch {
    /// The positions, in the caller's batch, of the claims that are sent.
    pub(super) sent: Vec<usize>,
    command: Cmd,
    arguments: Vec<Vec<u8>>,
}

impl Batch {
    /// A call of a script with so many keys for each of `claims` claims, and with the fence counter first if it
    /// is needed.
    pub(super) fn new(script: &Script, claims: usize, keys: usize, fence: Fence) -> Self {
        let first = usize::from(fence == Fence::Needed);
        let mut command = Cmd::with_capacity(4 + claims * (keys + 4), 128 + claims * 320);
        command
            .arg("EVALSHA")
            .arg(script.hash())
            .arg(claims * keys + first);
        if fence == Fence::Needed {
            command.arg(names::FENCE);
        }
        Self {
            sent: Vec::with_capacity(claims),
            command,
            arguments: Vec::with_capacity(1 + claims * 4),
        }
    }

    /// Adds a claim's key alone.
    pub(super) fn key(&mut self, at: usize, claim: &Claim) {
        self.sent.push(at);
        self.command.arg(claim.key.as_bytes());
    }

    /// Adds a claim's key and side keys.
    pub(super) fn keys(&mut self, at: usize, claim: &Claim) {
        self.key(at, claim);
        let sides = Sides::of(claim.key.as_bytes());
        self.command.arg(sides.order).arg(sides.expiry);
    }

    /// Adds an argument; arguments follow all keys.
    pub(super) fn argument(&mut self, argument: impl Into<Vec<u8>>) {
        self.arguments.push(argument.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// The command as it is sent.
    pub(super) fn command(mut self) -> (Cmd, Vec<usize>) {
        for argument in &self.arguments {
            self.command.arg(&argument[..]);
        }
        (self.command, self.sent)
    }
}

/// Whether a script is given the fence counter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fence {
    Needed,
    Unneeded,
}

/// Writes who asks, once for neighbours that are the same.
#[derive(Default)]
pub(super) struct Claimants {
    last: Option<(Claimant, String)>,
}

impl Claimants {
    pub(super) fn text(&mut self, claimant: &Claimant) -> &str {
        if self.last.as_ref().is_none_or(|(last, _)| last != claimant) {
            self.last = Some((claimant.clone(), claimant.encode()));
        }
        self.last.as_ref().map_or("", |(_, text)| text)
    }
}

/// `mb1x:<claim id>:`, what the value of an exclusive holder begins with.
pub(super) fn value_of(claim: &Claim) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(54);
    text.push_str("mb1x:");
    // Writing to a String cannot fail.
    let _ = write!(text, "{}:", claim.id);
    text
}

/// `<kind>:<n>:<of>`: how a member of a line claims.
pub(super) fn kind_of(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => "x:0:0".to_owned(),
        Mode::Shared => format!("s:1:{}", Mode::SHARES),
        Mode::Permits { n, of } => format!("p:{n}:{of}"),
    }
}

/// Whole milliseconds, rounded up: what the server keeps must not end before what was asked for.
pub(super) fn millis(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000).clamp(1, 1 << 50);
    millis.to_string()
}

/// Whether a claim may be sent at all.
pub(super) fn check(claim: &Claim) -> Result<()> {
    names::check(&claim.key)?;
    claim.mode.check()
}

/// How long to wait for the answer: the store's bound, or less where a TTL leaves less time to ask again.
pub(super) fn patience<'a>(bound: Duration, claims: impl Iterator<Item = &'a Claim>) -> Duration {
    let shortest = claims.map(|claim| claim.ttl).min().unwrap_or(bound);
    bound.min((shortest / 3).max(Duration::from_millis(100)))
}
