//! Permits: so many at once, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::Hand;
use crate::keyed::KeyedSemaphore;

#[test]
fn permits_are_counted_per_key() {
    let map = KeyedSemaphore::<String>::new(3);
    assert_eq!(map.permits(), 3);
    let two = map.try_acquire("a", 2).unwrap();
    assert_eq!(two.permits(), 2);
    assert!(map.try_acquire("a", 2).is_none());
    let one = map.blocking_acquire("a", 1);
    assert!(map.try_acquire("a", 1).is_none());
    assert!(map.try_acquire("b", 3).is_some());
    drop(two);
    assert!(map.try_acquire("a", 2).is_some());
    drop(one);
    assert!(map.is_empty());
}

#[test]
fn few_permits_do_not_overtake_many() {
    let map = KeyedSemaphore::<u8>::new(3);
    let held = map.try_acquire(&1, 2).unwrap();
    let many = Hand::of(map.acquire(&1, 3)).waits();
    let few = Hand::of(map.acquire(&1, 1)).waits();
    assert!(map.try_acquire(&1, 1).is_none());
    drop(held);
    let many = many.ready();
    let few = few.waits();
    drop(many);
    drop(few.ready());
    assert!(map.is_empty());
}

#[test]
fn permits_given_back_early_go_to_the_next() {
    let map = Arc::new(KeyedSemaphore::<u8>::new(3));
    let mut held = map.try_acquire_owned(&1, 3).unwrap();
    let next = Hand::of(map.acquire_owned(&1, 2)).waits();
    held.keep(2);
    assert_eq!(next.bell.rung(), 0);
    held.keep(1);
    assert_eq!(held.permits(), 1);
    let mut next = next.ready();
    next.keep(2);
    drop(held);
    assert!(map.try_acquire(&1, 2).is_none());
    assert!(map.try_acquire(&1, 1).is_some());
    drop(next);
    assert!(map.is_empty());
}

#[test]
fn a_claim_that_can_never_hold_is_refused_loudly() {
    fn panics<T>(body: impl FnOnce() -> T) -> bool {
        catch_unwind(AssertUnwindSafe(|| drop(body()))).is_err()
    }
    let map = KeyedSemaphore::<u8>::new(3);
    assert!(panics(|| KeyedSemaphore::<u8>::new(0)));
    assert!(panics(|| map.try_acquire(&1, 0)));
    assert!(panics(|| map.try_acquire(&1, 4)));
    assert!(panics(|| Hand::of(map.acquire(&1, 4)).poll().is_ready()));
    let mut held = map.try_acquire(&1, 2).unwrap();
    assert!(panics(|| held.keep(0)));
    assert!(panics(|| held.keep(3)));
    assert_eq!(held.permits(), 2);
    drop(held);
    assert!(map.is_empty());
}

#[test]
fn a_thread_gives_up_when_its_time_is_over() {
    let map = KeyedSemaphore::<u8>::new(1);
    let within = Duration::from_millis(5);
    let held = map.blocking_acquire_timeout(&1, 1, within).unwrap();
    assert!(map.blocking_acquire_timeout(&1, 1, within).is_none());
    drop(held);
    assert!(map.is_empty());
}
