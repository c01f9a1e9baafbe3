//! The silent are outlived, and only they.

use std::time::Duration;

use super::{Client, Failure, Stage, Verdict, ensure, lasting, or_leave};
use crate::contract::{Attempt, Fencing, Grant, Release};
use crate::data::{Claim, EntryId, Mode, Options};

/// A claim that ends by its TTL, or by the death of its client.
fn mortal(stage: &Stage<'_>, claim: Claim) -> Claim {
    lasting(claim, stage.unit())
}

/// The same for one that is renewed in time, also by a machine that is busy.
fn renewed(stage: &Stage<'_>, claim: Claim) -> Claim {
    lasting(claim, stage.unit() + stage.slack())
}

/// Silences a client for longer than its mortal claims live.
async fn silence(stage: &Stage<'_>, client: Client) -> Option<Client> {
    if stage.has_ttl() {
        stage.outlive(stage.unit()).await;
        return Some(client);
    }
    stage.kill(client).await;
    None
}

pub async fn a_silent_holder_is_outlived_but_not_too_early(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (silent, next) = (mortal(stage, a.exclusive(&key)), b.exclusive(&key));
    let before = stage.now();
    a.takes(&silent).await?;
    b.waits(&next).await?;
    if stage.has_ttl() {
        stage.gets_by_expiry(&b, &next, before, silent.ttl).await?;
        a.has_lost(&silent).await?;
    } else {
        stage.pass(3 * silent.ttl).await;
        b.waits(&next).await?; // there is no TTL: a holder that is only stopped keeps the key
        stage.kill(a).await;
        b.gets(&next).await?;
    }
    b.leaves(&next).await
}

/// B36, B49: a dead waiter, the first or a later one.
pub async fn a_silent_waiter_does_not_hold_up_the_line(stage: &Stage<'_>) -> Verdict {
    let [a, b, c, d] = stage.clients().await?;
    let key = stage.key("k");
    let (holder, last) = (a.exclusive(&key), c.exclusive(&key));
    let (silent, other) = (
        mortal(stage, b.exclusive(&key)),
        mortal(stage, d.exclusive(&key)),
    );
    a.takes(&holder).await?;
    b.waits(&silent).await?;
    c.waits(&last).await?;
    d.waits(&other).await?;
    let d = silence(stage, d).await;
    let b = silence(stage, b).await;
    a.keeps(&holder).await?;
    a.leaves(&holder).await?;
    c.gets(&last).await?;
    drop((b, d));
    let line = c.line(&key).await?;
    ensure(
        line.len() == 1,
        format_args!("the dead are in line: {line:?}"),
    )?;
    c.leaves(&last).await
}

pub async fn many_dead_waiters_do_not_hold_up_the_line(stage: &Stage<'_>) -> Verdict {
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (holder, last) = (a.exclusive(&key), c.exclusive(&key));
    a.takes(&holder).await?;
    let many = if stage.has_ttl() { 2_000 } else { 200 }; // each may be an open file
    let dead: Vec<_> = (0..many)
        .map(|_| mortal(stage, b.exclusive(&key)))
        .collect();
    for chunk in dead.chunks(100) {
        for answer in b.attempts(chunk).await? {
            answer?;
        }
    }
    c.waits(&last).await?;
    let _b = silence(stage, b).await;
    a.leaves(&holder).await?;
    c.gets(&last).await?;
    c.leaves(&last).await
}

/// B01, B02, B04: what is left of the old holder must not touch the new one.
pub async fn an_outlived_holder_cannot_harm_its_successor(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (old, new) = (mortal(stage, a.exclusive(&key)), b.exclusive(&key));
    a.takes(&old).await?;
    if stage.has_ttl() {
        stage.outlive(old.ttl).await;
    } else {
        a.leaves(&old).await?;
    }
    b.gets(&new).await?;
    a.has_lost(&old).await?;
    let told = a.release(&old).await?;
    let right = told == Release::Gone || !stage.has_ttl();
    ensure(
        right,
        format_args!("an outlived holder's release is answered {told:?}"),
    )?;
    b.keeps(&new).await?;
    a.waits(&or_leave(a.exclusive(&key))).await?;
    b.leaves(&new).await
}

