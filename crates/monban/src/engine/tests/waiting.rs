//! Waiting for one's turn: order, limits, wake-ups, closing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::contract::{Attempt, Store};
use crate::data::{
    Claim, ClaimId, Claimant, Error, IfBusy, Key, Mode, Options, ProcessId, RenewalPolicy,
};
use crate::rule::backoff;
use crate::testing::{Fault, Verb};

#[test]
fn a_release_wakes_the_next_without_time_passing() {
    let world = World::new();
    for (one, other) in [
        (&world.local, &world.remote),
        (&world.remote, &world.local),
        (&world.local, &world.local),
    ] {
        let lease = one.mutex("k").unwrap().lock().wait().unwrap();
        let next = spawn(other.mutex("k").unwrap().lock());
        eventually("waits", || other.residue().0 == 1);
        std::thread::sleep(Duration::from_millis(20));
        assert!(!next.is_finished());
        drop(lease);
        block_on(next.join().unwrap().unwrap().release()).unwrap();
    }
    world.assert_clean("nothing is left");
}

/// So they may travel together; no time passes on the clock, by which the answer is late.
#[test]
fn the_next_of_a_process_does_not_wait_for_the_answer_to_a_release() {
    let world = World::new();
    let mutex = world.remote.mutex("k").unwrap();
    let lease = mutex.lock().wait().unwrap();
    let fence = lease.fence().unwrap();
    world
        .faults
        .inject(Verb::Release, Fault::ReplyLate(secs(5)));
    drop(lease);
    let next = mutex.lock().wait().unwrap();
    assert!(next.fence().unwrap() > fence);
    drop(next);
    world.clock.advance(secs(5));
    world.assert_clean("nothing is left");
}

#[test]
fn waiters_of_one_process_are_served_in_order_and_cost_the_store_one_place() {
    let world = World::new();
    for locks in world.both() {
        let lease = locks.mutex("k").unwrap().lock().wait().unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..20 {
                let (mutex, served) = (locks.mutex("k").unwrap(), Arc::clone(&served));
                tasks.spawn(async move {
                    let lease = mutex.lock().await.unwrap();
                    served.lock().unwrap().push(number);
                    lease.release().await.unwrap();
                });
            }
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            assert_eq!(
                locks.inspect("k").await.unwrap().len(),
                1,
                "the holder, and no waiter of its process"
            );
            drop(lease);
            tasks.join_all().await;
        });
        assert_eq!(*served.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }
    world.assert_clean("nothing is left");
}

#[test]
fn a_wait_with_a_limit_ends_in_time_and_leaves_the_line() {
    let world = World::new();
    let lease = world.local.mutex("k").unwrap().lock().wait().unwrap();
    for locks in world.both() {
        let wait = spawn(locks.mutex("k").unwrap().lock().within(secs(7)));
        eventually("waits", || locks.residue().0 == 1);
        std::thread::sleep(Duration::from_millis(10));
        world.clock.advance(Duration::from_millis(6_999));
        std::thread::sleep(Duration::from_millis(10));
        assert!(!wait.is_finished());
        world.clock.advance(Duration::from_millis(1));
        match wait.join().unwrap() {
            Err(Error::TimedOut { waited, who, .. }) => {
                assert_eq!(waited, secs(7));
                assert!(who.is_some());
            }
            other => panic!("{other:?}"),
        }
        eventually("left the line", || {
            block_on(locks.inspect("k")).unwrap().len() == 1
        });
    }
    drop(lease);
    world.assert_clean("nothing is left");
}

#[test]
fn a_limit_of_zero_is_a_single_try() {
    let world = World::new();
    let lease = world
        .local
        .mutex("k")
        .unwrap()
        .lock()
        .within(Duration::ZERO)
        .wait()
        .unwrap();
    for locks in [&world.remote, &world.local] {
        let error = locks
            .mutex("k")
            .unwrap()
            .lock()
            .within(Duration::ZERO)
            .wait()
            .unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    }
    drop(lease);
    world.assert_clean("nothing is left");
}

#[test]
fn a_dead_holder_is_outlived_when_its_ttl_has_passed() {
    let world = World::new();
    let dead = Claim {
        key: Key::new("k").unwrap(),
        id: ClaimId::random(ProcessId::random()),
        mode: Mode::Exclusive,
        ttl: secs(10),
        if_busy: IfBusy::Leave,
        claimant: Claimant::new("h", 1, "dead"),
    };
    assert!(matches!(
        block_on(world.memory.attempt(&[dead])).remove(0),
        Ok(Attempt::Granted(_))
    ));
    let next = spawn(world.remote.mutex("k").unwrap().lock());
    eventually("waits", || {
        block_on(world.local.inspect("k")).unwrap().len() == 2
    });
    world.clock.advance(Duration::from_millis(9_990));
    std::thread::sleep(Duration::from_millis(20));
    assert!(!next.is_finished());
    eventually("granted", || {
        world.clock.advance(Duration::from_millis(1));
        next.is_finished()
    });
    drop(next.join().unwrap().unwrap());
    world.assert_clean("nothing is left");
}

