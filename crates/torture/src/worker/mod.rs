//! A worker: a real process that takes and releases keys through the public API, and logs what it sees.
//!
//! It is this program run again, told what to be by one environment variable and what to do by lines on its
//! standard input; it ends when that ends. It tells the conductor nothing but that it is ready: the rest is in the
//! history, which a killed process leaves whole.

mod open;
mod points;
mod task;

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use monban::{Locks, Options, block_on};
use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::event::{Log, What};
use open::Opened;
pub use points::Point;
use points::Points;
use task::Task;

/// Tells a process that it is a worker, and which.
pub const VARIABLE: &str = "MONBAN_TORTURE_WORKER";
/// What a worker says when it is ready.
pub const READY: &str = "ready";
/// A process that did not run for so long says so.
const STALL: Duration = Duration::from_millis(30);

/// For how long a worker tries to open the store: faults happen while it begins, too.
const OPEN: Duration = Duration::from_secs(60);

/// What a worker is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// The store, through the proxy if there is one.
    pub url: String,
    /// Its name in the history.
    pub process: String,
    /// Where it writes its history.
    pub history: PathBuf,
    /// The port of the resource.
    pub resource: u16,
    /// Of every claim.
    pub ttl: Duration,
    /// How many callers it has at once.
    pub tasks: usize,
    /// How many keys there are of each kind.
    pub keys: usize,
    /// One hold in so many is long.
    pub long: u32,
    /// Of its choices.
    pub seed: u64,
}

/// What the parts of a worker share.
#[derive(Debug)]
struct Worker {
    config: Config,
    log: Log,
    points: Points,
    finishing: AtomicBool,
}

/// Whether this process is to be a worker; asked before anything else.
#[must_use]
pub fn requested() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// The life of a worker.
///
/// # Panics
/// If it cannot work: a run with a missing worker proves nothing.
#[must_use]
pub fn main() -> ExitCode {
    let config = std::env::var(VARIABLE).expect("a worker is told what to be");
    let config: Config = serde_json::from_str(&config).expect("a worker understands what to be");
    let log = Log::append(&config.history, &config.process).expect("the history can be written");
    let worker = Arc::new(Worker {
        log,
        points: Points::default(),
        finishing: AtomicBool::new(false),
        config,
    });
    let opened = Arc::new(open::open(&worker.config, OPEN).expect("the store can be opened"));
    for locks in &opened.locks {
        warm_up(locks, &worker.config);
    }
    let watched = Arc::clone(&worker);
    thread::spawn(move || watch_stalls(&watched));
    obey_in_background(&worker, &opened);
    census(&worker, &opened.locks, true);
    worker.log.now(What::Start {
        pid: std::process::id(),
    });
    println!("{READY}");
    let tasks: Vec<_> = (0..worker.config.tasks)
        .map(|number| {
            let task = Task::new(&worker, &opened, number);
            thread::spawn(move || task.run())
        })
        .collect();
    for task in tasks {
        if task.join().is_err() {
            // Its message is on standard error; the conductor counts the death.
            return ExitCode::FAILURE;
        }
    }
    for locks in &opened.locks {
        block_on(locks.close());
    }
    census(&worker, &opened.locks, false);
    worker.log.now(What::End);
    ExitCode::SUCCESS
}

/// Takes a key of its own in every mode, and waits for one: so that whatever is started once has been started.
fn warm_up(locks: &Locks, config: &Config) {
    let key = format!("torture/own/{}", config.process);
    // What a store keeps beside claims (a lease of etcd) may live for as long as they.
    let options = Options::new().ttl(config.ttl);
    let work = async {
        let mutex = locks.mutex(key.as_str())?.with(options.clone())?;
        let lease = mutex.lock().await?;
        lease.release().await?;
        if locks.guarantees().permits {
            let key = format!("{key}/rw");
            let lock = locks.rwlock(key.as_str())?.with(options)?;
            let lease = lock.read().await?;
            let wait = lock.write().within(Duration::from_millis(30)).await;
            assert!(wait.is_err(), "a writer is not beside a reader");
            lease.release().await?;
        }
        Ok::<(), monban::Error>(())
    };
    // A fault may be on already: then there is nothing to compare with, and the first work warms up.
    if let Err(error) = block_on(work) {
        eprintln!("{}: warming up: {error}", config.process);
    }
}

/// Notes when this process did not run: stopped, or starved by others.
fn watch_stalls(worker: &Worker) {
    const NAP: Duration = Duration::from_millis(5);
    loop {
        let before = now();
        thread::sleep(NAP);
        let after = now();
        let late = Duration::from_nanos(after.saturating_sub(before)).saturating_sub(NAP);
        if late > STALL {
            let ns = crate::clock::nanos(late);
            worker.log.at(after, What::Stall { ns });
        }
    }
}

fn census(worker: &Worker, locks: &[Locks], first: bool) {
    let entries = |of: &str| std::fs::read_dir(of).map_or(0, Iterator::count);
    let residue = |locks: &Locks| {
        let (keys, watched) = locks.residue();
        keys + watched
    };
    // Its own tasks have ended, or not begun.
    worker.log.now(What::Census {
        first,
        residue: locks.iter().map(residue).sum(),
        descriptors: entries("/proc/self/fd"),
        threads: entries("/proc/self/task"),
    });
}

/// Does what the conductor says, line by line, and ends with it.
fn obey_in_background(worker: &Arc<Worker>, opened: &Arc<Opened>) {
    let (worker, opened) = (Arc::clone(worker), Arc::clone(opened));
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["die", point] => worker.points.arm(point, points::Deed::Die),
                ["stop", point] => worker.points.arm(point, points::Deed::Stop),
                ["disarm"] => worker.points.disarm(),
                ["step", ms] => {
                    // Before it happens: claims end with it at the latest.
                    let ns = crate::clock::nanos(millis(ms));
                    worker.log.now(What::Step { ns });
                    opened.step(millis(ms));
                }
                ["verb", verb, fault, times] => opened.inject(verb, fault, times),
                ["finish"] => worker.finishing.store(true, Ordering::SeqCst),
                _ => eprintln!("a worker does not know {line:?}"),
            }
        }
        // The conductor has gone: nobody may be left behind.
        let _ = std::io::stderr().flush();
        std::process::exit(1);
    });
}

fn millis(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap_or(0))
}
