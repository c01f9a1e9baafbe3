//! The mutex.

use super::*;
use crate::data::Options;
use crate::testing::{Fault, Verb, Witness};

#[test]
fn holders_of_two_processes_never_overlap_and_fences_grow() {
    both(|_, processes| {
        let witness = Witness::new(1);
        std::thread::scope(|threads| {
            for (process, worker) in processes.iter().flat_map(|p| [(p, "a"), (p, "b")]) {
                let witness = &witness;
                threads.spawn(move || {
                    let mutex = process.locks().mutex("k").unwrap();
                    for _ in 0..20 {
                        let lease = mutex.lock().wait().unwrap();
                        let inside = witness.enter(worker, lease.fence().ok());
                        std::thread::yield_now();
                        drop(inside);
                        block_on(lease.release()).unwrap();
                    }
                });
            }
        });
        witness.assert_no_overlap();
        assert_eq!(witness.entered(), 80);
    });
}

#[test]
fn a_killed_holder_is_outlived_within_its_ttl() {
    both(|rig, [one, _]| {
        dead_holder(rig, "k", Mode::Exclusive);
        let mutex = one.locks().mutex("k").unwrap();
        let next = spawn(mutex.lock());
        until_in_line(rig, "k", 2);
        rig.advance(secs(9));
        assert!(!next.is_finished());
        rig.advance(Duration::from_millis(1_100));
        rig.eventually("granted", || next.is_finished());
        drop(done(next).unwrap());
    });
}

#[test]
fn a_waiter_whose_place_is_lost_joins_again() {
    both(|rig, [one, two]| {
        let lease = one.locks().mutex("k").unwrap().lock().wait().unwrap();
        let next = spawn(two.locks().mutex("k").unwrap().lock());
        until_in_line(rig, "k", 2);
        let place = rig.claims("k").remove(1);
        assert_eq!(
            block_on(one.locks().evict(&place)).unwrap(),
            crate::contract::Release::Done
        );
        rig.eventually("in line again", || {
            rig.advance(Duration::from_millis(100));
            rig.claims("k").len() == 2
        });
        drop(lease);
        drop(done(next).unwrap());
    });
}

#[test]
fn bad_keys_and_options_are_refused_before_the_store_is_asked() {
    let rig = Rig::new();
    let process = rig.process("one");
    let locks = process.locks();
    assert!(is_invalid(&locks.mutex("")));
    assert!(is_invalid(&locks.mutex([b'x'; 1025].as_slice())));
    let mutex = locks.mutex("k").unwrap();
    assert!(is_invalid(
        &mutex.clone().with(Options::new().ttl(Duration::ZERO))
    ));
    assert!(is_invalid(
        &mutex.clone().with(Options::new().max_hold(Duration::ZERO))
    ));
    assert!(is_invalid(
        &mutex.with(Options::new().linger(Duration::MAX))
    ));
    assert_eq!(process.faults().requests(Verb::Attempt), 0);
}

#[test]
fn taking_and_releasing_is_one_request_each() {
    let rig = Rig::new();
    let process = rig.process("one");
    let mutex = process.locks().mutex("k").unwrap();
    for round in 1..=5 {
        block_on(mutex.lock().wait().unwrap().release()).unwrap();
        assert_eq!(process.faults().requests(Verb::Attempt), round);
        assert_eq!(process.faults().requests(Verb::Release), round);
    }
    assert_eq!(process.faults().requests(Verb::Renew), 0);
}

#[test]
fn a_busy_key_an_absent_store_and_a_lost_lease_are_told_apart() {
    let rig = Rig::new();
    let (one, two) = (rig.process("one"), rig.process("two"));
    let lease = one.locks().mutex("k").unwrap().lock().wait().unwrap();
    let mutex = two.locks().mutex("k").unwrap();
    assert!(block_on(mutex.try_lock()).unwrap().is_none());
    two.faults().inject(Verb::Attempt, Fault::RequestLost);
    assert!(matches!(
        block_on(mutex.try_lock()),
        Err(Error::Unavailable { .. })
    ));
    two.faults().inject(Verb::Attempt, Fault::Refused);
    assert!(matches!(
        block_on(mutex.try_lock()),
        Err(Error::Rejected { .. })
    ));
    lose(two.locks(), "k");
    rig.eventually("lost", || is_lost(&lease.check()));
    drop(lease);
    rig.assert_clean();
}
