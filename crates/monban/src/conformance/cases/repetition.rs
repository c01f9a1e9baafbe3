//! Every verb may be repeated, and touches its own claim only.

use super::{Stage, Verdict, ensure, or_leave};
use crate::contract::{Attempt, Release};

pub async fn every_verb_may_be_repeated(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second) = (a.exclusive(&key), b.exclusive(&key));
    a.takes(&first).await?;
    a.takes(&first).await?;
    for _ in 0..2 {
        b.waits(&second).await?;
        a.keeps(&first).await?;
    }
    let line = a.line(&key).await?;
    ensure(
        line.len() == 2,
        format_args!("repeated, and the line is {line:?}"),
    )?;
    a.leaves(&first).await?;
    for _ in 0..3 {
        a.release(&first).await?; // `Done` while the store remembers, `Gone` after: both are right
        a.has_lost(&first).await?;
    }
    b.gets(&second).await?;
    a.release(&first).await?;
    b.keeps(&second).await?;
    b.leaves(&second).await?;
    b.release(&second).await?;
    let third = or_leave(a.exclusive(&key));
    a.takes(&third).await?;
    b.release(&second).await?;
    a.keeps(&third).await?;
    a.leaves(&third).await
}

/// B09: not an error, not a success, and not a claim.
pub async fn releasing_what_is_not_in_line_changes_nothing(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let never = a.exclusive(&key);
    let told = a.release(&never).await?;
    ensure(
        told == Release::Gone,
        format_args!("never made, and its release is {told:?}"),
    )?;
    let line = a.line(&key).await?;
    ensure(line.is_empty(), format_args!("a release made {line:?}"))?;
    let holder = b.exclusive(&key);
    b.takes(&holder).await?;
    let told = a.release(&never).await?;
    ensure(
        told == Release::Gone,
        format_args!("not in line, and its release is {told:?}"),
    )?;
    b.keeps(&holder).await?;
    a.waits(&or_leave(a.exclusive(&key))).await?;
    if stage.has_linger().await? {
        a.release_answer(&never, Some(stage.long())).await??;
        b.keeps(&holder).await?;
    }
    b.leaves(&holder).await?;
    let line = a.line(&key).await?;
    ensure(line.is_empty(), format_args!("left behind: {line:?}"))
}

/// B01, B03, B07: neither another client's, nor another claim of the same client.
pub async fn only_its_own_claim_is_released(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (holder, waiter, sibling) = (a.exclusive(&key), b.exclusive(&key), a.exclusive(&key));
    a.takes(&holder).await?;
    b.waits(&waiter).await?;
    a.waits(&sibling).await?;
    a.leaves(&sibling).await?;
    a.keeps(&holder).await?;
    b.waits(&waiter).await?;
    b.leaves(&waiter).await?;
    a.keeps(&holder).await?;
    b.waits(&or_leave(b.exclusive(&key))).await?;
    a.leaves(&holder).await?;
    if !stage.has_permits().await? {
        return Ok(());
    }
    let (one, other) = (a.shared(&key), a.shared(&key));
    a.takes(&one).await?;
    a.takes(&other).await?;
    a.leaves(&one).await?;
    a.release(&one).await?; // a reader that leaves twice must not take another with it
    a.keeps(&other).await?;
    b.waits(&or_leave(b.exclusive(&key))).await?;
    a.leaves(&other).await
}

/// A request that was long on its way (B32): it may be granted, but then as what it is, a new claim that
/// can be released again. That it never comes is the engine's to see to: it releases behind it.
pub async fn a_late_attempt_after_the_release_is_a_new_claim(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let late = a.exclusive(&key);
    let before = a.takes(&late).await?.fence;
    a.leaves(&late).await?;
    match a.answer(&late).await? {
        Ok(Attempt::Granted(grant)) => {
            let newer = before.is_none() || grant.fence > before;
            ensure(
                newer,
                format_args!("{before:?}, and late {:?}", grant.fence),
            )?;
            b.waits(&or_leave(b.exclusive(&key))).await?;
        }
        Ok(Attempt::Busy(busy)) => {
            return ensure(false, format_args!("the key is free, and yet {busy:?}"));
        }
        Err(_refused) => {}
    }
    a.release(&late).await?;
    let next = or_leave(b.exclusive(&key));
    b.takes(&next).await?;
    b.leaves(&next).await
}

pub async fn a_waiting_claim_can_leave_and_come_back_at_the_end(stage: &Stage<'_>) -> Verdict {
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second, third) = (a.exclusive(&key), b.exclusive(&key), c.exclusive(&key));
    a.takes(&first).await?;
    b.waits(&second).await?;
    c.waits(&third).await?;
    b.leaves(&second).await?;
    b.has_lost(&second).await?;
    b.waits(&second).await?;
    a.leaves(&first).await?;
    if stage.is_fifo() {
        b.waits(&second).await?;
        c.gets(&third).await?;
    }
    c.leaves(&third).await?;
    b.gets(&second).await?;
    b.leaves(&second).await
}
