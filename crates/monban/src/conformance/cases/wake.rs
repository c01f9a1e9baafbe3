//! Whoever can go on is told.

use std::time::Duration;

use super::together::{Doing, together};
use super::{Client, Failure, Stage, Verdict, ensure, has_come, lasting, or_leave};
use crate::contract::{Attempt, Wake};
use crate::data::{Claim, Mode};
use crate::testing::sleep;

pub async fn a_waiter_is_woken_by_a_release(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    for _ in 0..20 {
        let (first, second) = (a.exclusive(&key), b.exclusive(&key));
        a.takes(&first).await?;
        let busy = b.waits(&second).await?;
        a.leaves(&first).await?;
        b.is_woken(busy.changed).await?;
        b.gets(&second).await?;
        b.leaves(&second).await?;
    }
    Ok(())
}

/// B42, B47: the one whose place it watched is gone.
pub async fn a_waiter_is_woken_when_the_one_ahead_of_it_left_before(stage: &Stage<'_>) -> Verdict {
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second, third) = (a.exclusive(&key), b.exclusive(&key), c.exclusive(&key));
    a.takes(&first).await?;
    b.waits(&second).await?;
    let mut wake = c.waits(&third).await?.changed;
    b.leaves(&second).await?;
    if let Some(early) = &mut wake
        && has_come(early)
    {
        wake = c.waits(&third).await?.changed; // early, as it may be
    }
    a.leaves(&first).await?;
    if let Some(wake) = wake {
        woken_until_granted(&c, &third, wake).await?;
    }
    c.gets(&third).await?;
    c.leaves(&third).await
}

/// Waits for wakes alone, with no poll beside them, until the claim is granted.
async fn woken_until_granted(client: &Client, claim: &Claim, wake: Wake) -> Result<(), Failure> {
    let mut wake = Some(wake);
    loop {
        client.is_woken(wake).await?;
        match client.answer(claim).await?? {
            Attempt::Granted(_) => return Ok(()),
            Attempt::Busy(busy) => wake = busy.changed,
        }
        if wake.is_none() {
            return Ok(());
        }
    }
}

/// One release lets several in, and each must hear of it.
pub async fn all_who_are_let_in_together_are_woken(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let clients: [Client; 4] = stage.clients().await?;
    let key = stage.key("k");
    for mode in [Mode::Shared, Mode::Permits { n: 1, of: 4 }] {
        let writer = clients[0].exclusive(&key);
        clients[0].takes(&writer).await?;
        let claims = clients.each_ref().map(|client| client.claim(&key, mode));
        let mut wakes = Vec::new();
        for (client, claim) in clients.iter().zip(&claims) {
            wakes.push(client.waits(claim).await?.changed);
        }
        clients[0].leaves(&writer).await?;
        for ((client, claim), wake) in clients.iter().zip(&claims).zip(wakes).rev() {
            if let Some(wake) = wake {
                woken_until_granted(client, claim, wake).await?;
            }
            client.gets(claim).await?;
        }
        for (client, claim) in clients.iter().zip(&claims) {
            client.leaves(claim).await?;
        }
    }
    Ok(())
}

pub async fn a_refused_try_is_woken_by_a_release(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second) = (a.exclusive(&key), or_leave(b.exclusive(&key)));
    a.takes(&first).await?;
    let busy = b.waits(&second).await?;
    a.leaves(&first).await?;
    b.is_woken(busy.changed).await?;
    b.gets(&second).await?;
    b.leaves(&second).await
}

/// Expiry is not signalled: the waiter carries a timer. Death is, where there is no TTL.
pub async fn a_waiter_knows_when_silence_frees_the_key(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (silent, next) = (lasting(a.exclusive(&key), stage.unit()), b.exclusive(&key));
    a.takes(&silent).await?;
    let busy = b.waits(&next).await?;
    if !stage.has_ttl() {
        stage.kill(a).await;
        b.is_woken(busy.changed).await?;
        b.gets(&next).await?;
        return b.leaves(&next).await;
    }
    let Some(free_in) = busy.free_in else {
        return Err(Failure::new(format_args!(
            "no instant to ask again at: {busy:?}"
        )));
    };
    let most = stage.unit() + stage.slack();
    ensure(
        free_in <= most,
        format_args!("free in {free_in:?}, TTL {:?}", silent.ttl),
    )?;
    stage.pass(free_in).await;
    b.gets(&next).await?;
    b.leaves(&next).await
}

