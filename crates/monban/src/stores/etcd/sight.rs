//! What was seen of a line, and what follows from it.
//!
//! The rule is that of `rule::Line`: a claim holds when what the claims ahead of it take, plus its own, fits. A foreign
//! claim takes all. The order is that of the create revisions.

use std::time::Duration;

use super::names;
use super::proto::{KeyValue, RangeResponse};
use super::value::{State, Value};
use crate::contract::Why;
use crate::data::{Claim, ClaimId, Claimant, Error, Mode};
use crate::rule::line;

/// One claim of a line, ours or foreign.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The whole name.
    pub(super) name: Vec<u8>,
    pub(super) create: i64,
    pub(super) modified: i64,
    pub(super) lease: i64,
    /// `None`: foreign.
    pub(super) ours: Option<Ours>,
}

#[derive(Clone, Debug)]
pub(super) struct Ours {
    pub(super) id: ClaimId,
    pub(super) mode: Mode,
    pub(super) value: Value,
}

impl Place {
    /// Reads what stands directly below a line; `None` for what belongs to the line of a longer key.
    pub(super) fn read(kv: KeyValue, line: &[u8]) -> Option<Self> {
        let last = kv.key.strip_prefix(line)?;
        if last.contains(&b'/') {
            return None;
        }
        let ours = names::read(last).and_then(|(mode, id)| {
            let value = Value::read(&kv.value)?;
            Some(Ours { id, mode, value })
        });
        Some(Self {
            create: kv.create_revision,
            modified: kv.mod_revision,
            lease: kv.lease,
            ours,
            name: kv.key,
        })
    }

    pub(super) fn mode(&self) -> Mode {
        self.ours.as_ref().map_or(Mode::Exclusive, |ours| ours.mode)
    }

    pub(super) fn state(&self) -> State {
        self.ours
            .as_ref()
            .map_or(State::InLine, |ours| ours.value.state)
    }

    pub(super) fn claimant(&self) -> Option<Claimant> {
        self.ours.as_ref()?.value.claimant.clone()
    }

    /// The longest that it may stay if nobody renews it from now on.
    pub(super) fn lives(&self) -> Option<Duration> {
        self.ours.as_ref().map(|ours| ours.value.lives)
    }

    fn weight(&self, capacity: u32) -> u64 {
        u64::from(self.mode().weight(capacity))
    }
}

/// A line, or its beginning, as of one revision.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) revision: i64,
    /// In order.
    pub(super) places: Vec<Place>,
    /// There is nobody behind the last of them.
    pub(super) whole: bool,
}

impl Sight {
    pub(super) fn of(revision: i64, range: RangeResponse, line: &[u8]) -> Self {
        let whole = !range.more;
        let places = range.kvs.into_iter();
        Self {
            revision,
            places: places.filter_map(|kv| Place::read(kv, line)).collect(),
            whole,
        }
    }

    /// Where a name stands.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        self.places.iter().position(|place| place.name == name)
    }

    /// What all claims of the line share.
    fn capacity(&self) -> Option<u32> {
        self.places.iter().find_map(|place| place.mode().capacity())
    }

    /// Why a claim cannot join, if somebody uses the key with another capacity, or it is there in another mode.
    pub(super) fn clash(&self, claim: &Claim) -> Option<Error> {
        let other = |place: &Place| {
            let ours = place.ours.as_ref();
            ours.is_some_and(|ours| ours.id == claim.id && ours.mode != claim.mode)
        };
        if self.places.iter().any(other) {
            return Some(another_mode(claim));
        }
        let asked = claim.mode.capacity()?;
        let mut there = self
            .places
            .iter()
            .filter_map(|place| place.mode().capacity());
        let there = there.find(|there| *there != asked)?;
        Some(Error::mismatch(&claim.key, line::clash(asked, there)))
    }

    /// Whether a claim with these ahead of it holds.
    pub(super) fn fits(&self, mode: Mode, ahead: usize) -> bool {
        let Some(capacity) = mode.capacity().or_else(|| self.capacity()) else {
            return ahead == 0;
        };
        let ahead = self.places[..ahead].iter();
        let used: u64 = ahead.map(|place| place.weight(capacity)).sum();
        used + u64::from(mode.weight(capacity)) <= u64::from(capacity)
    }

    /// A seat that nobody in line sits on, wherever they stand.
    pub(super) fn free_seat(&self, of: u32) -> Option<u32> {
        let taken: std::collections::HashSet<u32> = self
            .places
            .iter()
            .filter_map(|place| match place.state() {
                State::Seated(seat) => Some(seat),
                State::InLine | State::Lingering => None,
            })
            .collect();
        (0..of).find(|seat| !taken.contains(seat))
    }

    /// What is in the way of a claim with these ahead of it, and whose.
    pub(super) fn in_the_way(&self, mode: Mode, ahead: usize) -> (Why, Option<&Place>) {
        let ahead = &self.places[..ahead];
        if let Some(place) = ahead.iter().find(|place| place.state() == State::Lingering) {
            return (Why::Lingering, Some(place));
        }
        let capacity = mode.capacity().or_else(|| self.capacity()).unwrap_or(1);
        let mut used = 0;
        let holds = |place: &&Place| {
            used += place.weight(capacity);
            used <= u64::from(capacity)
        };
        let holders = ahead.iter().take_while(holds).count();
        let taken: u64 = ahead[..holders].iter().map(|p| p.weight(capacity)).sum();
        if taken + u64::from(mode.weight(capacity)) <= u64::from(capacity) {
            return (Why::Queued, ahead.get(holders));
        }
        let first = ahead.first();
        match first {
            Some(Place { ours: None, .. }) => (Why::Foreign, first),
            _ => (Why::Held, first),
        }
    }
}

pub(super) fn another_mode(claim: &Claim) -> Error {
    Error::mismatch(&claim.key, "this claim asked in another mode before")
}
