//! Renewing and releasing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::Asking;
use super::each::each_line;
use super::faults::{self, Trouble};
use super::hub::{Doubt, Tries};
use super::proto::{KeyValue, LeaseGrantRequest, TxnRequest, TxnResponse};
use super::sight::{Place, Sight};
use super::table::{self, Fate, Known};
use super::value::{State, Value};
use super::writes::Kind;
use super::{Core, names, ops};
use crate::contract::{Release, Renewal};
use crate::data::{Claim, Error, Keep, Leave, Mode, Result};

/// Claims that are looked at in one read: etcd takes up to 128 by default.
pub(super) const PART: usize = 100;

pub(super) async fn renew(core: &Arc<Core>, keeping: &[Keep]) -> Vec<Result<Renewal>> {
    let asked = core.hub.clock.now();
    let touch = |keep: &Keep| core.table.touch(&keep.claim);
    let known: Vec<Option<Known>> = keeping.iter().map(touch).collect();
    // First the leases, then a read that a majority confirms: what it finds lives by what was renewed before.
    let leases = renew_leases(core, keeping, &known).await;
    let mut answers = Vec::with_capacity(keeping.len());
    let parts = keeping.chunks(PART).zip(known.chunks(PART));
    for (keeping, known) in parts {
        let there = look(core, keeping).await;
        for (at, keep) in keeping.iter().enumerate() {
            let known = known[at].as_ref();
            let kept = known.and_then(|known| leases.get(&known.lease)).cloned();
            let answer = match (&there, kept) {
                (Err(error), _) => Err(error.clone()),
                (_, Some(Err(error))) => Err(error),
                (Ok(there), _) => kept_or_lost(core, keep, known, there[at].as_ref()).await,
            };
            let answer = answer.and_then(|renewal| match renewal {
                Renewal::Kept if !core.table.is_carried(&keep.claim, asked) => {
                    Err(faults::overtaken())
                }
                renewal => Ok(renewal),
            });
            answers.push(answer.map_err(|error| error.of_key(&keep.claim.key)));
        }
    }
    answers
}

async fn renew_leases(
    core: &Core,
    keeping: &[Keep],
    known: &[Option<Known>],
) -> HashMap<i64, Result<bool>> {
    let mut longest: HashMap<i64, Duration> = HashMap::new();
    for (keep, known) in keeping.iter().zip(known) {
        if let Some(known) = known {
            let ttl = longest.entry(known.lease).or_default();
            *ttl = keep.claim.ttl.max(*ttl);
        }
    }
    let mut kept = HashMap::new();
    for (lease, ttl) in longest {
        kept.insert(lease, core.keep_fresh(lease, ttl).await);
    }
    kept
}

async fn look(core: &Core, keeping: &[Keep]) -> Result<Vec<Option<KeyValue>>> {
    let place = |keep: &Keep| ops::get(&names::place(core.prefix(), &keep.claim));
    let request = TxnRequest {
        success: keeping.iter().map(place).collect(),
        ..TxnRequest::default()
    };
    let shortest = keeping.iter().map(|keep| keep.claim.ttl).min();
    let within = core.patience(shortest.unwrap_or(Duration::MAX));
    let asked = core.hub.clock.now();
    let answer = core.hub.ask(&request, within, Tries::Many).await?;
    core.confirmed(asked, answer.header);
    let (_, ranges) = ops::ranges(answer);
    if ranges.len() != keeping.len() {
        return Err(faults::garbled(&core.hub.address));
    }
    Ok(ranges
        .into_iter()
        .map(|range| ops::only(Some(range)))
        .collect())
}

