//! A worker's way to the store.

use std::sync::Arc;
use std::time::Duration;

use monban::rule::Clock;
use monban::stores::memory::MemoryStore;
use monban::testing::{Fault, Faults, FaultyStore, Verb};
use monban::{Locks, Result, block_on};

use super::Config;
use crate::clock::{nanos, now};
use crate::naive;

/// How many users of one store a process stands for, where there is but one process.
const MEMBERS: usize = 4;

/// The locks of a worker, and what can be done to them from inside.
#[derive(Debug)]
pub(super) struct Opened {
    /// One for each user of the store: more than one only in memory.
    pub(super) locks: Vec<Locks>,
    clock: Clock,
    faults: Vec<Faults>,
    wall: naive::Wall,
}

/// Opens the store, again and again for this long while it is out of reach.
pub(super) fn open(config: &Config, within: Duration) -> Result<Opened> {
    let until = now().saturating_add(nanos(within));
    loop {
        match try_open(config) {
            Err(error) if error.is_transient() && now() < until => {
                std::thread::sleep(Duration::from_millis(50));
            }
            opened => return opened,
        }
    }
}

fn try_open(config: &Config) -> Result<Opened> {
    let clock = Clock::stepped();
    let wall = naive::Wall::default();
    let builder = || {
        let label = config.process.clone();
        Locks::builder().clock(clock.clone()).label(label)
    };
    let mut faults = Vec::new();
    let locks = if config.url == "memory:" {
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let mut all = Vec::new();
        for _ in 0..MEMBERS {
            let faulty = FaultyStore::new(Arc::clone(&store) as _, clock.clone());
            faults.push(faulty.faults());
            all.push(block_on(builder().open(Arc::new(faulty)))?);
        }
        all
    } else if let Some(store) = naive::from_url(&config.url, &wall)? {
        vec![block_on(builder().open(Arc::new(store)))?]
    } else {
        vec![block_on(builder().connect(&config.url))?]
    };
    Ok(Opened {
        locks,
        clock,
        faults,
        wall,
    })
}

impl Opened {
    /// Moves the clocks of this process ahead, as waking from suspend does.
    pub(super) fn step(&self, by: Duration) {
        self.clock.advance(by);
        self.wall.advance(by);
    }

    /// Makes requests of one user of the store fail.
    pub(super) fn inject(&self, verb: &str, fault: &str, times: &str) {
        let verb = match verb {
            "renew" => Verb::Renew,
            "release" => Verb::Release,
            _ => Verb::Attempt,
        };
        let late = Duration::from_millis(300);
        let fault = match fault {
            "request-lost" => Fault::RequestLost,
            "request-late" => Fault::RequestLate(late),
            "reply-late" => Fault::ReplyLate(late),
            _ => Fault::ReplyLost,
        };
        for faults in &self.faults {
            faults.inject_times(times.parse().unwrap_or(1), verb, fault);
        }
    }
}
