//! Several keys at once, and a lock that gives up.

use std::future::{pending, ready};
use std::sync::Arc;

use super::Hand;
use crate::keyed::KeyedMutex;

#[test]
fn several_keys_are_taken_in_order_and_each_once() {
    let map = Arc::new(KeyedMutex::<String, u32>::new());
    let mut guards = Hand::of(map.lock_all(["c", "a", "b", "a"])).ready();
    assert_eq!(guards.len(), 3);
    *guards[0] = 1;
    assert_eq!(map.len(), 3);
    // The first guard is the least key's.
    let waiter = Hand::of(map.lock("a")).waits();
    drop(guards);
    assert_eq!(*waiter.ready(), 1);
    assert_eq!(map.blocking_lock_all(["b", "b"]).len(), 1);
    assert_eq!(Hand::of(map.lock_all_owned(["b", "a"])).ready().len(), 2);
    assert!(map.is_empty());
}

#[test]
fn two_in_opposite_order_do_not_wait_for_each_other() {
    let map = KeyedMutex::<u8>::new();
    let held = map.try_lock(&1).unwrap();
    let one = Hand::of(map.lock_all([&2, &1])).waits();
    let two = Hand::of(map.lock_all([&1, &2])).waits();
    // Neither holds the greater key while it waits for the lesser.
    assert!(map.try_lock(&2).is_some());
    drop(held);
    drop(one.ready());
    drop(two.ready());
    assert!(map.is_empty());
}

#[test]
fn several_keys_given_up_half_way_are_free_again() {
    let map = KeyedMutex::<u8>::new();
    let held = map.try_lock(&2).unwrap();
    let half = Hand::of(map.lock_all([&1, &2, &3])).waits();
    assert!(map.try_lock(&1).is_none());
    drop(half);
    assert!(map.try_lock(&1).is_some());
    assert!(map.try_lock_all([&1, &2]).is_none());
    assert_eq!(map.len(), 1);
    drop(held);
    assert_eq!(map.try_lock_all([&1, &2]).unwrap().len(), 2);
}

#[test]
fn a_lock_stops_waiting_when_told_to() {
    let map = Arc::new(KeyedMutex::<u8>::new());
    assert!(Hand::of(map.lock_unless(&1, ready("late"))).ready().is_ok());
    let held = map.try_lock(&1).unwrap();
    assert_eq!(
        Hand::of(map.lock_unless(&1, ready(7))).ready().err(),
        Some(7)
    );
    assert_eq!(
        Hand::of(map.lock_owned_unless(&1, ready(7))).ready().err(),
        Some(7)
    );
    let patient = Hand::of(map.lock_unless(&1, pending::<()>())).waits();
    let owned = Hand::of(map.lock_owned_unless(&1, pending::<()>())).waits();
    drop(held);
    drop(patient.ready().unwrap());
    drop(owned.ready().unwrap());
    assert!(map.is_empty());
}
