//! Real threads and tasks on few keys for a second, waiting, trying, giving up and leaving.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::mutex::Careless;
use crate::keyed::KeyedMutex;

const KEYS: usize = 5;
const LASTS: Duration = Duration::from_secs(1);

/// Throws numbers (xorshift64*); the seed is the thread's own.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn key(&mut self) -> usize {
        usize::try_from(self.below(KEYS as u64)).unwrap()
    }

    fn moment(&mut self) -> Duration {
        Duration::from_micros(self.below(60))
    }
}

#[test]
fn threads_and_tasks_that_come_and_go_at_random_lose_no_count() {
    let map = KeyedMutex::<usize>::new();
    let careless: [Careless; KEYS] = Default::default();
    let counted = AtomicU64::new(0);
    let end = Instant::now() + LASTS;
    let count = |key: usize| {
        careless[key].count();
        counted.fetch_add(1, Relaxed);
    };
    thread::scope(|scope| {
        for seed in 1..=3 {
            scope.spawn({
                let (map, count) = (&map, &count);
                move || {
                    let mut dice = Dice(seed);
                    while Instant::now() < end {
                        let key = dice.key();
                        let held = match dice.below(3) {
                            0 => map.try_lock(&key),
                            1 => map.blocking_lock_timeout(&key, dice.moment()),
                            _ => Some(map.blocking_lock(&key)),
                        };
                        if held.is_some() {
                            count(key);
                        }
                    }
                }
            });
            scope.spawn({
                let (map, count) = (&map, &count);
                move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        let mut dice = Dice(seed + 100);
                        while Instant::now() < end {
                            let key = dice.key();
                            if dice.below(2) == 0 {
                                let stop = tokio::time::sleep(dice.moment());
                                if let Ok(_held) = map.lock_unless(&key, stop).await {
                                    count(key);
                                }
                            } else {
                                let _held = map.lock(&key).await;
                                tokio::task::yield_now().await;
                                count(key);
                            }
                        }
                    });
                }
            });
        }
    });
    let seen: u64 = careless.iter().map(Careless::counted).sum();
    assert_eq!(seen, counted.into_inner());
    assert!(seen > 1_000, "only {seen} holds in {LASTS:?}");
    assert!(map.is_empty());
}
