//! A released claim keeps its place for a time, with no owner.

use std::time::Duration;

use super::{Stage, Verdict, ensure, lasting, or_leave};
use crate::contract::Why;
use crate::data::{Options, Standing};

pub async fn a_lingering_claim_blocks_until_its_time_is_over(stage: &Stage<'_>) -> Verdict {
    if !stage.has_linger().await? {
        return Ok(());
    }
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (first, next) = (a.exclusive(&key), or_leave(b.exclusive(&key)));
    a.takes(&first).await?;
    let linger = stage.unit();
    let before = stage.now();
    a.lingers(&first, linger).await?;
    let busy = b.waits(&next).await?;
    ensure(
        busy.why == Why::Lingering,
        format_args!("lingering, but {busy:?}"),
    )?;
    let known = busy
        .free_in
        .is_none_or(|left| left <= linger + stage.slack());
    ensure(known, format_args!("lingers for {linger:?}, but {busy:?}"))?;
    let line = b.line(&key).await?;
    let lingers = line.len() == 1 && line[0].standing == Standing::Lingering;
    ensure(lingers, format_args!("lingering is shown as {line:?}"))?;
    stage.gets_by_expiry(&b, &next, before, linger).await?;
    b.leaves(&next).await
}

pub async fn whoever_waits_behind_a_lingering_claim_is_granted_after_it(
    stage: &Stage<'_>,
) -> Verdict {
    if !stage.has_linger().await? {
        return Ok(());
    }
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second, third) = (a.exclusive(&key), b.exclusive(&key), c.exclusive(&key));
    a.takes(&first).await?;
    let told = b.waits(&second).await?;
    let before = stage.now();
    a.lingers(&first, stage.unit()).await?;
    b.is_woken(told.changed).await?; // when to ask again has changed
    b.waits(&second).await?;
    c.waits(&third).await?;
    stage
        .gets_by_expiry(&b, &second, before, stage.unit())
        .await?;
    c.waits(&third).await?;
    b.leaves(&second).await?;
    c.gets(&third).await?;
    c.leaves(&third).await
}

pub async fn a_lingering_claim_has_no_owner(stage: &Stage<'_>) -> Verdict {
    if !stage.has_linger().await? {
        return Ok(());
    }
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (first, next) = (a.exclusive(&key), b.exclusive(&key));
    a.takes(&first).await?;
    let before = stage.now();
    a.lingers(&first, stage.unit()).await?;
    a.has_lost(&first).await?;
    a.lingers(&first, stage.long()).await?; // a repetition, as after a lost reply: it does not start anew
    a.leaves(&first).await?; // another: it does not end it either
    a.waits(&or_leave(a.exclusive(&key))).await?;
    b.waits(&next).await?;
    stage.kill(a).await;
    b.waits(&next).await?;
    stage
        .gets_by_expiry(&b, &next, before, stage.unit())
        .await?;
    b.leaves(&next).await
}

/// A scheduler sleeps by what it is told, also behind one who waits and lives for a shorter time.
pub async fn the_end_of_a_linger_is_told_whoever_waits(stage: &Stage<'_>) -> Verdict {
    if !stage.has_linger().await? {
        return Ok(());
    }
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let ttl = stage.unit() + stage.slack();
    let (first, next) = (a.exclusive(&key), lasting(b.exclusive(&key), ttl));
    a.takes(&first).await?;
    let (before, linger) = (stage.now(), 3 * ttl);
    a.lingers(&first, linger).await?;
    for client in [&b, &c, &b] {
        let busy = match std::ptr::eq(client, &c) {
            true => c.waits(&or_leave(c.exclusive(&key))).await?,
            false => b.waits(&next).await?,
        };
        let least = linger.saturating_sub(stage.now().since(before) + Duration::from_millis(5));
        let right = busy
            .ends
            .after()
            .is_some_and(|left| left >= least && left <= linger + stage.slack());
        ensure(
            right && busy.why == Why::Lingering,
            format_args!("lingers for {least:?} at least, but {busy:?}"),
        )?;
    }
    stage.gets_by_expiry(&b, &next, before, linger).await?;
    b.leaves(&next).await
}

pub async fn linger_is_independent_of_the_ttl(stage: &Stage<'_>) -> Verdict {
    if !stage.has_linger().await? {
        return Ok(());
    }
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let next = b.exclusive(&key);
    for (ttl, linger) in [
        (stage.unit(), 2 * stage.unit()),
        (stage.long(), stage.unit()),
    ] {
        let first = lasting(a.exclusive(&key), ttl);
        a.takes(&first).await?;
        let before = stage.now();
        a.lingers(&first, linger).await?;
        b.waits(&next).await?;
        stage.gets_by_expiry(&b, &next, before, linger).await?;
        b.leaves(&next).await?;
    }
    if stage.promises().release_by_hand {
        let first = a.exclusive(&key);
        a.takes(&first).await?;
        a.lingers(&first, Options::MAX).await?;
        let entry = a.entry(&first).await?;
        let left = entry.expires_in.unwrap_or_default();
        let text = format!("ten years of linger are shown as {entry:?}");
        ensure(left > Options::MAX - Duration::from_secs(60), text)?;
        a.evicts(&entry).await?;
    }
    Ok(())
}

/// Only a claim that holds has a place worth keeping.
pub async fn a_waiting_claim_does_not_linger(stage: &Stage<'_>) -> Verdict {
    if !stage.has_linger().await? {
        return Ok(());
    }
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second) = (a.exclusive(&key), b.exclusive(&key));
    a.takes(&first).await?;
    b.waits(&second).await?;
    b.lingers(&second, stage.long()).await?;
    let line = a.line(&key).await?;
    ensure(
        line.len() == 1,
        format_args!("a claim that waited lingers: {line:?}"),
    )?;
    a.leaves(&first).await?;
    b.takes(&or_leave(second.clone())).await?;
    b.leaves(&second).await
}
