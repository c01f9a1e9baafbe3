//! The line in a PostgreSQL database.
//!
//! Each verb is one function call, one transaction, on the server's time. Connection: one for a store. Directly on a server it
//! is a session that whoever waits listens on; behind a pooler that lends sessions for a transaction (found out by the session's
//! number) nothing is prepared nor listened for, and who waits asks again after 50 to 100 ms.
//!
//! What is kept, and why in tables that are not logged, stands in `sql/tables.sql`. In short: `monban.head` has a row for each
//! key in use, `monban.claim` one for each claim that waits, shares or counts. After a crash of the server, or on a standby
//! that was promoted, they are empty: every lease is lost, its holder hears so at its next renewal, and nothing is granted
//! before the last of them would have ended. That instant, and a bound that no fence has passed, are in a logged table.
//!
//! # Permissions
//!
//! The schema is made on demand by a role that may create one, or by an administrator: `monban schema` prints it, and
//! `monban schema --apply` makes it. A role that locks needs
//!
//! ```text
//! GRANT USAGE ON SCHEMA monban TO app;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA monban TO app;
//! ```

mod address;
mod attempt;
mod call;
mod faults;
mod hub;
mod keep;
mod link;
mod names;
mod server;
mod show;
mod sql;
mod watches;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::task::JoinHandle;

use crate::contract::{
    Attempt, Exclusion, Fencing, Guarantees, Liveness, Order, Reach, Release, Renewal, Store,
};
use crate::data::{Claim, Entry, Keep, Leave, Result};

use address::Address;
use hub::Hub;

/// The line in a PostgreSQL database, over one connection.
pub struct PostgresStore {
    hub: Arc<Hub>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl PostgresStore {
    /// A store at `postgres[ql]://user[:password]@host[:port][/database][?option=value&...]`. Nothing is connected yet.
    ///
    /// Options: `sslmode=verify-full`, use TLS and verify the certificate and its name (`require` and `verify-ca` do the
    /// same; `disable`, the default, does not encrypt; `prefer` is refused); `ca=FILE`, trust the certificate
    /// authorities in this file instead of the system's; `cert=FILE` and `key=FILE`, the certificate to show to servers
    /// that want one; `timeout=2s`, the longest wait for an answer.
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
        store: "postgres",
        exclusion: Exclusion::SinglePrimary,
        order: Order::Fifo,
        liveness: Liveness::Ttl,
        fencing: Fencing::WhileDataLives,
        permits: true,
        linger: true,
        release_by_hand: true,
    };

    /// The SQL that makes what the store needs in a database; running it again changes nothing.
    pub const SCHEMA: &str = sql::SCHEMA;

    /// Makes the schema, or brings it up to date, as the URL's user. Blocks until it is done, at most some seconds.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, or the user may not do it.
    pub fn apply_schema(&self) -> Result<()> {
        let hub = Arc::clone(&self.hub);
        // On a thread of its own: the caller may be within a runtime, which does not let another one run there.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(hub.apply_schema()),
                Err(error) => Err(faults::no_runtime().because(error)),
            }
        });
        thread.join().unwrap_or_else(|_| Err(faults::no_runtime()))
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn open(&self) -> Result<Guarantees> {
        if self.tasks().iter().any(|task| !task.is_finished()) {
            self.hub.link().await?;
            return Ok(Self::GUARANTEES);
        }
        let link = self.hub.open().await?;
        let mut tasks = self.tasks();
        tasks.push(tokio::spawn(Arc::clone(&self.hub).supervise(link)));
        tasks.push(tokio::spawn(Arc::clone(&self.hub).look_after()));
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

    async fn close(&self) {}
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        for task in self.tasks().drain(..) {
            task.abort();
        }
    }
}

/// Shows where the store is, never how to be let in.
impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("at", &self.hub.address)
            .finish_non_exhaustive()
    }
}
