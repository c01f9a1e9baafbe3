//! First come, first served.

use super::{Client, Stage, Verdict, ensure, lasting, or_leave};
use crate::data::{EntryId, Standing};

/// More than a store may read of a line at once.
const FAR: usize = 41;

pub async fn waiting_claims_are_granted_in_the_order_they_came(stage: &Stage<'_>) -> Verdict {
    let clients: [Client; 5] = stage.clients().await?;
    let key = stage.key("k");
    let claims = clients.each_ref().map(|client| client.exclusive(&key));
    clients[0].takes(&claims[0]).await?;
    for at in 1..5 {
        let busy = clients[at].waits(&claims[at]).await?;
        let right = busy.ahead.is_none_or(|ahead| ahead == at);
        ensure(right, format_args!("{at} are ahead, but {busy:?}"))?;
    }
    for at in 1..5 {
        clients[at - 1].leaves(&claims[at - 1]).await?;
        if stage.is_fifo() {
            for later in (at + 1..5).rev() {
                clients[later].waits(&claims[later]).await?; // asks first, and yet is not first
            }
            clients[at].gets(&claims[at]).await?;
        }
    }
    if !stage.is_fifo() {
        for (client, claim) in clients[1..4].iter().zip(&claims[1..4]) {
            client.release(claim).await?;
        }
        clients[4].gets(&claims[4]).await?;
    }
    clients[4].leaves(&claims[4]).await
}

/// Neither by trying nor by queueing, in the gap between the release and the next one's question (B48).
pub async fn a_newcomer_does_not_overtake(stage: &Stage<'_>) -> Verdict {
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    for _ in 0..20 {
        let (first, second, third) = (a.exclusive(&key), b.exclusive(&key), c.exclusive(&key));
        a.takes(&first).await?;
        b.waits(&second).await?;
        a.leaves(&first).await?;
        if stage.is_fifo() {
            c.waits(&or_leave(c.exclusive(&key))).await?;
            c.waits(&third).await?;
            c.leaves(&third).await?;
        }
        b.gets(&second).await?;
        b.leaves(&second).await?;
    }
    Ok(())
}

/// The first attempt after the death of the holder is not the one that gets the key.
pub async fn a_newcomer_does_not_overtake_when_the_holder_has_died(stage: &Stage<'_>) -> Verdict {
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (silent, second) = (lasting(a.exclusive(&key), stage.unit()), b.exclusive(&key));
    a.takes(&silent).await?;
    b.waits(&second).await?;
    if stage.has_ttl() {
        stage.outlive(silent.ttl).await;
    } else {
        stage.kill(a).await;
    }
    if stage.is_fifo() {
        c.waits(&or_leave(c.exclusive(&key))).await?;
        let third = c.exclusive(&key);
        c.waits(&third).await?;
        c.leaves(&third).await?;
    }
    b.gets(&second).await?;
    b.leaves(&second).await
}

pub async fn asking_again_keeps_the_place(stage: &Stage<'_>) -> Verdict {
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second, third) = (a.exclusive(&key), b.exclusive(&key), c.exclusive(&key));
    a.takes(&first).await?;
    b.waits(&second).await?;
    c.waits(&third).await?;
    for _ in 0..3 {
        for (client, claim, place) in [(&b, &second, 1), (&c, &third, 2)] {
            let busy = client.waits(claim).await?;
            let same = !stage.is_fifo() || busy.ahead.is_none_or(|ahead| ahead == place);
            ensure(same, format_args!("its place is {place}, but {busy:?}"))?;
        }
    }
    let line = a.line(&key).await?;
    let ids: Vec<_> = line.iter().map(|entry| entry.id.clone()).collect();
    let expected = [&first, &second, &third].map(|claim| EntryId::Claim(claim.id));
    ensure(ids == expected, format_args!("the line is {line:?}"))?;
    a.leaves(&first).await?;
    if stage.is_fifo() {
        c.waits(&third).await?;
        b.gets(&second).await?;
    }
    b.leaves(&second).await?;
    c.gets(&third).await?;
    c.leaves(&third).await
}

/// Whoever asks again through another connection, as after an answer that was lost, is found however many are ahead.
pub async fn asking_again_far_back_in_the_line_finds_the_place(stage: &Stage<'_>) -> Verdict {
    if !stage.has_ttl() {
        return Ok(());
    }
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let claims: Vec<_> = (0..FAR).map(|_| a.exclusive(&key)).collect();
    let last = a.exclusive(&key);
    a.attempts(&claims).await?;
    a.waits(&last).await?;
    for _ in 0..2 {
        let busy = b.waits(&last).await?;
        let same = busy.ahead.is_none_or(|ahead| ahead == FAR);
        ensure(
            !stage.is_fifo() || same,
            format_args!("{FAR} are ahead, but {busy:?}"),
        )?;
    }
    let line = b.line(&key).await?;
    let there = line
        .iter()
        .filter(|entry| entry.id == EntryId::Claim(last.id));
    ensure(
        there.count() == 1 && line.len() == FAR + 1,
        format_args!("the line is {line:?}"),
    )?;
    for claim in &claims {
        a.release(claim).await?;
    }
    b.gets(&last).await?;
    b.leaves(&last).await
}

