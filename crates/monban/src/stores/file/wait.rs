//! Claims that wait: looking again from within the line, and whom to watch.

use std::sync::Arc;

use rustix::fd::AsFd;

use super::dir::{self, Dir};
use super::line::{Line, Place, Standing};
use super::lockfile::{LockFile, Spot, Taken, record_of};
use super::name::Name;
use super::record::State;
use super::sight::{Search, Sight};
use super::slot::{Member, Slot, Target, Waiting};
use super::take::{
    Opening, Others, Outcome, Share, first, fits, granted, hold_alone, note_alone, share, unsettled,
};
use super::wake::{Changed, Kind, Watch};
use crate::contract::{Attempt, Busy};
use crate::data::{Claim, Fence, Mode, Result};

/// How often a look is repeated since whom to watch has changed; the net is under the rest.
const MOST_ARMINGS: usize = 16;

/// Asks again for a claim that waits: the answer, and what there is to keep.
///
/// A claim keeps its place through an error after which it is worth asking again.
pub(super) fn again(
    dir: &Dir,
    claim: &Claim,
    mut waiting: Box<Waiting>,
) -> (Result<Attempt>, Option<Slot>) {
    match look(dir, claim, &mut waiting) {
        Ok(Looked::Busy(busy)) => (Ok(Attempt::Busy(busy)), Some(Slot::Waiting(waiting))),
        Ok(Looked::Ours(spot, fence)) => apart(promote_alone(dir, *waiting, spot, fence)),
        Ok(Looked::Shared(share)) => apart(promote_beside(claim, *waiting, share)),
        Ok(Looked::Removed) => {
            waiting.member.leave(dir, &waiting.name);
            match first(dir, claim) {
                Ok(outcome) => apart(outcome),
                Err(error) => (Err(error), None),
            }
        }
        Err(error) if error.is_transient() => (Err(error), Some(Slot::Waiting(waiting))),
        Err(error) => {
            waiting.member.leave(dir, &waiting.name);
            (Err(error), None)
        }
    }
}

fn apart((attempt, slot): Outcome) -> (Result<Attempt>, Option<Slot>) {
    (Ok(attempt), slot)
}

enum Looked {
    Busy(Busy),
    Ours(Spot, Fence),
    Shared(Share),
    /// The claim file was removed by hand.
    Removed,
}

fn look(dir: &Dir, claim: &Claim, waiting: &mut Waiting) -> Result<Looked> {
    for round in 0..=MOST_ARMINGS {
        // Before the look, so that no notice is lost between it and the wait.
        let seen: Vec<_> = waiting
            .watches
            .iter()
            .map(|(_, watch)| (watch.clone(), watch.notices()))
            .collect();
        let examined = if claim.mode == Mode::Exclusive {
            examine_alone(dir, claim, waiting)?
        } else {
            examine_beside(dir, claim, waiting)?
        };
        let blocked = match examined {
            Examined::Blocked(blocked) => blocked,
            Examined::Ours(spot, fence) => return Ok(Looked::Ours(spot, fence)),
            Examined::Shared(share) => return Ok(Looked::Shared(share)),
            Examined::Removed => return Ok(Looked::Removed),
        };
        if waiting.is_armed_for(&blocked.targets) || round == MOST_ARMINGS {
            let notice = blocked.sight.gives_notice();
            for (target, watch) in &waiting.watches {
                watch.trust(notice || *target != Target::Lock);
            }
            let changed = Box::pin(Changed(seen));
            return Ok(Looked::Busy(blocked.sight.busy(Some(changed))));
        }
        waiting.arm(dir, &blocked.targets);
    }
    Err(unsettled())
}

struct Blocked {
    targets: Vec<(Target, Option<Place>)>,
    sight: Sight,
}

enum Examined {
    Blocked(Blocked),
    Ours(Spot, Fence),
    Shared(Share),
    /// The claim file was removed by hand.
    Removed,
}

/// Those ahead of a place in its line; `None` if the place itself is gone.
fn ahead_of(member: &Member) -> Result<Option<Vec<Place>>> {
    let mut places = member.line.places()?;
    Ok(position(member, &places).map(|at| {
        places.truncate(at);
        places
    }))
}

fn position(member: &Member, places: &[Place]) -> Option<usize> {
    places.iter().position(|p| p.id == member.place.id)
}

/// Those of them who live; the files of the others are removed. With the door shut.
fn living(line: &Line, places: Vec<Place>) -> Result<Vec<Place>> {
    let mut alive = Vec::with_capacity(places.len());
    for place in places {
        if line.is_alive_or_removed(&place)? {
            alive.push(place);
        }
    }
    Ok(alive)
}

/// Looks from within the line whether the key can be taken alone: only from its head.
fn examine_alone(dir: &Dir, claim: &Claim, waiting: &mut Waiting) -> Result<Examined> {
    if !waiting.is_head {
        let Some(mut ahead) = ahead_of(&waiting.member)? else {
            return Ok(Examined::Removed);
        };
        // The nearest one that lives is all that matters.
        while let Some(last) = ahead.last() {
            if waiting.member.line.is_alive_or_removed(last)? {
                let targets = vec![(Target::Claim(last.id), Some(last.clone()))];
                let sight = Sight::within(dir, waiting, &ahead);
                return Ok(Examined::Blocked(Blocked { targets, sight }));
            }
            ahead.pop();
        }
        waiting.is_head = true;
    }
    take_at_head(dir, claim, waiting)
}

