//! Taking a lock that is only ever held for microseconds, without ever hanging on a stopped process.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::STORE;
use super::fault::{failed, shown};
use crate::data::{Error, Result};

/// How long such a lock may be taken before it is believed to be a stopped process's.
const LIMIT: Duration = Duration::from_secs(5);
/// How often it is tried before we stand in the kernel's queue for it.
const TRIES: usize = 6;

/// Takes alone a lock that others hold for microseconds.
///
/// Where many want it at once, a thread waits in the kernel's queue for it: who only tried again and again
/// could be passed by others for ever. The thread shares the descriptor, so the lock is the caller's.
///
/// # Errors
///
/// `Unavailable` if somebody keeps it for seconds: a process that was stopped at that very point.
pub(super) fn take(fd: &OwnedFd, path: &Path) -> Result<()> {
    for _ in 0..TRIES {
        if try_take(fd, FlockOperation::NonBlockingLockExclusive, path)? {
            return Ok(());
        }
        std::thread::yield_now();
    }
    let shared = fd
        .try_clone()
        .map_err(|e| Error::unavailable(STORE, "too many files are open").because(e))?;
    let queue = Arc::new(Queue::default());
    let thread = Arc::clone(&queue);
    std::thread::Builder::new()
        .name("monban-door".to_owned())
        .spawn(move || thread.stand(&shared))
        .map_err(|e| Error::unavailable(STORE, "no thread can be started").because(e))?;
    match queue.wait(LIMIT) {
        Some(Ok(())) => Ok(()),
        Some(Err(errno)) => Err(failed("lock", path, errno)),
        None => Err(Error::unavailable(
            STORE,
            format!(
                "another process keeps {} locked, which takes microseconds unless it is stopped; \
                 find it (`lslocks`, `fuser`), and let it go on or end it",
                shown(path)
            ),
        )),
    }
}

/// What the thread in the queue and the caller tell each other.
#[derive(Debug, Default)]
struct Queue {
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
            State::Waiting | State::Abandoned => None,
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
