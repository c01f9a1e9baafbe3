//! As many hold as fit.

use std::collections::BTreeSet;

use super::together::{Doing, together};
use super::{Client, Failure, Stage, Verdict, ensure, lasting, or_leave};
use crate::contract::Grant;
use crate::data::{Error, Mode};

pub async fn permits_are_held_up_to_their_number(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (one, two, more) = (
        a.permits(&key, 1, 3),
        b.permits(&key, 2, 3),
        c.permits(&key, 1, 3),
    );
    a.takes(&one).await?;
    b.takes(&two).await?;
    c.waits(&or_leave(more.clone())).await?;
    c.waits(&more).await?;
    a.leaves(&one).await?;
    c.gets(&more).await?;
    let great = a.permits(&key, 2, 3);
    a.waits(&great).await?;
    c.leaves(&more).await?;
    a.waits(&great).await?; // one is free, two are asked for
    b.leaves(&two).await?;
    a.gets(&great).await?;
    a.leaves(&great).await
}

pub async fn a_great_claim_is_not_starved_by_small_ones(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? || !stage.is_fifo() {
        return Ok(());
    }
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (small, great, later) = (
        a.permits(&key, 1, 3),
        b.permits(&key, 3, 3),
        c.permits(&key, 1, 3),
    );
    a.takes(&small).await?;
    b.waits(&great).await?;
    c.waits(&or_leave(c.permits(&key, 1, 3))).await?; // it would fit, but is behind
    c.waits(&later).await?;
    a.leaves(&small).await?;
    c.waits(&later).await?;
    b.gets(&great).await?;
    b.leaves(&great).await?;
    c.gets(&later).await?;
    c.leaves(&later).await
}

pub async fn an_exclusive_claim_takes_all_permits(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let modes = [
        Mode::Shared,
        Mode::Permits { n: 1, of: 3 },
        Mode::Permits { n: 1, of: 1 },
    ];
    for mode in modes {
        let (some, all) = (a.claim(&key, mode), b.exclusive(&key));
        a.takes(&some).await?;
        b.waits(&or_leave(b.exclusive(&key))).await?;
        b.waits(&all).await?;
        a.leaves(&some).await?;
        b.gets(&all).await?;
        a.waits(&or_leave(a.claim(&key, mode))).await?;
        b.leaves(&all).await?;
        let after = or_leave(a.claim(&key, mode));
        a.takes(&after).await?;
        a.leaves(&after).await?;
    }
    Ok(())
}

pub async fn another_capacity_is_a_mismatch_while_the_key_is_in_use(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let [a, b] = stage.clients().await?;
    let modes = [
        Mode::Shared,
        Mode::Permits { n: 1, of: 3 },
        Mode::Permits { n: 1, of: 4 },
    ];
    for (at, there) in modes.into_iter().enumerate() {
        for (other, asked) in modes.into_iter().enumerate() {
            if at == other {
                continue;
            }
            let key = stage.key(&format!("{at}-{other}"));
            let (first, wrong) = (a.claim(&key, there), b.claim(&key, asked));
            a.takes(&first).await?;
            mismatches(&b, &wrong).await?;
            mismatches(&b, &or_leave(wrong.clone())).await?;
            let line = a.line(&key).await?;
            ensure(
                line.len() == 1,
                format_args!("a mismatch is in line: {line:?}"),
            )?;
            a.leaves(&first).await?;
            b.takes(&wrong).await?; // nobody uses it any more
            b.leaves(&wrong).await?;
        }
    }
    Ok(())
}

async fn mismatches(client: &Client, claim: &crate::data::Claim) -> Verdict {
    let answer = client.answer(claim).await?;
    let right = matches!(answer, Err(Error::Mismatch { .. }));
    ensure(
        right,
        format_args!("{:?} is answered {answer:?}, not Mismatch", claim.mode),
    )
}

pub async fn permits_that_make_no_sense_are_invalid(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let a = stage.client().await?;
    let key = stage.key("k");
    let too_many = Mode::MAX_PERMITS + 1;
    for (n, of) in [
        (0, 3),
        (4, 3),
        (0, 0),
        (1, 0),
        (1, too_many),
        (u32::MAX, u32::MAX),
    ] {
        let answer = a.answer(&a.permits(&key, n, of)).await?;
        let right = matches!(answer, Err(Error::Invalid { .. }));
        ensure(
            right,
            format_args!("{n} of {of} permits are answered {answer:?}"),
        )?;
    }
    let most = a.permits(&key, Mode::MAX_PERMITS, Mode::MAX_PERMITS);
    a.takes(&most).await?;
    a.leaves(&most).await
}

