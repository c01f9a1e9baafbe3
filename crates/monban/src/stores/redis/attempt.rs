//! Asking for claims.

use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;

use super::batch::{self, Batch, Fence as Counter, Lines};
use super::call::Call;
use super::hub::Hub;
use super::link::Link;
use super::reply::{self, InTheWay, Reply};
use super::value::{self, At};
use super::watches::{Handed, Watching};
use super::{faults, scripts};
use crate::contract::{Attempt, Busy, Ends, Grant, Wake, Why};
use crate::data::{Claim, Error, Fence, IfBusy, Key, Mode, Result};
use crate::rule::backoff::Jitter;
use crate::rule::{Tick, line};

/// Where the server cannot push, a waiter asks again after this long at most.
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
        match batch::check(claim).and_then(|()| hub.watches.ask(claim)) {
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

fn command(claims: &[&Claim]) -> Cmd {
    let keys = claims.iter().copied();
    let mut batch = Batch::new(&scripts::ATTEMPT, keys, Counter::Needed, Lines::Needed);
    let plain = claims.iter().all(|claim| claim.mode == Mode::Exclusive);
    batch.argument(if plain { b"x" } else { b"m" });
    let alike = |a: &&Claim, b: &&Claim| {
        (a.mode, a.ttl, a.if_busy) == (b.mode, b.ttl, b.if_busy) && a.claimant == b.claimant
    };
    batch.each(
        claims,
        |claim| (claim, None),
        alike,
        |claim| {
            let queue = if claim.if_busy == IfBusy::Queue {
                "+"
            } else {
                "-"
            };
            [
                [":", &claim.claimant.encode()].concat(),
                batch::millis(claim.ttl),
                [queue, &batch::kind_of(claim.mode)].concat(),
            ]
        },
    );
    batch.command()
}

/// The grant that a message has brought for a claim by `now`, if one has.
pub(super) fn told(hub: &Hub, claim: &Claim, now: Tick) -> Option<Grant> {
    let (handed, age) = hub.watches.handed(claim, now)?;
    let lost = hub.watches.hold(claim.id);
    Some(granted(claim, handed, age, lost))
}

/// Asks for the claims that stand at these places, at `now`; the answers in the same order.
async fn ask(hub: &Hub, claims: &[Claim], sent: &[usize], now: Tick) -> Vec<Result<Attempt>> {
    let of = |which: &[usize]| -> Vec<&Claim> { which.iter().map(|at| &claims[*at]).collect() };
    let link = match hearing(hub, &of(sent)).await {
        Ok(link) => link,
        Err(error) => return sent.iter().map(|_| Err(error.clone())).collect(),
    };
    let call = Call {
        hub,
        script: &scripts::ATTEMPT,
        watching: false,
        within: batch::patience(hub.address.timeout, of(sent).into_iter()),
        command: &|which| command(&of(which)),
    };
    let mut replies = Vec::with_capacity(sent.len());
    for (count, answer) in call.send(&link, sent).await {
        match answer {
            Ok(value) => replies.extend(reply::read_all(value, count, &link.name, |what| {
                link.caught(what)
            })),
            Err(error) => replies.extend((0..count).map(|_| Err(error.clone()))),
        }
    }
    let judged = sent.iter().zip(replies);
    judged
        .map(|(at, reply)| reply.and_then(|reply| judge(hub, &link, (&claims[*at], now), reply)))
        .collect()
}

/// A connection that hears what is published to these claims.
async fn hearing(hub: &Hub, claims: &[&Claim]) -> Result<Arc<Link>> {
    let link = hub.link().await?;
    let mut heard = None;
    for process in claims.iter().map(|claim| claim.id.process()) {
        if heard.replace(process) != Some(process) {
            link.hear(process).await?;
        }
    }
    Ok(link)
}

fn judge(hub: &Hub, link: &Link, (claim, asked): (&Claim, Tick), reply: Reply) -> Result<Attempt> {
    match reply {
        Reply::Granted(handed) => {
            let lost = link.pushes.then(|| hub.watches.hold(claim.id)).flatten();
            Ok(Attempt::Granted(granted(
                claim,
                handed,
                Duration::ZERO,
                lost,
            )))
        }
        Reply::Busy(way) => {
            if claim.if_busy == IfBusy::Queue {
                let lives = asked.after(claim.ttl);
                hub.watches.in_line(&claim.id, lives, way.now);
            }
            Ok(Attempt::Busy(busy(hub, link, claim, &way)))
        }
        Reply::Clash { there } => {
            hub.watches.forget(&claim.id);
            Err(clash(&claim.key, claim.mode, there))
        }
        Reply::OtherMode => Err(super::watches::another_mode(&claim.key)),
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

fn clash(key: &Key, asked: Mode, there: i64) -> Error {
    let there = u32::try_from(there).unwrap_or(Mode::SHARES);
    Error::mismatch(key, line::clash(asked.capacity().unwrap_or(1), there))
}

fn busy(hub: &Hub, link: &Link, claim: &Claim, way: &InTheWay) -> Busy {
    let at = way.value.as_deref().map(At::read);
    let (why, who, since) = match &at {
        None => (Why::Queued, None, None),
        Some(At::Held {
            claimant, since, ..
        }) => (Why::Held, claimant.clone(), Some(*since)),
        Some(At::Lingering {
            claimant, since, ..
        }) => (Why::Lingering, claimant.clone(), Some(*since)),
        Some(At::Marker { capacity, used }) => {
            let member = value::Member::read(&way.first);
            let who = member.and_then(|member| member.claimant);
            (crowded(claim.mode, *capacity, *used), who, None)
        }
        Some(At::Foreign) => (Why::Foreign, None, None),
    };
    let poll = (!link.pushes).then(|| POLL / 2 + Jitter::new().up_to(POLL / 2));
    let refused = claim.if_busy == IfBusy::Leave;
    if refused {
        hub.watches.pass(&claim.id);
    }
    // One that was refused is told by nobody else: it watches the key as a head does.
    let watching = match &at {
        _ if refused => Watching::Soon,
        _ if !way.head => Watching::No,
        Some(At::Held { .. } | At::Marker { .. }) => Watching::Late,
        Some(At::Lingering { .. } | At::Foreign) | None => Watching::Soon,
    };
    let changed = hub
        .watches
        .wait(claim.id, watching, way.value.as_deref(), poll);
    Busy {
        ahead: usize::try_from(way.ahead).ok(),
        why,
        who,
        held_for: since.map(|since| value::micros(way.now.saturating_sub(since))),
        free_in: millis(way.free_in),
        ends: match (way.left, &at) {
            (-1, Some(_)) => Ends::Never,
            (left, _) => millis(left).into(),
        },
        changed,
    }
}

/// A time from now that the server has told; it counts no part of a ms.
fn millis(ms: i64) -> Option<Duration> {
    let ms = u64::try_from(ms).ok()?;
    Some(Duration::from_millis(ms.saturating_add(1)))
}

/// Whether what holds is in the way, or only those who wait for it.
fn crowded(asked: Mode, capacity: u32, used: u64) -> Why {
    let needs = u64::from(asked.weight(capacity));
    if asked == Mode::Exclusive || used + needs > u64::from(capacity) {
        Why::Held
    } else {
        Why::Queued
    }
}
