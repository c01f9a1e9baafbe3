//! The handle on a store from which all locks are made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::acquire::Request;
use super::block::poll_once;
use super::core::{Engine, Handle};
use crate::contract::{Guarantees, Reach, Release, Store};
use crate::data::{Barred, Entry, Error, Key, Mode, Options, Result};
use crate::rule::Clock;

/// Locks over one store. Cheap to clone; clones share the connection and the background thread.
///
/// # Example
///
/// ```
/// # monban::block_on(async {
/// let locks = monban::Locks::in_memory();
/// let lease = locks.mutex("report")?.lock().await?;
/// assert!(locks.mutex("report")?.try_lock().await?.is_none());
/// drop(lease);
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Locks {
    handle: Arc<Handle>,
}

/// Chooses a clock and a label for locks over a store of one's own.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct LocksBuilder {
    clock: Clock,
    label: String,
}

impl LocksBuilder {
    /// Measures leases by this clock; without it, by the machine's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Shows people this as the purpose of claims that have no label of their own.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn chosen_clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Opens the store and makes locks over it.
    ///
    /// # Errors
    ///
    /// What the store's [`open`](Store::open) says.
    pub async fn open(self, store: Arc<dyn Store>) -> Result<Locks> {
        let engine = Engine::new(store, self.clock, &self.label);
        let handle = Arc::new(Handle { engine });
        handle.engine.open().await?;
        Ok(Locks { handle })
    }

    /// Opens the store with a keeper that is a task of this runtime: for tests that decide what runs when.
    #[cfg(test)]
    pub(super) async fn open_on(
        self,
        store: Arc<dyn Store>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<(Locks, tokio::task::JoinHandle<()>)> {
        let engine = Engine::new(store, self.clock, &self.label);
        let keeper = engine.keep_on(runtime);
        let handle = Arc::new(Handle { engine });
        handle.engine.open().await?;
        Ok((Locks { handle }, keeper))
    }

    /// Opens a store of [`Reach::Local`], with no executor.
    ///
    /// # Errors
    ///
    /// What the store's `open` says; [`Error::Unsupported`] if the store is not local.
    pub fn open_local(self, store: Arc<dyn Store>) -> Result<Locks> {
        if store.reach() != Reach::Local {
            return Err(Error::unsupported(
                "chosen",
                "it is not local; open it with `open`",
            ));
        }
        poll_once(Box::pin(self.open(store))).unwrap_or_else(|_| {
            Err(Error::unavailable(
                "chosen",
                "a local store must be opened by one poll",
            ))
        })
    }
}

impl Locks {
    /// Locks over a store of one's own, measured by the machine's clock.
    ///
    /// # Errors
    ///
    /// What the store's [`open`](Store::open) says.
    pub async fn over(store: Arc<dyn Store>) -> Result<Self> {
        Self::builder().open(store).await
    }

    /// Chooses more than the store.
    pub fn builder() -> LocksBuilder {
        LocksBuilder::default()
    }

    /// What the store promises.
    #[must_use]
    pub fn guarantees(&self) -> &Guarantees {
        self.handle.engine.guarantees()
    }

    /// Shows the live claims of all keys whose bytes begin with `prefix`, each line in order. For people
    /// and tests: what it shows may have changed before it is read.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Rejected`].
    pub async fn inspect(&self, prefix: impl AsRef<[u8]>) -> Result<Vec<Entry>> {
        let engine = &self.handle.engine;
        let store = Arc::clone(&engine.store);
        let prefix = prefix.as_ref().to_vec();
        let work = async move { store.inspect(&prefix).await };
        match engine.reach {
            Reach::Local => work.await,
            Reach::Remote => engine.on_keeper(work).await?,
        }
    }

