//! What is compared: the store, and PostgreSQL's own lock.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monban::{Lease, Locks, Options};
use tokio_postgres::{Client, NoTls, Statement};

use crate::Outcome;

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Monban,
    Advisory,
}

/// One process's client.
#[derive(Clone)]
pub(crate) enum One {
    Monban(Locks),
    Advisory(Pool),
}

/// What it holds; an advisory lock is its session's, which nobody else may have meanwhile.
pub(crate) enum Held {
    Monban(Lease),
    Advisory(Session, i64),
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
        }
    }

    pub(crate) async fn connect(self, url: &str) -> Outcome<One> {
        Ok(match self {
            Self::Monban => One::Monban(Locks::connect(url).await?),
            Self::Advisory => One::Advisory(Pool {
                idle: Arc::default(),
                url: url.into(),
            }),
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
            (Self::Monban(_), Held::Advisory(..)) => unreachable!("each frees what it took"),
        }
        Ok(())
    }
}
