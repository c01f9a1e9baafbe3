//! The line in a PostgreSQL database.
//!
//! Each verb is one function call, one transaction, on the server's time. Connection: one for a store. Directly on a server it
//! is a session that whoever waits listens on; behind a pooler that lends sessions for a transaction (found out by the session's
//! number) nothing is prepared nor listened for, and who waits asks again after 50 to 100 ms if it is next, after 200 to 400 ms if not.
//!
//! What is kept, and why in tables that are not logged, stands in `sql/tables.sql`. In short: `monban.head` has a row for each
//! key in use, `monban.claim` one for each claim that waits, shares or counts. After a crash of the server, or on a standby
//! that was promoted, they are empty: every lease with a TTL of up to a minute is lost, its holder hears so at its next renewal,
//! and nothing is granted before the last of them would have ended. That instant, and a bound that no fence has passed, are
//! in a logged table, and so are leases with a longer TTL.
//!
//! # Versions
//!
//! PostgreSQL 13 to 18, and an older server is refused: CI tests 15, and the others were run by hand, as `docs/stores.md` says.
//! A session of our own is set to what its requests need, whatever is set for the role or the database; behind a pooler only
//! `default_transaction_isolation` matters, and another one than `read committed` is refused, as is
//! `default_transaction_read_only` everywhere; and a `search_path` that names `pg_catalog` behind a schema to which others may add would have
//! their operators called.
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
//!
//! and one that checks fences (`SELECT monban.fence_check('KEY', FENCE)`), whether it locks or not, the first of these and
//!
//! ```text
//! GRANT EXECUTE ON FUNCTION monban.fence_check(bytea, bigint) TO app;
//! ```
//!
//! # Versions
//!
//! The tables have a format, and the functions of a format have versions. Whoever opens a database with functions of an earlier
//! version replaces them, if the role may, and else works with those; later ones are left alone. So two versions of monban
//! can share a database while one takes the place of the other.

mod address;
mod attempt;
mod call;
mod faults;
mod hub;
mod keep;
mod link;
mod names;
mod passwords;
mod schema;
mod server;
mod show;
mod sql;
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

/// The line in a PostgreSQL database, over one connection.
pub struct PostgresStore {
    hub: Arc<Hub>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl PostgresStore {
    /// A store at `postgres[ql]://[user[:password]@]host[:port][,...][/database][?option=value&...]`, as libpq writes it.
    /// Nothing is connected yet.
    ///
    /// * **A socket of this machine** is named by its directory: `postgres:///database?host=/run/postgresql`, or
    ///   `%2Frun%2Fpostgresql` as the host. Without a user it is the one that the process runs as, whom `peer`
    ///   authentication lets in.
    /// * **Several hosts** are a primary and its standbys: whichever is the primary when a connection is made is used, and
    ///   looked for again when it ends. `target_session_attrs=read-write` (or `primary`) says so, and may be left out. That there is never more than one
    ///   primary is what the promise rests on: whoever promotes a standby has to end the old one first.
    /// * **The password** is in the URL, or in `passfile=FILE`, or in `PGPASSWORD`, or in the file that `PGPASSFILE` names,
    ///   or in `.pgpass` at home: the first of them that there is. A file has libpq's format, is not used if others may read it, and is read for every connection.
    /// * **TLS**: `sslmode=verify-full` verifies the certificate and its name; `require` and `verify-ca` do the same;
    ///   `disable`, the default, does not encrypt; `prefer` and `allow` are refused. `ca=FILE` (`sslrootcert`) trusts the
    ///   certificate authorities in this file instead of the system's; `cert=FILE` and `key=FILE` (`sslcert`, `sslkey`)
    ///   are shown to servers that want a certificate.
    /// * `timeout=2s`: the longest wait for an answer.
    ///
    /// `host`, `port`, `user`, `password` and `dbname` may be options too. No other option of libpq is taken.
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
        exclusion: Exclusion::LastingPrimary,
        order: Order::Fifo,
        liveness: Liveness::TtlAndReserve,
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
    /// If the server cannot be reached, or the user may not do it; `Rejected` if somebody else has made a function
    /// `public.monban_fence_check`, which is named: who calls it would trust its owner.
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

    async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>> {
        show::inspect_key(&self.hub, key).await
    }

    async fn recovers_in(&self) -> Result<Option<Duration>> {
        show::recovers_in(&self.hub).await
    }

    async fn barred(&self, prefix: &[u8]) -> Result<Vec<Barred>> {
        show::barred(&self.hub, prefix).await
    }

    fn told(&self, claim: &Claim) -> Option<Grant> {
        attempt::told(&self.hub, claim, self.hub.clock.now())
    }

    fn trouble(&self) -> Option<Error> {
        self.hub.trouble()
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
