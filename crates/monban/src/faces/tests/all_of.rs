//! Several keys at once.

use super::*;
use crate::data::Options;
use crate::testing::{Fault, Verb, Witness};

#[test]
fn all_keys_are_taken_or_none() {
    both(|rig, [one, two]| {
        let all = one.locks().all_of(["b", "a", "c"]).unwrap();
        assert_eq!(
            all.keys().cloned().collect::<Vec<_>>(),
            ["a", "b", "c"].map(key)
        );
        let set = all.lock().wait().unwrap();
        assert_eq!(set.iter().count(), 3);
        for name in ["a", "b", "c"] {
            assert!(set.get(&key(name)).unwrap().fence().is_ok());
            assert!(
                block_on(two.locks().mutex(name).unwrap().try_lock())
                    .unwrap()
                    .is_none()
            );
        }
        assert!(set.get(&key("d")).is_none());
        set.check().unwrap();
        block_on(set.release()).unwrap();
        assert!(rig.claims("").is_empty());

        let busy = two.locks().mutex("b").unwrap().lock().wait().unwrap();
        let (which, why) = block_on(all.try_lock_or_busy()).unwrap().unwrap_err();
        assert_eq!(which, key("b"));
        assert_eq!(why.who.unwrap().label(), "two");
        until_in_line(rig, "", 1);
        block_on(busy.release()).unwrap();
        drop(block_on(all.try_lock()).unwrap().unwrap());
    });
}

