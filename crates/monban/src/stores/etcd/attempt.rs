//! Asking for claims.
//!
//! One transaction joins and reads the line: it puts the claim if it is not there, and reads who is ahead. Whoever is in
//! line and asks again only reads, which costs the cluster no write; what it reads has its own claim in it, or it has
//! lost its place and joins anew, at the end.

use std::sync::Arc;
use std::time::Duration;

use super::each::each_line;
use super::faults::{self, Trouble};
use super::hub::Doubt;
use super::proto::{Compare, RequestOp, TxnRequest};
use super::sight::{Place, Sight, another_mode};
use super::table::{self, Fate, Known};
use super::value::{State, Value};
use super::watches::Target;
use super::writes::Kind;
use super::{Core, names, ops};
use crate::contract::{Attempt, Grant};
use crate::data::{Claim, Error, Fence, IfBusy, Mode, Result};

/// So many of a line are read at once where its beginning decides.
pub(super) const FIRST: i64 = 32;
/// How often a claim that may only join a line that has not changed looks again. What others do to keys below this one
/// counts as a change.
pub(super) const LOOKS: usize = 100;

pub(super) async fn attempt(core: &Arc<Core>, claims: &[Claim]) -> Vec<Result<Attempt>> {
    if let [claim] = claims {
        return vec![one(core, claim).await];
    }
    each_line(
        claims,
        |claim| &claim.key,
        |claim| {
            let core = Arc::clone(core);
            async move { one(&core, &claim).await }
        },
    )
    .await
}

async fn one(core: &Core, claim: &Claim) -> Result<Attempt> {
    claim.mode.check()?;
    for _ in 0..3 {
        let asked = core.hub.clock.now();
        let answer = tried(core, claim).await;
        let answer = answer.map_err(|error| error.of_key(&claim.key))?;
        // It holds, but a renewal of its lease did not count: asking again renews it again.
        if matches!(answer, Attempt::Busy(_)) || core.table.is_carried(claim, asked) {
            return Ok(answer);
        }
    }
    Err(faults::overtaken().of_key(&claim.key))
}

async fn tried(core: &Core, claim: &Claim) -> Result<Attempt> {
    let ask = Asking::new(core, claim);
    if let Some(known) = core.table.ask(claim) {
        if known.fate == Fate::Leaving {
            return Err(faults::unavailable(
                "the claim was not renewed in time and is being deleted".to_owned(),
            ));
        }
        if known.place != ask.place {
            return Err(another_mode(claim));
        }
        if known.create != 0
            && let Some(answer) = ask.again(&known).await?
        {
            return Ok(answer);
        }
        // What a request that was never answered has left, the same request finds under the same lease.
        if known.create == 0 && core.table.is_fresh(known.lease, claim.ttl) {
            if let Some(answer) = ask.join(known.lease).await? {
                return Ok(answer);
            }
            core.table.ended(known.lease);
        }
    }
    for _ in 0..3 {
        let lease = core.lease_for(claim.ttl).await?;
        core.table.enter(claim, ask.place.clone(), lease);
        match ask.join(lease).await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => core.table.ended(lease),
            Err(error) => return Err(error),
        }
    }
    core.table.forget(&claim.id);
    Err(Trouble::LeaseGone.into())
}

