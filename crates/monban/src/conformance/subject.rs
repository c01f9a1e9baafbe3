//! What the suite has to know of the store under test.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::contract::Store;
use crate::data::Result;
use crate::rule::Clock;

/// The store under test.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Connects another client of the same lines, as another process would. The suite opens it.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from connecting; the case fails with it.
    async fn connect(&self) -> Result<Arc<dyn Store>>;

    /// How time passes for the store.
    fn time(&self) -> Time;

    /// Ends a client as if its process were killed: nothing is said to the store. By default the client is
    /// dropped, which must not release anything politely where claims end by their TTL.
    async fn kill(&self, client: Arc<dyn Store>) {
        drop(client);
    }

    /// Names what is left behind in the store beyond what it documents to keep (fence counters, files that
    /// are never unlinked): asked after every case, when no claim is alive.
    async fn residue(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whom the store wakes when a key becomes free.
    fn wakes(&self) -> Wakes {
        Wakes::Any
    }
}

/// How time passes for a store.
#[derive(Clone, Debug)]
pub enum Time {
    /// As the suite commands, by this clock, which is the store's.
    Manual(Clock),
    /// By itself; the suite sleeps.
    Real {
        /// A TTL as short as the store, and the machine under test, handle well: a claim renewed three
        /// times in it is not lost by accident.
        unit: Duration,
        /// How much later than is right an expiry, a death or a release may be seen by others, and a wake
        /// may arrive; and how coarse the store's TTLs are.
        slack: Duration,
    },
}

/// Whom a store wakes when a key becomes free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakes {
    /// Of those in line only the next, and the one that is the first to wait then.
    Next,
    /// Maybe others too.
    Any,
}
