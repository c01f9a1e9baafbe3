//! Threads that block for keys over files: one of them watches for all, and no other thread is needed.
#![allow(clippy::unwrap_used)] // the whole file is tests

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use monban::{Error, Lease, Locks, block_on};

/// A wake that is lost is made good by the next look, 10 s later: nothing here may have waited for that.
const SOON: Duration = Duration::from_secs(7);

fn locks(dir: &tempfile::TempDir) -> Locks {
    let url = format!("file:{}", dir.path().join("locks").display());
    block_on(Locks::connect(&url)).unwrap()
}

/// Whoever watches does it for the whole process: one test at a time, or they serve each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(locks: &Locks, key: &str) -> Lease {
    block_on(locks.mutex(key).unwrap().try_lock())
        .unwrap()
        .unwrap()
}

#[test]
fn threads_that_block_are_all_served_whoever_of_them_watches() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let counts = [const { AtomicU64::new(0) }; 3];
    thread::scope(|scope| {
        for worker in 0..9 {
            let (dir, counts) = (&dir, &counts);
            scope.spawn(move || {
                let locks = locks(dir);
                for round in 0..20 {
                    let key = (worker + round) % 3;
                    let mutex = locks.mutex(format!("k{key}")).unwrap();
                    let lease = mutex.lock().within(SOON).wait().unwrap();
                    let count = counts[key].load(Ordering::Relaxed);
                    thread::sleep(Duration::from_micros(300));
                    counts[key].store(count + 1, Ordering::Relaxed);
                    block_on(lease.release()).unwrap();
                }
            });
        }
    });
    let all: u64 = counts
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .sum();
    assert_eq!(all, 9 * 20);
}

#[test]
fn when_the_thread_that_watches_has_gone_the_next_one_does() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let holder = locks(&dir);
    let leases = ["one", "two", "three"].map(|key| (key, take(&holder, key)));
    let (sender, served) = mpsc::channel();
    thread::scope(|scope| {
        for key in ["one", "two", "three"] {
            let (locks, sender) = (locks(&dir), sender.clone());
            scope.spawn(move || {
                let lease = locks.mutex(key).unwrap().lock().wait().unwrap();
                sender.send(key).unwrap();
                lease
            });
            thread::sleep(Duration::from_millis(100));
        }
        for (key, lease) in leases {
            block_on(lease.release()).unwrap();
            assert_eq!(served.recv_timeout(SOON), Ok(key));
        }
    });
}

#[test]
fn a_task_is_woken_while_a_blocked_thread_watches_and_when_none_does() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let holder = locks(&dir);
    let leases = ["task", "blocked", "task too"].map(|key| (key, take(&holder, key)));
    let (sender, served) = mpsc::channel();
    thread::scope(|scope| {
        let (blocked, sender_too) = (locks(&dir), sender.clone());
        scope.spawn(move || {
            let lease = blocked.mutex("blocked").unwrap().lock().wait().unwrap();
            sender_too.send("blocked").unwrap();
            lease
        });
        thread::sleep(Duration::from_millis(100));
        let tasks = locks(&dir);
        scope.spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.build().unwrap();
            runtime.block_on(async {
                for key in ["task", "task too"] {
                    let lease = tasks.mutex(key).unwrap().lock().await.unwrap();
                    sender.send(key).unwrap();
                    lease.release().await.unwrap();
                }
            });
        });
        thread::sleep(Duration::from_millis(100));
        for (key, lease) in leases {
            block_on(lease.release()).unwrap();
            assert_eq!(served.recv_timeout(SOON), Ok(key));
            thread::sleep(Duration::from_millis(50)); // until whoever waits further does so
        }
    });
}

#[test]
fn a_blocked_wait_ends_at_its_limit_and_when_the_locks_are_closed() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let holder = locks(&dir);
    let _lease = block_on(holder.mutex("k").unwrap().try_lock()).unwrap();
    let waiter = locks(&dir);
    let began = Instant::now();
    let limit = Duration::from_millis(200);
    let ended = waiter.mutex("k").unwrap().lock().within(limit).wait();
    assert!(matches!(ended, Err(Error::TimedOut { .. })), "{ended:?}");
    assert!(began.elapsed() >= limit && began.elapsed() < SOON);
    thread::scope(|scope| {
        let (began, mutex) = (Instant::now(), waiter.mutex("k").unwrap());
        let wait = scope.spawn(move || mutex.lock().wait().map(drop));
        thread::sleep(Duration::from_millis(100));
        block_on(waiter.close());
        let ended = wait.join().unwrap();
        assert!(matches!(ended, Err(Error::Rejected { .. })), "{ended:?}");
        assert!(began.elapsed() < SOON);
    });
}

#[test]
fn a_lock_that_is_unlocked_and_not_closed_by_another_program_is_noticed() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let locks = locks(&dir);
    drop(block_on(locks.mutex("k").unwrap().try_lock()).unwrap());
    let file = std::fs::File::open(dir.path().join("locks/k.lock")).unwrap();
    file.lock().unwrap();
    thread::scope(|scope| {
        let wait = scope.spawn(|| {
            let lease = locks.mutex("k").unwrap().lock().wait().unwrap();
            (Instant::now(), lease)
        });
        thread::sleep(Duration::from_millis(300));
        let unlocked = Instant::now();
        file.unlock().unwrap();
        let (granted, _lease) = wait.join().unwrap();
        assert!(granted.duration_since(unlocked) < SOON);
    });
}
