//! What is known of one claim.

use std::sync::Arc;
use std::time::Duration;

use sha1_smol::Sha1;

use super::signal::Signal;
use crate::data::{ClaimId, Key, Mode};
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
    /// What messages call it that do not bring a grant, if it was made: see [`name`](Self::name).
    pub(super) name: Option<Name>,
    /// Its key is watched for it, or was until the connection ended.
    pub(super) watched: bool,
    /// A message has told that it was granted, or may have: whoever listens may know its id since, and no other is
    /// believed.
    pub(super) public: bool,
    /// What it was granted when its turn came, and until when its place lived by what was known then.
    pub(super) handed: Option<(Handed, Option<Tick>)>,
}

impl Known {
    /// What messages call it that do not bring a grant.
    pub(super) fn name(&mut self, id: &ClaimId) -> Name {
        *self.name.get_or_insert_with(|| Name::of(id))
    }

    /// Whether it was asked for, and does not hold.
    pub(super) fn waits(&self) -> bool {
        matches!(self.role, Role::Waiting { .. })
    }
}

/// How much further than the time that has passed here the server's clock may have gone on.
const AHEAD: Duration = Duration::from_secs(1);

impl Known {
    /// Whether the server can have drawn this number by now, `age` after it was asked when the claim waited. It draws
    /// the time, unless its clock has gone back; a forger would draw one that no later grant exceeds.
    pub(super) fn is_likely(&self, handed: Handed, age: Duration) -> bool {
        let most = i64::try_from((age + age / 100 + AHEAD).as_micros()).unwrap_or(i64::MAX);
        handed.number <= self.waited.saturating_add(most)
    }
}

/// The SHA-1 of a claim's id in text: nobody can make the id of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name([u8; Name::TEXT_LEN / 2]);

impl Name {
    /// Length of the text form, in bytes.
    pub(super) const TEXT_LEN: usize = 40;

    pub(super) fn of(id: &ClaimId) -> Self {
        Self(Sha1::from(id.to_text()).digest().bytes())
    }

    /// Reads the text form.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut name = Self([0; Self::TEXT_LEN / 2]);
        for (at, byte) in name.0.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(name)
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

/// Whether a claim that waits watches its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Watching {
    /// Others are ahead of it in the line, and it is told of its turn.
    No,
    Soon,
    /// What is ahead tells by itself when it is over, while it lives.
    Late,
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
