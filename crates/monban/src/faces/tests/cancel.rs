//! The cancellation sweep: every future of every face is polled k times and dropped, for every k; then the
//! keys can be taken, and nothing is left.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::faces::Owner;

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Polls at most `k` times, letting the keeper work in between; then drops the future.
fn poll_times(k: usize, future: Work) -> bool {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..k {
        if let Poll::Ready(()) = future.as_mut().poll(&mut context) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn sweep(what: &str, start: impl Fn(&Locks) -> Work) {
    for k in 0..200 {
        let rig = Rig::new();
        let (process, other) = (rig.process("dropped"), rig.process("other"));
        let finished = poll_times(k, start(process.locks()));
        let all = other.locks().all_of(["a", "b"]).unwrap();
        let next = spawn(all.lock());
        rig.eventually(
            &format!("{what}, dropped after {k} polls: the next is served"),
            || {
                rig.clock().advance(Duration::from_millis(20));
                next.is_finished()
            },
        );
        block_on(done(next).unwrap().release()).unwrap();
        rig.assert_clean();
        if finished {
            return;
        }
    }
    panic!("{what} did not complete");
}

/// As [`sweep`], but another process holds the keys when it starts, and frees them soon.
fn sweep_waiting(what: &str, start: impl Fn(&Locks) -> Work) {
    sweep(what, |locks| {
        // A connection of the same store, so that the rig sees its claims.
        let held = locks.all_of(["a", "b"]).unwrap().lock().wait().unwrap();
        let work = start(locks);
        Box::pin(async move {
            let freed = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(10));
                drop(held);
            });
            work.await;
            done(freed);
        })
    });
}

#[test]
fn several_keys_may_be_dropped_at_any_poll() {
    let lock = |locks: &Locks| -> Work {
        let lock = locks.all_of(["b", "a"]).unwrap().lock();
        Box::pin(async move { drop(lock.await.unwrap()) })
    };
    sweep("all_of", lock);
    sweep_waiting("all_of that waits", lock);
    sweep("try all_of", |locks| {
        let all = locks.all_of(["b", "a"]).unwrap();
        Box::pin(async move { drop(all.try_lock().await.unwrap()) })
    });
    sweep("release of all_of", |locks| {
        let set = locks.all_of(["b", "a"]).unwrap().lock().wait().unwrap();
        Box::pin(async move { set.release().await.unwrap() })
    });
    sweep("run under all_of", |locks| {
        let all = locks.all_of(["b", "a"]).unwrap();
        Box::pin(async move { all.run(async |_| ()).await.unwrap() })
    });
}

#[test]
fn readers_and_permits_may_be_dropped_at_any_poll() {
    let read = |locks: &Locks| -> Work {
        let read = locks.rwlock("a").unwrap().read();
        Box::pin(async move { drop(read.await.unwrap()) })
    };
    sweep("read", read);
    sweep_waiting("read that waits", read);
    let take = |locks: &Locks| -> Work {
        let take = locks.semaphore("a", 2).unwrap().take(2).unwrap();
        Box::pin(async move { drop(take.await.unwrap()) })
    };
    sweep("take", take);
    sweep_waiting("take that waits", take);
    sweep("try_take", |locks| {
        let permits = locks.semaphore("a", 2).unwrap();
        Box::pin(async move { drop(permits.try_take(1).await.unwrap()) })
    });
}

#[test]
fn a_run_of_an_interval_that_is_dropped_does_not_count() {
    sweep("interval", |locks| {
        let interval = locks.once("a").unwrap().every(secs(1)).unwrap();
        Box::pin(async move {
            let work = async |_: &crate::Lease| Ok::<_, ()>(());
            drop(interval.run(work).await.unwrap());
        })
    });
}

#[test]
fn campaigns_and_observations_may_be_dropped_at_any_poll() {
    let campaign = |locks: &Locks| -> Work {
        let election = locks.election("a").unwrap();
        Box::pin(async move { election.campaign().await.unwrap().resign().await.unwrap() })
    };
    sweep("campaign", campaign);
    sweep_waiting("campaign that waits", campaign);
    sweep_waiting("observation", |locks| {
        let mut changes = locks.election("a").unwrap().observe();
        Box::pin(async move {
            changes.next().await.unwrap();
            changes.next().await.unwrap();
        })
    });
}

#[test]
fn an_owner_may_be_dropped_at_any_poll() {
    let enter = |locks: &Locks| -> Work {
        let mutex = locks.mutex("a").unwrap();
        Box::pin(async move {
            let owner = Owner::new();
            let outer = owner.lock(&mutex).await.unwrap();
            let inner = owner.lock(&mutex).await.unwrap();
            inner.release().await.unwrap();
            outer.release().await.unwrap();
        })
    };
    sweep("owner", enter);
    sweep_waiting("owner that waits", enter);
}