pub async fn renewal_keeps_a_hold_past_its_ttl(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let holder = renewed(stage, a.exclusive(&key));
    let grant = a.takes(&holder).await?;
    for _ in 0..7 {
        stage.pass(holder.ttl / 3).await;
        a.keeps(&holder).await?;
        b.waits(&or_leave(b.exclusive(&key))).await?;
    }
    let again = a.takes(&holder).await?;
    ensure(again.fence == grant.fence, "renewal changed the fence")?;
    a.leaves(&holder).await
}

/// What is kept for readers and permits together must live as long as the last of them.
pub async fn renewal_keeps_readers_and_permits_past_their_ttl(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let [a, b, c] = stage.clients().await?;
    for mode in [Mode::Shared, Mode::Permits { n: 1, of: 2 }] {
        let key = stage.key(&format!("{mode:?}"));
        let (one, other) = (
            renewed(stage, a.claim(&key, mode)),
            renewed(stage, b.claim(&key, mode)),
        );
        let seats = [a.takes(&one).await?.seat, b.takes(&other).await?.seat];
        for _ in 0..7 {
            stage.pass(one.ttl / 3).await;
            a.keeps(&one).await?;
            b.keeps(&other).await?;
            c.waits(&or_leave(c.exclusive(&key))).await?;
        }
        let again = [a.takes(&one).await?.seat, b.takes(&other).await?.seat];
        ensure(
            seats == again,
            format_args!("seats {seats:?} are {again:?} by renewal"),
        )?;
        a.leaves(&one).await?;
        b.leaves(&other).await?;
    }
    Ok(())
}

pub async fn asking_again_keeps_a_hold_past_its_ttl(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let holder = renewed(stage, a.exclusive(&key));
    let grant = a.takes(&holder).await?;
    for _ in 0..7 {
        stage.pass(holder.ttl / 3).await;
        let again = a.takes(&holder).await?;
        ensure(again.fence == grant.fence, "asking again changed the fence")?;
        b.waits(&or_leave(b.exclusive(&key))).await?;
    }
    a.leaves(&holder).await
}

pub async fn asking_again_keeps_a_waiter_s_place_past_its_ttl(stage: &Stage<'_>) -> Verdict {
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (holder, last) = (a.exclusive(&key), c.exclusive(&key));
    let waiter = renewed(stage, b.exclusive(&key));
    a.takes(&holder).await?;
    b.waits(&waiter).await?;
    c.waits(&last).await?;
    for _ in 0..7 {
        stage.pass(waiter.ttl / 3).await;
        b.waits(&waiter).await?;
    }
    a.leaves(&holder).await?;
    if stage.is_fifo() {
        c.waits(&last).await?;
        b.gets(&waiter).await?;
    }
    b.leaves(&waiter).await?;
    c.gets(&last).await?;
    c.leaves(&last).await
}

/// B24: a renewal that re-creates what is gone gives two holders, or a key that is never free.
pub async fn renewal_never_acquires(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    a.has_lost(&a.exclusive(&key)).await?; // never made
    let old = mortal(stage, a.exclusive(&key));
    a.takes(&old).await?;
    if stage.has_ttl() {
        stage.outlive(old.ttl).await;
    } else {
        a.leaves(&old).await?;
    }
    a.has_lost(&old).await?;
    let line = b.line(&key).await?;
    ensure(
        line.is_empty(),
        format_args!("a renewal re-created {line:?}"),
    )?;
    let new = or_leave(b.exclusive(&key));
    b.takes(&new).await?;
    a.has_lost(&old).await?;
    b.leaves(&new).await?;
    a.has_lost(&old).await?;
    b.takes(&or_leave(new.clone())).await?;
    b.leaves(&new).await
}

