//! Every face over the memory store: reached by way of the keeper, and directly.

mod all_of;
mod cancel;
mod deadline;
mod election;
mod interval;
mod mutex;
mod owner;
mod rwlock;
mod semaphore;

use std::future::Future;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::contract::Attempt;
use crate::data::{Error, Key, Mode};
use crate::engine::{Locks, block_on};
use crate::testing::{Process, Rig};

/// Runs a test twice: with processes that reach the store by way of the keeper, and directly.
fn both(test: impl Fn(&Rig, [Process; 2])) {
    let rig = Rig::new();
    test(&rig, [rig.process("one"), rig.process("two")]);
    rig.assert_clean();
    let rig = Rig::new();
    test(&rig, [rig.direct_process("one"), rig.direct_process("two")]);
    rig.assert_clean();
}

/// Runs a future on a thread of its own.
fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(move || block_on(future))
}

/// What a thread brought; a test that would wait for ever fails instead.
#[track_caller]
fn done<T>(thread: JoinHandle<T>) -> T {
    let patience = std::time::Instant::now() + secs(10);
    while !thread.is_finished() {
        assert!(std::time::Instant::now() < patience, "it does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    thread.join().unwrap()
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Somebody holds the key in this mode for ten seconds more, and is dead.
fn dead_holder(rig: &Rig, name: &str, mode: Mode) {
    let attempt = rig.leave_behind(&key(name), mode, secs(10)).unwrap();
    assert!(matches!(attempt, Attempt::Granted(_)), "{attempt:?}");
}

/// Waits until so many claims are in the store's lines.
fn until_in_line(rig: &Rig, prefix: &str, claims: usize) {
    rig.eventually("so many are in line", || rig.claims(prefix).len() == claims);
}

/// Frees by hand what holds the key.
fn lose(locks: &Locks, name: &str) {
    let entry = block_on(locks.inspect(name)).unwrap().remove(0);
    block_on(locks.evict(&entry)).unwrap();
}

fn is_lost<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Lost { .. }))
}

fn is_invalid<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Invalid { .. }))
}

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}