/// One claim's question.
pub(super) struct Asking<'a> {
    pub(super) core: &'a Core,
    pub(super) claim: &'a Claim,
    pub(super) line: Vec<u8>,
    pub(super) place: Vec<u8>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(core: &'a Core, claim: &'a Claim) -> Self {
        Self {
            core,
            claim,
            line: names::line(core.prefix(), &claim.key),
            place: names::place(core.prefix(), claim),
        }
    }

    /// What is read of the line: for an exclusive claim whoever is ahead is in the way, so its beginning is enough.
    fn limit(&self) -> i64 {
        match self.claim.mode {
            Mode::Exclusive => FIRST,
            Mode::Shared | Mode::Permits { .. } => 0,
        }
    }

    pub(super) fn value(&self, state: State) -> Vec<u8> {
        let value = Value {
            state,
            lives: table::whole(self.claim.ttl),
            claimant: Some(self.claim.claimant.clone()),
        };
        value.encode()
    }

    /// Joins the line, or finds itself in it. `None`: the lease has ended.
    async fn join(&self, lease: i64) -> Result<Option<Attempt>> {
        let answer = match self.claim.if_busy {
            IfBusy::Queue => self.queue(lease).await,
            IfBusy::Leave => self.slip_in(lease, ops::empty(self.whole_line())).await,
        };
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(Trouble::LeaseGone) => Ok(None),
            Err(trouble) => {
                let error = Error::from(trouble);
                if !error.is_transient() {
                    self.core.table.forget(&self.claim.id);
                }
                Err(error)
            }
        }
    }

    fn whole_line(&self) -> (Vec<u8>, Vec<u8>) {
        (self.line.clone(), names::end(&self.line))
    }

    async fn queue(&self, lease: i64) -> Result<Attempt, Trouble> {
        let mut apart: Vec<Compare> = names::apart(&self.line, self.claim.mode)
            .into_iter()
            .map(ops::empty)
            .collect();
        for _ in 0..LOOKS {
            apart.push(ops::absent(&self.place));
            let put = ops::put(&self.place, self.value(State::InLine), lease);
            let (joined, mut sight) = self.put_or_look(apart, put, lease).await?;
            if joined {
                return self.joined(sight).await;
            }
            if !sight.whole && sight.find(&self.place).is_none() {
                // It may be in line already, behind what was read.
                sight = self.look_at_all().await?;
            }
            if let Some(at) = sight.find(&self.place) {
                return self.found(&sight, at, lease).await;
            }
            if let Some(clash) = sight.clash(self.claim) {
                return Err(Trouble::Failed(clash));
            }
            // What is in those ranges belongs to longer keys: join if nothing changes there.
            apart = names::apart(&self.line, self.claim.mode)
                .into_iter()
                .map(|range| ops::unchanged(range, sight.revision))
                .collect();
        }
        Err(Trouble::Failed(self.crowded()))
    }

    /// Joins only if it holds then.
    async fn slip_in(&self, lease: i64, mut only_if: Compare) -> Result<Attempt, Trouble> {
        let mut state = match self.claim.mode {
            Mode::Permits { .. } => State::Seated(0),
            Mode::Exclusive | Mode::Shared => State::InLine,
        };
        for _ in 0..LOOKS {
            let apart = vec![only_if, ops::absent(&self.place)];
            let put = ops::put(&self.place, self.value(state), lease);
            let (joined, sight) = self.put_or_look(apart, put, lease).await?;
            if joined {
                return self.joined(sight).await;
            }
            if let Some(at) = sight.find(&self.place) {
                return self.found(&sight, at, lease).await;
            }
            if let Some(clash) = sight.clash(self.claim) {
                return Err(Trouble::Failed(clash));
            }
            let ahead = sight.places.len();
            if !sight.fits(self.claim.mode, ahead) || self.is_cut(&sight) {
                self.core.table.forget(&self.claim.id);
                let busy = self.busy(&sight, ahead).await?;
                return Ok(Attempt::Busy(busy));
            }
            if let Mode::Permits { of, .. } = self.claim.mode {
                state = State::Seated(sight.free_seat(of).unwrap_or(0));
            }
            only_if = ops::unchanged(self.whole_line(), sight.revision);
        }
        Err(Trouble::Failed(self.crowded()))
    }

    /// Whether the part that was read may hide others who are ahead.
    fn is_cut(&self, sight: &Sight) -> bool {
        !sight.whole && !sight.places.is_empty()
    }

    fn crowded(&self) -> Error {
        faults::unavailable(format!(
            "below {} so much changes all the time that its line cannot be seen in peace; lock no key that is the \
             beginning, up to a slash, of very many others",
            self.claim.key
        ))
    }

    /// Puts the claim if all compares are true; reads the line in any case.
    async fn put_or_look(
        &self,
        compare: Vec<Compare>,
        put: RequestOp,
        lease: i64,
    ) -> Result<(bool, Sight), Trouble> {
        let read = ops::line(&self.line, self.limit());
        let request = TxnRequest {
            compare,
            success: vec![put, read.clone()],
            failure: vec![read],
        };
        let within = self.core.patience(self.claim.ttl);
        let asked = self.core.hub.clock.now();
        let writes = &self.core.writes;
        let written = writes.write(&self.line, Kind::Joins, request, within).await;
        if written.doubt == Doubt::Some {
            self.core.table.retire(lease);
        }
        let answer = written.answer?;
        self.core.confirmed(asked, answer.header);
        let joined = answer.succeeded;
        let (revision, mut ranges) = ops::ranges(answer);
        if joined {
            self.core.table.in_line(&self.claim.id, revision);
        }
        let range = ranges.pop().unwrap_or_default();
        let mut sight = Sight::of(written.seen, range, &self.line);
        if !sight.whole && sight.places.is_empty() {
            // All that was read belongs to longer keys.
            sight = self.look_at_all().await?;
        }
        Ok((joined, sight))
    }

    /// The transaction has put the claim at its revision: it is the last of the line.
    async fn joined(&self, sight: Sight) -> Result<Attempt, Trouble> {
        match sight.find(&self.place) {
            Some(at) => self.judge(sight, at).await,
            None => {
                let ahead = sight.places.len();
                let busy = self.busy(&sight, ahead).await?;
                Ok(Attempt::Busy(busy))
            }
        }
    }

    /// The claim was in line already, by an earlier request or of another connection.
    async fn found(&self, sight: &Sight, at: usize, ours: i64) -> Result<Attempt, Trouble> {
        let place = &sight.places[at];
        let table = &self.core.table;
        if place.state() == State::Lingering {
            table.forget(&self.claim.id); // it has no owner, and is not ours to end
            return Ok(Attempt::Busy(self.busy(sight, at).await?));
        }
        if place.lease != ours {
            table.adopt(self.claim, self.place.clone(), place.lease, place.create);
            if !self.core.keep_fresh(place.lease, self.claim.ttl).await? {
                return Err(Trouble::LeaseGone);
            }
        }
        table.in_line(&self.claim.id, place.create);
        // The lease may have ended in between, and the claim with it.
        let sight = self.look_at_all().await?;
        match sight.find(&self.place) {
            Some(at) => self.judge(sight, at).await,
            None => Err(Trouble::LeaseGone),
        }
    }

    /// Asks again for a claim that was in line. `None`: it is not any more.
    async fn again(&self, known: &Known) -> Result<Option<Attempt>> {
        let claim = self.claim;
        if !self.core.keep_fresh(known.lease, claim.ttl).await? {
            return Ok(None);
        }
        let sight = match claim.mode {
            // A renewal that may not count is confirmed by a majority only.
            Mode::Exclusive if self.core.table.is_open(known.lease) => {
                self.look_ahead(known.create, 0).await?
            }
            Mode::Exclusive => self.look_ahead(known.create, known.told).await?,
            Mode::Shared | Mode::Permits { .. } => self.look_at_all().await?,
        };
        let there = |place: &Place| place.name == self.place && place.create == known.create;
        match sight.places.iter().position(there) {
            Some(at) => Ok(Some(self.judge(sight, at).await?)),
            None => Ok(None),
        }
    }

    /// What the line says to a claim that stands there.
    async fn judge(&self, sight: Sight, at: usize) -> Result<Attempt, Trouble> {
        let place = &sight.places[at];
        let claim = self.claim;
        if place.state() == State::Lingering || !sight.fits(claim.mode, at) {
            let busy = self.busy(&sight, at).await?;
            return Ok(Attempt::Busy(busy));
        }
        let (fence, seat) = match (claim.mode, place.state()) {
            (Mode::Exclusive, _) => (Fence::new(place.create), None),
            (Mode::Shared, _) => (None, None),
            (Mode::Permits { .. }, State::Seated(seat)) => (Fence::new(place.modified), Some(seat)),
            (Mode::Permits { of, .. }, _) => {
                let (fence, seat) = self.sit_down(&sight, at, of).await?;
                (Fence::new(fence), Some(seat))
            }
        };
        self.core.table.holds(&claim.id, place.create);
        let target = Target::End {
            name: self.place.clone(),
            create: place.create,
            modified: place.modified,
        };
        Ok(Attempt::Granted(Grant {
            fence,
            seat,
            ttl: Some(table::whole(claim.ttl)),
            age: Duration::ZERO,
            lost: Some(self.core.watches.wake_later(target, sight.revision)),
        }))
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
