//! The line of one key: the rule that every store follows, as a pure model.
//!
//! A claim holds when what the claims ahead of it take, plus what it takes itself, fits the key's
//! capacity. Claims only join at the end and only leave, so granting is monotone: what is granted stays
//! granted until it is gone. Time is an argument. Stores on a server compute the same by a script or a
//! transaction, and are tested against this.

use std::time::Duration;

use super::Tick;
use crate::data::{Claim, ClaimId, Error, Fence, IfBusy, Keep, Mode, Result};

/// The live claims of one key in the order they joined.
#[derive(Clone, Debug, Default)]
pub struct Line {
    members: Vec<Member>,
}

/// One claim in a line.
#[derive(Clone, Debug)]
pub struct Member {
    /// The claim.
    pub claim: Claim,
    /// Whether it waits, holds or lingers.
    pub state: State,
    /// When it leaves by itself if it is not renewed.
    pub expires: Tick,
    /// Since when it has its state.
    pub since: Tick,
}

/// What a claim in a line is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for its turn.
    Waiting,
    /// It holds.
    Holding {
        /// The fence of the grant; shares have none.
        fence: Option<Fence>,
        /// The seat, for permits: unique among holders.
        seat: Option<u32>,
    },
    /// Its owner has left; its place is kept, and blocks.
    Lingering,
}

/// The answer to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The claim holds.
    Granted {
        /// The fence of the grant.
        fence: Option<Fence>,
        /// The seat of the grant.
        seat: Option<u32>,
    },
    /// Others are ahead: so many.
    Busy {
        /// The number of claims ahead, holders included.
        ahead: usize,
    },
}

impl Line {
    /// A line with nobody in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Joins the line, or asks again for a claim that is in it; asking again keeps the claim alive.
    ///
    /// `mint` gives a fence greater than any before, and is called once for every grant that carries one.
    /// Other claims that the passing of time lets in are granted too: see [`settle`](Self::settle).
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if the line is in use with another capacity.
    pub fn attempt(
        &mut self,
        claim: &Claim,
        now: Tick,
        mint: &mut dyn FnMut() -> Fence,
    ) -> Result<Verdict> {
        claim.mode.check()?;
        self.settle(now, mint);
        if let Some(at) = self.place(&claim.id) {
            let member = &mut self.members[at];
            if member.claim.mode != claim.mode {
                return Err(Error::mismatch(
                    &claim.key,
                    "this claim asked in another mode before",
                ));
            }
            if member.state != State::Lingering {
                member.expires = now.after(claim.ttl);
            }
            return Ok(self.verdict(at));
        }
        self.check_capacity(claim)?;
        self.members.push(Member {
            claim: claim.clone(),
            state: State::Waiting,
            expires: now.after(claim.ttl),
            since: now,
        });
        self.promote(now, mint);
        let at = self.members.len() - 1;
        let verdict = self.verdict(at);
        if claim.if_busy == IfBusy::Leave && matches!(verdict, Verdict::Busy { .. }) {
            self.members.pop();
        }
        Ok(verdict)
    }

    /// Keeps a claim that holds by a grant of that fence, for its TTL from now; `false` if it does not: it is gone,
    /// waits or lingers, or has been granted anew.
    pub fn renew(&mut self, keep: &Keep, now: Tick, mint: &mut dyn FnMut() -> Fence) -> bool {
        self.settle(now, mint);
        match self.place(&keep.claim.id).map(|at| &mut self.members[at]) {
            Some(member) => match member.state {
                State::Holding { fence, .. } if fence == keep.fence => {
                    member.expires = now.after(keep.claim.ttl);
                    true
                }
                _ => false,
            },
            None => false,
        }
    }

