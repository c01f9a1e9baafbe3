//! The real line, as a part of a model's state: equal if the same claims stand in it in the same way.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use monban::contract::{Release, Renewal};
use monban::data::{Claim, ClaimId, Fence, Keep, Mode};
use monban::rule::Tick;
use monban::rule::line::{Line, Member, State, Verdict};

/// One unit of the model's time.
pub(crate) const UNIT: Duration = Duration::from_secs(1);

pub(crate) fn tick(now: u8) -> Tick {
    Tick::from_nanos(0).after(UNIT * u32::from(now))
}

/// The store: one key's line, and the counter that fences come from.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    line: Line,
    minted: i64,
    /// The counter is forgotten with every grant: a bug, to see it found.
    forgetful: bool,
}

impl Queue {
    pub(crate) fn new(forgetful: bool) -> Self {
        Self {
            line: Line::new(),
            minted: 0,
            forgetful,
        }
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Line, &mut dyn FnMut() -> Fence) -> T) -> T {
        let (minted, forgetful) = (&mut self.minted, self.forgetful);
        let mut mint = || {
            *minted = if forgetful {
                3 - *minted.max(&mut 1)
            } else {
                *minted + 1
            };
            Fence::new(*minted).expect("small and positive")
        };
        work(&mut self.line, &mut mint)
    }

    pub(crate) fn attempt(&mut self, claim: &Claim, now: u8) -> Option<Verdict> {
        self.with(|line, mint| line.attempt(claim, tick(now), mint))
            .ok()
    }

    pub(crate) fn renew(&mut self, claim: &Claim, granted: i64, now: u8) -> Renewal {
        let keep = Keep {
            claim: claim.clone(),
            fence: Fence::new(granted),
        };
        let kept = self.with(|line, mint| line.renew(&keep, tick(now), mint));
        if kept { Renewal::Kept } else { Renewal::Lost }
    }

    pub(crate) fn release(&mut self, id: &ClaimId, now: u8) -> Release {
        let there = self.with(|line, mint| line.release(id, None, tick(now), mint));
        if there { Release::Done } else { Release::Gone }
    }

    pub(crate) fn members(&self) -> &[Member] {
        self.line.members()
    }

    /// Whoever holds at this instant, with the fence.
    pub(crate) fn holds(&self, id: &ClaimId, now: u8) -> Option<Option<Fence>> {
        let member = self
            .members()
            .iter()
            .find(|member| member.claim.id == *id)?;
        match member.state {
            State::Holding { fence, .. } if member.expires > tick(now) => Some(fence),
            _ => None,
        }
    }

    /// What must hold of the members at any time, whatever has expired since somebody looked.
    pub(crate) fn is_fair(&self) -> bool {
        let holders = || {
            let all = self.members().iter();
            all.filter(|member| member.state != State::Waiting)
        };
        let capacities = self
            .members()
            .iter()
            .filter_map(|m| m.claim.mode.capacity());
        let capacity = capacities.min().unwrap_or(1);
        let used: u64 = holders()
            .map(|m| u64::from(m.claim.mode.weight(capacity)))
            .sum();
        let alone = holders().all(|m| m.claim.mode != Mode::Exclusive) || holders().count() == 1;
        let mut seats: Vec<_> = holders()
            .filter_map(|member| match member.state {
                State::Holding { seat, .. } => seat,
                _ => None,
            })
            .collect();
        seats.sort_unstable();
        let distinct = seats.windows(2).all(|two| two[0] != two[1]);
        used <= u64::from(capacity) && alone && distinct
    }

    /// Whether nobody who held before, and was alive, waits now.
    pub(crate) fn kept_what_was_granted(&self, before: &Self, now: u8) -> bool {
        let held = |member: &&Member| {
            matches!(member.state, State::Holding { .. }) && member.expires > tick(now)
        };
        before.members().iter().filter(held).all(|old| {
            let still = self
                .members()
                .iter()
                .find(|new| new.claim.id == old.claim.id);
            still.is_none_or(|new| new.state == old.state)
        })
    }

    fn standing(&self) -> impl Iterator<Item = (ClaimId, u8, i64, u32, u64)> {
        self.members().iter().map(|member| {
            let (state, fence, seat) = match member.state {
                State::Waiting => (0, 0, 0),
                State::Holding { fence, seat } => (
                    1,
                    fence.map_or(0, Fence::as_i64),
                    seat.map_or(0, |seat| seat + 1),
                ),
                State::Lingering => (2, 0, 0),
            };
            (
                member.claim.id,
                state,
                fence,
                seat,
                member.expires.as_nanos(),
            )
        })
    }
}

impl PartialEq for Queue {
    fn eq(&self, other: &Self) -> bool {
        self.minted == other.minted && self.standing().eq(other.standing())
    }
}

impl Hash for Queue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.minted.hash(state);
        self.standing().for_each(|one| one.hash(state));
    }
}