async fn kept_or_lost(
    core: &Core,
    keep: &Keep,
    known: Option<&Known>,
    there: Option<&KeyValue>,
) -> Result<Renewal> {
    let claim = &keep.claim;
    let Some(there) = there.filter(|kv| !lingers(kv)) else {
        if known.is_none_or(|known| known.fate == Fate::Lives) {
            core.table.forget(&claim.id);
        }
        return Ok(Renewal::Lost);
    };
    match known {
        Some(known) if known.fate != Fate::Lives => Ok(Renewal::Lost),
        Some(known) if known.held == there.create_revision => match holds_still(keep, there) {
            true => Ok(Renewal::Kept),
            false => Ok(Renewal::Lost),
        },
        // The claim that was granted is gone; a late request has put it again, and nobody wants that.
        Some(known) if known.held != 0 => {
            core.table.in_line(&claim.id, there.create_revision);
            core.table.leave_behind(&claim.id);
            Ok(Renewal::Lost)
        }
        Some(_) => Ok(Renewal::Lost), // it waits
        None if !holds_still(keep, there) || !fits(core, claim).await? => Ok(Renewal::Lost),
        None => {
            let place = there.key.clone();
            core.table
                .adopt(claim, place, there.lease, there.create_revision);
            match core.keep_fresh(there.lease, claim.ttl).await? {
                true if fits(core, claim).await? => Ok(Renewal::Kept),
                _ => {
                    core.table.forget(&claim.id);
                    Ok(Renewal::Lost)
                }
            }
        }
    }
}

/// Whether what stands there is what that grant was for. It held then, so it holds.
fn holds_still(keep: &Keep, there: &KeyValue) -> bool {
    let granted = match keep.claim.mode {
        Mode::Shared => return true, // their grants have no fence
        Mode::Exclusive => there.create_revision,
        Mode::Permits { .. } => there.mod_revision,
    };
    keep.fence.is_some_and(|fence| fence.as_i64() == granted)
}

/// Whether a claim of another store holds by its place in the line.
async fn fits(core: &Core, claim: &Claim) -> Result<bool> {
    let asking = Asking::new(core, claim);
    let sight = asking.look_at_all().await.map_err(Error::from)?;
    let at = sight.find(&asking.place);
    Ok(at.is_some_and(|at| sight.fits(claim.mode, at)))
}

fn lingers(kv: &KeyValue) -> bool {
    Value::read(&kv.value).is_some_and(|value| value.state == State::Lingering)
}

pub(super) async fn release(core: &Arc<Core>, leaving: &[Leave]) -> Vec<Result<Release>> {
    if let [leave] = leaving {
        return vec![one(core, leave).await];
    }
    each_line(
        leaving,
        |leave| &leave.claim.key,
        |leave| {
            let core = Arc::clone(core);
            async move { one(&core, &leave).await }
        },
    )
    .await
}

async fn one(core: &Core, leave: &Leave) -> Result<Release> {
    let claim = &leave.claim;
    // Whatever becomes of the request, nobody wants the claim any more.
    let known = core.table.leave(&claim.id);
    let create = known.map_or(0, |known| known.create);
    let _behind = Behind { core, claim };
    let left = match leave.linger {
        Some(linger) if claim.mode == Mode::Exclusive => stay(core, claim, linger, create).await,
        _ => go(core, claim, create).await,
    };
    match left {
        Ok(left) => {
            core.table.forget(&claim.id);
            Ok(left)
        }
        Err(trouble) => Err(Error::from(trouble).of_key(&claim.key)),
    }
}

/// What a release has not brought to an end, because it failed or was dropped, the store's tasks do.
struct Behind<'a> {
    core: &'a Core,
    claim: &'a Claim,
}

impl Drop for Behind<'_> {
    fn drop(&mut self) {
        self.core.table.leave_behind(&self.claim.id);
    }
}

/// What taking out a claim that joined at a revision does to its line. Where the revision is not known (0), it has to see
/// whether the claim is there, and so a join of that very claim.
fn leaving(create: i64) -> Kind {
    match create {
        0 => Kind::Changes,
        _ => Kind::Leaves,
    }
}

