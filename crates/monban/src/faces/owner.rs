//! Re-entrance for callers that need it: by a handle that is passed on, and counted.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{Mutex, RwLock};
use crate::data::{Error, Key, Mode, Result};
use crate::engine::{Acquire, Lease, Request};

/// Whoever has this handle may take a key again that was taken through it.
///
/// Pass it, or a clone, down the calls that belong together. It goes neither by thread nor by task: a
/// runtime moves tasks between threads, and work that a task hands to another is still its owner's. Every
/// taking is counted; the key is released when the last guard is.
///
/// A writer that reads is given its write lease once more. A reader that wants to write is refused: it
/// would wait for its own end, and two such readers for each other's.
///
/// # Example
///
/// ```
/// # monban::block_on(async {
/// use monban::{Locks, Mutex, Owner};
///
/// async fn post(mutex: &Mutex, owner: &Owner) -> monban::Result<()> {
///     let _guard = owner.lock(mutex).await?; // whether or not the caller has it already
///     Ok(())
/// }
///
/// let mutex = Locks::in_memory().mutex("ledger")?;
/// let owner = Owner::new();
/// let guard = owner.lock(&mutex).await?;
/// post(&mutex, &owner).await?;
/// assert!(mutex.try_lock().await?.is_none()); // still ours
/// guard.release().await?;
/// assert!(mutex.try_lock().await?.is_some());
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Owner {
    held: Arc<StdMutex<HashMap<Place, Slot>>>,
}

/// A key of one store: the store is told by the address of its handle, which every live lease keeps.
type Place = (usize, Key);
/// What this owner has there. Locked while one of its callers takes it: the others wait for that, not
/// behind it in the store's line.
type Slot = Arc<AsyncMutex<Weak<Held>>>;

struct Held {
    mode: Mode,
    lease: Lease,
}

/// How long to wait.
#[derive(Clone, Copy)]
enum Patience {
    Forever,
    Within(Duration),
    None,
}

impl Owner {
    /// An owner that has nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for the key, or takes it once more if this owner has it.
    ///
    /// # Errors
    ///
    /// As [`Mutex::lock`]'s; [`Error::Lost`] if this owner had it and lost it: the outer guard must go first.
    ///
    /// # Cancel safety
    ///
    /// May be dropped: what was on its way is given back.
    pub async fn lock(&self, mutex: &Mutex) -> Result<Reentrant> {
        self.wait(&mutex.request, Patience::Forever).await
    }

    /// As [`lock`](Self::lock), but gives up after this time.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock), and [`Error::TimedOut`].
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    pub async fn lock_within(&self, mutex: &Mutex, limit: Duration) -> Result<Reentrant> {
        self.wait(&mutex.request, Patience::Within(limit)).await
    }

    /// Takes the key if it is free or this owner has it; `None` otherwise, or if another caller with this
    /// owner is about to take it.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock`]'s; [`Error::Lost`] as for [`lock`](Self::lock).
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    pub async fn try_lock(&self, mutex: &Mutex) -> Result<Option<Reentrant>> {
        self.enter(&mutex.request, Patience::None).await
    }

    /// Waits for a share, or takes once more what this owner has, be it a share or the whole.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    pub async fn read(&self, lock: &RwLock) -> Result<Reentrant> {
        self.wait(&lock.reader, Patience::Forever).await
    }

    /// Waits for the key alone, or takes it once more if this owner has it alone.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`Error::Mismatch`] if this owner has a share: release it first, and look
    /// again at what was read.
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    pub async fn write(&self, lock: &RwLock) -> Result<Reentrant> {
        self.wait(&lock.writer, Patience::Forever).await
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    async fn wait(&self, request: &Request, patience: Patience) -> Result<Reentrant> {
        let entered = self.enter(request, patience).await?;
        Ok(entered.expect("only a try ends without a lease or an error"))
    }

    async fn enter(&self, request: &Request, patience: Patience) -> Result<Option<Reentrant>> {
        let clock = request.clock();
        let started = clock.now();
        let Some(mut slot) = self.slot(request, patience).await? else {
            return Ok(None);
        };
        if let Some(held) = slot.upgrade() {
            held.lease.check()?;
            may_enter_again(&held, request)?;
            return Ok(Some(Reentrant { held }));
        }
        let acquire = Acquire::new(request.clone());
        let lease = match patience {
            Patience::Forever => acquire.await?,
            Patience::Within(limit) => {
                let spent = clock.now().since(started);
                acquire.within(limit.saturating_sub(spent)).await?
            }
            Patience::None => match request.clone().attempt().await? {
                Ok(lease) => lease,
                Err(_) => return Ok(None),
            },
        };
        let mode = request.mode;
        let held = Arc::new(Held { mode, lease });
        *slot = Arc::downgrade(&held);
        Ok(Some(Reentrant { held }))
    }

    /// The place of a key, once no other caller with this owner is taking it.
    async fn slot(
        &self,
        request: &Request,
        patience: Patience,
    ) -> Result<Option<OwnedMutexGuard<Weak<Held>>>> {
        let slot = self.find(request);
        match patience {
            Patience::Forever => Ok(Some(slot.lock_owned().await)),
            Patience::None => Ok(slot.try_lock_owned().ok()),
            Patience::Within(limit) => tokio::select! {
                biased;
                slot = slot.lock_owned() => Ok(Some(slot)),
                slept = request.pause(None, limit) => {
                    slept?;
                    Err(Error::TimedOut { key: request.key.clone(), waited: limit, who: None })
                }
            },
        }
    }

    fn find(&self, request: &Request) -> Slot {
        let place = (Arc::as_ptr(&request.handle) as usize, request.key.clone());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // What is kept is in proportion to what is held, not to all keys ever seen.
        held.retain(|known, slot| *known == place || is_in_use(slot));
        Arc::clone(held.entry(place).or_default())
    }
}

fn is_in_use(slot: &Slot) -> bool {
    let is_held = |slot: &Slot| slot.try_lock().is_ok_and(|held| held.strong_count() > 0);
    Arc::strong_count(slot) > 1 || is_held(slot)
}

fn may_enter_again(held: &Held, request: &Request) -> Result<()> {
    if held.mode == request.mode || held.mode == Mode::Exclusive {
        return Ok(());
    }
    Err(Error::mismatch(
        &request.key,
        "this owner reads it and wants to write; it would wait for itself, and two such readers for each \
         other. Release, take the write lock, and look again at what was read",
    ))
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").finish_non_exhaustive()
    }
}

/// A key that an [`Owner`] has taken once, or once more. The last guard that is dropped releases it.
#[must_use = "a guard that is dropped counts as released"]
pub struct Reentrant {
    held: Arc<Held>,
}

impl Reentrant {
    /// How many guards there are on this key, this one included.
    #[must_use]
    pub fn count(&self) -> usize {
        Arc::strong_count(&self.held)
    }

    /// Gives this guard up. The last one releases the key, and says whether it was ours until now.
    ///
    /// # Errors
    ///
    /// As [`Lease::release`]'s; for a guard that is not the last, [`Error::Lost`] if the lease is lost.
    ///
    /// # Cancel safety
    ///
    /// As [`Lease::release`]'s.
    pub async fn release(self) -> Result<()> {
        let check = self.held.lease.check();
        match Arc::into_inner(self.held) {
            Some(held) => held.lease.release().await,
            None => check,
        }
    }
}

impl Deref for Reentrant {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.held.lease
    }
}

impl fmt::Debug for Reentrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reentrant")
            .field("count", &self.count())
            .field("lease", &self.held.lease)
            .finish()
    }
}
