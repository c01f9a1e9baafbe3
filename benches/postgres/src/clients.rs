//! What is compared: the store, PostgreSQL's own lock, and the least that LISTEN and NOTIFY cost.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monban::{Lease, Locks, Options};
use tokio_postgres::{Client, NoTls, Statement};

use crate::Outcome;
use crate::floor::{Floor, Turns, Waiter};

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Monban,
    Advisory,
    /// What a hand-over costs at least.
    Floor(Floor),
}

/// How clients of a kind are made, in one round.
pub(crate) struct Maker {
    kind: Kind,
    url: String,
    turns: Turns,
}

/// One process's client.
#[derive(Clone)]
pub(crate) enum One {
    Monban(Locks),
    Advisory(Pool),
    Floor(Arc<tokio::sync::Mutex<Waiter>>),
}

/// What it holds; an advisory lock is its session's, which nobody else may have meanwhile.
pub(crate) enum Held {
    Monban(Lease),
    Advisory(Session, i64),
    Floor,
}

/// Sessions that stand ready, each with its two statements prepared.
#[derive(Clone)]
pub(crate) struct Pool {
    idle: Arc<Mutex<Vec<Session>>>,
    url: Arc<str>,
}

pub(crate) struct Session {
    client: Client,
    lock: Statement,
    unlock: Statement,
}

const TTL: Duration = Duration::from_secs(60);

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Monban => "monban",
            Self::Advisory => "advisory lock",
            Self::Floor(Floor::Bare) => "floor: NOTIFY alone",
            Self::Floor(Floor::Row) => "floor: a row each, and NOTIFY",
            Self::Floor(Floor::Thread) => "floor: the same, with a thread for each connection",
        }
    }

    /// Makes clients at this server.
    pub(crate) fn at(self, url: String) -> Maker {
        let floor = match self {
            Self::Floor(floor) => floor,
            Self::Monban | Self::Advisory => Floor::Bare, // unused
        };
        Maker {
            kind: self,
            url,
            turns: Turns::new(floor),
        }
    }
}

impl Maker {
    pub(crate) async fn connect(&self) -> Outcome<One> {
        Ok(match self.kind {
            Kind::Monban => One::Monban(Locks::connect(&self.url).await?),
            Kind::Advisory => One::Advisory(Pool {
                idle: Arc::default(),
                url: self.url.as_str().into(),
            }),
            Kind::Floor(_) => {
                let waiter = self.turns.connect(&self.url).await?;
                One::Floor(Arc::new(tokio::sync::Mutex::new(waiter)))
            }
        })
    }
}

impl Pool {
    async fn session(&self) -> Outcome<Session> {
        let idle = self.idle.lock().expect("no panic").pop();
        if let Some(session) = idle {
            return Ok(session);
        }
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        let lock = client.prepare("SELECT pg_advisory_lock($1)").await?;
        let unlock = client.prepare("SELECT pg_advisory_unlock($1)").await?;
        Ok(Session {
            client,
            lock,
            unlock,
        })
    }
}

impl One {
    pub(crate) async fn lock(&self, key: &str) -> Outcome<Held> {
        Ok(match self {
            Self::Monban(locks) => {
                let mutex = locks.mutex(key)?.with(Options::new().ttl(TTL))?;
                Held::Monban(mutex.lock().await?)
            }
            Self::Advisory(pool) => {
                let mut hasher = DefaultHasher::new();
                key.hash(&mut hasher);
                let number = hasher.finish().cast_signed();
                let session = pool.session().await?;
                session.client.query_one(&session.lock, &[&number]).await?;
                Held::Advisory(session, number)
            }
            Self::Floor(waiter) => {
                waiter.lock().await.lock().await?;
                Held::Floor
            }
        })
    }

    pub(crate) async fn unlock(&self, held: Held) -> Outcome {
        match (self, held) {
            (_, Held::Monban(lease)) => lease.release().await?,
            (Self::Advisory(pool), Held::Advisory(session, number)) => {
                let row = session
                    .client
                    .query_one(&session.unlock, &[&number])
                    .await?;
                if !row.get::<_, bool>(0) {
                    return Err("the session did not have the lock".into());
                }
                pool.idle.lock().expect("no panic").push(session);
            }
            (Self::Floor(waiter), Held::Floor) => waiter.lock().await.unlock().await?,
            _ => unreachable!("each frees what it took"),
        }
        Ok(())
    }
}
