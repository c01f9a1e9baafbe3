//! Keeping and leaving.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::batch::{self, Batch, Fence, Lines};
use super::call::{self, Call};
use super::hub::Hub;
use super::{faults, scripts};
use crate::contract::{Release, Renewal};
use crate::data::{Keep, Leave, Mode, Result};

pub(super) async fn renew(hub: &Hub, keeping: &[Keep]) -> Vec<Result<Renewal>> {
    let mut answers: Vec<Option<Result<bool>>> = keeping.iter().map(|_| None).collect();
    let (held, other): (Vec<usize>, Vec<usize>) =
        (0..keeping.len()).partition(|at| hub.watches.holds_exclusively(&keeping[*at].claim.id));
    let claims = keeping.iter().map(|keep| &keep.claim);
    let within = batch::patience(hub.address.timeout, claims);
    let of = |which: &[usize]| -> Vec<&Keep> { which.iter().map(|at| &keeping[*at]).collect() };
    if !held.is_empty() {
        let call = Call {
            hub,
            script: &scripts::HELD,
            watching: true,
            within,
            command: &|which| held_command(&of(which)),
        };
        answer(&call, &held, &mut answers).await;
    }
    if !other.is_empty() {
        let call = Call {
            hub,
            script: &scripts::RENEW,
            watching: false,
            within,
            command: &|which| renew_command(&of(which)),
        };
        answer(&call, &other, &mut answers).await;
        other
            .iter()
            .for_each(|at| hub.watches.renewed(keeping[*at].claim.id));
    }
    let renewal = |at: usize, answer: Option<Result<bool>>| match answer {
        Some(Ok(true)) => Ok(Renewal::Kept),
        Some(Ok(false)) => {
            hub.watches.forget(&keeping[at].claim.id);
            Ok(Renewal::Lost)
        }
        Some(Err(error)) => Err(error.of_key(&keeping[at].claim.key)),
        None => Err(faults::garbled(&hub.address.to_string())),
    };
    answers
        .into_iter()
        .enumerate()
        .map(|(at, answer)| renewal(at, answer))
        .collect()
}

/// The number of a grant; 0, which none has, if no fence was told. Shares have none, and are not asked for it.
fn granted(keep: &Keep) -> i64 {
    keep.fence.map_or(0, |fence| fence.as_i64())
}

fn held_command(keeping: &[&Keep]) -> Cmd {
    let keys = keeping.iter().map(|keep| &keep.claim);
    let mut batch = Batch::new(&scripts::HELD, keys, Fence::Unneeded, Lines::Unneeded);
    let alike = |a: &&Keep, b: &&Keep| a.claim.ttl == b.claim.ttl;
    batch.each(
        keeping,
        |keep| (&keep.claim, Some(granted(keep))),
        alike,
        |keep| [batch::millis(keep.claim.ttl)],
    );
    batch.command()
}

fn renew_command(keeping: &[&Keep]) -> Cmd {
    let keys = keeping.iter().map(|keep| &keep.claim);
    let mut batch = Batch::new(&scripts::RENEW, keys, Fence::Unneeded, Lines::Needed);
    for keep in keeping {
        let claim = &keep.claim;
        batch.value_of((claim, Some(granted(keep))));
        batch.argument(batch::rest_of(claim).as_bytes());
        batch.argument(batch::millis(claim.ttl).as_bytes());
        batch.argument(granted(keep).to_string().as_bytes());
    }
    batch.command()
}

pub(super) async fn release(hub: &Arc<Hub>, leaving: &[Leave]) -> Vec<Result<Release>> {
    if leaving.is_empty() {
        return Vec::new();
    }
    for leave in leaving {
        hub.watches.forget(&leave.claim.id); // whatever happens to the key now is no loss
    }
    let sent: Vec<usize> = (0..leaving.len()).collect();
    let mut answers: Vec<Option<Result<bool>>> = leaving.iter().map(|_| None).collect();
    let claims = leaving.iter().map(|leave| &leave.claim);
    let within = batch::patience(hub.address.timeout, claims);
    let call = Call {
        hub,
        script: &scripts::RELEASE,
        watching: false,
        within,
        command: &|which| {
            release_command(&which.iter().map(|at| &leaving[*at]).collect::<Vec<_>>())
        },
    };
    answer(&call, &sent, &mut answers).await;
    if hub.address.signal {
        signal(hub, leaving, &answers).await;
    }
    let release = |at: usize, answer| match answer {
        Some(Ok(true)) => Ok(Release::Done),
        Some(Ok(false)) => Ok(Release::Gone),
        Some(Err(error)) => {
            let error: crate::data::Error = error;
            Err(error.of_key(&leaving[at].claim.key))
        }
        None => Err(faults::garbled(&hub.address.to_string())),
    };
    answers
        .into_iter()
        .enumerate()
        .map(|(at, answer)| release(at, answer))
        .collect()
}

