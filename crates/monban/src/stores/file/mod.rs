//! Locks in a directory of files: no server, one host, freed by the kernel.
//!
//! # What decides
//!
//! The exclusion of a key is one flock(2) on `DIR/KEY.lock`: exclusive for [`Mode::Exclusive`], shared for
//! shares and permits. The kernel keeps it and frees it when the last process that has the descriptor ends,
//! however it ends. Everything else decides order, counts permits, or is for people to read:
//!
//! ```text
//! KEY.lock                what is locked; never removed; inside, one line about who holds or lingers
//! .monban/KEY.line/       the line: a locked claim file for each who waits, and who holds a share or permits
//! .monban/KEY.note        that one line, if KEY.lock has content of somebody else's
//! .monban/fence           the counter that fences come from
//! ```
//!
//! Letters, digits and `-_.:@+=` of a key stand for themselves in `KEY`; every other byte, and a leading dot, is
//! `%XX`. So `flock DIR/KEY.lock` excludes, and is excluded by, an exclusive claim of the key.
//!
//! # Conditions
//!
//! * The directory is on a local file system and belongs to one user, mode 0700; others are refused. A
//!   program that runs as that user and removes lock files by hand breaks what they protect. Nothing renews
//!   here by itself, so a holder learns it from [`Lease::renew`](crate::Lease::renew) or the release.
//!   The directories above it belong to root or that user, and nobody else may replace what is in them.
//! * There is no TTL: a holder that is stopped holds, and a waiter that is stopped keeps its place, and
//!   blocks those behind it.
//! * A process that is stopped in the microseconds in which it has a line's door or the counter of fences
//!   locked keeps the others out: of shares and permits, and places, of that key, or of exclusive use and
//!   permits of *all* keys. They are told `Unavailable` after 5 s, in which the calling thread waits, and
//!   then after 0.1 s, until it goes on or ends.
//! * First come, first served among monban processes: a claim that asks after another has joined the line
//!   never overtakes it. flock(1) may come between.
//! * Fences grow over all keys of the directory, through restarts, and through a crash of the machine even
//!   if its clock went back: a day's worth at a time is reserved on the disk, so one grant in a day, and the first
//!   after a boot, waits for the disk. If the directory is lost, the clock carries them.
//! * A linger is a note to monban, in `KEY.lock`. flock(1) does not know it, a program that truncates the
//!   file (a shell's `9>KEY.lock`) erases it, and a crash of the machine may lose one of the last seconds. After a restart of the machine
//!   its rest is measured by the wall clock, and is never longer than it was asked for.
//! * A forked child has the parent's descriptors. It is refused here, and so cannot free what the parent
//!   holds; but the key stays taken until both have closed them or the parent releases. While the child has them open
//!   the release gives no notice: who waits finds it at its next look, after a third of its TTL or a minute. Descriptors are
//!   closed on exec.
//!
//! # Costs
//!
//! Taking a free key alone and giving it back is 18 system calls, about six times the cost of a bare open,
//! flock and close; shares and permits make and remove files, and cost about fifteen times as much. A thread that blocks
//! for a claim is woken by the kernel itself: hand-over between processes is then one wake and some 20 system calls. Who
//! waits in another way costs one thread for the whole process, and a second wake. Who waits behind a monban
//! looks again of itself only at a third of its TTL, at most once a minute; holding costs nothing. Run the example
//! `file_bench` for figures of a machine.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rustix::fd::OwnedFd;

mod dir;
mod fault;
mod fence;
mod give;
mod home;
mod kernel;
mod kind;
mod line;
mod lockfile;
mod moment;
mod name;
mod patience;
mod record;
mod show;
mod sight;
mod slot;
mod take;
mod wait;
mod wake;

pub use home::default_directory;

