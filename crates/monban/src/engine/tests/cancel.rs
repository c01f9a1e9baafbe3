//! The cancellation sweep: every waiting or releasing future is polled k times and dropped, for every k.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::data::Result;
use crate::testing::{Fault, Verb};

/// Polls at most `k` times, letting the keeper work in between; then drops the future.
fn poll_times<T>(k: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..k {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

/// For every k until the future completes: poll k times, drop, and check that the key can be taken and
/// nothing is left.
fn sweep<T>(
    what: &str,
    mut start: impl FnMut(
        &World,
    ) -> (
        Box<dyn FnOnce()>,
        std::pin::Pin<Box<dyn Future<Output = T>>>,
    ),
) {
    for k in 0..200 {
        let world = World::new();
        let (after, future) = start(&world);
        let finished = poll_times(k, future).is_some();
        after();
        for locks in world.both() {
            let next = spawn(locks.mutex("k").unwrap().lock());
            world.soon("the next is served", || next.is_finished());
            block_on(next.join().unwrap().unwrap().release()).unwrap();
        }
        world.assert_clean(&format!("{what}, dropped after {k} polls"));
        if finished {
            return;
        }
    }
    panic!("{what} did not complete");
}

type Boxed<T> = std::pin::Pin<Box<dyn Future<Output = T>>>;

fn lease_of(result: Result<crate::Lease>) {
    drop(result.unwrap());
}

#[test]
fn a_free_key_whose_lock_is_dropped_at_any_poll_is_free_again() {
    sweep("lock", |world| {
        let lock = world.remote.mutex("k").unwrap().lock();
        (
            Box::new(|| ()),
            Box::pin(async move { lease_of(lock.await) }) as Boxed<()>,
        )
    });
}

#[test]
fn a_try_that_is_dropped_at_any_poll_leaves_nothing() {
    sweep("try_lock", |world| {
        let mutex = world.remote.mutex("k").unwrap();
        (
            Box::new(|| ()),
            Box::pin(async move { drop(mutex.try_lock().await.unwrap()) }) as Boxed<()>,
        )
    });
}

#[test]
fn a_waiter_that_is_dropped_at_any_poll_gives_its_place_back() {
    for by_remote in [false, true] {
        sweep("waiting lock", |world| {
            let holder = if by_remote {
                &world.remote
            } else {
                &world.local
            };
            let lease = holder.mutex("k").unwrap().lock().wait().unwrap();
            let lock = world.remote.mutex("k").unwrap().lock();
            let (release, released) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(15));
                drop(lease);
                let _ = release.send(());
            });
            let after = Box::new(move || released.recv_timeout(secs(5)).unwrap());
            (
                after,
                Box::pin(async move { lease_of(lock.await) }) as Boxed<()>,
            )
        });
    }
}

#[test]
fn a_release_that_is_dropped_at_any_poll_goes_on() {
    sweep("release", |world| {
        let lease = world.remote.mutex("k").unwrap().lock().wait().unwrap();
        (
            Box::new(|| ()),
            Box::pin(async move { lease.release().await.unwrap() }) as Boxed<()>,
        )
    });
}

#[test]
fn a_renewal_that_is_dropped_at_any_poll_leaves_the_lease_held() {
    sweep("renew", |world| {
        let lease = Arc::new(world.remote.mutex("k").unwrap().lock().wait().unwrap());
        let mine = Arc::clone(&lease);
        let after = Box::new(move || {
            lease.check().unwrap();
            drop(lease);
        });
        (
            after,
            Box::pin(async move { mine.renew().await.unwrap() }) as Boxed<()>,
        )
    });
}

#[test]
fn work_under_a_lease_that_is_dropped_at_any_poll_frees_the_key() {
    sweep("run", |world| {
        let mutex = world.remote.mutex("k").unwrap();
        let run = async move { mutex.run(async |_| ()).await.unwrap() };
        (Box::new(|| ()), Box::pin(run) as Boxed<()>)
    });
}

#[test]
fn a_lock_whose_reply_is_lost_may_be_dropped_at_any_poll() {
    sweep("lock with a lost reply", |world| {
        world.faults.inject(Verb::Attempt, Fault::ReplyLost);
        let clock = world.clock.clone();
        let lock = world.remote.mutex("k").unwrap().lock();
        let tick = std::thread::spawn(move || {
            for _ in 0..40 {
                std::thread::sleep(Duration::from_millis(2));
                clock.advance(Duration::from_millis(20));
            }
        });
        (
            Box::new(move || tick.join().unwrap()),
            Box::pin(async move { lease_of(lock.await) }) as Boxed<()>,
        )
    });
}