fn take_at_head(dir: &Dir, claim: &Claim, waiting: &mut Waiting) -> Result<Examined> {
    let name = waiting.name.clone();
    loop {
        let sight = match waiting.lock.take(dir, &name, claim)? {
            Taken::Ours(spot, _) => {
                let fence = note_alone(dir, &name, claim, &waiting.lock, &spot)?;
                return Ok(Examined::Ours(spot, fence));
            }
            Taken::Replaced => {
                waiting.lock = LockFile::open(dir, &name)?;
                waiting.watches.clear();
                continue;
            }
            Taken::Lingering(record) => Sight::lingering(dir, &record, 0),
            Taken::Busy => Sight::locked(dir, &name, &waiting.lock, 0, Search::Light),
        };
        let targets = vec![(Target::Lock, None)];
        return Ok(Examined::Blocked(Blocked { targets, sight }));
    }
}

/// Looks from within the line, with its door shut, whether a share or permits fit.
fn examine_beside(dir: &Dir, claim: &Claim, waiting: &mut Waiting) -> Result<Examined> {
    let name = waiting.name.clone();
    if !waiting.member.line.mend()? {
        return Ok(Examined::Removed);
    }
    let line = &waiting.member.line;
    let Some(_door) = line.shut_door()? else {
        return Ok(Examined::Removed);
    };
    let mut ahead = line.places()?;
    let Some(at) = position(&waiting.member, &ahead) else {
        return Ok(Examined::Removed);
    };
    let behind = living(line, ahead.split_off(at).split_off(1))?;
    let ahead = living(line, ahead)?;
    let others = Others {
        ahead: &ahead,
        behind: &behind,
    };
    // By the file that is open: to close one is what we ourselves watch for.
    let open = |opening| {
        if opening == Opening::Replaced {
            waiting.lock = LockFile::open(dir, &name)?;
            waiting.watches.clear();
        }
        waiting.lock.same()
    };
    if let Some(share) = share(dir, &name, claim, others, open)? {
        return match mark(&waiting.member, dir, &name, claim, &share) {
            Ok(()) => Ok(Examined::Shared(share)),
            Err(error) => {
                share.lock.unlock();
                Err(error)
            }
        };
    }
    let targets = if fits(claim.mode, &ahead) {
        vec![(Target::Lock, None)]
    } else {
        blockers(&ahead)
    };
    let sight = Sight::within(dir, waiting, &ahead);
    Ok(Examined::Blocked(Blocked { targets, sight }))
}

/// Whom to watch: who waits watches only the one before; the first who waits, all who hold.
fn blockers(ahead: &[Place]) -> Vec<(Target, Option<Place>)> {
    let target = |place: &Place| (Target::Claim(place.id), Some(place.clone()));
    match ahead.last() {
        Some(last) if last.standing == Standing::Waits => vec![target(last)],
        _ => ahead.iter().map(target).collect(),
    }
}

/// Says in the line that a claim holds now; with the door shut, so that its seat is its own.
fn mark(member: &Member, dir: &Dir, name: &Name, claim: &Claim, share: &Share) -> Result<()> {
    let record = record_of(dir, name, claim, State::Held, share.fence);
    record.write(&member.fd, &member.line.path)?;
    let to = Place {
        standing: Standing::Holds(share.seat),
        ..member.place.clone()
    };
    member.line.promote(&member.place, &to)
}

fn promote_beside(claim: &Claim, waiting: Waiting, share: Share) -> Outcome {
    let mut member = waiting.member;
    member.place.standing = Standing::Holds(share.seat);
    granted(share.hold(&waiting.name, claim, member))
}

fn promote_alone(dir: &Dir, waiting: Waiting, spot: Spot, fence: Fence) -> Outcome {
    let held = hold_alone(&waiting.name, waiting.lock, spot, fence);
    waiting.member.leave(dir, &waiting.name);
    granted(held)
}

impl Waiting {
    fn is_armed_for(&self, targets: &[(Target, Option<Place>)]) -> bool {
        self.watches.len() == targets.len()
            && self
                .watches
                .iter()
                .zip(targets)
                .all(|((armed, watch), (target, _))| armed == target && !watch.is_spent())
    }

    /// Watches these, and nothing else. What has gone meanwhile is not watched: the next look shows it.
    fn arm(&mut self, dir: &Dir, targets: &[(Target, Option<Place>)]) {
        let kept = std::mem::take(&mut self.watches);
        for (target, place) in targets {
            let known = kept
                .iter()
                .find(|(armed, watch)| armed == target && !watch.is_spent());
            let watch = match (known, place) {
                (Some((_, watch)), _) => Some(watch.clone()),
                (None, Some(place)) => self.watch_claim(place),
                (None, None) => Some(self.watch_lock(dir)),
            };
            self.watches.extend(watch.map(|watch| (*target, watch)));
        }
    }

    fn watch_claim(&self, place: &Place) -> Option<Arc<Watch>> {
        let line = self.member.line.fd.as_fd();
        let name = place.name();
        let fd = dir::read_only(line, &name).ok()?;
        Some(Watch::new(fd.as_fd(), Kind::Claim, || {
            dir::read_only(line, &name).ok()
        }))
    }

    fn watch_lock(&self, dir: &Dir) -> Arc<Watch> {
        let kind = if self.member.place.mode == Mode::Exclusive {
            Kind::LockAlone
        } else {
            Kind::LockShared
        };
        Watch::new(self.lock.fd.as_fd(), kind, || {
            let name = self.name.lock();
            dir.look_at(dir::Place::Root, &name).ok().flatten()
        })
    }
}
