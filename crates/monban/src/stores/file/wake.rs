//! Waking those who wait: the kernel tells when a file that is watched is closed.
//!
//! One inotify instance and one thread for the whole process, started when somebody waits for the first
//! time, and asleep while nobody does. The notice of a close comes just *before* the lock of the closed
//! file is gone, so a wake is repeated after 0.1, 1 and 10 ms. A user has 128 inotify instances: a process
//! that gets none spends a thread for each *file* it waits for, however many wait, in a blocking lock. As
//! the net under all this everybody is woken once a second, and four times a second without inotify.
//!
//! A claim file is watched for being closed by its owner (who alone opens it for writing), renamed (its claim holds
//! now) and unlinked; a lock file for any close. So whoever watches a lock file must not open and close it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::FlockOperation;

use crate::rule::{Clock, Tick};

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(not(target_os = "linux"))]
#[path = "wake/none.rs"]
mod inotify;

use inotify::Inotify;

/// Everybody is woken this often where the kernel gives notice.
const NET: Duration = Duration::from_secs(1);
/// Everybody is woken this often where a thread stands in for it: it does not see every change.
const CLOSE_NET: Duration = Duration::from_millis(250);
/// After a notice, when to wake again.
const AGAIN: [Duration; 3] = [
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
];

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
                Some(fd) => by_thread(&watch, fd, kind),
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
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// All watches of this process.
#[derive(Debug)]
struct Hub {
    /// A forked child has the parent's instance but not its thread.
    pid: u32,
    inotify: Option<Inotify>,
    watches: Mutex<HashMap<i32, Vec<Weak<Watch>>>>,
    /// There is something to watch.
    some: Condvar,
}

impl Hub {
    fn here() -> Arc<Self> {
        static HERE: Mutex<Option<Arc<Hub>>> = Mutex::new(None);
        let mut here = lock(&HERE);
        let pid = std::process::id();
        if let Some(hub) = here.as_ref()
            && hub.pid == pid
        {
            return hub.clone();
        }
        let hub = Arc::new(Self {
            pid,
            inotify: Inotify::new(),
            watches: Mutex::default(),
            some: Condvar::new(),
        });
        let thread = hub.clone();
        let started = std::thread::Builder::new()
            .name("monban-files".to_owned())
            .spawn(move || thread.serve());
        if started.is_ok() {
            *here = Some(hub.clone());
        }
        hub // without a thread its watches are never woken: callers poll beside them
    }

    fn add(self: &Arc<Self>, file: BorrowedFd<'_>, kind: Kind) -> Arc<Watch> {
        let mut watches = lock(&self.watches);
        // Within the mutex: the last watch of the same file may be going just now.
        let number = self
            .inotify
            .as_ref()
            .and_then(|inotify| inotify.add(file, kind))
            .unwrap_or(-1);
        let watch = Arc::new(Watch {
            state: Mutex::default(),
            spent: AtomicBool::new(false),
            hub: self.clone(),
            number,
        });
        watches
            .entry(number)
            .or_default()
            .push(Arc::downgrade(&watch));
        self.some.notify_one();
        watch
    }

    fn remove(&self, number: i32) {
        let mut watches = lock(&self.watches);
        let Some(same) = watches.get_mut(&number) else {
            return;
        };
        same.retain(|watch| watch.strong_count() > 0);
        if !same.is_empty() {
            return;
        }
        watches.remove(&number);
        if let Some(inotify) = self.inotify.as_ref().filter(|_| number >= 0) {
            inotify.remove(number);
        }
    }

    /// Notifies the watches of one file, or all; says whether there was any.
    fn notify(&self, number: Option<i32>) -> bool {
        let some: Vec<_> = {
            let watches = lock(&self.watches);
            match number {
                Some(number) => watches.get(&number).cloned().unwrap_or_default(),
                None => watches.values().flatten().cloned().collect(),
            }
        };
        // Upgraded outside of the mutex: the last owner of a watch takes it.
        let mut any = false;
        for watch in some.iter().filter_map(Weak::upgrade) {
            watch.notify();
            any = true;
        }
        any
    }

