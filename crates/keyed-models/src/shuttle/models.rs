//! Many threads and tasks on few keys, waiting, leaving and trying, in random schedules.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::Arc;
use shuttle::{Config, Runner, thread};

use super::mutex::KeyedMutex;
use super::rwlock::KeyedRwLock;
use super::semaphore::KeyedSemaphore;

const THREADS: usize = 6;
const KEYS: u8 = 3;
const TURNS: usize = 6;
const ENOUGH: Duration = Duration::from_secs(2);

/// How many hold each key at this moment. Shuttle runs one thread at a time and switches at the lock's own
/// operations and at the yield below, so plain loads and stores are exact here.
#[derive(Default)]
struct Holders([AtomicUsize; KEYS as usize]);

impl Holders {
    fn hold(&self, key: u8, add: usize, most: usize) {
        let count = &self.0[usize::from(key)];
        let before = count.load(Relaxed);
        assert!(before + add <= most, "{before} + {add} hold key {key}");
        count.store(before + add, Relaxed);
        thread::yield_now();
        count.store(count.load(Relaxed) - add, Relaxed);
    }
}

fn run(scheduler: impl Scheduler + 'static, body: fn()) {
    let mut config = Config::new();
    config.max_time = Some(ENOUGH);
    Runner::new(scheduler, config).run(body);
}

fn both(body: fn()) {
    run(RandomScheduler::new(usize::MAX), body);
    run(PctScheduler::new(3, usize::MAX), body);
}

fn crowd(body: impl Fn() + Send + Sync + 'static) {
    let body = Arc::new(body);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let body = Arc::clone(&body);
            thread::spawn(move || (0..TURNS).for_each(|_| body()))
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
}

/// Polls a few times and goes; hands over what it got.
fn impatient<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..thread_rng().gen_range(0..3) {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        thread::yield_now();
    }
    None
}

#[test]
fn a_crowd_on_few_keys() {
    both(|| {
        let map = Arc::new(KeyedMutex::<u8>::new());
        let holders = Holders::default();
        let left = Arc::clone(&map);
        crowd(move || {
            let key = thread_rng().gen_range(0..KEYS);
            let held = match thread_rng().gen_range(0..5) {
                0 => map.try_lock(&key),
                1 => impatient(map.lock(&key)),
                2 => Some(block_on(map.lock(&key))),
                3 => {
                    let other = thread_rng().gen_range(0..KEYS);
                    let all = map.blocking_lock_all([&key, &other]);
                    holders.hold(key, 1, 1);
                    drop(all);
                    None
                }
                _ => Some(map.blocking_lock(&key)),
            };
            if held.is_some() {
                holders.hold(key, 1, 1);
            }
        });
        assert!(left.is_empty());
    });
}

#[test]
fn a_crowd_of_readers_and_writers() {
    both(|| {
        let map = Arc::new(KeyedRwLock::<u8>::new());
        let holders = Holders::default();
        let left = Arc::clone(&map);
        crowd(move || {
            let key = thread_rng().gen_range(0..KEYS);
            match thread_rng().gen_range(0..5) {
                0 => {
                    let writing = map.blocking_write(&key);
                    holders.hold(key, THREADS, THREADS);
                    let _reading = writing.downgrade();
                    holders.hold(key, 1, THREADS);
                }
                1 => drop(impatient(map.write(&key))),
                2 => drop(impatient(map.read(&key))),
                3 => {
                    let _reading = block_on(map.read(&key));
                    holders.hold(key, 1, THREADS);
                }
                _ => {
                    let _reading = map.blocking_read(&key);
                    holders.hold(key, 1, THREADS);
                }
            }
        });
        assert!(left.is_empty());
    });
}

#[test]
fn a_crowd_with_permits() {
    const PERMITS: u32 = 3;
    both(|| {
        let map = Arc::new(KeyedSemaphore::<u8>::new(PERMITS));
        let holders = Holders::default();
        let left = Arc::clone(&map);
        crowd(move || {
            let key = thread_rng().gen_range(0..KEYS);
            let permits = thread_rng().gen_range(1..=PERMITS);
            let held = match thread_rng().gen_range(0..4) {
                0 => map.try_acquire(&key, permits),
                1 => impatient(map.acquire(&key, permits)),
                2 => Some(block_on(map.acquire(&key, permits))),
                _ => Some(map.blocking_acquire(&key, permits)),
            };
            if let Some(mut held) = held {
                holders.hold(key, permits as usize, PERMITS as usize);
                held.keep(1);
                holders.hold(key, 1, PERMITS as usize);
            }
        });
        assert!(left.is_empty());
    });
}
