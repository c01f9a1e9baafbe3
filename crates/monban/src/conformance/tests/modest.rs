//! A store that promises as little as a store may: what it does not promise must be refused, and that is all
//! that the suite may ask of it. Its claims live as long as their client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::super::{Subject, Time};
use super::block_on;
use crate::contract::{
    Attempt, Fencing, Grant, Guarantees, Liveness, Order, Reach, Release, Renewal, Store,
};
use crate::data::{
    Barred, Claim, ClaimId, Entry, Error, Fence, Keep, Key, Leave, Mode, Options, Result,
};
use crate::rule::Clock;
use crate::stores::memory::MemoryStore;

struct Modest {
    clock: Clock,
    store: MemoryStore,
}

impl Modest {
    fn new() -> Self {
        let clock = Clock::manual();
        let store = MemoryStore::new(clock.clone());
        Self { clock, store }
    }
}

#[async_trait]
impl Subject for Modest {
    async fn connect(&self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(Client {
            store: self.store.clone(),
            alive: Mutex::default(),
            fences: Mutex::default(),
        }))
    }

    fn time(&self) -> Time {
        Time::Manual(self.clock.clone())
    }
}

#[derive(Debug)]
struct Client {
    store: MemoryStore,
    alive: Mutex<Vec<Claim>>,
    /// What it tells nobody: the fences of the grants.
    fences: Mutex<HashMap<ClaimId, Option<Fence>>>,
}

fn refused(what: &'static str) -> Error {
    Error::unsupported("modest", what)
}

impl Drop for Client {
    fn drop(&mut self) {
        let alive = std::mem::take(self.alive.get_mut().unwrap());
        let leave = |claim| Leave {
            claim,
            linger: None,
        };
        let leaving: Vec<_> = alive.into_iter().map(leave).collect();
        block_on(self.store.release(&leaving));
    }
}

#[async_trait]
impl Store for Client {
    async fn open(&self) -> Result<Guarantees> {
        Ok(Guarantees {
            store: "modest",
            order: Order::Any,
            liveness: Liveness::Session,
            fencing: Fencing::None,
            permits: false,
            linger: false,
            release_by_hand: false,
            ..self.store.open().await?
        })
    }

    fn reach(&self) -> Reach {
        Reach::Local
    }

    async fn attempt(&self, claims: &[Claim]) -> Vec<Result<Attempt>> {
        let mut answers = Vec::new();
        for claim in claims {
            if claim.mode != Mode::Exclusive {
                answers.push(Err(refused("only exclusive claims")));
                continue;
            }
            let mut claim = claim.clone();
            claim.ttl = Options::MAX;
            let mut answer = self
                .store
                .attempt(std::slice::from_ref(&claim))
                .await
                .remove(0);
            match answer.as_mut().unwrap() {
                Attempt::Granted(grant) => {
                    self.fences.lock().unwrap().insert(claim.id, grant.fence);
                    (grant.fence, grant.ttl, grant.lost) = (None, None, None);
                }
                Attempt::Busy(busy) => {
                    (busy.ahead, busy.who, busy.held_for) = (None, None, None);
                    (busy.free_in, busy.changed) = (None, None);
                }
            }
            self.alive.lock().unwrap().push(claim);
            answers.push(answer);
        }
        answers
    }

    async fn renew(&self, keeping: &[Keep]) -> Vec<Result<Renewal>> {
        let fenced = |keep: &Keep| {
            let fences = self.fences.lock().unwrap();
            let fence = fences.get(&keep.claim.id).copied().flatten();
            let claim = keep.claim.clone();
            Keep { claim, fence }
        };
        let keeping: Vec<Keep> = keeping.iter().map(fenced).collect();
        self.store.renew(&keeping).await
    }

    async fn release(&self, leaving: &[Leave]) -> Vec<Result<Release>> {
        let mut answers = Vec::new();
        for leave in leaving {
            answers.push(match leave.linger {
                Some(_) => Err(refused("no linger")),
                None => self
                    .store
                    .release(std::slice::from_ref(leave))
                    .await
                    .remove(0),
            });
        }
        answers
    }

    async fn evict(&self, _: &Entry) -> Result<Release> {
        Err(refused("end its session"))
    }

    async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>> {
        let mut entries = self.store.inspect(prefix).await?;
        for entry in &mut entries {
            (entry.fence, entry.age, entry.expires_in) = (None, None, None);
        }
        Ok(entries)
    }

    async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>> {
        let mut entries = self.inspect(key.as_bytes()).await?;
        entries.retain(|entry| entry.key == *key);
        Ok(entries)
    }

    async fn recovers_in(&self) -> Result<Option<Duration>> {
        self.store.recovers_in().await
    }

    async fn barred(&self, prefix: &[u8]) -> Result<Vec<Barred>> {
        self.store.barred(prefix).await
    }

    fn told(&self, claim: &Claim) -> Option<Grant> {
        self.store.told(claim)
    }

    fn trouble(&self) -> Option<Error> {
        self.store.trouble()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

mod contract {
    use super::{Modest, block_on};

    crate::conformance_tests! { subject: Modest::new(), run: block_on }
}
