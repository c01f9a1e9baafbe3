//! What is left of keys: nothing, and tables of the size that is needed.

use std::cell::Cell;
use std::task::Waker;

use super::Hand;
use crate::keyed::KeyedMutex;
use crate::keyed::line::Line;
use crate::keyed::table::{Entered, Place, Table, Wish};

/// A table of one shard, where every figure is exact.
fn table() -> Table<u32, (), crate::keyed::SipState> {
    Table::new(1, 1, crate::keyed::SipState::default())
}

#[test]
fn a_table_that_grew_for_a_burst_shrinks_again() {
    let map = KeyedMutex::<u32>::new();
    let held: Vec<_> = (0..100_000).map(|key| map.blocking_lock(&key)).collect();
    assert_eq!(map.len(), 100_000);
    assert!(map.room() >= 99_000);
    drop(held);
    assert!(map.is_empty());
    assert!(map.room() <= 32 * 512, "{} left", map.room());
}

#[test]
fn a_table_shrinks_while_some_keys_stay() {
    let map = KeyedMutex::<u32>::new();
    let stay: Vec<_> = (0..1_000).map(|key| map.blocking_lock(&key)).collect();
    let burst: Vec<_> = (1_000..200_000)
        .map(|key| map.blocking_lock(&key))
        .collect();
    let grown = map.room();
    drop(burst);
    assert!(map.room() < grown / 8);
    for key in 0..1_000 {
        assert!(map.try_lock(&key).is_none());
    }
    drop(stay);
    assert!(map.is_empty());
}

/// Fewer than half as many and again all, for ever: the table must find one size and keep it.
#[test]
fn a_table_does_not_grow_and_shrink_in_turn() {
    let table = table();
    let enter = |key: u32| {
        let hash = table.hash(&key);
        let (key, permits) = (&key, 1);
        match table.enter(&Wish { hash, key, permits }, None) {
            Entered::Held(id) => Place { hash, id },
            _ => panic!("nobody else is there"),
        }
    };
    let mut held: Vec<_> = (0..1_000).map(enter).collect();
    let changes = Cell::new(0);
    let last = Cell::new(table.room());
    let look = || {
        if last.replace(table.room()) != table.room() {
            changes.set(changes.get() + 1);
        }
    };
    for _ in 0..10 {
        for place in held.drain(400..) {
            table.release(place, 1, None);
            look();
        }
        for key in 400..1_000 {
            held.push(enter(key));
            look();
        }
    }
    assert_eq!(changes.get(), 0);
}

#[test]
fn a_line_that_grew_for_a_burst_shrinks_again() {
    let mut line = Line::<()>::default();
    for turn in 0..10_000 {
        line.join(turn, 1, Waker::noop().clone());
    }
    for turn in (0..10_000).rev() {
        assert!(line.leave(turn).is_some());
    }
    assert!(line.capacity() <= 64);
}

#[test]
fn a_key_is_dropped_without_the_lock() {
    /// Uses the mutex it was a key of, as a cache that evicts may.
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Nosy(&'static str);
    thread_local! {
        static MAP: KeyedMutex<Nosy> = KeyedMutex::new();
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            let _ = MAP.try_with(KeyedMutex::is_empty);
        }
    }
    MAP.with(|map| {
        let key = Nosy("a");
        let held = map.try_lock(&key).unwrap();
        let waiter = Hand::of(map.lock(&key)).waits();
        drop(held);
        drop(waiter.ready());
        let many: Vec<_> = ["a", "b", "c"].map(Nosy).into();
        drop(map.blocking_lock(&many[0]));
    });
}
