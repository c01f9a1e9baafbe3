//! The clients that are compared.

use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, LockOptions, PutOptions, Txn, TxnOp};
use monban::{Lease, Locks, Options};

use crate::Outcome;

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Monban,
    Peer,
    PeerWithLease,
    /// What a cycle cannot do without, through the client library of the peer: no lock for others to wait for.
    Bare,
}

/// One process's client.
#[derive(Clone)]
pub(crate) enum One {
    Monban(Locks),
    Peer(Client, Option<i64>),
    Bare(Client, i64),
}

/// What it holds.
pub(crate) enum Held {
    Monban(Lease),
    Peer(Vec<u8>),
    Bare(Vec<u8>, i64),
}

const TTL: Duration = Duration::from_secs(60);

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Monban, Self::Peer, Self::PeerWithLease, Self::Bare];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Monban => "monban",
            Self::Peer => "etcd-client",
            Self::PeerWithLease => "etcd-client, lease kept",
            Self::Bare => "bare transactions",
        }
    }

    pub(crate) async fn connect(self, port: u16) -> Outcome<One> {
        if self == Self::Monban {
            return Ok(One::Monban(
                Locks::connect(&format!("etcd://127.0.0.1:{port}/bench")).await?,
            ));
        }
        let client = Client::connect([format!("127.0.0.1:{port}")], None).await?;
        Ok(One::Peer(client, None))
    }

    /// One for a task: the peer's locks of one lease on one key are one lock.
    pub(crate) async fn of_task(self, one: &One) -> Outcome<One> {
        let One::Peer(client, _) = one else {
            return Ok(one.clone());
        };
        let mut client = client.clone();
        if self == Self::Peer {
            return Ok(One::Peer(client, None));
        }
        let seconds = i64::try_from(TTL.as_secs())?;
        let lease = client.lease_grant(seconds, None).await?.id();
        Ok(match self {
            Self::Bare => One::Bare(client, lease),
            _ => One::Peer(client, Some(lease)),
        })
    }
}

impl One {
    pub(crate) async fn lock(&mut self, key: &str) -> Outcome<Held> {
        Ok(match self {
            Self::Monban(locks) => {
                let mutex = locks.mutex(key)?.with(Options::new().ttl(TTL))?;
                Held::Monban(mutex.lock().await?)
            }
            Self::Peer(client, lease) => {
                let options = lease.map(|lease| LockOptions::new().with_lease(lease));
                Held::Peer(client.lock(key, options).await?.key().to_vec())
            }
            Self::Bare(client, lease) => {
                let name = format!("{key}/{lease:x}").into_bytes();
                let put = PutOptions::new().with_lease(*lease);
                let txn = Txn::new()
                    .when([Compare::create_revision(name.clone(), CompareOp::Equal, 0)])
                    .and_then([TxnOp::put(name.clone(), "", Some(put))]);
                let answer = client.txn(txn).await?;
                if !answer.succeeded() {
                    return Err("the key is there already".into());
                }
                let revision = answer
                    .header()
                    .map_or(0, etcd_client::ResponseHeader::revision);
                Held::Bare(name, revision)
            }
        })
    }

    pub(crate) async fn unlock(&mut self, held: Held) -> Outcome {
        match (self, held) {
            (_, Held::Monban(lease)) => lease.release().await?,
            (Self::Peer(client, _), Held::Peer(key)) => {
                client.unlock(key).await?;
            }
            (Self::Bare(client, _), Held::Bare(name, revision)) => {
                let txn = Txn::new()
                    .when([Compare::create_revision(
                        name.clone(),
                        CompareOp::Equal,
                        revision,
                    )])
                    .and_then([TxnOp::delete(name, None)]);
                client.txn(txn).await?;
            }
            _ => unreachable!("each frees what it took"),
        }
        Ok(())
    }

    /// Frees in the background.
    pub(crate) fn let_go(&self, held: Held) {
        if let Held::Monban(lease) = held {
            return drop(lease);
        }
        let mut one = self.clone();
        tokio::spawn(async move { one.unlock(held).await });
    }
}
