//! What is measured: nanoseconds of processor time, of all threads together, per lock and unlock.
//!
//! Not the clock on the wall, which on a machine that does other work counts that too. What a thread sleeps while
//! it waits for another is not in it: that favours the peers which sleep.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

use crate::peers::{Blocking, Tasks};
use crate::{Dice, keys};

/// One measurement of one peer.
pub struct Entrant {
    /// The peer, as the table names it.
    pub name: &'static str,
    /// Measures once, in nanoseconds.
    pub once: Box<dyn Fn() -> f64>,
}

/// A row of peers under the same load.
pub struct Scenario {
    /// What is done.
    pub title: &'static str,
    /// By whom.
    pub entrants: Vec<Entrant>,
}

struct Stopwatch(Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(Self::now())
    }

    fn elapsed(&self) -> Duration {
        Self::now() - self.0
    }

    fn now() -> Duration {
        Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))
            .expect("a process has not run for a negative time")
    }
}

fn per(elapsed: Duration, pairs: u32) -> f64 {
    elapsed.as_secs_f64() * 1e9 / f64::from(pairs)
}

/// One key, one thread.
pub fn hot<P: Blocking>(name: &'static str) -> Entrant {
    const PAIRS: u32 = 20_000;
    let once = || {
        let (lock, key) = (P::fresh(), "customer:0000042".to_string());
        let start = Stopwatch::start();
        for _ in 0..PAIRS {
            let guard = lock.hold(black_box(&key));
            black_box(&guard);
        }
        per(start.elapsed(), PAIRS)
    };
    let once = Box::new(once);
    Entrant { name, once }
}

/// One key, one task.
pub fn hot_task<P: Tasks>(name: &'static str) -> Entrant {
    const PAIRS: u32 = 20_000;
    let once = || {
        let (lock, key) = (P::fresh(), "customer:0000042".to_string());
        one_thread().block_on(async {
            let start = Stopwatch::start();
            for _ in 0..PAIRS {
                let guard = lock.hold(black_box(&key)).await;
                black_box(&guard);
            }
            per(start.elapsed(), PAIRS)
        })
    };
    let once = Box::new(once);
    Entrant { name, once }
}

/// Random ones of 100,000 keys, two threads.
pub fn random<P: Blocking>(name: &'static str) -> Entrant {
    const PAIRS: u32 = 100_000;
    let keys: Arc<[String]> = keys(100_000).into();
    let once = move || {
        let lock = P::fresh();
        let gun = Barrier::new(3);
        thread::scope(|scope| {
            let run = |lane| {
                let (keys, gun, lock) = (&keys, &gun, &lock);
                move || {
                    let mut dice = Dice::new(lane);
                    gun.wait();
                    for _ in 0..PAIRS / 2 {
                        let guard = lock.hold(&keys[dice.below(keys.len())]);
                        black_box(&guard);
                    }
                }
            };
            let lanes = [scope.spawn(run(0)), scope.spawn(run(1))];
            gun.wait();
            let start = Stopwatch::start();
            for lane in lanes {
                lane.join().expect("a lane does not panic");
            }
            per(start.elapsed(), PAIRS)
        })
    };
    let once = Box::new(once);
    Entrant { name, once }
}

/// Random ones of 100,000 keys, two tasks on two threads.
pub fn random_tasks<P: Tasks>(name: &'static str) -> Entrant {
    const PAIRS: u32 = 100_000;
    let keys: Arc<[String]> = keys(100_000).into();
    let runtime = two_threads();
    let once = move || {
        let lock = Arc::new(P::fresh());
        runtime.block_on(async {
            let run = |lane| {
                let (keys, lock) = (Arc::clone(&keys), Arc::clone(&lock));
                async move {
                    let mut dice = Dice::new(lane);
                    for _ in 0..PAIRS / 2 {
                        let guard = lock.hold(&keys[dice.below(keys.len())]).await;
                        black_box(&guard);
                    }
                }
            };
            let start = Stopwatch::start();
            let lanes = [tokio::spawn(run(0)), tokio::spawn(run(1))];
            for lane in lanes {
                lane.await.expect("a lane does not panic");
            }
            per(start.elapsed(), PAIRS)
        })
    };
    let once = Box::new(once);
    Entrant { name, once }
}

/// One key, 64 tasks. Each holds it over a yield, so that the others have come and wait in line.
pub fn crowd<P: Tasks>(name: &'static str, runtime: Runtime) -> Entrant {
    const TASKS: u32 = 64;
    const TURNS: u32 = 250;
    let once = move || {
        let lock = Arc::new(P::fresh());
        runtime.block_on(async {
            let start = Stopwatch::start();
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| {
                    let lock = Arc::clone(&lock);
                    tokio::spawn(async move {
                        let key = "customer:0000042".to_string();
                        for _ in 0..TURNS {
                            let guard = lock.hold(&key).await;
                            tokio::task::yield_now().await;
                            black_box(&guard);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("a task does not panic");
            }
            per(start.elapsed(), TASKS * TURNS)
        })
    };
    let once = Box::new(once);
    Entrant { name, once }
}

/// A runtime on the calling thread.
pub fn one_thread() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime")
}

/// A runtime on two threads.
pub fn two_threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).build().expect("a runtime")
}