#[test]
fn sets_that_overlap_in_any_order_never_wait_in_a_circle() {
    both(|_, processes| {
        let witness = Witness::new(1);
        let orders = [
            ["a", "b", "c"],
            ["c", "b", "a"],
            ["b", "a", "c"],
            ["c", "a", "b"],
        ];
        let threads: Vec<_> = processes
            .iter()
            .cycle()
            .zip(orders)
            .map(|(process, order)| {
                let (witness, locks) = (witness.clone(), process.locks().clone());
                spawn(async move {
                    let all = locks.all_of(order).unwrap();
                    for _ in 0..15 {
                        let set = all.lock().await.unwrap();
                        let inside = witness.enter(order.concat(), None);
                        std::thread::yield_now();
                        drop(inside);
                        set.release().await.unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(done);
        witness.assert_no_overlap();
        assert_eq!(witness.entered(), 60);
    });
}

#[test]
fn who_waits_for_a_key_holds_only_keys_before_it() {
    both(|rig, [one, two]| {
        let busy = two.locks().mutex("b").unwrap().lock().wait().unwrap();
        let wait = spawn(one.locks().all_of(["a", "b", "c"]).unwrap().lock());
        until_in_line(rig, "b", 2);
        rig.eventually("c is free", || rig.claims("c").is_empty());
        assert_eq!(rig.claims("a").len(), 1);
        drop(busy);
        drop(done(wait).unwrap());
    });
}

#[test]
fn modes_may_differ() {
    both(|_, [one, two]| {
        let wanted = [
            ("prices", Mode::Shared),
            ("report", Mode::Exclusive),
            ("workers", Mode::Permits { n: 1, of: 2 }),
        ];
        let set = one
            .locks()
            .all_of_modes(wanted)
            .unwrap()
            .lock()
            .wait()
            .unwrap();
        assert_eq!(set.get(&key("workers")).unwrap().seat(), Some(0));
        drop(
            block_on(two.locks().rwlock("prices").unwrap().try_read())
                .unwrap()
                .unwrap(),
        );
        assert!(
            block_on(two.locks().rwlock("prices").unwrap().try_write())
                .unwrap()
                .is_none()
        );
        drop(
            block_on(two.locks().semaphore("workers", 2).unwrap().try_take(1))
                .unwrap()
                .unwrap(),
        );
    });
}

#[test]
fn a_set_is_lost_when_any_of_its_leases_is() {
    both(|rig, [one, two]| {
        let set = one
            .locks()
            .all_of(["a", "b"])
            .unwrap()
            .lock()
            .wait()
            .unwrap();
        let lost = spawn(set.lost());
        lose(two.locks(), "b");
        let error = done(lost);
        assert!(
            matches!(&error, Error::Lost { key: lost, .. } if *lost == key("b")),
            "{error}"
        );
        assert!(is_lost(&set.check()));
        assert!(is_lost(&set.require(Duration::ZERO)));
        assert!(is_lost(&block_on(set.run(std::future::ready(())))));
        assert!(
            is_lost(&block_on(set.release())),
            "and a is released all the same"
        );
        assert!(rig.claims("").is_empty());
    });
}

#[test]
fn a_key_that_is_lost_while_waiting_for_another_ends_the_wait() {
    both(|rig, [one, two]| {
        let busy = two.locks().mutex("b").unwrap().lock().wait().unwrap();
        let wait = spawn(one.locks().all_of(["a", "b"]).unwrap().lock());
        until_in_line(rig, "b", 2);
        lose(two.locks(), "a");
        assert!(is_lost(&done(wait)));
        until_in_line(rig, "", 1);
        drop(busy);
    });
}

#[test]
fn a_limit_gives_everything_back_and_counts_all_keys_together() {
    both(|rig, [one, two]| {
        let a = two.locks().mutex("a").unwrap().lock().wait().unwrap();
        let b = two.locks().mutex("b").unwrap().lock().wait().unwrap();
        let wait = spawn(
            one.locks()
                .all_of(["a", "b"])
                .unwrap()
                .lock()
                .within(secs(6)),
        );
        until_in_line(rig, "a", 2);
        rig.advance(secs(4));
        drop(a);
        until_in_line(rig, "b", 2);
        rig.advance(secs(1));
        assert!(!wait.is_finished());
        rig.advance(Duration::from_millis(1_100));
        match done(wait) {
            Err(Error::TimedOut {
                key: which, waited, ..
            }) => {
                assert_eq!(which, key("b"));
                assert!(waited >= secs(6) && waited < secs(7), "{waited:?}");
            }
            other => panic!("{other:?}"),
        }
        until_in_line(rig, "", 1);
        drop(b);
    });
}

#[test]
fn a_request_that_is_lost_is_sent_again_while_waiting() {
    let rig = Rig::new();
    let process = rig.process("one");
    process.faults().inject(Verb::Attempt, Fault::ReplyLost);
    process.faults().inject(Verb::Attempt, Fault::RequestLost);
    let lock = spawn(process.locks().all_of(["a", "b"]).unwrap().lock());
    rig.eventually("granted", || {
        rig.advance(Duration::from_millis(10));
        lock.is_finished()
    });
    block_on(done(lock).unwrap().release()).unwrap();
    rig.assert_clean();
}

#[test]
fn a_silent_store_does_not_keep_a_wait_with_a_limit() {
    let rig = Rig::new();
    let process = rig.process("one");
    process.faults().pause();
    let lock = spawn(
        process
            .locks()
            .all_of(["a", "b"])
            .unwrap()
            .lock()
            .within(secs(3)),
    );
    rig.eventually("given up", || {
        rig.advance(Duration::from_millis(100));
        lock.is_finished()
    });
    let error = done(lock).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    process.faults().resume();
    rig.assert_clean();
}

#[test]
fn a_killed_holder_of_one_key_is_outlived() {
    both(|rig, [one, _]| {
        dead_holder(rig, "b", Mode::Exclusive);
        let wait = spawn(one.locks().all_of(["a", "b", "c"]).unwrap().lock());
        until_in_line(rig, "b", 2);
        rig.advance(Duration::from_millis(10_100));
        rig.eventually("granted", || wait.is_finished());
        drop(done(wait).unwrap());
    });
}

#[test]
fn a_store_that_fails_for_one_key_leaves_none_taken() {
    let rig = Rig::new();
    let process = rig.process("one");
    let all = process.locks().all_of(["a", "b"]).unwrap();
    for fault in [Fault::ReplyLost, Fault::RequestLost, Fault::Refused] {
        process.faults().inject(Verb::Attempt, fault);
        let error = block_on(all.try_lock()).unwrap_err();
        assert!(
            matches!(error, Error::Unavailable { .. } | Error::Rejected { .. }),
            "{error}"
        );
        rig.assert_clean();
    }
    let mismatched = rig.process("two");
    let reader = mismatched
        .locks()
        .rwlock("b")
        .unwrap()
        .read()
        .wait()
        .unwrap();
    let all = process
        .locks()
        .all_of_modes([("a", Mode::Exclusive), ("b", Mode::Permits { n: 1, of: 2 })]);
    let error = all.unwrap().lock().wait().unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    drop(reader);
    rig.assert_clean();
}

#[test]
fn free_keys_cost_one_request_to_take_and_one_to_release() {
    let rig = Rig::new();
    let process = rig.process("one");
    let faults = process.faults();
    let names: Vec<_> = (0..50).map(|n| format!("key-{n}")).collect();
    let all = process.locks().all_of(&names).unwrap();
    let set = all.lock().wait().unwrap();
    assert_eq!(
        (faults.requests(Verb::Attempt), faults.claims(Verb::Attempt)),
        (1, 50)
    );
    block_on(set.release()).unwrap();
    assert_eq!(
        (faults.requests(Verb::Release), faults.claims(Verb::Release)),
        (1, 50)
    );
    drop(block_on(all.try_lock()).unwrap().unwrap());
    rig.assert_clean();
    assert_eq!(
        (
            faults.requests(Verb::Attempt),
            faults.requests(Verb::Release)
        ),
        (2, 2)
    );
    assert_eq!(
        faults.requests(Verb::Renew) + faults.requests(Verb::Inspect),
        0
    );
}

#[test]
fn an_empty_list_a_key_named_twice_and_bad_modes_are_refused() {
    let rig = Rig::new();
    let process = rig.process("one");
    let locks = process.locks();
    assert!(is_invalid(&locks.all_of(Vec::<&str>::new())));
    let twice = locks.all_of(["a", "b", "a"]);
    assert!(twice.unwrap_err().to_string().contains("a is named twice"));
    assert!(is_invalid(
        &locks.all_of_modes([("a", Mode::Exclusive), ("a", Mode::Shared)])
    ));
    assert!(is_invalid(&locks.all_of(["a", ""])));
    assert!(is_invalid(
        &locks.all_of_modes([("a", Mode::Permits { n: 3, of: 2 })])
    ));
    let all = locks.all_of(["a", "b"]).unwrap();
    assert!(is_invalid(&all.with(&Options::new().ttl(Duration::ZERO))));
    assert_eq!(process.faults().requests(Verb::Attempt), 0);
}
