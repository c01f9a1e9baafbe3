//! Puts claims into the arguments of a script, and keeps track of which answer is whose.

use std::time::Duration;

use redis::{Cmd, RedisWrite};

use super::names::{self, Side};
use super::scripts::Script;
use crate::data::{Claim, Mode, Result};

/// The claims of one batch that go into one call.
///
/// On one primary that is all of them. In a cluster it would be those of one slot: whoever makes a batch is the one to
/// part them.
pub(super) struct Batch {
    command: Cmd,
    scratch: Vec<u8>,
}

impl Batch {
    /// A call of a script with the fence counter if it is needed, all keys, and their lines if they are: the orders, and
    /// then the expiries.
    pub(super) fn new<'a>(
        script: &Script,
        claims: impl ExactSizeIterator<Item = &'a Claim> + Clone,
        fence: Fence,
        lines: Lines,
    ) -> Self {
        let (count, with_lines) = (claims.len(), lines == Lines::Needed);
        let keys = if with_lines { 3 * count } else { count };
        let first = usize::from(fence == Fence::Needed);
        let mut command = Cmd::with_capacity(10 + 4 * count, 256 + 200 * count);
        command.arg("EVALSHA").arg(script.hash()).arg(keys + first);
        if fence == Fence::Needed {
            command.arg(names::FENCE);
        }
        let mut batch = Self {
            command,
            scratch: Vec::with_capacity(128),
        };
        for claim in claims.clone() {
            batch.argument(claim.key.as_bytes());
        }
        // Both, whether a script will touch them or not: what it may touch is to be declared.
        for side in [Side::Order, Side::Expiry] {
            for claim in claims.clone().filter(|_| with_lines) {
                side.write(claim.key.as_bytes(), &mut batch.scratch);
                batch.command.write_arg(&batch.scratch);
            }
        }
        batch
    }

    /// Adds an argument.
    pub(super) fn argument(&mut self, argument: &[u8]) {
        self.command.write_arg(argument);
    }

    /// Adds `mb1x:<claim id>:`, what the value of an exclusive holder begins with; and `<fence>:` if its grant is meant.
    pub(super) fn value_of(&mut self, (claim, granted): (&Claim, Option<i64>)) {
        use std::io::Write;
        self.scratch.clear();
        self.scratch.extend_from_slice(b"mb1x:");
        self.scratch.extend_from_slice(&claim.id.to_text());
        self.scratch.push(b':');
        if let Some(fence) = granted {
            let _ = write!(self.scratch, "{fence}:"); // which cannot fail
        }
        self.command.write_arg(&self.scratch);
    }

    /// Adds arguments of which there are `N` for each claim: once for all if the claims are alike, so that these travel
    /// light. Their number for each claim stands before.
    pub(super) fn each<T, const N: usize>(
        &mut self,
        all: &[T],
        value: impl Fn(&T) -> (&Claim, Option<i64>),
        alike: impl Fn(&T, &T) -> bool,
        texts: impl Fn(&T) -> [String; N],
    ) {
        let common = all
            .first()
            .filter(|first| all.iter().all(|other| alike(first, other)));
        self.command.arg(if common.is_some() { 1 } else { 1 + N });
        let texts_of_all = common.map_or_else(|| [const { String::new() }; N], &texts);
        texts_of_all
            .iter()
            .for_each(|text| self.argument(text.as_bytes()));
        for one in all {
            self.value_of(value(one));
            if common.is_none() {
                texts(one)
                    .iter()
                    .for_each(|text| self.argument(text.as_bytes()));
            }
        }
    }

    /// The command as it is sent.
    pub(super) fn command(self) -> Cmd {
        self.command
    }
}

/// Whether a script is given the side keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    Needed,
    Unneeded,
}

/// Whether a script is given the fence counter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fence {
    Needed,
    Unneeded,
}

/// `<kind>:<n>:<of>`: how a member of a line claims.
pub(super) fn kind_of(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => "x:0:0".to_owned(),
        Mode::Shared => format!("s:1:{}", Mode::SHARES),
        Mode::Permits { n, of } => format!("p:{n}:{of}"),
    }
}

/// `<kind>:<n>:<of>:<claimant>`: a member of a line without its id.
pub(super) fn rest_of(claim: &Claim) -> String {
    [&kind_of(claim.mode), ":", &claim.claimant.encode()].concat()
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

/// No shorter than this: what is asked again waits behind what was asked before, on the same connection.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long to wait for the answer: the store's bound, or less where a TTL leaves less time to ask again.
pub(super) fn patience<'a>(bound: Duration, claims: impl Iterator<Item = &'a Claim>) -> Duration {
    let shortest = claims.map(|claim| claim.ttl).min().unwrap_or(bound);
    bound.min((shortest / 3).max(SHORTEST))
}