/// A caller that gives up must not stay in the way (B34, B41, B42).
pub async fn a_place_closes_up_when_its_claim_leaves(stage: &Stage<'_>) -> Verdict {
    let [a, b, c, d] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second, third) = (a.exclusive(&key), b.exclusive(&key), c.exclusive(&key));
    let fourth = d.exclusive(&key);
    a.takes(&first).await?;
    b.waits(&second).await?;
    c.waits(&third).await?;
    d.waits(&fourth).await?;
    b.leaves(&second).await?;
    let busy = c.waits(&third).await?;
    ensure(
        busy.ahead.is_none_or(|n| n == 1),
        format_args!("one is ahead, but {busy:?}"),
    )?;
    c.leaves(&third).await?;
    a.leaves(&first).await?;
    d.gets(&fourth).await?;
    d.leaves(&fourth).await
}

pub async fn a_refused_try_leaves_no_trace(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second) = (a.exclusive(&key), b.exclusive(&key));
    let refused = or_leave(b.exclusive(&key));
    a.takes(&first).await?;
    b.waits(&refused).await?;
    let line = a.line(&key).await?;
    ensure(
        line.len() == 1,
        format_args!("a refused try is in line: {line:?}"),
    )?;
    b.has_lost(&refused).await?;
    let busy = b.waits(&second).await?;
    ensure(
        busy.ahead.is_none_or(|n| n == 1),
        format_args!("a refused try is ahead: {busy:?}"),
    )?;
    a.leaves(&first).await?;
    b.gets(&second).await?;
    b.leaves(&second).await?;
    if !stage.has_permits().await? {
        return Ok(());
    }
    let (reader, writer, other) = (a.shared(&key), or_leave(b.exclusive(&key)), b.shared(&key));
    a.takes(&reader).await?;
    b.waits(&writer).await?;
    b.takes(&or_leave(other.clone())).await?; // no waiting writer is in its way
    a.leaves(&reader).await?;
    b.leaves(&other).await
}

/// B50.
pub async fn a_writer_is_not_starved_by_readers(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (old, writer, new) = (a.shared(&key), b.exclusive(&key), c.shared(&key));
    a.takes(&old).await?;
    b.waits(&writer).await?;
    if stage.is_fifo() {
        c.waits(&or_leave(c.shared(&key))).await?;
        c.waits(&new).await?;
        a.keeps(&old).await?;
        c.waits(&new).await?;
        a.leaves(&old).await?;
        c.waits(&new).await?;
        b.gets(&writer).await?;
        b.leaves(&writer).await?;
        c.gets(&new).await?;
        return c.leaves(&new).await;
    }
    a.leaves(&old).await?;
    b.gets(&writer).await?;
    b.leaves(&writer).await
}

pub async fn readers_before_a_writer_hold_together_and_those_behind_wait(
    stage: &Stage<'_>,
) -> Verdict {
    if !stage.has_permits().await? || !stage.is_fifo() {
        return Ok(());
    }
    let clients: [Client; 6] = stage.clients().await?;
    let [a, b, c, d, e, f] = &clients;
    let key = stage.key("k");
    let (front, r1, r2) = (a.exclusive(&key), b.shared(&key), c.shared(&key));
    let (writer, r3, r4) = (d.exclusive(&key), e.shared(&key), f.shared(&key));
    a.takes(&front).await?;
    for (client, claim) in [(b, &r1), (c, &r2), (d, &writer), (e, &r3), (f, &r4)] {
        client.waits(claim).await?;
    }
    a.leaves(&front).await?;
    c.gets(&r2).await?;
    b.gets(&r1).await?;
    d.waits(&writer).await?;
    f.waits(&r4).await?;
    let line = a.line(&key).await?;
    let standing: Vec<_> = line.iter().map(|entry| entry.standing).collect();
    let (holds, waits) = (Standing::Holding, |ahead| Standing::Waiting { ahead });
    let expected = [holds, holds, waits(2), waits(3), waits(4)];
    ensure(standing == expected, format_args!("the line is {line:?}"))?;
    b.leaves(&r1).await?;
    d.waits(&writer).await?;
    c.leaves(&r2).await?;
    e.waits(&r3).await?;
    d.gets(&writer).await?;
    d.leaves(&writer).await?;
    f.gets(&r4).await?;
    e.gets(&r3).await?;
    e.leaves(&r3).await?;
    f.leaves(&r4).await
}
