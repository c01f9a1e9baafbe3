//! The clients that are compared.

use std::time::Duration;

use etcd_client::{Client, LockOptions};
use monban::{Lease, Locks, Options};

use crate::Outcome;

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Monban,
    Peer,
    PeerWithLease,
}

/// One process's client.
#[derive(Clone)]
pub(crate) enum One {
    Monban(Locks),
    Peer(Client, Option<i64>),
}

/// What it holds.
pub(crate) enum Held {
    Monban(Lease),
    Peer(Vec<u8>),
}

const TTL: Duration = Duration::from_secs(60);

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Monban => "monban",
            Self::Peer => "etcd-client",
            Self::PeerWithLease => "etcd-client, lease kept",
        }
    }

    pub(crate) async fn connect(self, port: u16) -> Outcome<One> {
        if self == Self::Monban {
            return Ok(One::Monban(
                Locks::connect(&format!("etcd://127.0.0.1:{port}/bench")).await?,
            ));
        }
        Ok(One::Peer(
            Client::connect([format!("127.0.0.1:{port}")], None).await?,
            None,
        ))
    }

    /// One for a task: the peer's locks of one lease on one key are one lock.
    pub(crate) async fn of_task(self, one: &One) -> Outcome<One> {
        let mut one = one.clone();
        if let (Self::PeerWithLease, One::Peer(client, lease)) = (self, &mut one) {
            let seconds = i64::try_from(TTL.as_secs())?;
            *lease = Some(client.lease_grant(seconds, None).await?.id());
        }
        Ok(one)
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
        })
    }

    pub(crate) async fn unlock(&mut self, held: Held) -> Outcome {
        match (self, held) {
            (_, Held::Monban(lease)) => lease.release().await?,
            (Self::Peer(client, _), Held::Peer(key)) => {
                client.unlock(key).await?;
            }
            (Self::Monban(_), Held::Peer(_)) => unreachable!("each frees what it took"),
        }
        Ok(())
    }
}