/// B46: the release falls between the look at the line and the waiting, in every possible way.
pub async fn no_wake_is_lost_between_look_and_release(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    for round in 0..200 {
        let first = a.exclusive(&key);
        let second = match round % 2 {
            0 => b.exclusive(&key),
            _ => or_leave(b.exclusive(&key)),
        };
        a.takes(&first).await?;
        let release = Box::pin(async { a.leaves(&first).await.map(|()| None) });
        let look = Box::pin(async {
            match b.answer(&second).await?? {
                Attempt::Busy(busy) => Ok(busy.changed),
                Attempt::Granted(_) => Ok(None),
            }
        });
        let both: Vec<Doing<'_, Result<Option<Wake>, Failure>>> = vec![release, look];
        for told in together(stage.reach(), both).await {
            let woken = b.is_woken(told?).await;
            woken.map_err(|failure| failure.while_doing(format_args!("round {round}")))?;
        }
        b.gets(&second).await?;
        b.leaves(&second).await?;
    }
    Ok(())
}

/// B48: a crowd that is woken to find the key taken.
pub async fn a_release_wakes_only_the_next(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let first = a.exclusive(&key);
    a.takes(&first).await?;
    let crowd: Vec<_> = (0..8).map(|_| b.exclusive(&key)).collect();
    let mut wakes = Vec::new();
    for claim in &crowd {
        wakes.extend(b.waits(claim).await?.changed);
    }
    let armed = wakes.len();
    a.leaves(&first).await?;
    b.gets(&crowd[0]).await?;
    sleep(stage.slack().min(Duration::from_millis(100))).await;
    let woken = wakes
        .iter_mut()
        .filter_map(|wake| has_come(wake).then_some(()))
        .count();
    let few = !stage.wakes_only_next() || woken <= 2;
    ensure(few, format_args!("{woken} of {armed} were woken"))?;
    let next = !stage.wakes_only_next() || armed == crowd.len() && woken >= 1;
    ensure(
        next,
        format_args!("{armed} of {} can be woken, {woken} were", crowd.len()),
    )?;
    for claim in crowd.iter().rev() {
        b.leaves(claim).await?;
    }
    Ok(())
}

/// B41, B52: futures that are dropped, the first as the last.
pub async fn wakes_that_nobody_awaits_do_no_harm(stage: &Stage<'_>) -> Verdict {
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second, third) = (a.exclusive(&key), b.exclusive(&key), c.exclusive(&key));
    a.takes(&first).await?;
    for _ in 0..50 {
        drop(b.waits(&second).await?.changed);
        drop(c.waits(&or_leave(c.exclusive(&key))).await?.changed);
    }
    let busy = c.waits(&third).await?;
    b.leaves(&second).await?;
    a.leaves(&first).await?;
    if let Some(wake) = busy.changed {
        woken_until_granted(&c, &third, wake).await?;
    }
    c.gets(&third).await?;
    c.leaves(&third).await
}

/// A message may bring the grant, so that it need not be asked for. Then it is the one that asking would bring.
pub async fn what_is_told_of_a_grant_is_what_an_attempt_answers_and_told_once(
    stage: &Stage<'_>,
) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    for mode in stage.modes().await? {
        let (first, second) = (a.exclusive(&key), b.claim(&key, mode));
        a.takes(&first).await?;
        let busy = b.waits(&second).await?;
        let early = b.told(&second);
        ensure(
            early.is_none(),
            format_args!("a claim that waits ({mode:?}) is told of {early:?}"),
        )?;
        a.leaves(&first).await?;
        b.is_woken(busy.changed).await?;
        let told = b.told(&second);
        let again = b.told(&second);
        ensure(again.is_none(), format_args!("told again: {again:?}"))?;
        if told.is_some() {
            b.keeps(&second).await?;
        }
        let asked = b.gets(&second).await?;
        let same = told
            .as_ref()
            .is_none_or(|told| (told.fence, told.seat) == (asked.fence, asked.seat));
        ensure(same, format_args!("told of {told:?}, answered {asked:?}"))?;
        b.leaves(&second).await?;
    }
    Ok(())
}
