//! The ends of things: closing, dropping everything at once, limits while the store is silent, foreign panics.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use super::*;
use crate::data::{Error, Loss, Options, RenewalPolicy};
use crate::engine::{LeaseEvent, LeaseState};
use crate::testing::{Fault, Verb};

/// Polls a future so often, the keeper working in between, and drops it.
fn poll_and_drop<T>(times: usize, future: impl Future<Output = T>) {
    let mut future = pin!(future);
    for _ in 0..times {
        if future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn closing_after_a_dropped_future_leaves_nothing_at_that_instant() {
    for waits in [false, true] {
        for times in 1..12 {
            let world = World::new();
            let holder = waits.then(|| world.local.mutex("k").unwrap().lock().wait().unwrap());
            poll_and_drop(times, world.remote.mutex("k").unwrap().lock());
            block_on(world.remote.close());
            let left = block_on(world.local.inspect("")).unwrap().len();
            assert_eq!(left, usize::from(waits), "dropped after {times} polls");
            drop(holder);
        }
    }
}

#[test]
fn closing_after_a_wait_that_timed_out_leaves_nothing_at_that_instant() {
    for _ in 0..20 {
        let world = World::new();
        let _holder = world.local.mutex("k").unwrap().lock().wait().unwrap();
        let wait = spawn(world.remote.mutex("k").unwrap().lock().within(secs(1)));
        eventually("waits", || {
            block_on(world.local.inspect("")).unwrap().len() == 2
        });
        world.clock.advance(secs(1));
        wait.join().unwrap().unwrap_err();
        block_on(world.remote.close());
        assert_eq!(block_on(world.local.inspect("")).unwrap().len(), 1);
    }
}

#[test]
fn a_request_on_its_way_when_the_last_handle_goes_is_given_back() {
    let World {
        remote,
        faults,
        local,
        ..
    } = World::new();
    faults.pause();
    {
        let mutex = remote.mutex("k").unwrap();
        poll_and_drop(3, mutex.try_lock());
    }
    drop(remote);
    std::thread::sleep(Duration::from_millis(5));
    faults.resume(); // the request is executed now
    std::thread::sleep(Duration::from_millis(20));
    eventually("given back", || {
        block_on(local.inspect("")).unwrap().is_empty()
    });
    assert_eq!(
        faults.requests(Verb::Release),
        1,
        "it was granted, and released"
    );
}

#[test]
fn an_observer_that_panics_does_not_take_the_keeper_along() {
    let world = World::new();
    let lease = world.remote.mutex("k").unwrap().lock().wait().unwrap();
    lease.observe(|_| panic!("in the observer, on purpose"));
    let lost = spawn(lease.lost());
    block_on(world.faults.lose(lease.key())).unwrap();
    assert!(matches!(
        lost.join().unwrap(),
        Error::Lost {
            why: Loss::Taken,
            ..
        }
    ));
    let next = world.remote.mutex("k").unwrap().lock().wait().unwrap();
    world.clock.advance(secs(10));
    eventually("renewed", || next.remaining().unwrap() > secs(25));
}

#[test]
fn a_renewal_whose_reply_comes_after_the_deadline_does_not_revive_the_lease() {
    let world = World::new();
    let options = Options::new().ttl(secs(9)).renewal(RenewalPolicy::ByHand);
    let lease = world
        .remote
        .mutex("k")
        .unwrap()
        .with(options)
        .unwrap()
        .lock()
        .wait()
        .unwrap();
    let revived = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&revived);
    lease.observe(move |event| {
        if matches!(event, LeaseEvent::Renewed { .. }) {
            seen.store(true, Ordering::Relaxed);
        }
    });
    world.faults.inject(Verb::Renew, Fault::ReplyLate(secs(10)));
    let lease = Arc::new(lease);
    let mine = Arc::clone(&lease);
    let renewal = spawn(async move { mine.renew().await });
    eventually("asked", || world.faults.requests(Verb::Renew) == 1);
    world.clock.advance(secs(9));
    assert_eq!(lease.state(), LeaseState::Lost(Loss::Expired));
    world.clock.advance(secs(2));
    assert!(matches!(renewal.join().unwrap(), Err(Error::Lost { .. })));
    assert_eq!(lease.state(), LeaseState::Lost(Loss::Expired));
    assert!(!revived.load(Ordering::Relaxed));
}

#[test]
fn a_limit_holds_while_the_store_is_silent() {
    let world = World::new();
    world.faults.pause();
    let wait = spawn(world.remote.mutex("k").unwrap().lock().within(secs(1)));
    eventually("asked", || world.faults.requests(Verb::Attempt) == 1);
    world.clock.advance(secs(1));
    eventually("ended", || wait.is_finished());
    assert!(matches!(
        wait.join().unwrap(),
        Err(Error::Unavailable { .. })
    ));
    world.faults.resume();
    world.assert_clean("what came of it is given back");
}

#[test]
fn a_linger_that_cannot_be_is_refused_and_the_key_is_released() {
    let world = World::new();
    for locks in world.both() {
        let lease = locks.mutex("k").unwrap().lock().wait().unwrap();
        let error = block_on(lease.release_lingering(Duration::MAX)).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        let lease = locks.rwlock("k").unwrap().read().wait().unwrap();
        let error = block_on(lease.release_lingering(secs(1))).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        drop(
            block_on(locks.mutex("k").unwrap().try_lock())
                .unwrap()
                .unwrap(),
        );
    }
    world.assert_clean("nothing is left");
}

#[test]
fn a_maximum_hold_counts_in_what_remains() {
    let world = World::new();
    let options = Options::new().max_hold(secs(5));
    let lease = world
        .remote
        .mutex("k")
        .unwrap()
        .with(options)
        .unwrap()
        .lock()
        .wait()
        .unwrap();
    assert_eq!(lease.remaining(), Some(secs(5)));
}

#[test]
fn whoever_waits_is_told_when_the_locks_are_closed_and_leaves_the_line() {
    let world = World::new();
    let third = open(Arc::new(world.memory.clone()), &world.clock);
    for (holder, locks) in [(&third, &world.local), (&third, &world.remote)] {
        let holder = holder.mutex("k").unwrap().lock().wait().unwrap();
        // One waits in the line, and those behind it at the gate of their process.
        let waits = [None, Some(secs(60)), None].map(|limit| {
            let lock = locks.rwlock("k").unwrap().read();
            spawn(match limit {
                Some(limit) => lock.within(limit),
                None => lock,
            })
        });
        eventually("one waits in the line", || {
            block_on(world.local.inspect("")).unwrap().len() == 2
        });
        block_on(locks.close());
        for wait in waits {
            eventually("told", || wait.is_finished());
            let told = wait.join().unwrap();
            assert!(matches!(told, Err(Error::Rejected { .. })), "{told:?}");
        }
        eventually("the line is left", || {
            block_on(world.local.inspect("")).unwrap().len() == 1
        });
        block_on(holder.release()).unwrap();
    }
    world.assert_clean("nothing is left");
}

#[test]
fn a_lease_whose_deadline_has_passed_is_not_renewed_though_the_keeper_has_not_looked() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = Clock::manual();
        let memory = Arc::new(MemoryStore::new(clock.clone()));
        let here = tokio::runtime::Handle::current();
        let builder = Locks::builder().clock(clock.clone());
        let (locks, _keeper) = builder.open_on(memory, &here).await.unwrap();
        let options = Options::new().ttl(secs(9));
        let mutex = locks.mutex("k").unwrap().with(options).unwrap();
        let lease = mutex.lock().await.unwrap();
        // The store still has it, and the keeper, a task of this thread, has no turn before the renewal.
        clock.advance(Duration::from_millis(8_950));
        let renewed = lease.renew().await;
        assert!(matches!(renewed, Err(Error::Lost { .. })), "{renewed:?}");
        assert_eq!(lease.state(), LeaseState::Lost(Loss::Expired));
    });
}
