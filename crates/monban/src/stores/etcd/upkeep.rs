//! What is done in the background: claims that nobody renews are deleted, leases kept, swept and given back.

use std::sync::Arc;
use std::time::Duration;

use super::hub::Tries;
use super::keep::PART;
use super::proto::{LeaseTimeToLiveRequest, RequestOp, TxnRequest};
use super::table::Known;
use super::{Core, names, ops};
use crate::data::{ClaimId, Result};

/// How late a claim that nobody renews may be deleted.
const STEP: Duration = Duration::from_millis(100);

/// Looks after what the store has in etcd, for ever.
pub(super) async fn look_after(core: Arc<Core>) {
    loop {
        if core.table.idle() {
            core.table.work.notified().await;
        }
        tokio::time::sleep(STEP).await;
        let chores = core.table.chores();
        for part in chores.delete.chunks(PART) {
            if delete(&core, part).await.is_err() {
                part.iter().for_each(|(id, _)| core.table.leave_behind(id));
            }
        }
        // What fails is done again at the next step, or ends by itself.
        for lease in chores.renew {
            let _ = core.renew_lease(lease, core.hub.address.timeout).await;
        }
        for lease in chores.sweep {
            let _ = sweep(&core, lease).await;
        }
        for lease in chores.revoke {
            let _ = core.revoke(lease, core.hub.address.timeout).await;
        }
    }
}

/// Deletes claims; those of whom it is not known since when they are in line are looked up first.
async fn delete(core: &Core, claims: &[(ClaimId, Known)]) -> Result<()> {
    let names: Vec<Vec<u8>> = claims
        .iter()
        .map(|(_, known)| known.place.clone())
        .collect();
    let creates = if claims.iter().all(|(_, known)| known.create != 0) {
        claims.iter().map(|(_, known)| known.create).collect()
    } else {
        look_up(core, &names).await?
    };
    delete_since(core, &names, &creates).await?;
    claims.iter().for_each(|(id, _)| core.table.forget(id));
    Ok(())
}

/// The revisions since when these are there; 0: not.
async fn look_up(core: &Core, names: &[Vec<u8>]) -> Result<Vec<i64>> {
    let request = TxnRequest {
        success: names.iter().map(|name| ops::get(name)).collect(),
        ..TxnRequest::default()
    };
    let within = core.hub.address.timeout;
    let answer = core.hub.ask(&request, within, Tries::Many).await?;
    let (_, ranges) = ops::ranges(answer);
    let create = |range| ops::only(Some(range)).map_or(0, |kv| kv.create_revision);
    Ok(ranges.into_iter().map(create).collect())
}

/// Deletes what is there since the given revisions, and no later claim of the same name.
async fn delete_since(core: &Core, names: &[Vec<u8>], creates: &[i64]) -> Result<()> {
    let there = names
        .iter()
        .zip(creates)
        .filter(|(_, create)| **create != 0);
    let each = there.map(|(name, create)| {
        ops::txn(TxnRequest {
            compare: vec![ops::since(name, *create)],
            success: vec![ops::delete(name)],
            failure: Vec::new(),
        })
    });
    let success: Vec<RequestOp> = each.collect();
    if success.is_empty() {
        return Ok(());
    }
    let request = TxnRequest {
        success,
        ..TxnRequest::default()
    };
    let within = core.hub.address.timeout;
    core.hub.ask(&request, within, Tries::Many).await?;
    Ok(())
}

/// Deletes what late requests have put under a retired lease: claims that nobody here knows.
async fn sweep(core: &Core, lease: i64) -> Result<()> {
    let request = LeaseTimeToLiveRequest {
        id: lease,
        keys: true,
    };
    let within = core.hub.address.timeout;
    let mut names = core.hub.ask(&request, within, Tries::OneRound).await?.keys;
    names.retain(|name| {
        let last = names::part(core.prefix(), name).map(|(_, last)| last);
        let claim = last.and_then(names::read);
        claim.is_some_and(|(_, id)| !core.table.is_ours(&id))
    });
    for part in names.chunks(PART) {
        let creates = look_up(core, part).await?;
        delete_since(core, part, &creates).await?;
    }
    Ok(())
}
