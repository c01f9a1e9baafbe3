//! Looking at a line, and what is said to whoever is not first in it.

use super::attempt::{Asking, FIRST};
use super::faults::Trouble;
use super::hub::Tries;
use super::ops;
use super::proto::TxnRequest;
use super::sight::{Place, Sight};
use super::watches::Target;
use crate::contract::{Busy, Ends, Why};
use crate::data::Mode;

impl Asking<'_> {
    pub(super) async fn look_at_all(&self) -> Result<Sight, Trouble> {
        let request = TxnRequest {
            success: vec![ops::line(&self.line, 0)],
            ..TxnRequest::default()
        };
        let within = self.core.patience(self.claim.ttl);
        let asked = self.core.hub.clock.now();
        let answer = self.core.hub.ask(&request, within, Tries::Many).await?;
        self.core.confirmed(asked, answer.header);
        let (revision, mut ranges) = ops::ranges(answer);
        let range = ranges.pop().unwrap_or_default();
        Ok(Sight::of(revision, range, &self.line))
    }

    /// Looks at the claim itself, at the beginning of what is ahead of it, and at the one just ahead.
    ///
    /// One that was told at a revision that what was ahead is gone needs no majority to look as of that revision or a
    /// later one: that it was there then, and first, is decided. Whether it still is rests on its lease, as with every
    /// holder.
    pub(super) async fn look_ahead(&self, mine: i64, told: i64) -> Result<Sight, Trouble> {
        if told > 0 {
            let sight = self.look_at_first(mine).await?;
            if sight.revision >= told && sight.find(&self.place).is_some() {
                return Ok(sight);
            }
        }
        self.look_from(mine).await
    }

    /// Looks at the beginning of the line up to the claim, as far as the member has it: one range, since whoever has been
    /// told is first as a rule, and waits for this answer.
    async fn look_at_first(&self, mine: i64) -> Result<Sight, Trouble> {
        let request = ops::first_of_the_member(&self.line, FIRST, mine);
        let within = self.core.patience(self.claim.ttl);
        let range = self.core.hub.ask(&request, within, Tries::Many).await?;
        let revision = range.header.as_ref().map_or(0, |header| header.revision);
        Ok(Sight::of(revision, range, &self.line))
    }

    async fn look_from(&self, mine: i64) -> Result<Sight, Trouble> {
        let request = TxnRequest {
            success: vec![
                ops::first(&self.line, FIRST, mine),
                ops::get(&self.place),
                ops::last(&self.line, mine),
            ],
            ..TxnRequest::default()
        };
        let within = self.core.patience(self.claim.ttl);
        let asked = self.core.hub.clock.now();
        let answer = self.core.hub.ask(&request, within, Tries::Many).await?;
        self.core.confirmed(asked, answer.header);
        let (revision, ranges) = ops::ranges(answer);
        let mut ranges = ranges.into_iter();
        let sight = Sight::of(revision, ranges.next().unwrap_or_default(), &self.line);
        if sight.whole {
            return Ok(sight);
        }
        let me = ops::only(ranges.next()).and_then(|kv| Place::read(kv, &self.line));
        let before = ops::only(ranges.next()).and_then(|kv| Place::read(kv, &self.line));
        let (Some(me), Some(before)) = (me, before) else {
            return self.look_at_all().await;
        };
        // The middle is left out, which only the count ahead would need.
        let mut places = sight.places;
        places.truncate(1);
        places.extend([before, me]);
        Ok(Sight {
            places,
            whole: false,
            ..sight
        })
    }

    /// The answer to a claim with so many of these ahead.
    pub(super) async fn busy(&self, sight: &Sight, ahead: usize) -> Result<Busy, Trouble> {
        let (why, culprit) = sight.in_the_way(self.claim.mode, ahead);
        let target = self.target(sight, ahead).await?;
        let before = &sight.places[..ahead];
        let known = match sight.whole {
            true => Some(before.len()),
            false => None,
        };
        Ok(Busy {
            ahead: known,
            why,
            who: culprit.and_then(Place::claimant),
            held_for: None, // etcd tells no time
            free_in: before.iter().filter_map(Place::lives).min(),
            ends: match why {
                Why::Held | Why::Lingering => culprit.and_then(Place::lives).into(),
                _ => Ends::Unknown,
            },
            changed: target.map(|target| {
                self.core
                    .watches
                    .wake(self.claim.id, target, sight.revision)
            }),
        })
    }

    /// What lets in a claim that has so many of these ahead.
    async fn target(&self, sight: &Sight, ahead: usize) -> Result<Option<Target>, Trouble> {
        let end = |place: &Place| Target::End {
            name: place.name.clone(),
            create: place.create,
            modified: place.modified,
        };
        let before = &sight.places[..ahead];
        let alone = |place: &&Place| place.mode() == Mode::Exclusive;
        Ok(match self.claim.mode {
            Mode::Exclusive if sight.find(&self.place).is_none() && !sight.whole => {
                self.last_but_me().await?.as_ref().map(end)
            }
            Mode::Exclusive => before.last().or(sight.places.get(ahead)).map(end),
            Mode::Shared => before.iter().rfind(alone).map(end),
            Mode::Permits { n, of } => Some(Target::Room {
                line: self.line.clone(),
                ahead: before
                    .iter()
                    .map(|place| (place.name.clone(), u64::from(place.mode().weight(of))))
                    .collect(),
                room: u64::from(of - n),
            }),
        })
    }

    /// The last of a long line, or the one ahead of this claim if it is in it.
    async fn last_but_me(&self) -> Result<Option<Place>, Trouble> {
        let sight = self.look_at_last().await?;
        let last = sight
            .places
            .into_iter()
            .rev()
            .find(|place| place.name != self.place);
        Ok(last)
    }

    async fn look_at_last(&self) -> Result<Sight, Trouble> {
        let known = self
            .core
            .table
            .touch(self.claim)
            .map_or(0, |known| known.create);
        let request = TxnRequest {
            success: vec![ops::last(&self.line, known)],
            ..TxnRequest::default()
        };
        let within = self.core.patience(self.claim.ttl);
        let answer = self.core.hub.ask(&request, within, Tries::Many).await?;
        let (revision, mut ranges) = ops::ranges(answer);
        let sight = Sight::of(revision, ranges.pop().unwrap_or_default(), &self.line);
        if sight.places.is_empty() {
            return self.look_at_all().await; // the last belongs to a longer key
        }
        Ok(sight)
    }
}
