//! First attempts: taking a free key, or joining its line.

use std::time::Duration;

use rustix::fd::OwnedFd;

use super::STORE;
use super::dir::Dir;
use super::line::{Line, Place, Standing};
use super::lockfile::{LockFile, Spot, Taken, record_of};
use super::name::Name;
use super::record::{Content, State};
use super::sight::{Search, Sight};
use super::slot::{Held, How, Member, Slot, Waiting};
use super::wait::again;
use crate::contract::Attempt;
use crate::data::{Claim, Error, Fence, IfBusy, Mode, Result};
use crate::rule::line::clash;

/// How often an attempt starts over when files come and go under it.
const ROUNDS: usize = 1_000;

/// A try that finds the lock taken by nobody it can name looks again after these: it may have met one who
/// only looked.
const AGAIN: [Duration; 3] = [Duration::from_micros(30); 3];

/// What an attempt came to: an answer, and what there is to keep.
pub(super) type Outcome = (Attempt, Option<Slot>);

/// Asks for a claim that is not in any line of this process.
pub(super) fn first(dir: &Dir, claim: &Claim) -> Result<Outcome> {
    let name = Name::of(&claim.key);
    if claim.mode == Mode::Exclusive {
        alone(dir, &name, claim)
    } else {
        let outcome = beside(dir, &name, claim);
        if outcome.is_err() {
            Line::remove_if_empty(dir, &name);
        }
        outcome
    }
}

fn alone(dir: &Dir, name: &Name, claim: &Claim) -> Result<Outcome> {
    for _ in 0..ROUNDS {
        // The line is looked at before the lock is tried, not after: or two tries could refuse each other.
        let passed = match Line::open(dir, name)? {
            None => without_line(dir, name, claim)?,
            Some(line) => through_line(dir, name, claim, line)?,
        };
        match passed {
            Passed::Done(outcome) => return Ok(outcome),
            Passed::Again => {}
            Passed::Join => return join(dir, name, claim),
        }
    }
    Err(unsettled())
}

enum Passed {
    Done(Outcome),
    Again,
    Join,
}

fn without_line(dir: &Dir, name: &Name, claim: &Claim) -> Result<Passed> {
    let mut lock = LockFile::open(dir, name)?;
    let taken = insist(dir, name, claim, &mut lock)?;
    conclude(dir, name, claim, lock, taken)
}

/// With the door shut: behind anybody who lives, else at the lock.
fn through_line(dir: &Dir, name: &Name, claim: &Claim, line: Line) -> Result<Passed> {
    let Some(door) = line.shut_door()? else {
        return Ok(Passed::Again);
    };
    let mut places = line.places()?;
    while let Some(first) = places.first() {
        if line.is_alive_or_removed(first)? {
            break;
        }
        places.remove(0);
    }
    if places.is_empty() {
        let mut lock = LockFile::open(dir, name)?;
        let taken = insist(dir, name, claim, &mut lock)?;
        drop(door);
        Line::remove_if_empty(dir, name);
        return conclude(dir, name, claim, lock, taken);
    }
    if claim.if_busy == IfBusy::Queue {
        let Some((lock, fd, place)) = admit(dir, name, claim, (&line, ticket(&places)))? else {
            return Ok(Passed::Again);
        };
        drop(door);
        let member = Member { line, fd, place };
        return settle(dir, claim, waits(name, member, lock)).map(Passed::Done);
    }
    drop(door);
    let sight = Sight::behind(dir, name, &line, &places, Search::Deep);
    Ok(Passed::Done((Attempt::Busy(sight.busy(None)), None)))
}

/// Tries the lock; again if whoever has it may only be looking.
fn insist(dir: &Dir, name: &Name, claim: &Claim, lock: &mut LockFile) -> Result<Taken> {
    let mut taken = lock.take(dir, name, claim)?;
    if claim.if_busy == IfBusy::Queue {
        return Ok(taken);
    }
    for pause in AGAIN {
        if !matches!(taken, Taken::Busy)
            || Sight::of_record(dir, &lock.content(dir, name)).is_some()
        {
            break;
        }
        std::thread::sleep(pause);
        taken = lock.take(dir, name, claim)?;
    }
    Ok(taken)
}

fn conclude(dir: &Dir, name: &Name, claim: &Claim, lock: LockFile, taken: Taken) -> Result<Passed> {
    match taken {
        Taken::Ours(spot, _) => {
            let fence = note_alone(dir, name, claim, &lock, &spot)?;
            let held = hold_alone(name, lock, spot, fence);
            Ok(Passed::Done(granted(held)))
        }
        Taken::Replaced => Ok(Passed::Again),
        Taken::Lingering(record) if claim.if_busy == IfBusy::Leave || record.id == claim.id => {
            let sight = Sight::lingering(dir, &record, 0);
            Ok(Passed::Done((Attempt::Busy(sight.busy(None)), None)))
        }
        Taken::Busy if claim.if_busy == IfBusy::Leave => {
            let sight = Sight::locked(dir, name, &lock, 0, Search::Deep);
            Ok(Passed::Done((Attempt::Busy(sight.busy(None)), None)))
        }
        Taken::Busy | Taken::Lingering(_) => Ok(Passed::Join),
    }
}

