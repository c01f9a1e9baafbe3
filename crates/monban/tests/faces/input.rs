//! What can never be granted is refused at once, and leaves nothing.

use std::time::Duration;

use monban::data::Mode;
use monban::{Error, Options, block_on};

use crate::place::Place;

#[track_caller]
fn refused<T>(answer: monban::Result<T>) {
    let error = answer.err().expect("it is refused");
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

pub(crate) fn impossible_numbers_keys_and_intervals_are_refused(place: &Place) {
    let locks = &place.one;
    refused(locks.semaphore("k", 0));
    refused(locks.semaphore("k", Mode::MAX_PERMITS + 1));
    let two = locks.semaphore("k", 2).unwrap();
    refused(two.take(0));
    refused(two.take(3));
    refused(block_on(two.try_take(0)));
    refused(block_on(two.try_take(3)));

    refused(locks.all_of::<&str>([]));
    refused(locks.all_of(["a", "b", "a"]));
    refused(locks.all_of(["a", ""]));
    let bad = Mode::Permits { n: 2, of: 1 };
    refused(locks.all_of_modes([("a", Mode::Shared), ("b", bad)]));

    refused(locks.once("k").unwrap().every(Duration::ZERO));
    refused(locks.once("k").unwrap().every(Duration::MAX));

    let long = "k".repeat(1_025);
    for key in ["", &long] {
        refused(locks.mutex(key));
        refused(locks.rwlock(key));
        refused(locks.semaphore(key, 2));
        refused(locks.once(key));
        refused(locks.election(key));
    }
    let hasty = Options::new().ttl(Duration::ZERO);
    refused(locks.mutex("k").unwrap().with(hasty.clone()));
    refused(locks.rwlock("k").unwrap().with(hasty.clone()));
    refused(two.with(hasty.clone()));
    refused(locks.election("k").unwrap().with(hasty.clone()));
    refused(locks.all_of(["k"]).unwrap().with(&hasty));
    let once = locks.once("k").unwrap().with(hasty);
    refused(once.every(Duration::from_secs(1)));
    place.assert_clean("what was refused");
}