#[test]
fn a_waiter_keeps_its_place_for_longer_than_its_ttl() {
    let world = World::new();
    let lease = world.local.mutex("k").unwrap().lock().wait().unwrap();
    let mutex = world
        .remote
        .mutex("k")
        .unwrap()
        .with(Options::new().ttl(secs(6)))
        .unwrap();
    let first = spawn(mutex.lock());
    eventually("waits", || {
        block_on(world.local.inspect("k")).unwrap().len() == 2
    });
    let place = block_on(world.local.inspect("k")).unwrap()[1].id.clone();
    for _ in 0..30 {
        let asked = world.faults.requests(Verb::Attempt);
        eventually("asked again", || {
            // Half a second at a time: both have their turn long before a TTL has passed.
            world.clock.advance(Duration::from_millis(500));
            std::thread::sleep(Duration::from_millis(1));
            world.faults.requests(Verb::Attempt) > asked
        });
        eventually("holder renewed", || lease.remaining().unwrap() > secs(15));
    }
    assert_eq!(block_on(world.local.inspect("k")).unwrap()[1].id, place);
    drop(lease);
    drop(first.join().unwrap().unwrap());
    world.assert_clean("nothing is left");
}

#[test]
fn the_observer_sees_what_is_in_the_way() {
    let world = World::new();
    let lease = world.local.mutex("k").unwrap().lock().wait().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let wait = {
        let seen = Arc::clone(&seen);
        let observe = move |busy: &crate::BusyInfo| seen.lock().unwrap().push(busy.clone());
        spawn(world.remote.mutex("k").unwrap().lock().observe(observe))
    };
    eventually("observed", || !seen.lock().unwrap().is_empty());
    let busy = seen.lock().unwrap()[0].clone();
    assert_eq!(busy.ahead, Some(1));
    assert_eq!(busy.who.unwrap().label(), "test");
    drop(lease);
    drop(wait.join().unwrap().unwrap());
}

#[test]
fn a_retry_strategy_is_not_used_where_the_store_wakes() {
    let world = World::new();
    let lease = world.local.mutex("k").unwrap().lock().wait().unwrap();
    let drawn = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&drawn);
    let pauses = move || {
        let count = Arc::clone(&count);
        backoff::fixed(secs(1)).inspect(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
    };
    let wait = spawn(world.remote.mutex("k").unwrap().lock().retry(pauses));
    eventually("waits", || {
        block_on(world.local.inspect("k")).unwrap().len() == 2
    });
    drop(lease);
    drop(wait.join().unwrap().unwrap());
    assert_eq!(drawn.load(Ordering::Relaxed), 0);
}

#[test]
fn closing_waits_for_releases_and_refuses_what_comes_later() {
    let world = World::new();
    let lease = world.remote.mutex("k").unwrap().lock().wait().unwrap();
    world.faults.pause();
    drop(lease);
    let closing = spawn({
        let locks = world.remote.clone();
        async move { locks.close().await }
    });
    std::thread::sleep(Duration::from_millis(30));
    assert!(
        !closing.is_finished(),
        "the store has not answered the release"
    );
    world.faults.resume();
    closing.join().unwrap();
    assert!(block_on(world.local.inspect("")).unwrap().is_empty());
    let error = world.remote.mutex("k").unwrap().lock().wait().unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
}

#[test]
fn releases_are_finished_after_the_last_handle_is_dropped() {
    let World {
        memory,
        remote,
        faults,
        local,
        ..
    } = World::new();
    let lease = remote.mutex("k").unwrap().lock().wait().unwrap();
    faults.pause();
    drop(lease);
    drop(remote);
    faults.resume();
    eventually("released", || {
        block_on(local.inspect("")).unwrap().is_empty()
    });
    drop(memory);
}

/// Each of another process: a hundred of them would stop a server that all ask in the instant when a holder's TTL is over.
#[test]
fn when_a_holder_dies_the_first_to_wait_asks_first() {
    const WAITERS: usize = 8;
    let clock = Clock::manual();
    let memory = MemoryStore::new(clock.clone());
    let faulty = Arc::new(FaultyStore::new(Arc::new(memory.clone()), clock.clone()));
    let by_hand = Options::new().ttl(secs(4)).renewal(RenewalPolicy::ByHand);
    let local = open(Arc::new(memory), &clock);
    let mutex = |locks: &Locks| locks.mutex("k").unwrap();
    let silent = mutex(&local).with(by_hand).unwrap();
    let silent = silent.lock().wait().unwrap();
    let asked = || faulty.faults().requests(Verb::Attempt);
    let mut waits = Vec::new();
    let mut others = Vec::new();
    for at in 0..WAITERS {
        let locks = open(Arc::clone(&faulty) as Arc<dyn Store>, &clock);
        waits.push(spawn(mutex(&locks).lock()));
        others.push(locks);
        let line = || block_on(local.inspect("")).unwrap().len();
        eventually("it waits", || line() == at + 2);
    }
    let before = asked();
    clock.advance(secs(4));
    eventually("the first is let in", || waits[0].is_finished());
    std::thread::sleep(Duration::from_millis(50)); // in which the others do nothing
    // The one after it may be told that it is the first now.
    assert!(asked() <= before + 2, "{} have asked", asked() - before);
    drop(silent);
    for wait in waits {
        eventually("its turn", || {
            clock.advance(Duration::from_millis(1));
            wait.is_finished()
        });
        drop(wait.join().unwrap().unwrap());
    }
}
