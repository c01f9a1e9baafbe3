//! Freed by hand: what was shown, and nothing else.

use super::{Stage, Verdict, ensure, or_leave};
use crate::contract::{Release, Renewal};
use crate::data::EntryId;

pub async fn evicting_a_holder_lets_the_next_in_and_tells_it(stage: &Stage<'_>) -> Verdict {
    if !stage.has_eviction().await? {
        return Ok(());
    }
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second) = (a.exclusive(&key), b.exclusive(&key));
    let grant = a.takes(&first).await?;
    let busy = b.waits(&second).await?;
    let entry = c.entry(&first).await?;
    let told = c.evicts(&entry).await?;
    ensure(
        told == Release::Done,
        format_args!("freeing {entry:?} by hand is {told:?}"),
    )?;
    a.is_woken(grant.lost).await?;
    a.has_lost(&first).await?;
    b.is_woken(busy.changed).await?;
    let next = b.gets(&second).await?;
    let newer = grant.fence.is_none() || next.fence > grant.fence;
    ensure(
        newer,
        format_args!("{:?}, and after it {:?}", grant.fence, next.fence),
    )?;
    a.release(&first).await?;
    b.keeps(&second).await?;
    b.leaves(&second).await
}

/// A list that somebody looked at for a while is old (Terraform's force-unlock compares for that).
pub async fn evicting_what_is_there_no_more_changes_nothing(stage: &Stage<'_>) -> Verdict {
    if !stage.has_eviction().await? {
        return Ok(());
    }
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (old, new) = (a.exclusive(&key), b.exclusive(&key));
    a.takes(&old).await?;
    let entry = a.entry(&old).await?;
    a.leaves(&old).await?;
    gone(&a, &entry).await?;
    b.takes(&new).await?;
    gone(&a, &entry).await?;
    b.keeps(&new).await?;
    let mut foreign = b.entry(&new).await?;
    foreign.id = EntryId::Foreign(Box::from(&b"what nobody put there"[..]));
    gone(&a, &foreign).await?;
    b.keeps(&new).await?;
    let mut elsewhere = b.entry(&new).await?;
    elsewhere.key = stage.key("other");
    gone(&a, &elsewhere).await?;
    b.keeps(&new).await?;
    a.waits(&or_leave(a.exclusive(&key))).await?;
    b.leaves(&new).await
}

async fn gone(client: &super::Client, entry: &crate::data::Entry) -> Verdict {
    let told = client.evicts(entry).await?;
    ensure(
        told == Release::Gone,
        format_args!("{entry:?} is not there, and freeing it {told:?}"),
    )
}

pub async fn a_waiting_claim_can_be_evicted(stage: &Stage<'_>) -> Verdict {
    if !stage.has_eviction().await? {
        return Ok(());
    }
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second, third) = (a.exclusive(&key), b.exclusive(&key), c.exclusive(&key));
    a.takes(&first).await?;
    b.waits(&second).await?;
    c.waits(&third).await?;
    let entry = a.entry(&second).await?;
    let told = a.evicts(&entry).await?;
    ensure(
        told == Release::Done,
        format_args!("freeing {entry:?} by hand is {told:?}"),
    )?;
    let line = a.line(&key).await?;
    ensure(
        line.len() == 2,
        format_args!("one of three was evicted: {line:?}"),
    )?;
    a.keeps(&first).await?;
    a.leaves(&first).await?;
    c.gets(&third).await?;
    c.leaves(&third).await
}

pub async fn a_lingering_claim_can_be_evicted(stage: &Stage<'_>) -> Verdict {
    if !stage.has_eviction().await? || !stage.has_linger().await? {
        return Ok(());
    }
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (first, next) = (a.exclusive(&key), b.exclusive(&key));
    a.takes(&first).await?;
    a.lingers(&first, stage.long()).await?;
    b.waits(&next).await?;
    let entry = b.entry(&first).await?;
    let told = b.evicts(&entry).await?;
    ensure(
        told == Release::Done,
        format_args!("freeing {entry:?} by hand is {told:?}"),
    )?;
    b.gets(&next).await?;
    ensure(
        a.renew(&first).await? == Renewal::Lost,
        "freed by hand, and yet renewed",
    )?;
    b.leaves(&next).await
}
