//! The semaphore and its seats.

use super::*;
use crate::data::Options;
use crate::testing::Witness;

#[test]
fn there_are_never_more_holders_than_permits() {
    both(|_, processes| {
        let witness = Witness::new(2);
        std::thread::scope(|threads| {
            for process in processes.iter().cycle().take(6) {
                let witness = &witness;
                threads.spawn(move || {
                    let permits = process.locks().semaphore("k", 2).unwrap();
                    for _ in 0..10 {
                        let lease = permits.take(1).unwrap().wait().unwrap();
                        let seat = lease.seat().unwrap();
                        assert!(seat < 2);
                        let inside = witness.enter(format!("seat {seat}"), None);
                        std::thread::yield_now();
                        drop(inside);
                        block_on(lease.release()).unwrap();
                    }
                });
            }
        });
        witness.assert_no_overlap();
        assert_eq!(witness.entered(), 60);
    });
}

#[test]
fn a_seat_is_unique_among_holders_and_its_fences_grow() {
    both(|_, [one, two]| {
        let (here, there) = (
            one.locks().semaphore("k", 3).unwrap(),
            two.locks().semaphore("k", 3).unwrap(),
        );
        let first = here.take(1).unwrap().wait().unwrap();
        let second = there.take(1).unwrap().wait().unwrap();
        let third = here.take(1).unwrap().wait().unwrap();
        assert_eq!(
            [&first, &second, &third].map(|lease| lease.seat()),
            [Some(0), Some(1), Some(2)]
        );
        let before = second.token().unwrap();
        block_on(second.release()).unwrap();
        let again = here.take(1).unwrap().wait().unwrap();
        assert_eq!(again.seat(), before.seat(), "the seat that has become free");
        assert!(again.fence().unwrap() > before.fence());
        drop((first, third, again));
    });
}

#[test]
fn a_claim_for_all_permits_is_not_overtaken_by_claims_for_one() {
    both(|rig, [one, two]| {
        let permits = one.locks().semaphore("k", 2).unwrap();
        let lease = permits.take(1).unwrap().wait().unwrap();
        let all = spawn(two.locks().semaphore("k", 2).unwrap().take(2).unwrap());
        until_in_line(rig, "k", 2);
        assert!(
            block_on(permits.try_take(1)).unwrap().is_none(),
            "one is free, but not its turn"
        );
        drop(lease);
        drop(done(all).unwrap());
    });
}

#[test]
fn a_killed_holder_of_permits_is_outlived() {
    both(|rig, [one, _]| {
        dead_holder(rig, "k", Mode::Permits { n: 2, of: 2 });
        let next = spawn(one.locks().semaphore("k", 2).unwrap().take(1).unwrap());
        until_in_line(rig, "k", 2);
        rig.advance(Duration::from_millis(10_100));
        rig.eventually("granted", || next.is_finished());
        drop(done(next).unwrap());
    });
}

#[test]
fn numbers_that_can_never_be_granted_are_refused() {
    both(|_, [one, two]| {
        let locks = one.locks();
        assert!(is_invalid(&locks.semaphore("k", 0)));
        assert!(is_invalid(&locks.semaphore("k", Mode::MAX_PERMITS + 1)));
        assert!(is_invalid(&locks.semaphore("", 2)));
        let permits = locks.semaphore("k", 2).unwrap();
        assert!(is_invalid(&permits.take(0)));
        assert!(is_invalid(&permits.take(3)));
        assert!(is_invalid(&block_on(permits.try_take(3))));
        assert!(is_invalid(
            &permits.clone().with(Options::new().linger(secs(1)))
        ));
        let lease = permits.take(1).unwrap().wait().unwrap();
        let other = two.locks().semaphore("k", 3).unwrap();
        for result in [
            block_on(other.try_take(1)).map(|_| ()),
            other.take(1).unwrap().wait().map(drop),
        ] {
            assert!(matches!(result, Err(Error::Mismatch { .. })), "{result:?}");
        }
        drop(lease);
    });
}
