//! Lock, unlock, wait, cancel and removal racing, in every schedule.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

use crate::verdict::in_a_process_of_its_own;

use super::mutex::KeyedMutex;
use super::rwlock::KeyedRwLock;
use super::semaphore::KeyedSemaphore;

/// What the lock protects: loom fails the model if two reach it at once.
struct World {
    map: KeyedMutex<u8, u32>,
    guarded: UnsafeCell<u32>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            map: KeyedMutex::new(),
            guarded: UnsafeCell::new(0),
        })
    }

    /// Writes without looking: a second one at once is seen by loom's cell.
    fn count(&self) {
        self.guarded.with_mut(|_| ());
    }

    fn blocking(&self) {
        let _held = self.map.blocking_lock(&1);
        self.count();
    }

    fn task(&self) {
        block_on(async {
            let _held = self.map.lock(&1).await;
            self.count();
        });
    }

    fn tried(&self) {
        if let Some(_held) = self.map.try_lock(&1) {
            self.count();
        }
    }

    /// Asks once or twice, then goes away; with the key, if it came meanwhile.
    fn cancelled(&self, polls: usize) {
        let mut wish = pin!(self.map.lock(&1));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            if let Poll::Ready(_held) = wish.as_mut().poll(&mut context) {
                self.count();
                return;
            }
        }
    }

    fn is_left_empty(&self) {
        assert!(self.map.is_empty());
        self.tried();
        assert!(self.map.is_empty());
    }
}

/// Runs all on threads of their own, the last on this one, and looks at what they leave.
fn race<const N: usize>(bodies: [fn(&World); N]) {
    let mut builder = loom::model::Builder::new();
    // Three threads and no bound would take hours; two pre-emptions show nearly all bugs (loom's documentation).
    builder.preemption_bound = Some(if N > 2 { 2 } else { 4 });
    builder.check(move || {
        let world = World::new();
        let threads: Vec<_> = bodies[1..]
            .iter()
            .map(|body| {
                let (world, body) = (Arc::clone(&world), *body);
                thread::spawn(move || body(&world))
            })
            .collect();
        bodies[0](&world);
        for thread in threads {
            thread.join().expect("no body panics");
        }
        world.is_left_empty();
    });
}

#[test]
fn two_threads_never_hold_at_once_and_leave_nothing() {
    in_a_process_of_its_own(|| {
        race([World::blocking, World::blocking]);
    });
}

#[test]
fn three_threads_hand_the_key_on() {
    in_a_process_of_its_own(|| {
        race([World::blocking, World::blocking, World::blocking]);
    });
}

#[test]
fn a_thread_and_a_task_hand_the_key_on() {
    in_a_process_of_its_own(|| {
        race([World::blocking, World::task]);
    });
}

#[test]
fn a_try_races_with_the_removal_of_the_entry() {
    in_a_process_of_its_own(|| {
        race([World::blocking, World::tried, World::tried]);
    });
}

#[test]
fn a_waiter_that_leaves_races_with_the_grant() {
    in_a_process_of_its_own(|| {
        race([World::blocking, |world| world.cancelled(1)]);
        race([World::blocking, |world| world.cancelled(2)]);
    });
}

#[test]
fn a_waiter_that_leaves_strands_nobody_behind_it() {
    in_a_process_of_its_own(|| {
        race([World::blocking, |world| world.cancelled(1), World::blocking]);
        race([World::blocking, |world| world.cancelled(1), World::task]);
    });
}

#[test]
fn two_waiters_leave_at_once() {
    in_a_process_of_its_own(|| {
        race([
            World::blocking,
            |world| world.cancelled(1),
            |world| world.cancelled(2),
        ]);
    });
}

#[test]
fn the_value_goes_with_the_key() {
    in_a_process_of_its_own(|| {
        loom::model(|| {
            let world = World::new();
            let held = world.map.try_lock(&1).expect("nobody else is there yet");
            let other = {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    let mut value = world.map.blocking_lock(&1);
                    *value += 1;
                    *value
                })
            };
            let mut held = held;
            *held += 1;
            drop(held);
            // The other one came in time and waited, or late, and found a new value.
            let seen = other.join().expect("it does not panic");
            assert!(seen == 1 || seen == 2);
            world.is_left_empty();
        });
    });
}

#[test]
fn two_keys_taken_at_once_in_any_order_do_not_deadlock() {
    in_a_process_of_its_own(|| {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let world = World::new();
            let other = {
                let world = Arc::clone(&world);
                thread::spawn(move || drop(world.map.blocking_lock_all([&2, &1])))
            };
            drop(world.map.blocking_lock_all([&1, &2, &1]));
            other.join().expect("it does not panic");
            world.is_left_empty();
        });
    });
}

#[test]
fn readers_behind_a_writer_that_leaves_are_let_in() {
    in_a_process_of_its_own(|| {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(|| {
            let map = Arc::new(KeyedRwLock::<u8>::new());
            let reading = map.try_read(&1).expect("nobody else is there yet");
            let writer = {
                let map = Arc::clone(&map);
                thread::spawn(move || {
                    let mut wish = pin!(map.write(&1));
                    let mut context = Context::from_waker(Waker::noop());
                    let _ = wish.as_mut().poll(&mut context);
                })
            };
            let reader = {
                let map = Arc::clone(&map);
                thread::spawn(move || drop(map.blocking_read(&1)))
            };
            // Held until the reader has been let in: it must not need this one to go.
            reader.join().expect("it does not panic");
            writer.join().expect("it does not panic");
            drop(reading);
            assert!(map.is_empty());
        });
    });
}

#[test]
fn permits_are_never_given_out_twice() {
    in_a_process_of_its_own(|| {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(|| {
            let map = Arc::new(KeyedSemaphore::<u8>::new(2));
            let guarded = Arc::new(UnsafeCell::new(0));
            let threads: Vec<_> = [1, 1]
                .into_iter()
                .map(|permits| {
                    let map = Arc::clone(&map);
                    let guarded = Arc::clone(&guarded);
                    thread::spawn(move || {
                        let _held = map.blocking_acquire(&1, permits);
                        guarded.with(|_| ());
                    })
                })
                .collect();
            {
                let _all = map.blocking_acquire(&1, 2);
                guarded.with_mut(|_| ());
            }
            for thread in threads {
                thread.join().expect("it does not panic");
            }
            assert!(map.is_empty());
        });
    });
}
