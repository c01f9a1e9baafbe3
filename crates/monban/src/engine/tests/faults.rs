//! Requests and replies that are lost on the way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use super::*;
use crate::data::{Error, Options};
use crate::testing::{Fault, Verb};

#[test]
fn a_lost_reply_is_asked_again_and_gives_the_same_grant() {
    let world = World::new();
    world.faults.inject(Verb::Attempt, Fault::ReplyLost);
    let wait = spawn(world.remote.mutex("k").unwrap().lock());
    eventually("granted", || {
        world.clock.advance(Duration::from_millis(50));
        wait.is_finished()
    });
    let lease = wait.join().unwrap().unwrap();
    assert_eq!(block_on(world.local.inspect("")).unwrap().len(), 1);
    block_on(lease.release()).unwrap();
    world.assert_clean("nothing is left");
}

#[test]
fn a_try_whose_reply_is_lost_leaves_no_zombie() {
    let world = World::new();
    world.faults.inject(Verb::Attempt, Fault::ReplyLost);
    let error = block_on(world.remote.mutex("k").unwrap().try_lock()).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains('k'), "names the key: {error}");
    world.assert_clean("what was granted is given back");
}

#[test]
fn a_release_whose_reply_is_lost_is_not_told_as_a_loss() {
    let world = World::new();
    let lease = world.remote.mutex("k").unwrap().lock().wait().unwrap();
    world.faults.inject(Verb::Release, Fault::ReplyLost);
    let release = spawn(lease.release());
    eventually("answered", || {
        world.clock.advance(Duration::from_millis(50));
        release.is_finished()
    });
    release.join().unwrap().unwrap();
    world.assert_clean("nothing is left");
}

#[test]
fn a_release_is_tried_until_the_store_answers() {
    let world = World::new();
    let lease = world.remote.mutex("k").unwrap().lock().wait().unwrap();
    world
        .faults
        .inject_times(5, Verb::Release, Fault::RequestLost);
    drop(lease);
    world.soon("released", || {
        block_on(world.local.inspect("")).unwrap().is_empty()
    });
    world.assert_clean("nothing is left");
}

#[test]
fn a_grant_that_arrives_after_its_own_deadline_is_none() {
    let world = World::new();
    world.faults.pause();
    let options = Options::new().ttl(secs(3));
    let mutex = world.remote.mutex("k").unwrap().with(options).unwrap();
    let attempt = spawn(async move { mutex.try_lock().await });
    eventually("asked", || world.faults.requests(Verb::Attempt) == 1);
    world.clock.advance(secs(3));
    world.faults.resume();
    let error = attempt.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("after its own TTL"), "{error}");
    world.assert_clean("what was granted is given back");
}

#[test]
fn a_store_that_stays_silent_ends_a_wait_without_limit_after_a_ttl() {
    let world = World::new();
    world
        .faults
        .inject_times(10_000, Verb::Attempt, Fault::RequestLost);
    let wait = spawn(world.remote.mutex("k").unwrap().lock());
    eventually("given up", || {
        world.clock.advance(Duration::from_millis(500));
        wait.is_finished()
    });
    assert!(matches!(
        wait.join().unwrap(),
        Err(Error::Unavailable { .. })
    ));
    world.faults.clear();
    world.assert_clean("nothing is left");
}

#[test]
fn a_limit_that_ends_amid_errors_is_not_told_as_a_busy_key() {
    let world = World::new();
    let holder = world.local.mutex("k").unwrap().lock().wait().unwrap();
    let wait = spawn(world.remote.mutex("k").unwrap().lock().within(secs(12)));
    eventually("it waits", || world.waits_in_line());
    world
        .faults
        .inject_times(10_000, Verb::Attempt, Fault::RequestLost);
    eventually("ended", || {
        world.clock.advance(Duration::from_millis(100));
        wait.is_finished()
    });
    let ended = wait.join().unwrap();
    assert!(matches!(ended, Err(Error::Unavailable { .. })), "{ended:?}");
    world.faults.clear();
    drop(holder);
    world.assert_clean("nothing is left");
}