/// A claim was taken away, and a copy of its own request came late: its owner must not go on as if nothing had been.
pub async fn a_holder_that_has_to_wait_again_has_lost(stage: &Stage<'_>) -> Verdict {
    for mode in stage.modes().await? {
        let [a, b, c, d] = stage.clients().await?;
        let key = stage.key(&format!("{mode:?}"));
        let (old, new) = (a.claim(&key, mode), b.exclusive(&key));
        a.takes(&old).await?;
        let d = is_taken_away(stage, &a, d, &old).await?;
        b.takes(&new).await?;
        c.waits(&old).await?;
        for _ in 0..2 {
            a.has_lost(&old).await?;
            b.keeps(&new).await?;
        }
        for client in [&c, &d, &a] {
            client.release(&old).await?;
        }
        b.leaves(&new).await?;
        let last = or_leave(b.exclusive(&key));
        b.takes(&last).await?;
        b.leaves(&last).await?;
    }
    Ok(())
}

/// As above, and others have come and gone when the copy arrives. A share's grants cannot be told apart.
pub async fn a_holder_that_is_granted_anew_has_lost(stage: &Stage<'_>) -> Verdict {
    if stage.promises().fencing == Fencing::None {
        return Ok(());
    }
    let modes = stage.modes().await?;
    for mode in modes.into_iter().filter(|mode| *mode != Mode::Shared) {
        let [a, b, c, d] = stage.clients().await?;
        let key = stage.key(&format!("{mode:?}"));
        let (old, new) = (a.claim(&key, mode), b.exclusive(&key));
        a.takes(&old).await?;
        let d = is_taken_away(stage, &a, d, &old).await?;
        b.takes(&new).await?;
        b.leaves(&new).await?;
        if let Attempt::Granted(_) = c.answer(&old).await?? {
            c.keeps(&old).await?;
            a.has_lost(&old).await?;
        }
        for client in [&c, &d, &a] {
            client.release(&old).await?;
        }
    }
    Ok(())
}

/// Takes a claim out of the line behind its owner's back: by hand, or by its release from elsewhere.
async fn is_taken_away(
    stage: &Stage<'_>,
    owner: &Client,
    other: Client,
    claim: &Claim,
) -> Result<Client, Failure> {
    if stage.has_eviction().await? {
        let told = other.evicts(&other.entry(claim).await?).await?;
        ensure(told == Release::Done, format_args!("evicted: {told:?}"))?;
    } else {
        owner.leaves(claim).await?;
    }
    Ok(other)
}

/// B11, B12, B22, B23: read back from the store.
pub async fn every_renewal_starts_the_ttl_anew(stage: &Stage<'_>) -> Verdict {
    let a = stage.client().await?;
    let key = stage.key("k");
    let holder = lasting(a.exclusive(&key), 4 * stage.unit());
    a.takes(&holder).await?;
    for _ in 0..3 {
        stage.pass(stage.unit()).await;
        let before = a.entry(&holder).await?.expires_in;
        let asked = stage.now();
        a.keeps(&holder).await?;
        let after = a.entry(&holder).await?.expires_in;
        let took = stage.now().since(asked);
        let text = format!("{before:?} left before, {after:?} after a renewal");
        if !stage.has_ttl() {
            ensure(before.is_none() && after.is_none(), text)?;
            continue;
        }
        let whole = |left: Duration| left + took + stage.slack() >= holder.ttl;
        ensure(after.is_some_and(whole) && after > before, text)?;
    }
    a.leaves(&holder).await
}

/// A key's own expiry in the store is not that of the holder with the least, or the latest, TTL.
pub async fn one_reader_s_end_is_not_another_s(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    for short_first in [true, false] {
        let [a, b, c] = stage.clients().await?;
        let key = stage.key(if short_first { "short" } else { "long" });
        let (short, long) = (mortal(stage, a.shared(&key)), b.shared(&key));
        if short_first {
            a.takes(&short).await?;
        }
        b.takes(&long).await?;
        a.takes(&short).await?;
        let a = silence(stage, a).await;
        c.waits(&or_leave(c.exclusive(&key))).await?;
        b.keeps(&long).await?;
        if let Some(a) = a {
            a.has_lost(&short).await?;
        }
        b.leaves(&long).await?;
        let writer = c.exclusive(&key);
        c.gets(&writer).await?;
        c.leaves(&writer).await?;
    }
    Ok(())
}

