//! Asking for claims.

use std::sync::Arc;
use std::time::Duration;

use super::call::{Answer, Arguments, Call};
use super::hub::Hub;
use super::link::Link;
use super::watches::{Handed, another_mode};
use super::{faults, names, sql};
use crate::contract::{Attempt, Busy, Ends, Grant, Wake, Why};
use crate::data::{Claim, Claimant, Fence, IfBusy, Mode, Result};
use crate::rule::backoff::Jitter;
use crate::rule::{Tick, line};

/// Where nothing can be told, a waiter asks again after this long at most, and after half of it at least. Those behind
/// the first to wait ask a quarter as often.
const POLL: Duration = Duration::from_millis(100);

pub(super) async fn attempt(hub: &Hub, claims: &[Claim]) -> Vec<Result<Attempt>> {
    let mut answers: Vec<Option<Result<Attempt>>> = claims.iter().map(|_| None).collect();
    let mut fresh = vec![false; claims.len()];
    let mut sent = Vec::with_capacity(claims.len());
    let now = hub.clock.now();
    for (at, claim) in claims.iter().enumerate() {
        if let Some(grant) = told(hub, claim, now) {
            answers[at] = Some(Ok(Attempt::Granted(grant)));
            continue;
        }
        match claim.mode.check().and_then(|()| hub.watches.ask(claim)) {
            Ok(new) => {
                sent.push(at);
                fresh[at] = new;
            }
            Err(error) => answers[at] = Some(Err(error)),
        }
    }
    if !sent.is_empty() {
        for (at, answer) in sent.iter().zip(ask(hub, claims, &sent, now).await) {
            if answer.is_err() && fresh[*at] {
                hub.watches.forget(&claims[*at].id);
            }
            answers[*at] = Some(answer.map_err(|error| error.of_key(&claims[*at].key)));
        }
    }
    let unread = || Err(faults::garbled(&hub.address.to_string()));
    answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(unread))
        .collect()
}

/// The grant that a message has brought for a claim by `now`, if one has.
pub(super) fn told(hub: &Hub, claim: &Claim, now: Tick) -> Option<Grant> {
    let (handed, age) = hub.watches.handed(claim, now)?;
    let lost = hub.watches.hold(claim.id, true);
    Some(granted(claim, handed, age, lost))
}

/// Asks for the claims that stand at these places, at `now`; the answers in the same order.
async fn ask(hub: &Hub, claims: &[Claim], sent: &[usize], now: Tick) -> Vec<Result<Attempt>> {
    let link = match hub.link().await {
        Ok(link) => link,
        Err(error) => return sent.iter().map(|_| Err(error.clone())).collect(),
    };
    let within = names::patience(hub.address.timeout, sent.iter().map(|at| &claims[*at]));
    // What is sent says for all of them whether they hear. One that is heard by the time of the answer has said no.
    let heard = hear_all(&link, sent.iter().map(|at| &claims[*at]));
    let mut replies = send(hub, &link, claims, sent, within).await;
    // Whoever is to be told has to listen first, and then to look again.
    let deaf: Vec<usize> = (0..sent.len())
        .filter(|at| {
            let waits = replies[*at].as_ref().is_ok_and(|reply| is_busy(reply.what));
            waits && !heard && claims[sent[*at]].if_busy == IfBusy::Queue
        })
        .collect();
    if link.session.is_some() && !deaf.is_empty() {
        match hear(&link, claims, sent, &deaf).await {
            Ok(()) => {
                let again: Vec<usize> = deaf.iter().map(|at| sent[*at]).collect();
                let answers = send(hub, &link, claims, &again, within).await;
                deaf.iter()
                    .zip(answers)
                    .for_each(|(at, answer)| replies[*at] = answer);
            }
            Err(error) => deaf.iter().for_each(|at| replies[*at] = Err(error.clone())),
        }
    }
    let judged = sent.iter().zip(replies);
    judged
        .map(|(at, reply)| judge(hub, &link, (&claims[*at], now), reply?))
        .collect()
}

fn hear_all<'a>(link: &Link, mut claims: impl Iterator<Item = &'a Claim>) -> bool {
    claims.all(|claim| link.hears(&claim.id.process()))
}

async fn hear(link: &Arc<Link>, claims: &[Claim], sent: &[usize], deaf: &[usize]) -> Result<()> {
    for at in deaf {
        let process = claims[sent[*at]].id.process();
        link.noticing(link.hear(process).await)?;
    }
    Ok(())
}

async fn send(
    hub: &Hub,
    link: &Arc<Link>,
    claims: &[Claim],
    sent: &[usize],
    within: Duration,
) -> Vec<Result<Answer>> {
    let call = Call {
        hub,
        link,
        verb: &sql::ATTEMPT,
        within,
        claims: claims.iter().collect(),
        arguments: &|which| arguments(link, which.iter().map(|at| &claims[*at])),
        single: &|at| single(link, &claims[at]),
    };
    call.send(sent).await
}

