//! Several claims that travel together: asked for, and given back, by one request.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::acquire::{BusyInfo, Request, accepted};
use super::ask::{Ask, Parcel};
use super::core::Engine;
use super::lease::Lease;
use super::leave::{Leaving, Pending};
use super::wait::Asked;
use crate::contract::Reach;
use crate::data::{Claim, IfBusy, Result};

/// Tries all requests (of one [`Locks`](super::Locks)) once, by one request to the store; a key that is busy
/// keeps no trace.
///
/// # Errors
///
/// If any of them failed: what the others brought is given back.
///
/// # Cancel safety
///
/// May be dropped: grants that were on their way are given back.
pub(crate) async fn attempt_all(requests: &[Request]) -> Result<Vec<Result<Lease, BusyInfo>>> {
    let Some(first) = requests.first() else {
        return Ok(Vec::new());
    };
    let engine = &first.handle.engine;
    let _entered = engine.enter()?;
    let gates: Vec<_> = requests
        .iter()
        .map(|request| engine.gate.try_pass(&request.key))
        .collect();
    let claim = |request| engine.claim(request, IfBusy::Leave);
    let claims: Vec<_> = requests.iter().map(claim).collect();
    let parcels = engine.ask_all(&claims).await?;
    let mut answers = Vec::with_capacity(requests.len());
    let mut failed = None;
    for (((request, claim), parcel), mut gate) in
        requests.iter().zip(&claims).zip(parcels).zip(gates)
    {
        match accepted(&request.handle, &request.options, parcel, &mut gate) {
            Asked::Lease(lease) => answers.push(Ok(lease)),
            Asked::Busy(busy) => answers.push(Err(BusyInfo::from(&busy))),
            Asked::Failed(error) => {
                if error.may_have_been_executed() {
                    engine.leave(Leaving::behind(claim, engine.clock.now()));
                }
                failed.get_or_insert(error);
            }
        }
    }
    match failed {
        None => Ok(answers),
        Some(error) => {
            give_back(answers.into_iter().flatten().collect());
            Err(error)
        }
    }
}

/// Releases leases (of one [`Locks`](super::Locks)) in the background, by one request.
pub(crate) fn give_back(leases: Vec<Lease>) {
    let Some(first) = leases.first() else { return };
    let engine = Arc::clone(&first.handle().engine);
    // A lost lease cleans up as it is dropped.
    engine.leave_all(leases.iter().filter_map(Lease::abandon).collect::<Vec<_>>());
}

/// Releases leases (of one [`Locks`](super::Locks)) by one request, and says whether all were ours until now.
///
/// # Errors
///
/// The first error in order; all are released whatever becomes of one.
///
/// # Cancel safety
///
/// If this future is dropped the releases go on in the background.
pub(crate) async fn release_all(leases: Vec<Lease>) -> Result<()> {
    let Some(first) = leases.first() else {
        return Ok(());
    };
    let engine = Arc::clone(&first.handle().engine);
    let mut leavings = Vec::with_capacity(leases.len());
    let mut answers = Vec::with_capacity(leases.len());
    for lease in &leases {
        answers.push(lease.depart(lease.hold().linger).map(|(leaving, answer)| {
            leavings.push(leaving);
            answer
        }));
    }
    engine.leave_all(leavings);
    let mut result = Ok(());
    for (lease, answer) in leases.iter().zip(answers) {
        let left = match answer {
            Ok(answer) => lease.departed(answer).await,
            Err(lost) => Err(lost),
        };
        result = result.and(left);
    }
    result
}

impl Engine {
    /// Asks the store once for all of these.
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    async fn ask_all(self: &Arc<Self>, claims: &[Claim]) -> Result<Vec<Parcel>> {
        if self.reach == Reach::Local {
            let sent = self.clock.now();
            let mut answers = self.store.attempt(claims).await.into_iter();
            let parcel = |claim: &Claim| {
                let answer = answers.next().unwrap_or_else(|| Err(self.no_answer()));
                Parcel::new(self, claim.clone(), sent, answer)
            };
            return Ok(claims.iter().map(parcel).collect());
        }
        self.keeper()?;
        let mut answers = Vec::with_capacity(claims.len());
        let ask = |claim: &Claim| {
            let (reply, answer) = oneshot::channel();
            answers.push(answer);
            let claim = claim.clone();
            let token = Pending::new(self);
            Ask {
                claim,
                reply,
                token,
            }
        };
        let asks: Vec<_> = claims.iter().map(ask).collect();
        // At once: the keeper must not set off with the first of them.
        self.post(asks);
        let mut parcels = Vec::with_capacity(claims.len());
        for answer in answers {
            parcels.push(answer.await.map_err(|_| self.keeper_is_gone())?);
        }
        Ok(parcels)
    }
}
