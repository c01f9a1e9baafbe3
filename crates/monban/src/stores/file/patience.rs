//! Taking a lock that is only ever held for microseconds, without ever hanging on a stopped process.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::STORE;
use super::fault::{failed, shown};
use crate::data::{Error, Result};
use crate::rule::Clock;

/// How long such a lock may be taken before it is believed to be a stopped process's.
const LIMIT: Duration = Duration::from_secs(5);
/// How long one is tried for that was believed so before, and has not come yet.
const BRIEFLY: Duration = Duration::from_millis(100);
/// How often it is tried before we stand in the kernel's queue for it.
const TRIES: usize = 6;

/// Locks that a thread of ours stands in the queue for though its caller has gone; one element a thread.
static GIVEN_UP: Mutex<Vec<Inode>> = Mutex::new(Vec::new());

/// Device, in two numbers, and inode.
type Inode = (u32, u32, u64);

/// Takes alone a lock that others hold for microseconds.
///
/// Where many want it at once, a thread waits in the kernel's queue for it: who only tried again and again
/// could be passed by others for ever. The thread shares the descriptor, so the lock is the caller's.
///
/// # Errors
///
/// `Unavailable` if somebody keeps it for seconds: a process that was stopped at that very point. The thread
/// stays in the queue then, and unlocks the descriptor when the lock comes: never lock with it again, open
/// the file anew. Until then others who want the lock are refused soon, and send no thread.
pub(super) fn take(fd: &OwnedFd, path: &Path) -> Result<()> {
    for _ in 0..TRIES {
        if try_take(fd, FlockOperation::NonBlockingLockExclusive, path)? {
            return Ok(());
        }
        std::thread::yield_now();
    }
    let stat = rustix::fs::fstat(fd).map_err(|e| failed("look at", path, e))?;
    let device = stat.st_dev;
    let inode = (
        rustix::fs::major(device),
        rustix::fs::minor(device),
        stat.st_ino,
    );
    if given_up().contains(&inode) {
        return try_briefly(fd, path);
    }
    let shared = fd
        .try_clone()
        .map_err(|e| Error::unavailable(STORE, "too many files are open").because(e))?;
    let queue = Arc::new(Queue {
        inode,
        state: Mutex::default(),
        changed: Condvar::new(),
    });
    let thread = Arc::clone(&queue);
    std::thread::Builder::new()
        .name("monban-door".to_owned())
        .spawn(move || thread.stand(&shared))
        .map_err(|e| Error::unavailable(STORE, "no thread can be started").because(e))?;
    match queue.wait(LIMIT) {
        Some(Ok(())) => Ok(()),
        Some(Err(errno)) => Err(failed("lock", path, errno)),
        None => Err(kept(path)),
    }
}

fn try_briefly(fd: &OwnedFd, path: &Path) -> Result<()> {
    let clock = Clock::system();
    let began = clock.now();
    while clock.now().since(began) < BRIEFLY {
        std::thread::sleep(Duration::from_millis(1));
        if try_take(fd, FlockOperation::NonBlockingLockExclusive, path)? {
            return Ok(());
        }
    }
    Err(kept(path))
}

fn kept(path: &Path) -> Error {
    Error::unavailable(
        STORE,
        format!(
            "another process keeps {} locked, which takes microseconds unless it is stopped; \
             find it (`lslocks`, `fuser`), and let it go on or end it",
            shown(path)
        ),
    )
}

fn given_up() -> MutexGuard<'static, Vec<Inode>> {
    GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread in the queue and the caller tell each other.
#[derive(Debug)]
struct Queue {
    inode: Inode,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Waiting,
    Served(Result<(), Errno>),
    /// The caller has gone: the lock is to be let go when it comes.
    Abandoned,
}

impl Queue {
    fn stand(&self, fd: &OwnedFd) {
        let how = FlockOperation::LockExclusive;
        let served = rustix::io::retry_on_intr(|| rustix::fs::flock(fd, how));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Abandoned) {
            let _ = rustix::fs::flock(fd, FlockOperation::Unlock);
            let mut all = given_up();
            if let Some(at) = all.iter().position(|inode| *inode == self.inode) {
                all.swap_remove(at);
            }
        } else {
            *state = State::Served(served);
            self.changed.notify_one();
        }
    }

    fn wait(&self, longest: Duration) -> Option<Result<(), Errno>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, longest, |state| matches!(state, State::Waiting))
            .unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Abandoned) {
            State::Served(served) => Some(served),
            State::Waiting | State::Abandoned => {
                given_up().push(self.inode); // with the state locked: the thread takes it away again
                None
            }
        }
    }
}

/// Takes a lock if it is free.
pub(super) fn try_take(fd: impl AsFd, how: FlockOperation, path: &Path) -> Result<bool> {
    loop {
        match rustix::fs::flock(&fd, how) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(e) => return Err(failed("lock", path, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_comes_late_is_taken_and_one_that_never_comes_is_given_up() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || OwnedFd::from(std::fs::File::open(file.path()).unwrap());
        let (mine, other) = (open(), open());
        take(&other, file.path()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                rustix::fs::flock(&other, FlockOperation::Unlock).unwrap();
            });
            take(&mine, file.path()).unwrap();
        });
        let error = take(&other, file.path()).unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("stopped"));
        // When it comes at last, it does not stay with whoever gave it up.
        drop(mine);
        std::thread::sleep(Duration::from_millis(100));
        assert!(
            try_take(
                open(),
                FlockOperation::NonBlockingLockExclusive,
                file.path()
            )
            .unwrap()
        );
    }
}
