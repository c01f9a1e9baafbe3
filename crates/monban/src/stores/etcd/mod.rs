//! The line on an etcd cluster.
//!
//! What stands directly below `KEY/` is the key's line, in the order of create revisions: the layout of etcd's own
//! `concurrency` package. So an exclusive claim excludes, and is excluded by, `etcdctl lock KEY` and Go's
//! `concurrency.Mutex`, and they wait for each other in order. Everything is decided by transactions and linearizable
//! reads, so by a majority of the members; never by the `v3lock` service of the servers, whose version 3.4 tells a waiter
//! whose lease has ended that it holds the lock (fixed in 3.5).
//!
//! # Format, version 1
//!
//! | key | what |
//! |---|---|
//! | `[PREFIX/]KEY/<claim id>` | an exclusive claim |
//! | `[PREFIX/]KEY/~s<claim id>` | a share |
//! | `[PREFIX/]KEY/~p<of><n><claim id>` | permits; the numbers in 8 hexadecimal digits each |
//! | `[PREFIX/]KEY/` and anything else without a slash | a foreign claim; Go's package has the lease's number in hexadecimal |
//!
//! The value is `mb1:<i, s and the seat, or l>:<TTL or linger, ms>:<claimant>`: in line, seated, lingering. The names of our
//! claims are their ids and not their leases': so every verb can be repeated, by another connection or process too, and
//! claims of one process on one key are different without a lease for each.
//!
//! Go's mutex waits until nothing of a lower create revision is below `KEY/`, so it waits for shares and permits too, and
//! they for it. **A key that is another's with `/` and more after it** (`jobs` and `jobs/7`) is in that one's range: for monban they are
//! different keys, though looking at the shorter one's line costs more the more there is below it; Go's mutex on `jobs`
//! waits for what is locked as `jobs/7` too.
//!
//! # Time
//!
//! etcd counts TTLs in whole seconds and gives none below its election timeout: a TTL is rounded up to whole seconds, and
//! [`Grant::ttl`](crate::contract::Grant::ttl) says so. One lease, kept between acquisitions, carries all claims of a
//! TTL; it lives a sixteenth of the TTL, at least one second and at most five, longer than they do, and etcd ends leases
//! within a second after that: then a dead process's keys are free. A claim that is alone in not being renewed is deleted
//! by us on the second. A linger has a lease of its own, in whole seconds too. A store that is closed revokes those
//! of its leases under which nobody has a claim: what cannot say so ends by itself.
//!
//! # Permissions
//!
//! ```text
//! etcdctl role grant-permission monban --prefix=true readwrite app/
//! ```
//!
//! for keys that begin with `app/`, as they do with `etcd://…/app`; and reading `app/monban/probe` (nothing is ever there)
//! tells at the start whether the user may. Leases need no permission.

mod address;
mod attempt;
mod dial;
mod each;
mod faults;
mod hub;
mod keep;
mod leases;
mod looks;
mod names;
mod ops;
mod permits;
mod proto;
mod show;
mod sight;
mod table;
mod upkeep;
mod value;
mod watches;
mod whole;
mod writes;

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
use table::Table;
use watches::{Orders, Watches};
use writes::{Waiting, Writes};

