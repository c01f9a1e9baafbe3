//! Processes that count, not atomically, under one key, while something is done to them or to the servers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use monban::{Locks, Options};
use monban_testkit::Machine;

use crate::client::SOON;

/// The key that is counted under.
pub(crate) const KEY: &str = "count";

/// Who counts, each on a thread and with a connection of its own.
pub(crate) struct Counting {
    ttl: Duration,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    inside: AtomicU64,
    fence: AtomicU64,
    counter: AtomicU64,
    counted: AtomicU64,
    /// The last count, and the longest time between two.
    pace: Mutex<(Option<Instant>, Duration)>,
}

impl Counting {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            shared: Arc::default(),
            workers: Vec::new(),
        }
    }

    /// Another one, on a machine of its own if it is given one.
    pub(crate) fn worker(&mut self, url: &str, machine: Option<&Machine>) {
        let (url, ttl, shared) = (url.to_owned(), self.ttl, Arc::clone(&self.shared));
        let work = move || crate::client::drive(shared.count(&url, ttl));
        self.workers.push(match machine {
            Some(machine) => machine.run(work).unwrap(),
            None => thread::spawn(work),
        });
    }

    /// How many counts there were until now.
    pub(crate) fn counted(&self) -> u64 {
        self.shared.counted.load(Ordering::SeqCst)
    }

    /// Returns when so many more have been counted.
    pub(crate) fn goes_on(&self, more: u64) {
        let (start, before) = (Instant::now(), self.counted());
        while self.counted() < before + more {
            assert!(start.elapsed() < SOON * 2, "nothing is granted any more");
            let failed = self.workers.iter().any(JoinHandle::is_finished);
            assert!(!failed, "one who counts has given up");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The longest time without a count.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.shared.pace.lock().unwrap().1
    }

    /// Ends it: no count was lost. How many there were.
    pub(crate) fn finish(self) -> u64 {
        self.shared.over.store(true, Ordering::SeqCst);
        for worker in self.workers {
            worker.join().unwrap();
        }
        let counted = self.shared.counted.load(Ordering::SeqCst);
        assert_eq!(self.shared.counter.load(Ordering::SeqCst), counted);
        counted
    }
}

impl Shared {
    async fn count(&self, url: &str, ttl: Duration) {
        let locks = Locks::connect(url).await.unwrap();
        let options = Options::new().ttl(ttl);
        let mutex = locks.mutex(KEY).unwrap().with(options).unwrap();
        while !self.over.load(Ordering::SeqCst) {
            let lease = match mutex.lock().within(SOON * 2).await {
                Ok(lease) => lease,
                Err(error) if error.is_transient() => continue,
                Err(error) => panic!("{error}"),
            };
            let own = u64::try_from(lease.fence().unwrap().as_i64()).unwrap();
            assert!(
                self.fence.swap(own, Ordering::SeqCst) < own,
                "fences go back"
            );
            assert_eq!(
                self.inside.fetch_add(1, Ordering::SeqCst),
                0,
                "two are inside"
            );
            let seen = self.counter.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2)).await;
            lease
                .check()
                .expect("connectivity was lost for less than the TTL");
            self.counter.store(seen + 1, Ordering::SeqCst);
            self.keep_pace();
            self.inside.fetch_sub(1, Ordering::SeqCst);
            let _ = lease.release().await; // whether it was ours until now is not always known
        }
        locks.close().await;
    }

    fn keep_pace(&self) {
        self.counted.fetch_add(1, Ordering::SeqCst);
        let mut pace = self.pace.lock().unwrap();
        let now = Instant::now();
        if let Some(last) = pace.0.replace(now) {
            pace.1 = pace.1.max(now - last);
        }
    }
}