pub(super) fn granted(held: Held) -> Outcome {
    (
        Attempt::Granted(held.grant()),
        Some(Slot::Held(Box::new(held))),
    )
}

/// Draws the fence of a lock that was just taken alone, and notes who has it; lets go of it if that fails.
pub(super) fn note_alone(
    dir: &Dir,
    name: &Name,
    claim: &Claim,
    lock: &LockFile,
    spot: &Spot,
) -> Result<Fence> {
    let noted = dir.counter.next(dir).and_then(|fence| {
        let record = record_of(dir, name, claim, State::Held, Some(fence));
        lock.write(spot, &record).map(|()| fence)
    });
    noted.inspect_err(|_| lock.unlock())
}

/// Makes a lock that was taken alone, and noted, into a grant.
pub(super) fn hold_alone(name: &Name, lock: LockFile, spot: Spot, fence: Fence) -> Held {
    Held {
        name: name.clone(),
        mode: Mode::Exclusive,
        lock,
        how: How::Alone(spot),
        fence: Some(fence),
        seat: None,
        lent: false,
    }
}

/// Joins the line of a key to take it alone.
fn join(dir: &Dir, name: &Name, claim: &Claim) -> Result<Outcome> {
    let joined = enter(dir, name, claim, |_, places| {
        Ok(Entry::Waits(ticket(places)))
    });
    let outcome = joined.and_then(|entered| settle(dir, claim, entered));
    if outcome.is_err() {
        Line::remove_if_empty(dir, name);
    }
    outcome
}

/// Asks for a share or permits: always through the line, which counts them.
fn beside(dir: &Dir, name: &Name, claim: &Claim) -> Result<Outcome> {
    let entered = enter(dir, name, claim, |line, places| {
        let mut alive = Vec::with_capacity(places.len());
        for place in places {
            if line.is_alive_or_removed(place)? {
                alive.push(place.clone());
            }
        }
        check_capacity(claim, &alive)?;
        let ticket = ticket(places);
        let others = Others {
            ahead: &alive,
            behind: &[],
        };
        let open = |_| LockFile::open(dir, name);
        if let Some(share) = share(dir, name, claim, others, open)? {
            return Ok(Entry::Holds(ticket, Box::new(share)));
        }
        match claim.if_busy {
            IfBusy::Queue => Ok(Entry::Waits(ticket)),
            IfBusy::Leave => Ok(Entry::Leaves(alive)),
        }
    })?;
    settle(dir, claim, entered)
}

/// What is decided with the door shut.
enum Entry {
    Waits(u64),
    Holds(u64, Box<Share>),
    Leaves(Vec<Place>),
}

enum Entered {
    Waits(Box<Waiting>),
    Holds(Box<Held>),
    Leaves(Line, Vec<Place>),
}

/// Goes through the door of the line, made if need be, and does what `decide` says with it shut.
fn enter(
    dir: &Dir,
    name: &Name,
    claim: &Claim,
    decide: impl Fn(&Line, &[Place]) -> Result<Entry>,
) -> Result<Entered> {
    for _ in 0..ROUNDS {
        let line = Line::make(dir, name)?;
        let Some(door) = line.shut_door()? else {
            continue;
        };
        let places = line.places()?;
        match decide(&line, &places)? {
            Entry::Leaves(alive) => {
                drop(door);
                return Ok(Entered::Leaves(line, alive));
            }
            Entry::Waits(ticket) => {
                let Some((lock, fd, place)) = admit(dir, name, claim, (&line, ticket))? else {
                    continue;
                };
                drop(door);
                return Ok(waits(name, Member { line, fd, place }, lock));
            }
            Entry::Holds(ticket, share) => {
                let place = place(claim, ticket, Standing::Holds(share.seat));
                let record = record_of(dir, name, claim, State::Held, share.fence);
                let joined = line.join(&place, &record);
                let Some(fd) = joined.inspect_err(|_| share.lock.unlock())? else {
                    share.lock.unlock();
                    continue;
                };
                drop(door);
                let member = Member { line, fd, place };
                return Ok(Entered::Holds(Box::new(share.hold(name, claim, member))));
            }
        }
    }
    Err(unsettled())
}

/// Makes a place in the line for one that is to wait; `None` if the line has been removed. With the door shut.
fn admit(
    dir: &Dir,
    name: &Name,
    claim: &Claim,
    (line, ticket): (&Line, u64),
) -> Result<Option<(LockFile, OwnedFd, Place)>> {
    let lock = LockFile::open(dir, name)?;
    let place = place(claim, ticket, Standing::Waits);
    let record = record_of(dir, name, claim, State::Waiting, None);
    let joined = line.join(&place, &record)?;
    Ok(joined.map(|fd| (lock, fd, place)))
}

