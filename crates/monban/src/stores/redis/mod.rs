//! The line on one Redis or Valkey primary.
//!
//! An exclusive holder is the plain string at the key itself, as `SET key value NX PX ttl` would leave it: so it
//! excludes, and is excluded by, every client that locks in that way. The line lives beside it, and only while somebody
//! waits, shares, or counts. The server's clock decides. Not here: Sentinel, Cluster, Redlock.
//!
//! # Format, version 1
//!
//! | key | type | what |
//! |---|---|---|
//! | the key | string | `mb1x:<claim id>:<fence>:<claimant>`: held. `mb1l:<claim id>:<fence>:<since, µs>:<claimant>`: lingers. `mb1m:<capacity>:<used>`: shares or permits hold |
//! | `monban:{tag}o:<key>` | sorted set | the line, see `line.lua` |
//! | `monban:{tag}e:<key>` | sorted set | when its members die |
//! | `monban:{fence}` | string | the last fence; it stays |
//! | `monban:<process id>` | channel | `g<claim id>:<fence>:<seat>`: granted. `h<name>:<ms until the key expires>`, `a<name>`, `l<name>`: head of the line, to ask again, freed by hand; the name is the SHA-1 of the claim id. Any other message says nothing |
//!
//! The 1 is the version: another value at the key is that of a program that is not monban, or of a later version, and
//! excludes all the same; a later version would keep its line under other names. Messages have no version: who cannot read
//! one asks again in time, within 5 s. The tag puts the side keys into the
//! key's cluster slot, and scripts are told every key that they may touch. The counter is one for all keys, which is why a
//! node of a cluster is refused. All but the counter have a TTL.
//!
//! # Servers
//!
//! Redis from 6.2 on, and Valkey. CI has Redis 7.0. Tried by hand, with the conformance suite and the tests of the line:
//! Redis 6.2.5 and 8.2.3, Valkey 8.1.8 and 9.1.2.
//!
//! # Permissions
//!
//! ```text
//! ACL SETUSER monban on >password resetkeys ~app:* ~monban:{???}[oe]:app:* ~monban:{fence}
//!   resetchannels &monban:* -@all +evalsha +script|load +set +get +mget +getrange +setrange +exists +del
//!   +pexpire +pttl +time +type +scan
//!   +zadd +zrem +zscore +zcard +zcount +zrange +zrangebyscore +zrevrange +zrevrangebyscore
//!   +publish +subscribe +ping +info +select +client|id +client|tracking +client|caching +client|kill
//! ```
//!
//! with the pattern of the keys that are locked in place of `app:*`, twice: users of different prefixes then cannot touch each
//! other's keys and lines. They share the fence counter, which whoever may lock can raise, and so far that
//! no fence can follow and all are barred, and the channels, which are named by
//! processes, not by keys. Who may only publish there can wake others for nothing, or keep a waiter asleep for up to 5 s, but
//! grant nothing: a grant is believed if it names the claim's id, and that is told to nobody before. `scan` and `type` are
//! for listings only. Without
//! `client|kill`, a claim whose request was under way when its connection broke may stay for one TTL with no owner.
//! With `?signal=python-redis-lock` also `+lpush` and the pattern `lock-signal:*`.
//!
//! # Connections
//!
//! One for a store, for commands and pushes. A server without RESP3 is polled by those who wait, and a holder learns of
//! a loss when it renews.

mod address;
mod attempt;
mod batch;
mod call;
mod faults;
mod hub;
mod keep;
mod link;
mod names;
mod reply;
mod scripts;
mod server;
mod show;
#[cfg(test)]
mod tests;
mod value;
mod watches;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;

use crate::contract::{
    Attempt, Exclusion, Fencing, Grant, Guarantees, Liveness, Order, Reach, Release, Renewal, Store,
};
use crate::data::{Barred, Claim, Entry, Error, Keep, Key, Leave, Result};

use address::Address;
use hub::Hub;

/// The line on one Redis or Valkey primary, over one connection.
pub struct RedisStore {
    hub: Arc<Hub>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl RedisStore {
    /// A store at `redis[s]://[user[:password]@]host[:port][/database][?option=value&...]`, or `valkey[s]://`. Nothing is
    /// connected yet.
    ///
    /// Options: `ca=FILE`, trust the certificate authorities in this file instead of the system's;
    /// `cert=FILE` and `key=FILE`, show this certificate to a server that wants one;
    /// `evicting=allow`, accept a server that may evict keys; `signal=python-redis-lock`, wake the waiters of that
    /// client on release; `timeout=2s`, the longest wait for an answer.
    ///
    /// # Errors
    ///
    /// `Invalid` if the URL cannot be read; it is never quoted, since it may have a password in it.
    pub fn new(url: &str) -> Result<Self> {
        let hub = Arc::new(Hub::new(Address::parse(url)?));
        Ok(Self {
            hub,
            tasks: Mutex::default(),
        })
    }

    /// What this store promises.
    pub const GUARANTEES: Guarantees = Guarantees {
        store: "redis",
        exclusion: Exclusion::SinglePrimary,
        order: Order::FifoBesideOthers,
        liveness: Liveness::Ttl,
        fencing: Fencing::WhileDataLives,
        permits: true,
        linger: true,
        release_by_hand: true,
    };

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn open(&self) -> Result<Guarantees> {
        if self.tasks().iter().any(|task| !task.is_finished()) {
            self.hub.link().await?;
            return Ok(Self::GUARANTEES);
        }
        let link = self.hub.open().await?;
        let mut tasks = self.tasks();
        tasks.push(tokio::spawn(Arc::clone(&self.hub).supervise(link)));
        tasks.push(tokio::spawn(Arc::clone(&self.hub).watch()));
        Ok(Self::GUARANTEES)
    }

    fn reach(&self) -> Reach {
        Reach::Remote
    }

    async fn attempt(&self, claims: &[Claim]) -> Vec<Result<Attempt>> {
        attempt::attempt(&self.hub, claims).await
    }

    async fn renew(&self, keeping: &[Keep]) -> Vec<Result<Renewal>> {
        keep::renew(&self.hub, keeping).await
    }

    async fn release(&self, leaving: &[Leave]) -> Vec<Result<Release>> {
        keep::release(&self.hub, leaving).await
    }

    async fn evict(&self, entry: &Entry) -> Result<Release> {
        show::evict(&self.hub, entry).await
    }

    async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>> {
        show::inspect(&self.hub, prefix).await
    }

    async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>> {
        show::inspect_key(&self.hub, key).await
    }

    async fn recovers_in(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    async fn barred(&self, _: &[u8]) -> Result<Vec<Barred>> {
        Ok(Vec::new())
    }

    fn told(&self, claim: &Claim) -> Option<Grant> {
        attempt::told(&self.hub, claim, self.hub.clock.now())
    }

    fn trouble(&self) -> Option<Error> {
        self.hub.trouble()
    }

    async fn close(&self) {}
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        for task in self.tasks().drain(..) {
            task.abort();
        }
    }
}

/// Shows where the store is, never how to be let in.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("at", &self.hub.address)
            .finish_non_exhaustive()
    }
}