fn release_command(leaving: &[&Leave]) -> Cmd {
    let keys = leaving.iter().map(|leave| &leave.claim);
    let mut batch = Batch::new(&scripts::RELEASE, keys, Fence::Needed, Lines::Needed);
    let plain = |leave: &Leave| leave.claim.mode == Mode::Exclusive && leave.linger.is_none();
    batch.argument(if leaving.iter().copied().all(plain) {
        b"x"
    } else {
        b"m"
    });
    let alike = |a: &&Leave, b: &&Leave| {
        (a.claim.mode, a.linger) == (b.claim.mode, b.linger) && a.claim.claimant == b.claim.claimant
    };
    batch.each(
        leaving,
        |leave| (&leave.claim, None),
        alike,
        |leave| {
            let linger = leave.linger.map_or_else(|| "-1".to_owned(), batch::millis);
            [batch::rest_of(&leave.claim), linger]
        },
    );
    batch.command()
}

/// Makes a call that answers each claim with yes or no.
async fn answer(call: &Call<'_>, sent: &[usize], answers: &mut [Option<Result<bool>>]) {
    let link = match call.hub.link().await {
        Ok(link) => link,
        Err(error) => {
            let all = sent.iter();
            return all.for_each(|at| answers[*at] = Some(Err(error.clone())));
        }
    };
    let mut rest = sent;
    for (count, answer) in call.send(&link, sent).await {
        let part;
        (part, rest) = rest.split_at(count);
        match answer {
            Ok(Value::Array(each)) if each.len() == count => {
                for (at, answer) in part.iter().zip(each) {
                    answers[*at] = match call::failure(&answer) {
                        Some(what) => Some(Err(link.caught(what))),
                        None => call::yes(answer).map(Ok),
                    };
                }
            }
            Ok(Value::Int(1)) => part.iter().for_each(|at| answers[*at] = Some(Ok(true))),
            Ok(_) => {}
            Err(error) => {
                let all = part.iter();
                all.for_each(|at| answers[*at] = Some(Err(error.clone())));
            }
        }
    }
}

/// How long a release waits for the signals to be taken: a process may end after its last release.
const SIGNALLING: Duration = Duration::from_millis(100);

/// Wakes the waiters of python-redis-lock, which sleep until they are told. Not telling them costs them time, so
/// a failure here is not one of the release, and one that takes long goes on beside it.
async fn signal(hub: &Arc<Hub>, leaving: &[Leave], answers: &[Option<Result<bool>>]) {
    let done = leaving.iter().zip(answers).filter_map(|(leave, answer)| {
        let key = leave.claim.key.as_bytes();
        let name = key.strip_prefix(b"lock:")?;
        matches!(answer, Some(Ok(true))).then(|| signal_command(key, name))
    });
    let commands: Vec<Cmd> = done.collect();
    if commands.is_empty() {
        return;
    }
    let hub = Arc::clone(hub);
    let sent = tokio::spawn(async move {
        if let Ok(link) = hub.link().await {
            let signals = hub.run_each(&link, &scripts::SIGNAL, &commands, false);
            let _ = signals.await;
        }
    });
    let _ = tokio::time::timeout(SIGNALLING, sent).await;
}

fn signal_command(key: &[u8], name: &[u8]) -> Cmd {
    let mut command = Cmd::new();
    command.arg("EVALSHA").arg(scripts::SIGNAL.hash()).arg(2);
    command.arg(key).arg([b"lock-signal:", name].concat());
    command
}