fn arguments<'a>(
    link: &Link,
    claims: impl ExactSizeIterator<Item = &'a Claim> + Clone,
) -> Arguments {
    let each = || claims.clone();
    let hears = hear_all(link, each());
    let keys: Vec<Vec<u8>> = each().map(|claim| claim.key.as_bytes().to_vec()).collect();
    let ids: Vec<Vec<u8>> = each().map(|claim| claim.id.to_bytes().to_vec()).collect();
    let (takes, slots): (Vec<i64>, Vec<i64>) =
        each().map(|claim| names::weight(claim.mode)).unzip();
    let ttls: Vec<i64> = each().map(|claim| names::micros(claim.ttl)).collect();
    let queues: Vec<bool> = each().map(|claim| claim.if_busy == IfBusy::Queue).collect();
    let claimants: Vec<String> = each().map(|claim| claim.claimant.encode()).collect();
    vec![
        Box::new(keys),
        Box::new(ids),
        Box::new(takes),
        Box::new(slots),
        Box::new(ttls),
        Box::new(queues),
        Box::new(claimants),
        Box::new(hears),
        Box::new(names::plain(claims)),
    ]
}

fn single(link: &Link, claim: &Claim) -> Option<(&'static sql::Verb, Arguments)> {
    let arguments: Arguments = vec![
        Box::new(claim.key.as_bytes().to_vec()),
        Box::new(claim.id.to_bytes().to_vec()),
        Box::new(names::micros(claim.ttl)),
        Box::new(claim.if_busy == IfBusy::Queue),
        Box::new(claim.claimant.encode()),
        Box::new(link.hears(&claim.id.process())),
    ];
    (claim.mode == Mode::Exclusive).then_some((&sql::ATTEMPT_ONE, arguments))
}

fn is_busy(what: u8) -> bool {
    matches!(what, b'h' | b'q' | b'l' | b'r' | b'b')
}

fn judge(hub: &Hub, link: &Link, (claim, asked): (&Claim, Tick), reply: Answer) -> Result<Attempt> {
    let hears = link.hears(&claim.id.process());
    match reply.what {
        b'g' if claim.mode != Mode::Shared && reply.fence.and_then(Fence::new).is_none() => {
            Err(faults::garbled(&link.name)) // a grant whose number is that of no fence is none
        }
        b'g' => {
            let lost = hub.watches.hold(claim.id, hears);
            let handed = Handed {
                number: reply.fence.unwrap_or(0),
                seat: reply.seat.unwrap_or(-1),
            };
            Ok(Attempt::Granted(granted(
                claim,
                handed,
                Duration::ZERO,
                lost,
            )))
        }
        b'c' => {
            hub.watches.forget(&claim.id);
            let there = reply.fence.and_then(|there| u32::try_from(there).ok());
            let asked = claim.mode.capacity().unwrap_or(1);
            let clash = line::clash(asked, there.unwrap_or(Mode::SHARES));
            Err(crate::data::Error::mismatch(&claim.key, clash))
        }
        b'm' => Err(another_mode(&claim.key)),
        what if is_busy(what) => {
            if claim.if_busy == IfBusy::Queue {
                let waited = reply.fence.unwrap_or(i64::MAX); // of what is not known nothing is taken
                hub.watches
                    .in_line(&claim.id, asked.after(claim.ttl), waited);
            }
            Ok(Attempt::Busy(busy(hub, hears, claim, &reply)))
        }
        _ => Err(faults::garbled(&link.name)),
    }
}

fn granted(claim: &Claim, handed: Handed, age: Duration, lost: Option<Wake>) -> Grant {
    let fenced = claim.mode != Mode::Shared;
    Grant {
        fence: fenced.then(|| Fence::new(handed.number)).flatten(),
        seat: u32::try_from(handed.seat).ok(),
        ttl: Some(claim.ttl),
        age,
        lost,
    }
}

fn busy(hub: &Hub, hears: bool, claim: &Claim, reply: &Answer) -> Busy {
    // One that was refused is told by nobody.
    let told = hears && claim.if_busy == IfBusy::Queue;
    let pause = if reply.ahead.is_some_and(|ahead| ahead > 1) {
        POLL * 4
    } else {
        POLL
    };
    let free_in = reply.free.map(|micros| names::duration(micros + 1_000));
    let pause = (!told).then(|| pause / 2 + Jitter::new().up_to(pause / 2));
    Busy {
        ahead: reply.ahead.and_then(|ahead| usize::try_from(ahead).ok()),
        why: match reply.what {
            b'q' => Why::Queued,
            b'l' => Why::Lingering,
            b'r' => Why::Recovering,
            b'b' => Why::Barred,
            _ => Why::Held,
        },
        who: reply.who.as_deref().and_then(Claimant::parse),
        held_for: reply.held.map(names::duration),
        free_in,
        // The time is that of whoever lives longest, also of those who wait: they do not outlive an interval.
        ends: match (reply.what, reply.ahead) {
            (b'l' | b'r', _) | (b'h', Some(1)) => free_in.into(),
            _ => Ends::Unknown,
        },
        changed: hub.watches.wait(claim, pause),
    }
}
