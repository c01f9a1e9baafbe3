//! What is known of one claim.

use std::sync::Arc;

use super::signal::Signal;
use crate::data::{Key, Mode};
use crate::rule::Tick;

/// Values longer than this are told apart by their beginning.
const SEEN: usize = 400;

/// A claim that the store knows of.
pub(super) struct Known {
    pub(super) key: Key,
    pub(super) mode: Mode,
    pub(super) role: Role,
    pub(super) signal: Option<Arc<Signal>>,
    /// It was refused and is not in line: it is known for as long as somebody listens.
    pub(super) passing: bool,
    /// It holds, and did not when its key was read last. A holder is told once: only what is read twice is told.
    pub(super) doubted: bool,
    /// Until when its place in the line lives at least, as the server was last heard to confirm.
    pub(super) lives: Option<Tick>,
    /// When it last said that the claim waits, in µs of its clock.
    pub(super) waited: i64,
    /// What it was granted when its turn came, and until when its place lived by what was known then.
    pub(super) handed: Option<(Handed, Option<Tick>)>,
}

impl Known {
    /// Whether it was asked for, and does not hold.
    pub(super) fn waits(&self) -> bool {
        matches!(self.role, Role::Waiting { .. })
    }
}

/// A grant that came by a message: its number (a fence, except for shares) and its seat, or -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Handed {
    pub(in super::super) number: i64,
    pub(in super::super) seat: i64,
}

impl Handed {
    /// Reads `:<number>:<seat>`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (number, seat) = text.strip_prefix(':')?.split_once(':')?;
        let read = Self {
            number: number.parse().ok()?,
            seat: seat.parse().ok()?,
        };
        (read.number > 0 && read.seat >= -1).then_some(read)
    }
}

/// What a claim is at.
#[derive(Clone)]
pub(super) enum Role {
    /// Asked for; in line or not.
    Waiting {
        /// What was at the key when it was read last; `None`: nothing, or not read since the owner changed.
        seen: Option<Box<[u8]>>,
    },
    Holding,
}

/// What tells one owner of a key from another: a marker stays the same whoever holds under it.
pub(super) fn owner(value: &[u8]) -> Box<[u8]> {
    let end = if value.starts_with(b"mb1m:") {
        5
    } else {
        value.len().min(SEEN)
    };
    value[..end].into()
}
