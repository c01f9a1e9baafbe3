//! Threads that wait for locks in the kernel's queue, where inotify gives no notice.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::FlockOperation;

use super::{Kind, Watch, lock};

/// One file that a thread waits for, and for whom.
#[derive(Debug)]
struct Sentry {
    /// Inode, how it is locked, and the process: a forked child has the list but no threads.
    file: (u64, bool, u32),
    waiting: Vec<Weak<Watch>>,
}

static SENTRIES: Mutex<Vec<Sentry>> = Mutex::new(Vec::new());

/// Has a thread wait for the lock of a file: one for each file, whoever waits for it.
pub(super) fn post(watch: &Arc<Watch>, fd: OwnedFd, kind: Kind) {
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