fn place(claim: &Claim, ticket: u64, standing: Standing) -> Place {
    Place {
        ticket,
        mode: claim.mode,
        id: claim.id,
        standing,
    }
}

fn waits(name: &Name, member: Member, lock: LockFile) -> Entered {
    Entered::Waits(Box::new(Waiting {
        name: name.clone(),
        member,
        lock,
        watches: Vec::new(),
        is_head: false,
    }))
}

fn settle(dir: &Dir, claim: &Claim, entered: Entered) -> Result<Outcome> {
    match entered {
        Entered::Holds(held) => Ok(granted(*held)),
        Entered::Waits(waiting) => match again(dir, claim, waiting) {
            (Ok(attempt), slot) => Ok((attempt, slot)),
            (Err(error), slot) => {
                if let Some(Slot::Waiting(waiting)) = slot {
                    waiting.member.leave(dir, &waiting.name);
                }
                Err(error) // a claim that is refused at once leaves no trace
            }
        },
        Entered::Leaves(line, alive) => {
            let name = Name::of(&claim.key);
            let sight = Sight::behind(dir, &name, &line, &alive, Search::Deep);
            Line::remove_if_empty(dir, &name);
            Ok((Attempt::Busy(sight.busy(None)), None))
        }
    }
}

fn ticket(places: &[Place]) -> u64 {
    places.last().map_or(1, |last| last.ticket + 1)
}

fn check_capacity(claim: &Claim, alive: &[Place]) -> Result<()> {
    let Some(asked) = claim.mode.capacity() else {
        return Ok(());
    };
    match alive.iter().find_map(|place| place.mode.capacity()) {
        Some(there) if there != asked => Err(Error::mismatch(&claim.key, clash(asked, there))),
        _ => Ok(()),
    }
}

/// A lock that was taken beside others.
pub(super) struct Share {
    pub(super) lock: LockFile,
    pub(super) fence: Option<Fence>,
    pub(super) seat: Option<u32>,
}

impl Share {
    pub(super) fn hold(self, name: &Name, claim: &Claim, member: Member) -> Held {
        Held {
            name: name.clone(),
            mode: claim.mode,
            lock: self.lock,
            how: How::Beside(member),
            fence: self.fence,
            seat: self.seat,
            lent: false,
        }
    }
}

/// The living ones of a line, as one claim sees them.
#[derive(Clone, Copy)]
pub(super) struct Others<'a> {
    /// Whoever must fit with it.
    pub(super) ahead: &'a [Place],
    /// Some may hold: who finds room beside all that wait need not wait until they have looked.
    pub(super) behind: &'a [Place],
}

/// Why a lock file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    First,
    /// What there was is not the file of that name any more.
    Replaced,
}

/// Takes a share or permits among these, with the door shut; `None` if they do not fit, or the lock is
/// taken, or a linger keeps it.
pub(super) fn share(
    dir: &Dir,
    name: &Name,
    claim: &Claim,
    others: Others<'_>,
    mut open: impl FnMut(Opening) -> Result<LockFile>,
) -> Result<Option<Share>> {
    if !fits(claim.mode, others.ahead) {
        return Ok(None);
    }
    for round in 0..ROUNDS {
        let mut lock = open(match round {
            0 => Opening::First,
            _ => Opening::Replaced,
        })?;
        match insist(dir, name, claim, &mut lock)? {
            Taken::Busy | Taken::Lingering(_) => return Ok(None),
            Taken::Replaced => {}
            Taken::Ours(spot, content) => {
                let (fence, seat) = seated(dir, name, claim, others, (&lock, &spot, &content))
                    .inspect_err(|_| lock.unlock())?;
                return Ok(Some(Share { lock, fence, seat }));
            }
        }
    }
    Err(unsettled())
}

fn seated(
    dir: &Dir,
    name: &Name,
    claim: &Claim,
    others: Others<'_>,
    (lock, spot, content): (&LockFile, &Spot, &Content),
) -> Result<(Option<Fence>, Option<u32>)> {
    if name.hashed && *content == Content::Empty {
        // Nobody writes beside us: others who share do it behind the same door, and nobody is alone.
        lock.write(spot, &record_of(dir, name, claim, State::Free, None))?;
    }
    let Mode::Permits { of, .. } = claim.mode else {
        return Ok((None, None));
    };
    let taken = |seat| {
        let mut all = others.ahead.iter().chain(others.behind);
        all.any(|p| p.standing == Standing::Holds(Some(seat)))
    };
    let seat = (0..of).find(|seat| !taken(*seat));
    Ok((Some(dir.counter.next(dir)?), seat))
}

pub(super) fn fits(mode: Mode, ahead: &[Place]) -> bool {
    let capacity = mode.capacity().unwrap_or(1);
    let used: u64 = ahead
        .iter()
        .map(|place| u64::from(place.mode.weight(capacity)))
        .sum();
    used + u64::from(mode.weight(capacity)) <= u64::from(capacity)
}

pub(super) fn unsettled() -> Error {
    Error::unavailable(
        STORE,
        "the files of the key are made and removed all the time",
    )
}