use crate::contract::{
    Attempt, Exclusion, Fencing, Grant, Guarantees, Liveness, Order, Reach, Release, Renewal, Store,
};
#[cfg(doc)]
use crate::data::Mode;
use crate::data::{Barred, Claim, ClaimId, Entry, Error, Keep, Key, Leave, Result, printable};
use dir::Dir;
use slot::{How, Slot};

const STORE: &str = "file";
const SHARDS: usize = 16;
/// How many released claims each shard remembers, so that a repeated release is told from an unknown one.
const REMEMBERED: usize = 64;

/// A directory of lock files as a store.
///
/// Every verb is finished by its first poll, with plain system calls that do not wait (but for
/// a process that is stopped in the wrong microsecond); see the [module](self) for what is promised, and on
/// what conditions. Two stores on one directory exclude each other, in one
/// process as in two. Dropping the store frees what it holds.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    dir: OnceLock<Dir>,
    shards: [Mutex<Shard>; SHARDS],
    hasher: std::hash::RandomState,
}

/// Claims of some keys.
#[derive(Debug, Default)]
struct Shard {
    slots: HashMap<ClaimId, Slot>,
    released: VecDeque<ClaimId>,
}

impl FileStore {
    /// What this store promises.
    pub const GUARANTEES: Guarantees = Guarantees {
        store: STORE,
        exclusion: Exclusion::Host,
        order: Order::FifoBesideOthers,
        liveness: Liveness::Process,
        fencing: Fencing::WhileDataLives,
        permits: true,
        linger: true,
        release_by_hand: false,
    };

