//! Readers and writers in one line.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Hand;
use crate::keyed::{KeyedRwLock, OwnedKeyedReadGuard, OwnedKeyedWriteGuard};

#[test]
fn readers_share_and_a_writer_does_not() {
    let map = KeyedRwLock::<String>::new();
    let one = map.try_read("a").unwrap();
    let two = map.blocking_read("a");
    assert!(map.try_write("a").is_none());
    assert!(map.try_write("b").is_some());
    drop(one);
    assert!(map.try_write("a").is_none());
    drop(two);
    let writing = map.blocking_write("a");
    assert!(map.try_read("a").is_none());
    assert!(map.try_write("a").is_none());
    drop(writing);
    assert!(map.is_empty());
}

#[test]
fn a_reader_waits_behind_a_waiting_writer() {
    let map = KeyedRwLock::<u8>::new();
    let reading = map.try_read(&1).unwrap();
    let writer = Hand::of(map.write(&1)).waits();
    let late = Hand::of(map.read(&1)).waits();
    assert!(map.try_read(&1).is_none());
    drop(reading);
    assert_eq!(late.bell.rung(), 0);
    let writing = writer.ready();
    let late = late.waits();
    drop(writing);
    drop(late.ready());
    assert!(map.is_empty());
}

#[test]
fn all_readers_in_a_row_are_let_in_together() {
    let map = KeyedRwLock::<u8>::new();
    let writing = map.try_write(&1).unwrap();
    let readers = [(); 3].map(|()| Hand::of(map.read(&1)).waits());
    let writer = Hand::of(map.write(&1)).waits();
    drop(writing);
    let reading = readers.map(Hand::ready);
    let writer = writer.waits();
    drop(reading);
    drop(writer.ready());
    assert!(map.is_empty());
}

#[test]
fn readers_behind_a_writer_that_leaves_are_let_in() {
    let map = KeyedRwLock::<u8>::new();
    let reading = map.try_read(&1).unwrap();
    let writer = Hand::of(map.write(&1)).waits();
    let late = Hand::of(map.read(&1)).waits();
    drop(writer);
    assert_eq!(late.bell.rung(), 1);
    drop(late.ready());
    drop(reading);
    assert!(map.is_empty());
}

#[test]
fn a_writer_that_becomes_a_reader_lets_readers_in_and_writers_wait() {
    let map = Arc::new(KeyedRwLock::<u8>::new());
    let writing = map.try_write(&1).unwrap();
    let reader = Hand::of(map.read(&1)).waits();
    let reading = writing.downgrade();
    drop(reader.ready());
    assert!(map.try_write(&1).is_none());
    drop(reading);
    let reading = map.try_write_owned(&1).unwrap().downgrade();
    assert!(map.try_read_owned(&1).is_some());
    assert!(map.try_write_owned(&1).is_none());
    drop(reading);
    assert!(map.is_empty());
}

#[test]
fn owned_guards_move_to_another_thread() {
    let map = Arc::new(KeyedRwLock::<String>::new());
    let writing: OwnedKeyedWriteGuard<_> = Hand::of(map.write_owned("a")).ready();
    let reader = Hand::of(map.read_owned("a")).waits();
    thread::spawn(move || drop(writing)).join().unwrap();
    let reading: OwnedKeyedReadGuard<_> = reader.ready();
    thread::spawn(move || drop(reading)).join().unwrap();
    assert!(map.is_empty());
}

#[test]
fn threads_give_up_when_their_time_is_over() {
    let map = KeyedRwLock::<u8>::new();
    let within = Duration::from_millis(5);
    let writing = map.blocking_write_timeout(&1, within).unwrap();
    assert!(map.blocking_read_timeout(&1, within).is_none());
    drop(writing);
    let _reading = map.blocking_read_timeout(&1, within).unwrap();
    assert!(map.blocking_write_timeout(&1, within).is_none());
    assert!(map.blocking_read_timeout(&1, within).is_some());
}
