//! At most one holds.

use std::sync::atomic::{AtomicU64, Ordering};

use super::together::{Doing, step_aside, together};
use super::{Client, Failure, Stage, Verdict, ensure, or_leave};
use crate::contract::{Exclusion, Grant, Why};

pub async fn a_holder_excludes_every_other_client(stage: &Stage<'_>) -> Verdict {
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second, third) = (a.exclusive(&key), b.exclusive(&key), c.exclusive(&key));
    let third = or_leave(third);
    a.takes(&first).await?;
    let busy = b.waits(&second).await?;
    ensure(busy.why == Why::Held, format_args!("held, but {busy:?}"))?;
    ensure(
        busy.ahead.is_none_or(|n| n == 1),
        format_args!("one is ahead, but {busy:?}"),
    )?;
    let known = busy.who.as_ref().is_none_or(|who| who == a.claimant());
    ensure(
        known,
        format_args!("held by {}, but {busy:?}", a.claimant()),
    )?;
    c.waits(&third).await?;
    a.leaves(&first).await?;
    b.gets(&second).await?;
    c.waits(&third).await?;
    a.waits(&or_leave(a.exclusive(&key))).await?;
    b.leaves(&second).await?;
    c.gets(&third).await?;
    c.leaves(&third).await
}

/// Who asks does not matter, only the claim (B45: locks that are re-entrant by accident).
pub async fn claims_of_one_client_exclude_each_other(stage: &Stage<'_>) -> Verdict {
    let client = stage.client().await?;
    let key = stage.key("k");
    let (first, second) = (client.exclusive(&key), client.exclusive(&key));
    client.takes(&first).await?;
    client.waits(&second).await?;
    client.leaves(&first).await?;
    client.gets(&second).await?;
    client.leaves(&second).await
}

/// A refused try must not be what refuses another.
pub async fn of_simultaneous_tries_one_is_granted(stage: &Stage<'_>) -> Verdict {
    let clients: [Client; 4] = stage.clients().await?;
    let key = stage.key("k");
    for round in 0..200 {
        let claims = clients.each_ref().map(|c| or_leave(c.exclusive(&key)));
        let tries = clients.iter().zip(&claims).map(|(client, claim)| {
            Box::pin(async move { client.tries(claim).await }) as Doing<'_, Result<_, Failure>>
        });
        let answers: Vec<Result<Option<Grant>, Failure>> =
            together(stage.reach(), tries.collect()).await;
        let mut granted = Vec::new();
        for (at, answer) in answers.into_iter().enumerate() {
            if answer?.is_some() {
                granted.push(at);
            }
        }
        let most = format!(
            "{} of 4 tries were granted at once in round {round}",
            granted.len()
        );
        ensure(granted.len() <= 1, most)?;
        let one_decides = stage.promises().exclusion != Exclusion::Timing;
        ensure(
            !one_decides || granted.len() == 1,
            format_args!("4 tries on a free key refused each other in round {round}"),
        )?;
        for at in granted {
            clients[at].leaves(&claims[at]).await?;
        }
    }
    Ok(())
}

/// A store may send together what one client asks for at once: each part must still see what those before it did.
pub async fn of_claims_that_one_client_makes_at_once_one_is_granted(stage: &Stage<'_>) -> Verdict {
    let client = &stage.client().await?;
    let key = stage.key("k");
    for round in 0..40 {
        let claims: [_; 4] = std::array::from_fn(|_| match round % 2 {
            0 => client.exclusive(&key),
            _ => or_leave(client.exclusive(&key)),
        });
        let tries = claims.iter().map(|claim| {
            Box::pin(async move { client.tries(claim).await }) as Doing<'_, Result<_, Failure>>
        });
        let answers: Vec<Result<Option<Grant>, Failure>> =
            together(stage.reach(), tries.collect()).await;
        let mut granted = 0;
        for answer in answers {
            granted += usize::from(answer?.is_some());
        }
        ensure(
            granted <= 1,
            format_args!("{granted} of 4 claims were granted at once in round {round}"),
        )?;
        for claim in &claims {
            client.release(claim).await?;
        }
    }
    Ok(())
}

/// The turns of clients that come in one after the other.
#[derive(Default)]
struct Turns {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Turns {
    /// Whether somebody is inside, or has left since so many turns had ended.
    fn go_on(&self, seen: &mut u64) -> bool {
        let ended = self.ended.load(Ordering::Relaxed);
        let before = std::mem::replace(seen, ended);
        ended > before || self.begun.load(Ordering::Relaxed) > ended
    }
}

/// The detector is dumb on purpose: a read and a write with a pause between them.
pub async fn updates_made_in_turn_are_not_lost(stage: &Stage<'_>) -> Verdict {
    const TURNS: u64 = 40;
    let clients: [Client; 4] = stage.clients().await?;
    let key = stage.key("k");
    let (counter, turns) = (AtomicU64::new(0), Turns::default());
    let (counter, turns, key) = (&counter, &turns, &key);
    let work = clients.iter().map(|client| {
        Box::pin(async move {
            for _ in 0..TURNS {
                let claim = client.exclusive(key);
                let mut seen = 0;
                client.gets_after(&claim, || turns.go_on(&mut seen)).await?;
                turns.begun.fetch_add(1, Ordering::Relaxed);
                let seen = counter.load(Ordering::Relaxed);
                step_aside().await;
                counter.store(seen + 1, Ordering::Relaxed);
                client.leaves(&claim).await?;
                turns.ended.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failure>(())
        }) as Doing<'_, _>
    });
    let done: Vec<Verdict> = together(stage.reach(), work.collect()).await;
    done.into_iter().collect::<Verdict>()?;
    let (made, counted) = (4 * TURNS, counter.load(Ordering::Relaxed));
    ensure(
        made == counted,
        format_args!("{counted} of {made} updates are left"),
    )
}

pub async fn different_keys_do_not_meet(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let (one, other) = (
        a.exclusive(&stage.key("one")),
        b.exclusive(&stage.key("other")),
    );
    a.takes(&one).await?;
    b.takes(&other).await?;
    a.leaves(&one).await?;
    b.keeps(&other).await?;
    b.leaves(&other).await
}
