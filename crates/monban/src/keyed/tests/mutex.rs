//! The keyed mutex as its users meet it: exclusion, order, dropped waiters, nothing left behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::Hand;
use crate::keyed::{KeyedMutex, KeyedMutexGuard, OwnedKeyedMutexGuard};

fn is_send<T: Send>(_: &T) {}

#[test]
fn a_key_is_held_once_and_other_keys_are_free() {
    let map = KeyedMutex::<String>::new();
    let held = map.try_lock("a").unwrap();
    assert!(map.try_lock("a").is_none());
    assert!(map.try_lock("b").is_some());
    drop(held);
    assert!(map.try_lock("a").is_some());
    assert!(map.is_empty());
}

#[test]
fn guards_and_futures_may_move_between_threads() {
    fn guard<T: Send + Sync + 'static>() {}
    guard::<OwnedKeyedMutexGuard<String, Vec<u8>>>();
    guard::<KeyedMutexGuard<'static, String, Vec<u8>>>();
    guard::<KeyedMutex<String, Vec<u8>>>();
    let map = Arc::new(KeyedMutex::<String>::new());
    is_send(&map.lock("a"));
    is_send(&map.lock_owned("a"));
}

#[test]
fn a_future_that_was_never_polled_takes_no_place() {
    let map = KeyedMutex::<u8>::new();
    let _first = map.lock(&1);
    assert!(map.is_empty());
}

#[test]
fn waiters_are_served_in_the_order_they_joined() {
    let map = KeyedMutex::<u8>::new();
    let mut held = map.try_lock(&1).unwrap();
    let mut line: Vec<_> = (0..100).map(|_| Hand::of(map.lock(&1)).waits()).collect();
    for _ in 0..100 {
        drop(held);
        let next = line.remove(0);
        assert_eq!(next.bell.rung(), 1);
        assert!(line.iter().all(|other| other.bell.rung() == 0));
        assert!(
            map.try_lock(&1).is_none(),
            "the key is handed on, not left lying"
        );
        held = next.ready();
    }
    drop(held);
    assert!(map.is_empty());
}

#[test]
fn a_grant_that_was_never_looked_at_goes_to_the_next() {
    let map = KeyedMutex::<u8>::new();
    let held = map.try_lock(&1).unwrap();
    let granted = Hand::of(map.lock(&1)).waits();
    let next = Hand::of(map.lock(&1)).waits();
    drop(held);
    drop(granted);
    assert_eq!(next.bell.rung(), 1);
    drop(next.ready());
    assert!(map.is_empty());
}

#[test]
fn a_grant_dropped_with_nobody_behind_frees_the_key() {
    let map = KeyedMutex::<u8, String>::new();
    let mut held = map.try_lock(&1).unwrap();
    held.push('x');
    let granted = Hand::of(map.lock(&1)).waits();
    drop(held);
    drop(granted);
    assert!(map.is_empty());
    assert_eq!(*map.try_lock(&1).unwrap(), "");
}

#[test]
fn a_future_dropped_after_k_polls_leaves_nothing_behind() {
    for waiting in 0..4 {
        for position in 0..=waiting {
            for polls in 0..4 {
                let map = KeyedMutex::<u8>::new();
                let held = map.try_lock(&1).unwrap();
                let mut line: Vec<_> = (0..=waiting)
                    .map(|_| Hand::of(map.lock(&1)).waits())
                    .collect();
                let mut cancelled = line.remove(position);
                for _ in 0..polls {
                    assert!(cancelled.poll().is_pending());
                }
                drop(cancelled);
                drop(held);
                for waiter in line {
                    drop(waiter.ready());
                }
                assert!(map.is_empty());
            }
        }
    }
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let map = KeyedMutex::<u8>::new();
    let held = map.try_lock(&1).unwrap();
    let mut waiter = Hand::of(map.lock(&1)).waits();
    let (bell, waker) = super::Bell::new();
    waiter.waker = waker;
    let waiter = waiter.waits();
    drop(held);
    assert_eq!(bell.rung(), 1);
    assert_eq!(waiter.bell.rung(), 0);
    drop(waiter.ready());
}

#[test]
fn a_panicking_holder_frees_the_key() {
    let map = KeyedMutex::<u8, u32>::new();
    let waiter = {
        let mut held = map.try_lock(&1).unwrap();
        *held = 7;
        let waiter = Hand::of(map.lock(&1)).waits();
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _held = held;
            panic!("the holder fails");
        }));
        assert!(panicked.is_err());
        waiter
    };
    assert_eq!(*waiter.ready(), 7);
    assert!(map.is_empty());
}

#[test]
fn a_value_that_cannot_be_made_frees_the_key() {
    #[derive(Debug)]
    struct Never;
    impl Default for Never {
        fn default() -> Self {
            panic!("no value");
        }
    }
    let map = KeyedMutex::<u8, Never>::new();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(map.try_lock(&1)))).is_err());
    assert!(map.is_empty());
}

#[test]
fn a_value_lives_from_the_first_hold_to_the_last() {
    let map = KeyedMutex::<u8, Vec<u8>>::new();
    let mut held = map.try_lock(&1).unwrap();
    held.push(1);
    let second = Hand::of(map.lock(&1)).waits();
    let third = Hand::of(map.lock(&1)).waits();
    drop(held);
    let mut held = second.ready();
    assert_eq!(*held, [1]);
    held.push(2);
    drop(held);
    let held = third.ready();
    assert_eq!(*held, [1, 2]);
    drop(held);
    assert!(map.try_lock(&1).unwrap().is_empty());
}

#[test]
fn a_value_that_nobody_came_for_is_dropped_with_the_key() {
    let map = KeyedMutex::<u8, Option<Arc<()>>>::new();
    let value = Arc::new(());
    let mut held = map.try_lock(&1).unwrap();
    *held = Some(Arc::clone(&value));
    let granted = Hand::of(map.lock(&1)).waits();
    drop(held);
    assert_eq!(Arc::strong_count(&value), 2);
    drop(granted);
    assert_eq!(Arc::strong_count(&value), 1);
}

/// Counts by reading, then writing: two at once would lose a count.
#[derive(Default)]
pub(super) struct Careless(AtomicU64);

impl Careless {
    pub(super) fn counted(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn count(&self) {
        let seen = self.0.load(Relaxed);
        thread::yield_now();
        self.0.store(seen + 1, Relaxed);
    }
}

#[test]
fn threads_and_tasks_wait_in_one_line() {
    let map = KeyedMutex::<String>::new();
    let count = Careless::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    let _held = map.blocking_lock("a");
                    count.count();
                }
            });
        }
        for _ in 0..3 {
            scope.spawn(|| {
                runtime.block_on(async {
                    for _ in 0..1_000 {
                        let _held = map.lock("a").await;
                        count.count();
                    }
                });
            });
        }
    });
    assert_eq!(count.counted(), 6_000);
    assert!(map.is_empty());
}

#[test]
fn a_thread_gives_up_when_its_time_is_over() {
    let map = KeyedMutex::<u8>::new();
    let held = map.blocking_lock(&1);
    let start = Instant::now();
    assert!(
        map.blocking_lock_timeout(&1, Duration::from_millis(30))
            .is_none()
    );
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert!(map.blocking_lock_timeout(&1, Duration::ZERO).is_none());
    drop(held);
    assert!(map.blocking_lock_timeout(&1, Duration::ZERO).is_some());
    assert!(map.blocking_lock_timeout(&1, Duration::MAX).is_some());
    assert!(map.is_empty());
}
