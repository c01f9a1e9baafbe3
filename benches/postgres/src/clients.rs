//! What is compared: the store, PostgreSQL's own lock, and the least that LISTEN and NOTIFY cost.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monban::{Lease, Locks, Options};
use tokio_postgres::{Client, Statement};

use crate::Outcome;
use crate::floor::{Floor, Turns, Waiter};

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Monban,
    Advisory,
    /// What a hand-over costs at least.
    Floor(Floor),
    /// What a free key costs at least that is taken and freed by writing one row that is there already, with the session
    /// driven as this floor says.
    Written(Floor),
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
    /// Advisory locks, or rows in their place.
    Sessions(Pool),
    Floor(Arc<tokio::sync::Mutex<Waiter>>),
}

/// What it holds; an advisory lock is its session's, which nobody else may have meanwhile.
pub(crate) enum Held {
    Monban(Lease),
    Session(Session, i64),
    Floor,
}

/// Sessions that stand ready, each with its two statements prepared.
#[derive(Clone)]
pub(crate) struct Pool {
    idle: Arc<Mutex<Vec<Session>>>,
    url: Arc<str>,
    kind: Kind,
}

pub(crate) struct Session {
    client: Client,
    lock: Statement,
    unlock: Statement,
}

const TTL: Duration = Duration::from_secs(60);

/// The one key of a round with one key.
pub(crate) const KEY: &str = "cycle-0";

fn number(key: &str) -> i64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish().cast_signed()
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Monban => "monban",
            Self::Advisory => "advisory lock",
            Self::Written(Floor::Thread) => "floor: the same, with a thread for the connection",
            Self::Written(_) => "floor: one row written twice",
            Self::Floor(Floor::Bare) => "floor: NOTIFY alone",
            Self::Floor(Floor::Row) => "floor: a row each, and NOTIFY",
            Self::Floor(Floor::Thread) => "floor: the same, with a thread for each connection",
        }
    }

    /// Makes clients at this server.
    pub(crate) fn at(self, url: String) -> Maker {
        let floor = match self {
            Self::Floor(floor) => floor,
            Self::Monban | Self::Advisory | Self::Written(_) => Floor::Bare, // unused
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
            Kind::Advisory | Kind::Written(_) => One::Sessions(Pool {
                idle: Arc::default(),
                url: self.url.as_str().into(),
                kind: self.kind,
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
        let client = match self.kind {
            Kind::Written(floor) => floor.client(&self.url).await?,
            _ => Floor::Bare.client(&self.url).await?,
        };
        let (lock, unlock) = match self.kind {
            Kind::Written(_) => {
                let number = number(KEY);
                let make = format!(
                    "SET synchronous_commit = off; DROP TABLE IF EXISTS written; CREATE UNLOGGED TABLE written \
                     (key bigint PRIMARY KEY, fence bigint, held bool) WITH (fillfactor = 50); \
                     INSERT INTO written VALUES ({number}, 0, false)"
                );
                client.batch_execute(&make).await?;
                (
                    "UPDATE written SET fence = fence + 1, held = true WHERE key = $1 AND NOT held RETURNING fence",
                    "UPDATE written SET held = false WHERE key = $1 AND held RETURNING true",
                )
            }
            _ => (
                "SELECT pg_advisory_lock($1)",
                "SELECT pg_advisory_unlock($1)",
            ),
        };
        let lock = client.prepare(lock).await?;
        let unlock = client.prepare(unlock).await?;
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
            Self::Sessions(pool) => {
                let number = number(key);
                let session = pool.session().await?;
                session.client.query_one(&session.lock, &[&number]).await?;
                Held::Session(session, number)
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
            (Self::Sessions(pool), Held::Session(session, number)) => {
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
