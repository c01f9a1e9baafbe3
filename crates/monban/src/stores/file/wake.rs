//! Waking those who wait: the kernel tells when a file that is watched is closed.
//!
//! One inotify instance for the whole process. A thread that blocks for a claim reads it itself; for who waits in another
//! way there is one thread, started when it is needed for the first time, and asleep while nothing is watched. The
//! notice of a close comes just *before* the lock of the closed file is gone, and a process that is dying may not run for
//! a while in between, so a wake is repeated after 0.1, 1, 10 and 100 ms, and a second. A user has 128 inotify instances: a process
//! that gets none spends a thread for each *file* it waits for, however many wait, in a blocking lock. As
//! the net under all this everybody is woken now and then: once a minute, once a second while a program that is not monban is
//! in somebody's way (it may unlock a file without closing it), and four times a second without inotify.
//!
//! A claim file is watched for being closed by its owner (who alone opens it for writing), renamed (its claim holds
//! now) and unlinked; a lock file for any close. So whoever watches a lock file must not open and close it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rustix::fd::{BorrowedFd, OwnedFd};

mod hub;
#[cfg(target_os = "linux")]
mod inotify;
#[cfg(not(target_os = "linux"))]
#[path = "wake/none.rs"]
mod inotify;
mod sentry;

use hub::Hub;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A claim file.
    Claim,
    /// A lock file, to be taken alone.
    LockAlone,
    /// A lock file, to be shared.
    LockShared,
}

/// A file that is watched, by one waiter.
#[derive(Debug)]
pub(super) struct Watch {
    state: Mutex<State>,
    /// Whether nothing will give notice of it any more but the net.
    spent: AtomicBool,
    /// Whether notice may not be given of all that matters.
    doubtful: AtomicBool,
    hub: Arc<Hub>,
    /// The number under which inotify knows the file; -1 for a thread.
    number: i32,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with every notice.
    notices: u64,
    wakers: Vec<Waker>,
}

impl Watch {
    /// Watches an open file. `reopen` gives another description of it, for a thread to lock.
    pub(super) fn new(
        file: BorrowedFd<'_>,
        kind: Kind,
        reopen: impl FnOnce() -> Option<OwnedFd>,
    ) -> Arc<Self> {
        let hub = Hub::here();
        let watch = hub.add(file, kind);
        if watch.number < 0 {
            match reopen() {
                Some(fd) => sentry::post(&watch, fd, kind),
                None => watch.spent.store(true, Ordering::SeqCst),
            }
        }
        watch
    }

    /// How many notices there were. Taken before a look, it makes sure that none is missed after it.
    pub(super) fn notices(&self) -> u64 {
        lock(&self.state).notices
    }

    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::SeqCst)
    }

    /// Says whether the kernel can be trusted to give notice: if not the net is drawn closer.
    pub(super) fn trust(&self, gives_notice: bool) {
        if self.doubtful.swap(!gives_notice, Ordering::SeqCst) == gives_notice {
            self.hub.doubt(!gives_notice);
        }
    }

    fn notify(&self) {
        let wakers = {
            let mut state = lock(&self.state);
            state.notices += 1;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn poll_changed(&self, seen: u64, waker: &Waker) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.notices != seen {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.trust(true);
        self.hub.remove(self.number);
    }
}

/// Ready once one of some watches has had a notice.
#[derive(Debug)]
pub(super) struct Changed(pub(super) Vec<(Arc<Watch>, u64)>);

impl Future for Changed {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self
            .0
            .iter()
            .any(|(watch, seen)| watch.poll_changed(*seen, cx.waker()).is_ready());
        if ready {
            return Poll::Ready(());
        }
        if let Some((watch, _)) = self.0.first() {
            watch.hub.serve_for(cx.waker());
        }
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
