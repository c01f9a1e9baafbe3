//! Deadlines for what a lease guards.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::data::{Loss, Options, RenewalPolicy};

fn by_hand(process: &Process, ttl: Duration) -> crate::Lease {
    let options = Options::new().ttl(ttl).renewal(RenewalPolicy::ByHand);
    let mutex = process.locks().mutex("k").unwrap().with(options).unwrap();
    mutex.lock().wait().unwrap()
}

#[test]
fn a_step_is_refused_if_the_lease_ends_sooner() {
    both(|rig, [one, _]| {
        let lease = by_hand(&one, secs(10));
        lease.require(secs(9)).unwrap();
        rig.clock().advance(secs(5));
        lease.require(secs(4)).unwrap();
        match lease.require(secs(5)) {
            Err(Error::TooShort { left, needed, .. }) => {
                assert_eq!(needed, secs(5));
                assert!(
                    left > secs(4) && left < secs(5),
                    "a TTL is used less its allowance: {left:?}"
                );
            }
            other => panic!("{other:?}"),
        }
        block_on(lease.renew()).unwrap();
        lease.require(secs(5)).unwrap();
        rig.clock().advance(secs(10));
        assert!(is_lost(&lease.require(Duration::ZERO)));
    });
}

#[test]
fn a_maximum_hold_is_a_deadline_too() {
    both(|_, [one, _]| {
        let options = Options::new().max_hold(secs(5));
        let mutex = one.locks().mutex("k").unwrap().with(options).unwrap();
        let lease = mutex.lock().wait().unwrap();
        lease.require(secs(5)).unwrap();
        assert!(matches!(
            lease.require(secs(6)),
            Err(Error::TooShort { .. })
        ));
        assert_eq!(lease.timeout_for(secs(60)).unwrap(), secs(5));
    });
}

#[test]
fn a_timeout_does_not_outlive_the_lease_and_is_never_zero() {
    both(|rig, [one, _]| {
        let lease = by_hand(&one, secs(10));
        assert_eq!(lease.timeout_for(secs(2)).unwrap(), secs(2));
        assert!(is_invalid(&lease.timeout_for(Duration::ZERO)));
        assert!(is_invalid(&lease.timeout_for(Duration::from_micros(999))));
        rig.clock().advance(secs(9));
        let left = lease.timeout_for(secs(2)).unwrap();
        assert!(left <= lease.remaining().unwrap());
        assert_eq!(
            left.subsec_nanos() % 1_000_000,
            0,
            "whole milliseconds: {left:?}"
        );
        let rest = lease.remaining().unwrap();
        rig.clock().advance(rest - Duration::from_micros(500));
        assert!(matches!(
            lease.timeout_for(secs(2)),
            Err(Error::TooShort { .. })
        ));
        rig.clock().advance(secs(1));
        assert!(is_lost(&lease.timeout_for(secs(2))));
    });
}

#[test]
fn no_step_of_a_scope_begins_after_the_deadline() {
    both(|rig, [one, _]| {
        let lease = by_hand(&one, secs(10));
        let steps = AtomicU32::new(0);
        let work = std::future::poll_fn(|context| {
            steps.fetch_add(1, Ordering::Relaxed);
            context.waker().wake_by_ref(); // it never yields of its own
            rig.clock().advance(secs(4));
            std::task::Poll::<()>::Pending
        });
        let result = block_on(lease.scope(work));
        assert!(
            matches!(
                result,
                Err(Error::Lost {
                    why: Loss::Expired,
                    ..
                })
            ),
            "{result:?}"
        );
        assert_eq!(steps.into_inner(), 3, "at 0, 4 and 8 s; not at 12 s");
    });
}

#[test]
fn what_is_ready_after_the_deadline_is_not_returned() {
    both(|rig, [one, _]| {
        let lease = by_hand(&one, secs(10));
        let late = async { rig.clock().advance(secs(11)) };
        assert!(is_lost(&block_on(lease.scope(late))));
        drop(lease);
        let lease = by_hand(&one, secs(10));
        assert_eq!(block_on(lease.scope(async { 5 })).unwrap(), 5);
    });
}

#[test]
fn a_scope_ends_when_the_lease_is_taken_away() {
    both(|_, [one, two]| {
        let lease = by_hand(&one, secs(10));
        let lost = spawn(async move { lease.scope(std::future::pending::<()>()).await });
        std::thread::sleep(Duration::from_millis(10));
        lose(two.locks(), "k");
        assert!(is_lost(&done(lost)));
    });
}