pub async fn seats_are_unique_and_used_again(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let a = stage.client().await?;
    let key = stage.key("k");
    let alone = a.exclusive(&key);
    let grant = a.takes(&alone).await?;
    ensure(
        grant.seat.is_none(),
        format_args!("a seat for an exclusive claim: {grant:?}"),
    )?;
    a.leaves(&alone).await?;
    let mut holders = Vec::new();
    for round in 0..20 {
        let claim = a.permits(&key, 1, 5);
        let seat = a.gets(&claim).await?.seat;
        let taken = holders.iter().any(|(_, other)| *other == seat);
        let right = seat.is_some_and(|seat| seat < 5) && !taken;
        ensure(
            right,
            format_args!("seat {seat:?} of 0..5 beside {holders:?}"),
        )?;
        holders.push((claim, seat));
        if holders.len() == 5 {
            for _ in 0..=round % 3 {
                let (leaving, _) = holders.remove((round * 7) % holders.len());
                a.leaves(&leaving).await?;
            }
        }
    }
    for (claim, _) in holders {
        a.leaves(&claim).await?;
    }
    Ok(())
}

/// As they do when a store sends together what one client asks for at once.
pub async fn permits_that_one_client_asks_for_at_once_have_seats_of_their_own(
    stage: &Stage<'_>,
) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let client = &stage.client().await?;
    let key = stage.key("k");
    for round in 0..40 {
        let claims: [_; 5] = std::array::from_fn(|_| client.permits(&key, 1, 5));
        let asked = claims.iter().map(|claim| {
            Box::pin(async move { client.gets(claim).await }) as Doing<'_, Result<_, Failure>>
        });
        let answers: Vec<Result<Grant, Failure>> = together(stage.reach(), asked.collect()).await;
        let grants: Vec<Grant> = answers.into_iter().collect::<Result<_, _>>()?;
        let seats: BTreeSet<_> = grants.iter().map(|grant| grant.seat).collect();
        let fences: BTreeSet<_> = grants.iter().map(|grant| grant.fence).collect();
        ensure(
            seats.len() == 5 && fences.len() == 5,
            format_args!(
                "five permits have seats {seats:?} and fences {fences:?} in round {round}"
            ),
        )?;
        for claim in &claims {
            client.leaves(claim).await?;
        }
    }
    Ok(())
}

/// Permits that come free are enough for both who come next; the one behind asks before the one ahead.
pub async fn a_seat_is_not_given_twice_when_a_later_claim_asks_first(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (all, ahead, behind) = (
        a.permits(&key, 3, 3),
        b.permits(&key, 1, 3),
        c.permits(&key, 1, 3),
    );
    a.takes(&all).await?;
    b.waits(&ahead).await?;
    a.leaves(&all).await?;
    c.answer(&behind).await??; // granted or not: both are right
    let first = b.gets(&ahead).await?.seat;
    let second = c.gets(&behind).await?.seat;
    ensure(
        first.is_some() && second.is_some() && first != second,
        format_args!("seats {first:?} and {second:?} are held at once"),
    )?;
    b.leaves(&ahead).await?;
    c.leaves(&behind).await
}

/// B58; and an expiry of the key as a whole is not that of its holders.
pub async fn a_dead_holder_s_permit_is_free_while_others_hold(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (long, next) = (b.permits(&key, 2, 3), c.permits(&key, 1, 3));
    let mortal = lasting(a.permits(&key, 1, 3), stage.unit());
    let seat = a.takes(&mortal).await?.seat;
    let others = b.takes(&long).await?.seat;
    let before = stage.now();
    a.takes(&mortal).await?;
    c.waits(&next).await?;
    let grant = if stage.has_ttl() {
        stage.gets_by_expiry(&c, &next, before, mortal.ttl).await?
    } else {
        stage.kill(a).await;
        c.gets(&next).await?
    };
    let text = format!("{grant:?} after the death of {seat:?}, beside {others:?}");
    ensure(grant.seat.is_some() && grant.seat != others, text)?;
    b.keeps(&long).await?;
    b.leaves(&long).await?;
    c.leaves(&next).await
}

pub async fn a_hundred_readers_hold_at_once(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let readers: Vec<_> = (0..100).map(|_| a.shared(&key)).collect();
    for reader in &readers {
        a.takes(reader).await?;
    }
    let writer = b.exclusive(&key);
    b.waits(&writer).await?;
    for reader in &readers {
        a.keeps(reader).await?;
        b.waits(&writer).await?;
        a.leaves(reader).await?;
    }
    b.gets(&writer).await?;
    b.leaves(&writer).await
}