/// Takes a claim out of the line.
async fn go(core: &Core, claim: &Claim, mut create: i64) -> Result<Release, Trouble> {
    let place = names::place(core.prefix(), claim);
    let mut doubt = Doubt::None;
    loop {
        let mut compare = vec![ops::since(&place, create)];
        if claim.mode == Mode::Exclusive {
            compare.push(ops::untouched(&place)); // a lingering one stays
        }
        let request = TxnRequest {
            compare,
            success: if create == 0 {
                Vec::new()
            } else {
                vec![ops::delete(&place)]
            },
            failure: vec![ops::get(&place)],
        };
        let answer = change(core, claim, leaving(create), &request, &mut doubt).await?;
        if answer.succeeded && create != 0 {
            return Ok(Release::Done);
        }
        let (_, mut ranges) = ops::ranges(answer);
        match ops::only(ranges.pop()) {
            // An answer was lost on the way: the request before may have done it. Whoever asks again knows that.
            None if create != 0 && doubt == Doubt::Some => {
                core.table.in_line(&claim.id, 0);
                let what = "the answer to a release was lost; it has left".to_owned();
                return Err(Trouble::Failed(faults::unavailable(what)));
            }
            None => return Ok(Release::Gone),
            Some(kv) if lingers(&kv) => return Ok(Release::Done),
            Some(kv) => create = kv.create_revision,
        }
    }
}

/// Lets a claim that holds keep its place with no owner; one that waits leaves.
async fn stay(
    core: &Core,
    claim: &Claim,
    linger: Duration,
    create: i64,
) -> Result<Release, Trouble> {
    let place = names::place(core.prefix(), claim);
    let line = names::line(core.prefix(), &claim.key);
    let request = TxnRequest {
        success: vec![ops::get(&place), ops::line(&line, 0)],
        ..TxnRequest::default()
    };
    let within = core.patience(claim.ttl);
    let answer = core.hub.ask(&request, within, Tries::Many).await?;
    let (revision, mut ranges) = ops::ranges(answer);
    let sight = Sight::of(revision, ranges.pop().unwrap_or_default(), &line);
    match sight.find(&place).map(|at| (at, &sight.places[at])) {
        None => Ok(Release::Gone),
        Some((_, there)) if there.state() == State::Lingering => Ok(Release::Done),
        Some((0, there)) => linger_at(core, claim, there, linger).await,
        Some(_) => go(core, claim, create).await,
    }
}

async fn linger_at(
    core: &Core,
    claim: &Claim,
    there: &Place,
    linger: Duration,
) -> Result<Release, Trouble> {
    let seconds = table::whole(linger).as_secs();
    let request = LeaseGrantRequest {
        ttl: i64::try_from(seconds).unwrap_or(i64::MAX),
    };
    let within = core.patience(claim.ttl);
    let granted = core.hub.ask(&request, within, Tries::Many).await?;
    let value = Value {
        state: State::Lingering,
        lives: linger,
        claimant: Some(claim.claimant.clone()),
    };
    let request = TxnRequest {
        compare: vec![
            ops::since(&there.name, there.create),
            ops::untouched(&there.name),
        ],
        success: vec![ops::put(&there.name, value.encode(), granted.id)],
        failure: vec![ops::get(&there.name)],
    };
    let kind = Kind::Changes;
    let answer = change(core, claim, kind, &request, &mut Doubt::None).await?;
    if answer.succeeded {
        return Ok(Release::Done);
    }
    // It lingers under the lease of an earlier request, or has gone: this one has nothing, and would live as long as it
    // was to linger.
    let _ = core.revoke(granted.id, within).await;
    let (_, mut ranges) = ops::ranges(answer);
    Ok(match ops::only(ranges.pop()) {
        Some(kv) if lingers(&kv) => Release::Done,
        _ => Release::Gone,
    })
}

async fn change(
    core: &Core,
    claim: &Claim,
    kind: Kind,
    request: &TxnRequest,
    doubt: &mut Doubt,
) -> Result<TxnResponse, Trouble> {
    let within = core.patience(claim.ttl);
    let line = names::line(core.prefix(), &claim.key);
    let written = core
        .writes
        .write(&line, kind, request.clone(), within)
        .await;
    if written.doubt == Doubt::Some {
        *doubt = Doubt::Some;
    }
    written.answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_does_not_know_its_place_sees_the_join_before_it() {
        assert_eq!(leaving(0), Kind::Changes);
        assert_eq!(leaving(7), Kind::Leaves);
    }
}