    /// A store in this directory, which is made if it is not there. Nothing is touched before `open`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            path: dir.into(),
            dir: OnceLock::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: std::hash::RandomState::new(),
        }
    }

    /// The store that a URL names: `file:DIR`, `file:///DIR`, or `file:` for the
    /// [default directory](default_directory). `None` if it is the URL of another kind of store.
    ///
    /// # Errors
    ///
    /// `Invalid` if the directory is not absolute: another one would be meant wherever a program is
    /// started. As [`default_directory`] for that.
    pub fn from_url(url: &str) -> Result<Option<Self>> {
        let Some(rest) = url.strip_prefix("file:") else {
            return Ok(None);
        };
        if rest.is_empty() {
            return default_directory().map(Self::new).map(Some);
        }
        let dir = rest.strip_prefix("//").unwrap_or(rest);
        if !dir.starts_with('/') {
            return Err(Error::invalid(format!(
                "the store file:{} does not name a directory from the root; write file:/DIR, or only file: \
                 for the default",
                printable(rest)
            )));
        }
        Ok(Some(Self::new(dir)))
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.path
    }

    /// Descriptors of what a claim holds, to be handed to a child process; none if it does not hold.
    ///
    /// As long as anybody has all of them open, the key is not free, whatever becomes of this process: they
    /// are those of the lock file and, for shares and permits, of the claim's place in the line. They are
    /// close-on-exec; clear the flag in the child. They share their locks with this store's own: releasing
    /// the claim here frees the key though a child has them open still.
    ///
    /// # Errors
    ///
    /// `Unavailable` if too many files are open.
    pub fn held_descriptors(&self, id: &ClaimId) -> Result<Vec<OwnedFd>> {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let Some(Slot::Held(held)) = shard.slots.get_mut(id) else {
                continue;
            };
            let mut files = vec![&held.lock.fd];
            if let How::Beside(member) = &held.how {
                files.push(&member.fd);
            }
            let copy = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
            let copies: Result<_, _> = files.into_iter().map(copy).collect();
            held.lent = true;
            let path = &held.lock.path;
            return copies.map_err(|e| fault::failed("copy the descriptor of", path, e));
        }
        Ok(Vec::new())
    }

    fn dir(&self) -> Result<&Dir> {
        let dir = match self.dir.get() {
            Some(dir) => dir,
            None => {
                let dir = Dir::open(&self.path)?;
                self.dir.get_or_init(|| dir)
            }
        };
        dir.check_process()?;
        Ok(dir)
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(key);
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        lock(&self.shards[at])
    }

    fn attempt_one(&self, claim: &Claim) -> Result<Attempt> {
        claim.mode.check()?;
        let dir = self.dir()?;
        let mut shard = self.shard(&claim.key);
        if let Some(slot) = shard.slots.get(&claim.id)
            && slot.mode() != claim.mode
        {
            return Err(Error::mismatch(
                &claim.key,
                "this claim asked in another mode before",
            ));
        }
        let (answer, slot) = match shard.slots.remove(&claim.id) {
            Some(Slot::Held(held)) => {
                let grant = held.grant();
                (Ok(Attempt::Granted(grant)), Some(Slot::Held(held)))
            }
            Some(Slot::Waiting(waiting)) => wait::again(dir, claim, waiting),
            None => match take::first(dir, claim) {
                Ok((attempt, slot)) => (Ok(attempt), slot),
                Err(error) => (Err(error), None),
            },
        };
        shard.slots.extend(slot.map(|slot| (claim.id, slot)));
        answer
    }

    fn renew_one(&self, keep: &Keep) -> Result<Renewal> {
        let (dir, claim) = (self.dir()?, &keep.claim);
        match self.shard(&claim.key).slots.get(&claim.id) {
            Some(Slot::Held(held)) if held.fence == keep.fence => give::renew(dir, held),
            Some(_) => Ok(Renewal::Lost),
            // Of another store of this directory, perhaps.
            None if show::holds(dir, keep)? => Ok(Renewal::Kept),
            None => Ok(Renewal::Lost),
        }
    }

    fn release_one(&self, leave: &Leave) -> Result<Release> {
        let Leave { claim, linger } = leave;
        let dir = self.dir()?;
        let mut shard = self.shard(&claim.key);
        let Some(slot) = shard.slots.remove(&claim.id) else {
            let known =
                shard.released.contains(&claim.id) || give::lingers(dir, &claim.key, claim.id)?;
            return Ok(if known { Release::Done } else { Release::Gone });
        };
        let left = give::leave(dir, slot, linger.map(|linger| (claim, linger)))?;
        if left == Release::Gone {
            return Ok(left);
        }
        if shard.released.len() == REMEMBERED {
            shard.released.pop_front();
        }
        shard.released.push_back(claim.id);
        Ok(Release::Done)
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        // In a forked child only the descriptors go: the locks are the parent's.
        let Some(dir) = self.dir.get().filter(|dir| dir.is_ours()) else {
            return;
        };
        for shard in &self.shards {
            for (_, slot) in lock(shard).slots.drain() {
                let _ = give::leave(dir, slot, None);
            }
        }
    }
}

#[async_trait]
impl Store for FileStore {
    async fn open(&self) -> Result<Guarantees> {
        self.dir()?;
        Ok(Self::GUARANTEES)
    }

    fn reach(&self) -> Reach {
        Reach::Local
    }

    async fn attempt(&self, claims: &[Claim]) -> Vec<Result<Attempt>> {
        claims
            .iter()
            .map(|claim| self.attempt_one(claim).map_err(|e| e.of_key(&claim.key)))
            .collect()
    }

    async fn renew(&self, keeping: &[Keep]) -> Vec<Result<Renewal>> {
        keeping
            .iter()
            .map(|keep| self.renew_one(keep).map_err(|e| e.of_key(&keep.claim.key)))
            .collect()
    }

    async fn release(&self, leaving: &[Leave]) -> Vec<Result<Release>> {
        leaving
            .iter()
            .map(|leave| {
                self.release_one(leave)
                    .map_err(|e| e.of_key(&leave.claim.key))
            })
            .collect()
    }

    async fn evict(&self, entry: &Entry) -> Result<Release> {
        give::evict(self.dir()?, entry).map_err(|e| e.of_key(&entry.key))
    }

    async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>> {
        show::inspect(self.dir()?, prefix)
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

    async fn close(&self) {}
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
