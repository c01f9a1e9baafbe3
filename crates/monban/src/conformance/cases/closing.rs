//! Closing gives back what no claim hangs on, and nothing else.

use super::{Stage, Verdict, lasting, or_leave};

/// Whether it holds, waits or lingers, of whatever TTL.
pub async fn closing_ends_no_claim(stage: &Stage<'_>) -> Verdict {
    let lingers = stage.has_linger().await?;
    let [a, b] = stage.clients().await?;
    let [held, brief, waited, rests] =
        ["held", "brief", "waited", "rests"].map(|name| stage.key(name));
    let holder = a.exclusive(&held);
    a.takes(&holder).await?;
    // Another TTL, of which no claim is left: there may be something to give back.
    let gone = lasting(a.exclusive(&brief), stage.unit());
    a.takes(&gone).await?;
    a.leaves(&gone).await?;
    let (ahead, behind) = (b.exclusive(&waited), a.exclusive(&waited));
    b.takes(&ahead).await?;
    a.waits(&behind).await?;
    let (lingering, next) = (a.exclusive(&rests), b.exclusive(&rests));
    a.takes(&lingering).await?;
    let before = stage.now();
    match lingers {
        true => a.lingers(&lingering, stage.unit()).await?,
        false => a.leaves(&lingering).await?,
    }
    for _ in 0..2 {
        a.closes().await;
        a.keeps(&holder).await?;
        b.waits(&or_leave(b.exclusive(&held))).await?;
    }
    if lingers {
        b.waits(&or_leave(next.clone())).await?;
    }
    b.leaves(&ahead).await?;
    if stage.is_fifo() {
        b.waits(&or_leave(b.exclusive(&waited))).await?; // the place in line is there
    }
    a.gets(&behind).await?;
    if lingers {
        stage
            .gets_by_expiry(&b, &next, before, stage.unit())
            .await?;
        b.leaves(&next).await?;
    }
    a.leaves(&behind).await?;
    a.leaves(&holder).await?;
    a.closes().await;
    let after = b.exclusive(&held);
    b.takes(&after).await?;
    b.leaves(&after).await
}
