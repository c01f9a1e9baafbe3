//! Re-entrance by handle.

use super::*;
use crate::faces::Owner;
use crate::testing::Verb;

#[test]
fn a_key_is_taken_again_by_its_owner_only_and_released_by_the_last_guard() {
    both(|_, [one, two]| {
        let mutex = one.locks().mutex("k").unwrap();
        let (owner, other) = (Owner::new(), Owner::new());
        let outer = block_on(owner.lock(&mutex)).unwrap();
        let inner = block_on(owner.clone().lock(&mutex)).unwrap();
        assert_eq!(
            (outer.count(), inner.fence().unwrap()),
            (2, outer.fence().unwrap())
        );
        assert!(block_on(other.try_lock(&mutex)).unwrap().is_none());
        assert!(block_on(mutex.try_lock()).unwrap().is_none());
        let elsewhere = two.locks().mutex("k").unwrap();
        assert!(
            block_on(owner.try_lock(&elsewhere)).unwrap().is_none(),
            "another connection is another holder"
        );
        block_on(outer.release()).unwrap();
        assert!(block_on(mutex.try_lock()).unwrap().is_none(), "inner holds");
        assert_eq!(inner.count(), 1);
        block_on(inner.release()).unwrap();
        drop(block_on(other.try_lock(&mutex)).unwrap().unwrap());
    });
}

#[test]
fn taking_again_asks_the_store_nothing() {
    let rig = Rig::new();
    let process = rig.process("one");
    let mutex = process.locks().mutex("k").unwrap();
    let owner = Owner::new();
    let guards: Vec<_> = (0..10)
        .map(|_| block_on(owner.lock(&mutex)).unwrap())
        .collect();
    assert_eq!(guards[0].count(), 10);
    drop(guards);
    rig.assert_clean();
    let faults = process.faults();
    assert_eq!(
        (
            faults.requests(Verb::Attempt),
            faults.requests(Verb::Release)
        ),
        (1, 1)
    );
}

#[test]
fn callers_with_one_owner_that_come_together_share_one_claim() {
    both(|rig, [one, two]| {
        let busy = two.locks().mutex("k").unwrap().lock().wait().unwrap();
        let owner = Owner::new();
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let (owner, mutex) = (owner.clone(), one.locks().mutex("k").unwrap());
                spawn(async move { owner.lock(&mutex).await })
            })
            .collect();
        until_in_line(rig, "k", 2);
        std::thread::sleep(Duration::from_millis(10));
        let mutex = one.locks().mutex("k").unwrap();
        assert!(block_on(owner.try_lock(&mutex)).unwrap().is_none());
        let limited = spawn({
            let (owner, mutex) = (owner.clone(), mutex.clone());
            async move { owner.lock_within(&mutex, secs(3)).await }
        });
        rig.eventually("timed out", || {
            rig.advance(Duration::from_millis(100));
            limited.is_finished()
        });
        assert!(matches!(done(limited), Err(Error::TimedOut { .. })));
        drop(busy);
        let guards: Vec<_> = callers.into_iter().map(|c| done(c).unwrap()).collect();
        assert_eq!(guards[0].count(), 3);
        assert_eq!(rig.claims("k").len(), 1);
    });
}

#[test]
fn a_lost_lease_is_not_taken_again_while_a_guard_is_left() {
    both(|rig, [one, two]| {
        let mutex = one.locks().mutex("k").unwrap();
        let owner = Owner::new();
        let outer = block_on(owner.lock(&mutex)).unwrap();
        let inner = block_on(owner.lock(&mutex)).unwrap();
        lose(two.locks(), "k");
        rig.eventually("lost", || outer.check().is_err());
        assert!(
            is_lost(&block_on(inner.release())),
            "also by a guard that is not the last"
        );
        assert!(
            is_lost(&block_on(owner.lock(&mutex))),
            "what outer protects is not protected any more"
        );
        drop(outer);
        drop(block_on(owner.lock(&mutex)).unwrap());
    });
}

#[test]
fn a_writer_may_read_and_a_reader_is_refused_to_write_with_the_reason() {
    both(|_, [one, _]| {
        let lock = one.locks().rwlock("k").unwrap();
        let owner = Owner::new();
        let writer = block_on(owner.write(&lock)).unwrap();
        let reader = block_on(owner.read(&lock)).unwrap();
        assert_eq!(reader.count(), 2);
        drop((writer, reader));
        let reader = block_on(owner.read(&lock)).unwrap();
        let error = block_on(owner.write(&lock)).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
        assert!(error.to_string().contains("wait for itself"), "{error}");
        reader.check().unwrap();
    });
}

#[test]
fn an_owner_keeps_nothing_of_keys_it_has_released() {
    both(|_, [one, _]| {
        let owner = Owner::new();
        for number in 0..100 {
            let mutex = one.locks().mutex(format!("k-{number}")).unwrap();
            drop(block_on(owner.lock(&mutex)).unwrap());
        }
        assert!(owner.kept() <= 1, "{}", owner.kept());
    });
}
