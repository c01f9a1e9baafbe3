//! Seats: which of the numbers 0..k a holder of permits has.
//!
//! The line says who holds, but not who has which seat: that is written to the claim's value, once it holds, by a
//! transaction that fails if any permits of the line were written since it was looked at. The revision of that write is
//! the fence: on one seat it grows, since one must leave before the next sits down.

use super::attempt::{Asking, LOOKS};
use super::faults::{self, Trouble};
use super::proto::TxnRequest;
use super::sight::Sight;
use super::value::State;
use super::writes::Kind;
use super::{names, ops};

impl Asking<'_> {
    /// Takes a seat for a claim that holds; its fence and its number.
    pub(super) async fn sit_down(
        &self,
        sight: &Sight,
        at: usize,
        of: u32,
    ) -> Result<(i64, u32), Trouble> {
        let create = sight.places[at].create;
        let lease = sight.places[at].lease;
        let mut free = sight.free_seat(of);
        let mut revision = sight.revision;
        for _ in 0..LOOKS {
            let Some(seat) = free else { break };
            let request = TxnRequest {
                compare: vec![
                    ops::since(&self.place, create),
                    ops::unchanged(names::permits(&self.line), revision),
                ],
                success: vec![ops::put(
                    &self.place,
                    self.value(State::Seated(seat)),
                    lease,
                )],
                failure: vec![ops::line(&self.line, 0)],
            };
            let within = self.core.patience(self.claim.ttl);
            let writes = &self.core.writes;
            let written = writes
                .write(&self.line, Kind::Changes, request, within)
                .await;
            let (answer, seen) = (written.answer?, written.seen);
            let seated = answer.succeeded;
            let (now, mut ranges) = ops::ranges(answer);
            if seated {
                return Ok((now, seat));
            }
            let sight = Sight::of(seen, ranges.pop().unwrap_or_default(), &self.line);
            let Some(at) = sight.find(&self.place) else {
                return Err(Trouble::LeaseGone);
            };
            if let State::Seated(seat) = sight.places[at].state() {
                return Ok((sight.places[at].modified, seat)); // by a request whose answer was lost
            }
            free = sight.free_seat(of);
            revision = seen;
        }
        Err(Trouble::Failed(faults::unavailable(format!(
            "no seat of {} could be taken, so fast does its line change",
            self.claim.key
        ))))
    }
}