    /// Takes a claim out of the line, or lets it linger if it holds exclusively; `false` if it is not there.
    /// A claim that lingers already stays as it is.
    pub fn release(
        &mut self,
        id: &ClaimId,
        linger: Option<Duration>,
        now: Tick,
        mint: &mut dyn FnMut() -> Fence,
    ) -> bool {
        self.settle(now, mint);
        let Some(at) = self.place(id) else {
            return false;
        };
        let member = &mut self.members[at];
        match (linger, member.state) {
            (Some(_), State::Lingering) => {}
            (Some(linger), State::Holding { .. }) if member.claim.mode == Mode::Exclusive => {
                member.state = State::Lingering;
                member.since = now;
                member.expires = now.after(linger);
            }
            (None, State::Lingering) => {}
            _ => {
                self.members.remove(at);
            }
        }
        self.promote(now, mint);
        true
    }

    /// Takes whatever has this id out of the line, lingering or not; `false` if it is not there.
    pub fn evict(&mut self, id: &ClaimId, now: Tick, mint: &mut dyn FnMut() -> Fence) -> bool {
        let Some(at) = self.place(id) else {
            return false;
        };
        self.members.remove(at);
        self.promote(now, mint);
        true
    }

    /// Removes claims that have expired and grants what fits now.
    pub fn settle(&mut self, now: Tick, mint: &mut dyn FnMut() -> Fence) {
        self.members.retain(|member| member.expires > now);
        self.promote(now, mint);
    }

    /// The claims in order. Call [`settle`](Self::settle) first.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether nobody is in the line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The next instant at which a claim leaves if nobody renews anything.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Tick> {
        self.members.iter().map(|member| member.expires).min()
    }

    fn place(&self, id: &ClaimId) -> Option<usize> {
        self.members
            .iter()
            .position(|member| member.claim.id == *id)
    }

    fn verdict(&self, at: usize) -> Verdict {
        match self.members[at].state {
            State::Holding { fence, seat } => Verdict::Granted { fence, seat },
            State::Waiting | State::Lingering => Verdict::Busy { ahead: at },
        }
    }

    /// What all claims of the line share; an exclusive claim takes whatever there is.
    fn capacity(&self) -> Option<u32> {
        self.members
            .iter()
            .find_map(|member| member.claim.mode.capacity())
    }

    fn check_capacity(&self, claim: &Claim) -> Result<()> {
        match (claim.mode.capacity(), self.capacity()) {
            (Some(asked), Some(there)) if asked != there => {
                Err(Error::mismatch(&claim.key, clash(asked, there)))
            }
            _ => Ok(()),
        }
    }

    fn promote(&mut self, now: Tick, mint: &mut dyn FnMut() -> Fence) {
        let capacity = self.capacity().unwrap_or(1);
        let mut used = 0u64;
        for at in 0..self.members.len() {
            used += u64::from(self.members[at].claim.mode.weight(capacity));
            if used > u64::from(capacity) {
                break; // whatever stands behind has this one's weight ahead of it too
            }
            if self.members[at].state != State::Waiting {
                continue;
            }
            let seat = self.free_seat(self.members[at].claim.mode);
            let member = &mut self.members[at];
            let fence = (member.claim.mode != Mode::Shared).then(&mut *mint);
            member.state = State::Holding { fence, seat };
            member.since = now;
        }
    }

    fn free_seat(&self, mode: Mode) -> Option<u32> {
        let Mode::Permits { of, .. } = mode else {
            return None;
        };
        let taken = |seat: u32| {
            self.members.iter().any(
                |m| matches!(m.state, State::Holding { seat: Some(other), .. } if other == seat),
            )
        };
        (0..of).find(|seat| !taken(*seat))
    }
}

/// Says how two capacities differ.
#[must_use]
pub fn clash(asked: u32, there: u32) -> String {
    let name = |capacity| match capacity {
        Mode::SHARES => "shared (readers)".to_owned(),
        1 => "at most one permit in all".to_owned(),
        k => format!("at most {k} permits in all"),
    };
    format!(
        "asked as {}, but it is in use as {}",
        name(asked),
        name(there)
    )
}

#[cfg(test)]
mod tests;