/// What it said four seconds ago is no reason to say that the key is busy.
#[test]
fn a_limit_that_ends_in_silence_is_not_told_as_a_busy_key() {
    for limit in [secs(4), Duration::from_millis(400)] {
        let world = World::new();
        let holder = world.local.mutex("k").unwrap().lock().wait().unwrap();
        let wait = spawn(world.remote.mutex("k").unwrap().lock().within(limit));
        eventually("it waits", || world.waits_in_line());
        world.faults.pause();
        eventually("ended", || {
            world.clock.advance(limit / 40);
            wait.is_finished()
        });
        let ended = wait.join().unwrap();
        assert!(matches!(ended, Err(Error::Unavailable { .. })), "{ended:?}");
        world.faults.resume();
        drop(holder);
        world.assert_clean("nothing is left");
    }
}

#[test]
fn a_limit_that_ends_a_moment_after_the_store_was_asked_is_no_silence() {
    let world = World::new();
    let holder = world.local.mutex("k").unwrap().lock().wait().unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let lock = world.remote.mutex("k").unwrap().lock().within(secs(4));
    let wait = spawn(lock.observe(move |_| _ = count.fetch_add(1, Ordering::SeqCst)));
    eventually("it waits", || told.load(Ordering::SeqCst) == 1);
    world.clock.advance(secs(3));
    eventually("asked once more", || told.load(Ordering::SeqCst) == 2);
    world.clock.advance(Duration::from_millis(900));
    world.faults.pause();
    drop(holder); // wakes it
    eventually("asked", || world.faults.requests(Verb::Attempt) == 3);
    world.clock.advance(Duration::from_millis(100));
    eventually("ended", || wait.is_finished());
    let ended = wait.join().unwrap();
    assert!(matches!(ended, Err(Error::TimedOut { .. })), "{ended:?}");
    world.faults.resume();
    world.assert_clean("nothing is left");
}

#[test]
fn a_limit_that_ends_a_moment_after_the_first_request_is_no_silence() {
    let world = World::new();
    let mutex = world.remote.mutex("k").unwrap();
    let holder = mutex.lock().wait().unwrap();
    let mut second = Box::pin(mutex.lock().within(secs(4)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    // Behind the holder, who is of the same process, it has not asked the store.
    assert!(second.as_mut().poll(&mut context).is_pending());
    world.clock.advance(Duration::from_millis(3_900));
    world.faults.pause();
    drop(holder);
    eventually("asked", || {
        assert!(second.as_mut().poll(&mut context).is_pending());
        world.faults.requests(Verb::Attempt) == 2
    });
    world.clock.advance(Duration::from_millis(100));
    let Poll::Ready(ended) = second.as_mut().poll(&mut context) else {
        panic!("its time is over");
    };
    assert!(matches!(ended, Err(Error::TimedOut { .. })), "{ended:?}");
    world.faults.resume();
    drop(second);
    world.assert_clean("nothing is left");
}

#[test]
fn what_a_late_request_left_is_released_though_its_ttl_has_passed_since_it_was_sent() {
    let world = World::new();
    let mutex = world.remote.mutex("k").unwrap();
    let mutex = mutex.with(Options::new().ttl(secs(3))).unwrap();
    world.faults.pause();
    let mut attempt = Box::pin(async move { mutex.try_lock().await });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    eventually("asked", || {
        assert!(attempt.as_mut().poll(&mut context).is_pending());
        world.faults.requests(Verb::Attempt) == 1
    });
    world.clock.advance(secs(4));
    drop(attempt);
    world.faults.inject(Verb::Release, Fault::RequestLost);
    world.faults.resume(); // executed only now: the store keeps it for 3 s more
    eventually("the first release is lost", || {
        world.faults.requests(Verb::Release) == 1 && world.faults.outstanding() == 0
    });
    eventually("released by the second", || {
        world.clock.advance(Duration::from_millis(1));
        world.faults.requests(Verb::Release) == 2
    });
    world.assert_clean("nothing is left");
}

/// A store may refuse when it has done half of it.
#[test]
fn what_was_refused_together_is_given_back_too() {
    let world = World::new();
    world.faults.inject(Verb::Attempt, Fault::Refused);
    let error = block_on(world.remote.all_of(["a", "b"]).unwrap().try_lock()).unwrap_err();
    assert!(matches!(error, Error::Rejected { .. }), "{error}");
    eventually("given back", || world.faults.claims(Verb::Release) == 2);
}
