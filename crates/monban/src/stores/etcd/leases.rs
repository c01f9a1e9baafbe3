//! Leases: got, renewed, given back.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Core;
use super::faults::{self, Trouble};
use super::hub::{Doubt, Tries};
use super::proto::{LeaseGrantRequest, LeaseRevokeRequest, ResponseHeader};
use super::table;
use crate::data::{Error, Result};
use crate::rule::Tick;

/// The longest that a store which is closed waits for the end of its leases.
const GIVING_BACK: Duration = Duration::from_secs(1);

impl Core {
    /// A lease under which a claim of this TTL lives for the whole of it from now on.
    pub(super) async fn lease_for(&self, ttl: Duration) -> Result<i64> {
        if let Some(lease) = self.table.current(ttl)
            && self.table.is_fresh(lease, ttl)
        {
            return Ok(lease);
        }
        let within = self.patience(ttl);
        let got = tokio::time::timeout(within, async {
            let _alone = self.leasing.lock().await;
            if let Some(lease) = self.table.current(ttl)
                && self.freshen(lease, ttl, within).await?
            {
                return Ok(lease);
            }
            self.grant(ttl, within).await
        });
        got.await
            .unwrap_or_else(|_| Err(faults::silent(&self.hub.address, within)))
    }

    /// Renews a lease if a claim of this TTL would not live for the whole of it; whether the lease is there.
    pub(super) async fn keep_fresh(&self, lease: i64, ttl: Duration) -> Result<bool> {
        if self.table.is_fresh(lease, ttl) {
            return Ok(true);
        }
        let within = self.patience(ttl);
        let kept = tokio::time::timeout(within, async {
            let _alone = self.leasing.lock().await;
            self.freshen(lease, ttl, within).await
        });
        kept.await
            .unwrap_or_else(|_| Err(faults::silent(&self.hub.address, within)))
    }

    async fn freshen(&self, lease: i64, ttl: Duration, within: Duration) -> Result<bool> {
        Ok(self.table.is_fresh(lease, ttl) || self.renew_lease(lease, within).await?)
    }

    /// Renews a lease; `false` if it has ended.
    pub(super) async fn renew_lease(&self, lease: i64, within: Duration) -> Result<bool> {
        let sent = self.hub.clock.now();
        match self.hub.keep_alive(lease, within).await {
            Ok(answer) if answer.ttl > 0 => {
                let term = answer.header.map_or(0, |header| header.raft_term);
                self.table.renewed(lease, answer.ttl, sent, term);
                Ok(true)
            }
            Ok(_) | Err(Trouble::LeaseGone) => {
                self.table.ended(lease);
                Ok(false)
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// A majority has confirmed an answer to what was asked then.
    pub(super) fn confirmed(&self, asked: Tick, header: Option<ResponseHeader>) {
        if let Some(header) = header {
            self.table.confirmed(asked, header.raft_term);
        }
    }

    /// A lease that is granted and whose answer is lost has nothing under it, and ends by itself.
    async fn grant(&self, ttl: Duration, within: Duration) -> Result<i64> {
        let request = LeaseGrantRequest {
            ttl: table::lease_seconds(ttl),
        };
        let mut sent = self.hub.clock.now();
        let until = sent.after(within);
        loop {
            // One try at a time: its life counts from before it was sent.
            let asked = self.hub.ask(&request, within, Tries::OneRound).await;
            match asked {
                Ok(granted) => {
                    self.table.granted(ttl, granted.id, granted.ttl, sent);
                    return Ok(granted.id);
                }
                Err(trouble) => {
                    let error = Error::from(trouble);
                    sent = self.hub.clock.now();
                    if !error.is_transient() || sent >= until {
                        return Err(error);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Ends the leases under which nobody has a claim, all at the same time.
    ///
    /// A release and this are two requests: the answer to a revocation does not tell whether the claim was there.
    pub(super) async fn give_back(self: &Arc<Self>) {
        let within = self.hub.address.timeout.min(GIVING_BACK);
        let mut revoking = JoinSet::new();
        for lease in self.table.close() {
            let core = Arc::clone(self);
            revoking.spawn(async move { core.revoke(lease, within).await });
        }
        let all = async { while revoking.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(within, all).await;
    }

    /// Ends a lease and all that is under it.
    pub(super) async fn revoke(&self, lease: i64, within: Duration) -> Result<()> {
        let request = LeaseRevokeRequest { id: lease };
        let mut doubt = Doubt::None;
        match self
            .hub
            .send(&request, within, Tries::OneRound, &mut doubt)
            .await
        {
            Ok(_) | Err(Trouble::LeaseGone) => {
                self.table.ended(lease);
                Ok(())
            }
            Err(trouble) => Err(trouble.into()),
        }
    }
}