/// B10 to B13 and B15: nanoseconds for seconds, a part of a second cut to none, ten years too many.
pub async fn ttls_are_taken_in_the_right_unit(stage: &Stage<'_>) -> Verdict {
    let a = stage.client().await?;
    let seconds = [1, 2, 59, 60, 61, 3_600, 86_400, 2_592_000, 31_622_400].map(Duration::from_secs);
    let odd = [100, 999, 1_500].map(Duration::from_millis);
    let finest = Duration::new(1, 1);
    for ttl in odd.into_iter().chain(seconds).chain([finest, Options::MAX]) {
        let claim = lasting(a.exclusive(&stage.key(&format!("{ttl:?}"))), ttl);
        let asked = stage.now();
        let grant = a.takes(&claim).await?;
        let line = a.line(&claim.key).await?;
        let took = stage.now().since(asked);
        let shown = line
            .iter()
            .find(|entry| entry.id == EntryId::Claim(claim.id));
        let left = shown.and_then(|entry| entry.expires_in);
        let text = format!("a TTL of {ttl:?}: granted {:?}, {left:?} left", grant.ttl);
        if stage.has_ttl() {
            let granted = grant
                .ttl
                .is_some_and(|given| near(stage, given, ttl, Duration::ZERO));
            let kept = match left {
                Some(left) => near(stage, left, ttl, took),
                None => took >= ttl, // the machine was slow, and it is gone by right
            };
            ensure(granted && kept, text)?;
        } else {
            let none = grant.ttl.is_none() && left.is_none() && shown.is_some();
            ensure(none, text)?;
        }
        a.release(&claim).await?;
    }
    Ok(())
}

/// Whether what a store says of a TTL is right, as far as its TTLs are fine and time has gone by.
fn near(stage: &Stage<'_>, said: Duration, ttl: Duration, took: Duration) -> bool {
    let fine = Duration::from_millis(2);
    said + took + fine >= ttl && said <= ttl + stage.slack() + fine
}

/// It may have been told by a message, long after the request that its TTL counts from: the store must say so, and each
/// renewal gives it all of its TTL.
pub async fn a_grant_after_a_wait_lives_as_long_as_any(stage: &Stage<'_>) -> Verdict {
    let [a, b, c] = stage.clients().await?;
    for renewed in [false, true] {
        let key = stage.key(&format!("renewed: {renewed}"));
        let first = a.exclusive(&key);
        let second = lasting(b.exclusive(&key), stage.unit() + stage.slack());
        let third = c.exclusive(&key);
        let plain = plain_grant(&b, &lasting(b.exclusive(&stage.key("plain")), second.ttl)).await?;
        a.takes(&first).await?;
        let joined = stage.now();
        let busy = b.waits(&second).await?;
        stage.pass(second.ttl / 4).await;
        a.leaves(&first).await?;
        b.is_woken(busy.changed).await?;
        let asked = stage.now();
        let grant = b.gets(&second).await?;
        let age = stage.now().since(joined);
        ensure(
            grant.ttl == plain.ttl && grant.age <= age && plain.age.is_zero(),
            format_args!("{grant:?} {age:?} after it joined, and otherwise {plain:?}"),
        )?;
        c.waits(&third).await?;
        let Some(ttl) = grant.ttl else {
            b.leaves(&second).await?;
            c.gets(&third).await?;
            c.leaves(&third).await?;
            continue;
        };
        let mut from = asked.before(grant.age);
        if renewed {
            stage.pass(ttl / 4).await;
            from = stage.now();
            b.keeps(&second).await?;
        }
        stage.gets_by_expiry(&c, &third, from, ttl).await?;
        c.leaves(&third).await?;
    }
    Ok(())
}

async fn plain_grant(client: &Client, claim: &Claim) -> Result<Grant, Failure> {
    let grant = client.takes(claim).await?;
    client.leaves(claim).await?;
    Ok(grant)
}
