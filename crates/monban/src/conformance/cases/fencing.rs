//! Fences grow, and belong to grants.

use super::{Client, Stage, Verdict, ensure, lasting, or_leave};
use crate::contract::{Fencing, Grant};
use crate::data::{Claim, Fence, Mode};

/// The greatest fence seen; a store that promises none must give none.
struct Seen {
    promised: bool,
    greatest: Option<Fence>,
}

impl Seen {
    fn none(stage: &Stage<'_>) -> Self {
        Self {
            promised: stage.promises().fencing != Fencing::None,
            greatest: None,
        }
    }

    /// A grant that was made after all those seen before.
    fn next(&mut self, grant: &Grant) -> Verdict {
        let (fence, greatest) = (grant.fence, self.greatest);
        let right = match self.promised {
            true => fence.is_some() && fence > greatest,
            false => fence.is_none(),
        };
        ensure(
            right,
            format_args!("a grant with {fence:?} after one with {greatest:?}"),
        )?;
        self.greatest = fence;
        Ok(())
    }

    async fn of(&mut self, client: &Client, claim: &Claim) -> Verdict {
        self.next(&client.gets(claim).await?)
    }
}

pub async fn fences_grow_from_grant_to_grant(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let mut seen = Seen::none(stage);
    for _ in 0..20 {
        let (first, second) = (a.exclusive(&key), b.exclusive(&key));
        seen.of(&a, &first).await?;
        b.waits(&second).await?;
        a.leaves(&first).await?;
        seen.of(&b, &second).await?;
        b.leaves(&second).await?;
    }
    if stage.has_permits().await? {
        permits_and_readers_between(stage, &mut seen).await?;
    }
    if stage.has_ttl() {
        for _ in 0..2 {
            let silent = lasting(a.exclusive(&key), stage.unit());
            seen.of(&a, &silent).await?;
            stage.outlive(silent.ttl).await;
        }
    }
    let last = b.exclusive(&key);
    seen.of(&b, &last).await?;
    b.leaves(&last).await
}

async fn permits_and_readers_between(stage: &Stage<'_>, seen: &mut Seen) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    for mode in [Mode::Shared, Mode::Permits { n: 1, of: 1 }] {
        let (other, alone) = (a.claim(&key, mode), b.exclusive(&key));
        let grant = a.takes(&other).await?;
        if mode != Mode::Shared {
            seen.next(&grant)?; // the only seat: its grants are in order too
        }
        b.waits(&alone).await?;
        a.leaves(&other).await?;
        seen.of(&b, &alone).await?;
        b.leaves(&alone).await?;
    }
    Ok(())
}

/// A key of which nothing is kept has fences all the same, and they do not start again.
pub async fn fences_outlive_clients_and_keys(stage: &Stage<'_>) -> Verdict {
    let key = stage.key("k");
    let mut seen = Seen::none(stage);
    for round in 0..5 {
        let client = stage.client().await?;
        let claim = lasting(client.exclusive(&key), stage.unit());
        seen.of(&client, &claim).await?;
        if round % 2 == 0 {
            client.leaves(&claim).await?;
        }
        stage.kill(client).await;
        if stage.has_ttl() {
            stage.outlive(stage.unit()).await;
        }
    }
    Ok(())
}

pub async fn shares_carry_no_fence(stage: &Stage<'_>) -> Verdict {
    if !stage.has_permits().await? {
        return Ok(());
    }
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let claims = [a.shared(&key), b.shared(&key)];
    for (client, claim) in [&a, &b].into_iter().zip(&claims) {
        let grant = client.takes(claim).await?;
        let none = grant.fence.is_none() && grant.seat.is_none();
        ensure(none, format_args!("a share is granted with {grant:?}"))?;
    }
    a.leaves(&claims[0]).await?;
    b.leaves(&claims[1]).await
}

/// A reply that was lost is asked for again (B31, B33); a grant that waited is told more than once too.
pub async fn the_same_claim_asked_again_is_told_the_same_grant(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second) = (a.exclusive(&key), b.exclusive(&key));
    let granted = told(&a.takes(&first).await?);
    same(&a, &first, granted).await?;
    b.waits(&second).await?;
    same(&a, &first, granted).await?;
    a.leaves(&first).await?;
    let granted = told(&b.gets(&second).await?);
    same(&b, &second, granted).await?;
    b.leaves(&second).await?;
    if !stage.has_permits().await? {
        return Ok(());
    }
    let claims = [
        a.permits(&key, 1, 3),
        a.permits(&key, 1, 3),
        a.permits(&key, 1, 3),
    ];
    let mut grants = Vec::new();
    for claim in &claims {
        grants.push(told(&a.takes(claim).await?));
    }
    for (claim, granted) in claims.iter().zip(grants) {
        same(&a, claim, granted).await?;
    }
    for claim in &claims {
        a.leaves(claim).await?;
    }
    Ok(())
}

/// A process whose connection broke goes on by another; where the client is what holds, it cannot.
pub async fn a_claim_outlives_its_connection(stage: &Stage<'_>) -> Verdict {
    if !stage.has_ttl() {
        return Ok(());
    }
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second) = (a.exclusive(&key), a.exclusive(&key));
    let granted = told(&a.takes(&first).await?);
    a.waits(&second).await?;
    stage.kill(a).await;
    same(&b, &first, granted).await?;
    b.keeps(&first).await?;
    b.waits(&second).await?;
    c.waits(&or_leave(c.exclusive(&key))).await?;
    b.leaves(&first).await?;
    c.waits(&or_leave(c.exclusive(&key))).await?;
    b.gets(&second).await?;
    b.leaves(&second).await
}

type Told = (Option<Fence>, Option<u32>);

fn told(grant: &Grant) -> Told {
    (grant.fence, grant.seat)
}

async fn same(client: &Client, claim: &Claim, granted: Told) -> Verdict {
    for _ in 0..2 {
        let again = client.takes(claim).await?;
        let same = told(&again) == granted;
        ensure(
            same,
            format_args!("told {granted:?}, and asked again {again:?}"),
        )?;
    }
    Ok(())
}

/// B24, B37: a claim that lapsed and asks again is behind whoever came between.
pub async fn a_new_grant_of_an_old_claim_has_a_new_fence(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let mut seen = Seen::none(stage);
    let (old, between) = (lasting(a.exclusive(&key), stage.unit()), b.exclusive(&key));
    seen.of(&a, &old).await?;
    if stage.has_ttl() {
        stage.outlive(old.ttl).await;
    } else {
        a.leaves(&old).await?;
    }
    seen.of(&b, &between).await?;
    a.waits(&old).await?;
    b.leaves(&between).await?;
    seen.of(&a, &old).await?;
    a.leaves(&old).await
}