/// The line on an etcd cluster, over a connection to one of its members.
pub struct EtcdStore {
    core: Arc<Core>,
    taken: Mutex<Option<(Orders, Waiting)>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What the verbs and the tasks share.
#[derive(Debug)]
struct Core {
    hub: Arc<Hub>,
    table: Arc<Table>,
    watches: Watches,
    writes: Writes,
    /// Leases are granted and renewed one after the other: who comes second finds it done.
    leasing: tokio::sync::Mutex<()>,
}

impl EtcdStore {
    /// A store at `etcd[s]://[user:password@]host[:port][,host[:port]...][/prefix][?option=value&...]`. Nothing is
    /// connected yet.
    ///
    /// The hosts are members of one cluster. All keys stand below the prefix. Options: `timeout=3s`, the longest wait
    /// for an answer; with `etcds`, `ca=FILE`, trust the certificate authorities in this file instead of the system's,
    /// and `cert=FILE`, `key=FILE`, the certificate to show to servers that want one.
    ///
    /// # Errors
    ///
    /// `Invalid` if the URL cannot be read; it is never quoted, since it may have a password in it.
    pub fn new(url: &str) -> Result<Self> {
        let hub = Arc::new(Hub::new(Address::parse(url)?));
        let (watches, orders) = Watches::new();
        let (writes, waiting) = Writes::new();
        let core = Core {
            table: Arc::new(Table::new(hub.clock.clone())),
            hub,
            watches,
            writes,
            leasing: tokio::sync::Mutex::default(),
        };
        Ok(Self {
            core: Arc::new(core),
            taken: Mutex::new(Some((orders, waiting))),
            tasks: Mutex::default(),
        })
    }

    /// What this store promises.
    pub const GUARANTEES: Guarantees = Guarantees {
        store: "etcd",
        exclusion: Exclusion::Linearizable,
        order: Order::FifoAmongAll,
        liveness: Liveness::TtlAndLease,
        fencing: Fencing::WithData,
        permits: true,
        linger: true,
        release_by_hand: true,
    };

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// How long a verb for a claim of this TTL may take.
    fn patience(&self, ttl: Duration) -> Duration {
        hub::patience(self.hub.address.timeout, ttl)
    }

    fn prefix(&self) -> &[u8] {
        &self.hub.address.prefix
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn open(&self) -> Result<Guarantees> {
        self.core.hub.open().await?;
        let taken = {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.take()
        };
        if let Some((orders, waiting)) = taken {
            let (hub, table) = (Arc::clone(&self.core.hub), Arc::clone(&self.core.table));
            let mut tasks = self.tasks();
            tasks.push(tokio::spawn(writes::send(Arc::clone(&hub), waiting)));
            tasks.push(tokio::spawn(watches::watch(hub, table, orders)));
            tasks.push(tokio::spawn(upkeep::look_after(Arc::clone(&self.core))));
        }
        Ok(Self::GUARANTEES)
    }

    fn reach(&self) -> Reach {
        Reach::Remote
    }

    async fn attempt(&self, claims: &[Claim]) -> Vec<Result<Attempt>> {
        attempt::attempt(&self.core, claims).await
    }

    async fn renew(&self, keeping: &[Keep]) -> Vec<Result<Renewal>> {
        keep::renew(&self.core, keeping).await
    }

    async fn release(&self, leaving: &[Leave]) -> Vec<Result<Release>> {
        keep::release(&self.core, leaving).await
    }

    async fn evict(&self, entry: &Entry) -> Result<Release> {
        show::evict(&self.core, entry).await
    }

    async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>> {
        show::inspect(&self.core, prefix).await
    }

    async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>> {
        let mut entries = self.inspect(key.as_bytes()).await?;
        entries.retain(|entry| entry.key == *key);
        Ok(entries)
    }

    async fn recovers_in(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    async fn barred(&self, _: &[u8]) -> Result<Vec<Barred>> {
        Ok(Vec::new())
    }

    fn told(&self, _: &Claim) -> Option<Grant> {
        None
    }

    fn trouble(&self) -> Option<Error> {
        None
    }

    async fn close(&self) {
        self.core.give_back().await;
    }
}

/// The claims, and the leases that [`close`](Store::close) has not given back, are left to their TTL: nothing is said
/// to the servers.
impl Drop for EtcdStore {
    fn drop(&mut self) {
        for task in self.tasks().drain(..) {
            task.abort();
        }
    }
}

/// Shows where the store is, never how to be let in.
impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("at", &self.core.hub.address)
            .finish_non_exhaustive()
    }
}