    /// Sleeps while nothing is watched, and forgets the wakes of what is watched no more.
    fn wait_for_some(&self, due: &mut Vec<(Tick, i32)>) {
        let mut watches = lock(&self.watches);
        while watches.is_empty() {
            watches = self
                .some
                .wait(watches)
                .unwrap_or_else(PoisonError::into_inner);
        }
        due.retain(|(_, number)| watches.contains_key(number));
    }

    fn serve(&self) {
        let clock = Clock::system();
        let mut due: Vec<(Tick, i32)> = Vec::new();
        let mut swept = clock.now();
        loop {
            self.wait_for_some(&mut due);
            let net = if self.has_threads() { CLOSE_NET } else { NET };
            let next = due.iter().map(|(at, _)| *at).min();
            let next = next
                .unwrap_or(Tick::from_nanos(u64::MAX))
                .min(swept.after(net));
            let closed = self.sleep(next.since(clock.now()));
            let now = clock.now();
            for number in closed {
                due.retain(|(_, known)| *known != number);
                if self.notify((number >= 0).then_some(number)) {
                    due.extend(AGAIN.map(|pause| (now.after(pause), number)));
                }
            }
            for (_, number) in due.extract_if(.., |(at, _)| *at <= now) {
                self.notify(Some(number));
            }
            if now.since(swept) >= net {
                swept = now;
                self.notify(None);
            }
        }
    }

    fn has_threads(&self) -> bool {
        lock(&self.watches).contains_key(&-1)
    }

    /// Sleeps for so long or until the kernel gives notice; tells of which files (-1: of any).
    fn sleep(&self, longest: Duration) -> Vec<i32> {
        match &self.inotify {
            Some(inotify) => inotify.wait(longest),
            None => {
                std::thread::sleep(longest);
                Vec::new()
            }
        }
    }
}

/// One file that a thread waits for, and for whom.
#[derive(Debug)]
struct Sentry {
    /// Inode, how it is locked, and the process: a forked child has the list but no threads.
    file: (u64, bool, u32),
    waiting: Vec<Weak<Watch>>,
}

static SENTRIES: Mutex<Vec<Sentry>> = Mutex::new(Vec::new());

/// Has a thread wait for the lock of a file: one for each file, whoever waits for it.
fn by_thread(watch: &Arc<Watch>, fd: OwnedFd, kind: Kind) {
    let alone = kind == Kind::LockAlone;
    let Ok(stat) = rustix::fs::fstat(&fd) else {
        watch.spent.store(true, Ordering::SeqCst);
        return;
    };
    let file = (stat.st_ino, alone, std::process::id());
    let mut sentries = lock(&SENTRIES);
    if let Some(sentry) = sentries.iter_mut().find(|sentry| sentry.file == file) {
        sentry.waiting.retain(|known| known.strong_count() > 0);
        sentry.waiting.push(Arc::downgrade(watch));
        return;
    }
    let thread = std::thread::Builder::new().name("monban-wait".to_owned());
    let started = thread.spawn(move || {
        // A claim file is only ever locked shared by those who look: see the line.
        let how = if alone {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::LockShared
        };
        let _ = rustix::io::retry_on_intr(|| rustix::fs::flock(fd.as_fd(), how));
        let _ = rustix::fs::flock(fd.as_fd(), FlockOperation::Unlock);
        let ended = {
            let mut sentries = lock(&SENTRIES);
            let at = sentries.iter().position(|sentry| sentry.file == file);
            at.map(|at| sentries.swap_remove(at).waiting)
        };
        for watch in ended.into_iter().flatten().filter_map(|w| w.upgrade()) {
            watch.spent.store(true, Ordering::SeqCst);
            watch.notify();
        }
    });
    if started.is_ok() {
        sentries.push(Sentry {
            file,
            waiting: vec![Arc::downgrade(watch)],
        });
    } else {
        watch.spent.store(true, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
