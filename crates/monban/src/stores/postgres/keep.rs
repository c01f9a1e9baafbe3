//! Keeping and leaving.

use super::call::{Answer, Arguments, Build, Call, Single};
use super::hub::Hub;
use super::{faults, names, sql};
use crate::contract::{Release, Renewal};
use crate::data::{Claim, Fence, Keep, Leave, Mode, Result};

pub(super) async fn renew(hub: &Hub, keeping: &[Keep]) -> Vec<Result<Renewal>> {
    let claims: Vec<&Claim> = keeping.iter().map(|keep| &keep.claim).collect();
    let arguments = |which: &[usize]| {
        let each = || which.iter().map(|at| &keeping[*at].claim);
        let fences = which.iter().map(|at| keeping[*at].fence);
        let fences: Vec<Option<i64>> = fences.map(|fence| fence.map(Fence::as_i64)).collect();
        let mut arguments = whose(each());
        arguments.push(Box::new(fences));
        let ttls: Vec<i64> = each().map(|claim| names::micros(claim.ttl)).collect();
        arguments.push(Box::new(ttls));
        arguments.push(Box::new(names::plain(each())));
        arguments
    };
    let answers = send(hub, &sql::RENEW, claims.clone(), (&arguments, &|_| None)).await;
    let renewal = |(claim, answer): (&Claim, Result<Answer>)| match answer.map(|said| said.what) {
        Ok(b'k') => Ok(Renewal::Kept),
        Ok(b'n') => {
            hub.watches.forget(&claim.id);
            Ok(Renewal::Lost)
        }
        Ok(_) => Err(garbled(hub, claim)),
        Err(error) => Err(error.of_key(&claim.key)),
    };
    claims.into_iter().zip(answers).map(renewal).collect()
}

pub(super) async fn release(hub: &Hub, leaving: &[Leave]) -> Vec<Result<Release>> {
    for leave in leaving {
        hub.watches.forget(&leave.claim.id); // whatever happens to the key now is no loss
    }
    let arguments = |which: &[usize]| {
        let each = || which.iter().map(|at| &leaving[*at]);
        let claims = || each().map(|leave| &leave.claim);
        let mut arguments = whose(claims());
        let lingers: Vec<Option<i64>> = each()
            .map(|leave| leave.linger.map(names::micros))
            .collect();
        let plain = lingers.iter().all(Option::is_none) && names::plain(claims());
        arguments.push(Box::new(lingers));
        arguments.push(Box::new(plain));
        arguments
    };
    let single = |at: usize| {
        let leave = &leaving[at];
        let frequent = leave.claim.mode == Mode::Exclusive && leave.linger.is_none();
        frequent.then(|| {
            let key: Vec<u8> = leave.claim.key.as_bytes().to_vec();
            let arguments: Arguments =
                vec![Box::new(key), Box::new(leave.claim.id.to_bytes().to_vec())];
            (&sql::RELEASE_ONE, arguments)
        })
    };
    let claims = leaving.iter().map(|leave| &leave.claim).collect();
    let answers = send(hub, &sql::RELEASE, claims, (&arguments, &single)).await;
    let release = |(leave, answer): (&Leave, Result<Answer>)| match answer.map(|said| said.what) {
        Ok(b'd') => Ok(Release::Done),
        Ok(b'n') => Ok(Release::Gone),
        Ok(_) => Err(garbled(hub, &leave.claim)),
        Err(error) => Err(error.of_key(&leave.claim.key)),
    };
    leaving.iter().zip(answers).map(release).collect()
}

/// The keys and the ids.
fn whose<'a>(claims: impl Iterator<Item = &'a Claim> + Clone) -> Arguments {
    let keys: Vec<Vec<u8>> = claims
        .clone()
        .map(|claim| claim.key.as_bytes().to_vec())
        .collect();
    let ids: Vec<Vec<u8>> = claims.map(|claim| claim.id.to_bytes().to_vec()).collect();
    vec![Box::new(keys), Box::new(ids)]
}

async fn send(
    hub: &Hub,
    verb: &'static sql::Verb,
    claims: Vec<&Claim>,
    (arguments, single): (Build<'_>, Single<'_>),
) -> Vec<Result<Answer>> {
    if claims.is_empty() {
        return Vec::new();
    }
    let all: Vec<usize> = (0..claims.len()).collect();
    let link = match hub.link().await {
        Ok(link) => link,
        Err(error) => return all.iter().map(|_| Err(error.clone())).collect(),
    };
    let call = Call {
        hub,
        link: &link,
        verb,
        within: names::patience(hub.address.timeout, claims.iter().copied()),
        claims,
        arguments,
        single,
    };
    call.send(&all).await
}

fn garbled(hub: &Hub, claim: &Claim) -> crate::data::Error {
    faults::garbled(&hub.address.to_string()).of_key(&claim.key)
}
