//! One key: its line, and those who listen for its changes.

use std::time::Duration;

use tokio::sync::oneshot;

use super::table::stays;
use crate::contract::{Busy, Grant, Wake, Why};
use crate::data::{Claim, ClaimId, Entry, EntryId, Fence, Mode, Standing};
use crate::rule::line::{Member, State};
use crate::rule::{Line, Tick};

/// Dropping it wakes the listener. (A channel of tokio's: it needs no runtime.)
pub(super) type Bell = oneshot::Sender<()>;

/// A line and its listeners.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) line: Line,
    listeners: Vec<Listener>,
}

struct Listener {
    id: ClaimId,
    to: To,
    bell: Bell,
}

/// What a listener listens to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// Its claim, which waits in line.
    Turn,
    /// The line: its claim was refused.
    Line,
    /// The loss of its claim, which holds.
    Loss,
}

/// What can be seen of a line from outside: who is in it and what they do.
pub(super) struct Before(Vec<(ClaimId, State)>);

impl Before {
    /// Who has left since, or does something else now. Claims join at the end and leave, so what is still
    /// there is in the same order.
    fn changed(&self, now: &[Member]) -> Vec<ClaimId> {
        let mut now = now.iter().map(seen).peekable();
        let mut changed = Vec::new();
        for (id, state) in &self.0 {
            match now.next_if(|(other, _)| other == id) {
                Some((_, same)) if same == *state => {}
                _ => changed.push(*id),
            }
        }
        changed
    }

    /// The first who waited.
    fn first(&self) -> Option<ClaimId> {
        let mut all = self.0.iter();
        all.find(|(_, state)| *state == State::Waiting)
            .map(|(id, _)| *id)
    }

    fn ahead_of_the_first(&self) -> impl Iterator<Item = &ClaimId> {
        let ahead = self
            .0
            .iter()
            .take_while(|(_, state)| *state != State::Waiting);
        ahead.map(|(id, _)| id)
    }
}

impl Slot {
    /// Remembers the line before a change; nothing if nobody would hear of it.
    pub(super) fn before(&self) -> Before {
        let members = match self.listeners.is_empty() {
            true => &[],
            false => self.line.members(),
        };
        Before(members.iter().map(seen).collect())
    }

    /// Gives out the bells of those for whom the change since `before` is worth asking again.
    ///
    /// Of those who wait in line these are: whoever was granted, whoever is gone, and the first who waits,
    /// if what is ahead of it changed, since its next useful instant did too. The others sleep on.
    pub(super) fn ring(&mut self, before: &Before, rung: &mut Vec<Bell>) {
        let changed = before.changed(self.line.members());
        if changed.is_empty() {
            return; // others have joined behind, at most
        }
        let mut members = self.line.members().iter();
        let first = members.find(|member| member.state == State::Waiting);
        let next = first.map(|member| member.claim.id);
        let ahead = before.ahead_of_the_first().any(|id| changed.contains(id));
        let next = next.filter(|next| ahead || before.first() != Some(*next));
        let concerned = |listener: &mut Listener| match listener.to {
            To::Line => true,
            To::Turn => next == Some(listener.id) || changed.contains(&listener.id),
            To::Loss => changed.contains(&listener.id),
        };
        let out = self.listeners.extract_if(.., concerned);
        rung.extend(out.map(|listener| listener.bell));
    }

    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        self.listeners.len()
    }

    pub(super) fn into_bells(self) -> impl Iterator<Item = Bell> {
        self.listeners.into_iter().map(|listener| listener.bell)
    }

    /// The answer to a claim that holds.
    pub(super) fn grant(
        &mut self,
        claim: &Claim,
        fence: Option<Fence>,
        seat: Option<u32>,
    ) -> Grant {
        Grant {
            fence,
            seat,
            ttl: Some(claim.ttl),
            age: Duration::ZERO,
            lost: Some(self.listen(claim.id, To::Loss)),
        }
    }

    /// The answer to a claim that was refused or waits.
    pub(super) fn busy(&mut self, claim: &Claim, ahead: usize, now: Tick) -> Busy {
        let to = match stays(claim) {
            true => To::Turn,
            false => To::Line,
        };
        let changed = Some(self.listen(claim.id, to));
        let before = &self.line.members()[..ahead];
        let (why, culprit) = in_the_way(before, claim.mode);
        let left = |member: &Member| member.expires.since(now);
        let holds = |member: &&Member| member.state != State::Waiting;
        Busy {
            ahead: Some(ahead),
            why,
            who: culprit.map(|member| member.claim.claimant.clone()),
            held_for: culprit.map(|member| now.since(member.since)),
            free_in: before.iter().map(left).min(),
            ends: before.iter().filter(holds).map(left).max().into(),
            changed,
        }
    }

    /// The line as `inspect` shows it.
    pub(super) fn entries(&self, now: Tick) -> impl Iterator<Item = Entry> {
        let members = self.line.members().iter().enumerate();
        members.map(move |(ahead, member)| entry(ahead, member, now))
    }

    fn listen(&mut self, id: ClaimId, to: To) -> Wake {
        // Those who have stopped listening are not kept: a caller that only ever asks again would add one
        // each time.
        self.listeners.retain(|known| !known.bell.is_closed());
        let (bell, heard) = oneshot::channel();
        self.listeners.push(Listener { id, to, bell });
        Box::pin(async move {
            let _ = heard.await;
        })
    }
}

fn seen(member: &Member) -> (ClaimId, State) {
    (member.claim.id, member.state)
}

/// Which of the claims ahead is in the way, and how.
fn in_the_way(ahead: &[Member], mode: Mode) -> (Why, Option<&Member>) {
    let lingering = ahead.iter().find(|m| m.state == State::Lingering);
    if lingering.is_some() {
        return (Why::Lingering, lingering);
    }
    let capacities = ahead.iter().map(|m| m.claim.mode).chain([mode]);
    let capacity = capacities.filter_map(Mode::capacity).next().unwrap_or(1);
    let weight = |mode: Mode| u64::from(mode.weight(capacity));
    let holders = || ahead.iter().filter(|m| m.state != State::Waiting);
    let used: u64 = holders().map(|m| weight(m.claim.mode)).sum();
    if used + weight(mode) > u64::from(capacity) {
        return (Why::Held, holders().next());
    }
    let first = ahead.iter().find(|m| m.state == State::Waiting);
    (Why::Queued, first)
}

fn entry(ahead: usize, member: &Member, now: Tick) -> Entry {
    let (standing, fence, seat) = match member.state {
        State::Waiting => (Standing::Waiting { ahead }, None, None),
        State::Holding { fence, seat } => (Standing::Holding, fence, seat),
        State::Lingering => (Standing::Lingering, None, None),
    };
    Entry {
        key: member.claim.key.clone(),
        id: EntryId::Claim(member.claim.id),
        mode: Some(member.claim.mode),
        standing,
        claimant: Some(member.claim.claimant.clone()),
        age: Some(now.since(member.since)),
        expires_in: Some(member.expires.since(now)),
        fence,
        seat,
    }
}