    /// As [`inspect`](Self::inspect), of this key alone: no store looks through other keys for it.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Rejected`].
    ///
    /// ```
    /// # fn main() -> monban::Result<()> {
    /// let locks = monban::Locks::in_memory();
    /// let key = monban::Key::new("report")?;
    /// let lease = locks.mutex(key.clone())?.lock().wait()?;
    /// let line = monban::block_on(locks.inspect_key(&key))?;
    /// assert_eq!(line.len(), 1);
    /// # drop(lease);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>> {
        let engine = &self.handle.engine;
        let store = Arc::clone(&engine.store);
        let key = key.clone();
        let work = async move { store.inspect_key(&key).await };
        match engine.reach {
            Reach::Local => work.await,
            Reach::Remote => engine.on_keeper(work).await?,
        }
    }

    /// For how long from now the store grants nothing, of any key, since it has lost its memory in a crash; `None` if it
    /// grants. It knows of few holders meanwhile, or of none: of a key that is not shown nobody can say that it is free.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Rejected`].
    pub async fn recovers_in(&self) -> Result<Option<Duration>> {
        let engine = &self.handle.engine;
        let store = Arc::clone(&engine.store);
        let work = async move { store.recovers_in().await };
        match engine.reach {
            Reach::Local => work.await,
            Reach::Remote => engine.on_keeper(work).await?,
        }
    }

    /// Which keys whose bytes begin with `prefix` are barred by transactions that have checked their fence and are still open,
    /// and by whose. Nobody is granted such a key before they have ended; who holds it already holds on. For people and
    /// tests: what it shows may have changed before it is read.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Rejected`].
    pub async fn barred(&self, prefix: impl AsRef<[u8]>) -> Result<Vec<Barred>> {
        let engine = &self.handle.engine;
        let store = Arc::clone(&engine.store);
        let prefix = prefix.as_ref().to_vec();
        let work = async move { store.barred(&prefix).await };
        match engine.reach {
            Reach::Local => work.await,
            Reach::Remote => engine.on_keeper(work).await?,
        }
    }

    /// Frees by hand what [`inspect`](Self::inspect) showed: compares, then deletes. Its owner is told that
    /// the lease is lost. `Gone` if something else is there by now.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where only the end of the holder frees a key; [`Error::Unavailable`],
    /// [`Error::Rejected`].
    pub async fn evict(&self, entry: &Entry) -> Result<Release> {
        let engine = &self.handle.engine;
        let store = Arc::clone(&engine.store);
        let entry = entry.clone();
        let work = async move { store.evict(&entry).await };
        match engine.reach {
            Reach::Local => work.await,
            Reach::Remote => engine.on_keeper(work).await?,
        }
    }

    /// Refuses further acquisitions and waits until the store has answered all releases, those of dropped
    /// leases and futures too. Leases that are held stay held. The store then gives back what it keeps between claims,
    /// as far as none hangs on it: a request of its own over etcd, for which it waits about a second at most.
    ///
    /// Whoever waits for a key is told [`Error::Rejected`] and leaves the line: when this returns, nobody is
    /// granted anything any more.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn close(&self) {
        self.handle.engine.close();
        self.handle.engine.settled().await;
        self.handle.engine.close_store().await;
    }

    /// Checks a request against itself and against what the store promises.
    pub(crate) fn request(&self, key: Key, mode: Mode, options: Options) -> Result<Request> {
        options.check_for(mode)?;
        let promised = self.guarantees();
        if mode != Mode::Exclusive && !promised.permits {
            return Err(Error::unsupported(
                promised.store,
                "it offers exclusive claims only",
            ));
        }
        if options.linger.is_some() && !promised.linger {
            return Err(Error::unsupported(
                promised.store,
                "a released claim cannot linger there",
            ));
        }
        let claimant = self.handle.engine.claimant(&options);
        Ok(Request {
            handle: Arc::clone(&self.handle),
            key,
            mode,
            options,
            claimant,
        })
    }

    /// How many keys this process has in use or waits for, and how many leases the keeper watches: for
    /// tests that nothing is left behind.
    #[doc(hidden)]
    #[must_use]
    pub fn residue(&self) -> (usize, usize) {
        let engine = &self.handle.engine;
        (engine.gate.len(), super::hold::lock(&engine.schedule).len())
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks")
            .field("engine", &self.handle.engine)
            .finish()
    }
}
