//! One caller: asks for keys in all modes and ways, works under them, gives them back or leaves them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use fastrand::Rng;
use monban::{Acquire, Error, Lease, LeaseEvent, Locks, Options};

use super::open::Opened;
use super::{Point, Worker};
use crate::clock::{nanos, now};
use crate::event::{Mode, What};
use crate::resource::Client;

/// How many permits the counted keys have.
const PERMITS: u32 = 3;

pub(super) struct Task {
    worker: Arc<Worker>,
    locks: Locks,
    resource: Client,
    random: Rng,
    number: usize,
    asked: u64,
}

/// How long a caller waits for a key.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Within(Duration),
    Forever,
    /// The caller goes away after this time: its future is dropped.
    Dropped(Duration),
}

/// One acquisition: its name, its key, its mode.
struct Wish {
    hold: String,
    key: String,
    mode: Mode,
}

impl Task {
    pub(super) fn new(worker: &Arc<Worker>, opened: &Arc<Opened>, number: usize) -> Self {
        let resource = Client::connect(worker.config.resource).expect("the resource is there");
        let seed = worker.config.seed.wrapping_add(number as u64 * 7_919);
        Self {
            locks: opened.locks[number % opened.locks.len()].clone(),
            worker: Arc::clone(worker),
            resource,
            random: Rng::with_seed(seed),
            number,
            asked: 0,
        }
    }

    pub(super) fn run(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a task has a runtime");
        runtime.block_on(async {
            while !self.worker.finishing.load(Ordering::SeqCst) {
                self.round().await;
                let think = self.random.u64(0..12);
                tokio::time::sleep(Duration::from_millis(think)).await;
            }
        });
    }

    async fn round(&mut self) {
        let wish = self.wish();
        let patience = self.patience();
        let worker = Arc::clone(&self.worker);
        worker.log.now(What::Asked {
            hold: wish.hold.clone(),
            key: wish.key.clone(),
            mode: wish.mode,
            waits: !matches!(patience, Patience::None),
        });
        match self.ask(&wish, patience).await {
            Some(Ok(lease)) => {
                let lease = self.granted(&wish, lease);
                worker.points.pass(Point::Granted, &worker.log);
                self.work(&wish, &lease).await;
                self.leave(&wish, lease).await;
            }
            Some(Err(error)) => self.failed(&wish, &error),
            None => {}
        }
    }

    fn wish(&mut self) -> Wish {
        self.asked += 1;
        let config = &self.worker.config;
        let hold = format!("{}/{}#{}", config.process, self.number, self.asked);
        let number = self.random.usize(0..config.keys);
        let kind = if self.locks.guarantees().permits {
            self.random.u32(0..100)
        } else {
            0
        };
        let (kind, mode) = match kind {
            0..50 => ("mutex", Mode::Exclusive),
            50..58 => ("rw", Mode::Exclusive),
            58..75 => ("rw", Mode::Shared),
            rest => {
                let n = if rest < 92 { 1 } else { 2 };
                ("permits", Mode::Permits { n, of: PERMITS })
            }
        };
        let key = format!("torture/{kind}/{number}");
        Wish { hold, key, mode }
    }

    fn patience(&mut self) -> Patience {
        let ttl = self.worker.config.ttl;
        match self.random.u32(0..100) {
            0..20 => Patience::None,
            20..30 => Patience::Dropped(Duration::from_micros(self.random.u64(0..40_000))),
            30..45 => Patience::Within(ttl / 10),
            45..75 => Patience::Within(ttl * 3),
            _ => Patience::Forever,
        }
    }

    /// `None`: the caller has gone, and what became of it is logged.
    async fn ask(&self, wish: &Wish, patience: Patience) -> Option<monban::Result<Lease>> {
        let (points, log) = (&self.worker.points, &self.worker.log);
        let acquire = match self.acquire(wish) {
            Ok(acquire) => self.watched(wish, acquire),
            Err(error) => return Some(Err(error)),
        };
        match patience {
            Patience::None => {
                let asking = points.under_way(Point::Asking, log, self.try_once(wish));
                Some(asking.await)
            }
            Patience::Forever => Some(points.under_way(Point::Asking, log, acquire).await),
            Patience::Within(limit) => {
                let acquire = acquire.within(limit);
                Some(points.under_way(Point::Asking, log, acquire).await)
            }
            Patience::Dropped(after) => {
                let asked = tokio::time::timeout(after, acquire).await;
                if asked.is_err() {
                    log.now(What::Unknown {
                        hold: wish.hold.clone(),
                        why: "the caller has gone".into(),
                    });
                }
                asked.ok()
            }
        }
    }

    fn options(&self) -> Options {
        Options::new().ttl(self.worker.config.ttl)
    }

    fn acquire(&self, wish: &Wish) -> monban::Result<Acquire> {
        let key = wish.key.as_str();
        match wish.mode {
            Mode::Exclusive if key.contains("/rw/") => {
                Ok(self.locks.rwlock(key)?.with(self.options())?.write())
            }
            Mode::Exclusive => Ok(self.locks.mutex(key)?.with(self.options())?.lock()),
            Mode::Shared => Ok(self.locks.rwlock(key)?.with(self.options())?.read()),
            Mode::Permits { n, of } => {
                let semaphore = self.locks.semaphore(key, of)?;
                semaphore.with(self.options())?.take(n)
            }
        }
    }

    async fn try_once(&self, wish: &Wish) -> monban::Result<Lease> {
        let key = wish.key.as_str();
        let options = self.options();
        let lease = match wish.mode {
            Mode::Exclusive if key.contains("/rw/") => {
                let lock = self.locks.rwlock(key)?.with(options)?;
                lock.try_write().await?
            }
            Mode::Exclusive => self.locks.mutex(key)?.with(options)?.try_lock().await?,
            Mode::Shared => {
                let lock = self.locks.rwlock(key)?.with(options)?;
                lock.try_read().await?
            }
            Mode::Permits { n, of } => {
                let lock = self.locks.semaphore(key, of)?.with(options)?;
                lock.try_take(n).await?
            }
        };
        lease.ok_or_else(|| Error::TimedOut {
            key: monban::Key::new(key).expect("the key was accepted before"),
            waited: Duration::ZERO,
            who: None,
        })
    }

    /// Notes when the store first says that it stands in line.
    fn watched(&self, wish: &Wish, acquire: Acquire) -> Acquire {
        let worker = Arc::clone(&self.worker);
        let hold = wish.hold.clone();
        let told = AtomicBool::new(false);
        acquire.observe(move |_| {
            if !told.swap(true, Ordering::SeqCst) {
                let hold = hold.clone();
                worker.log.now(What::Queued { hold });
            }
            worker.points.pass(Point::Waiting, &worker.log);
        })
    }

    fn granted(&self, wish: &Wish, lease: Lease) -> Arc<Lease> {
        let until = valid_until(&lease);
        self.worker.log.now(What::Granted {
            hold: wish.hold.clone(),
            claim: monban::data::EntryId::Claim(lease.id()).digest(),
            fence: lease.fence().ok().map(monban::Fence::as_i64),
            seat: lease.seat(),
            until,
        });
        let lease = Arc::new(lease);
        let worker = Arc::clone(&self.worker);
        let hold = wish.hold.clone();
        let weak = Arc::downgrade(&lease);
        lease.observe(move |event| {
            let hold = hold.clone();
            match event {
                LeaseEvent::Renewed { .. } => {
                    let lease = Weak::upgrade(&weak);
                    if let Some(until) = lease.as_deref().and_then(valid_until) {
                        let until = Some(until);
                        worker.log.now(What::Renewed { hold, until });
                    }
                }
                LeaseEvent::Lost(why) => {
                    let why = why.to_string();
                    worker.log.now(What::Lost { hold, why });
                }
                _ => {}
            }
        });
        lease
    }

    async fn work(&mut self, wish: &Wish, lease: &Lease) {
        let worker = Arc::clone(&self.worker);
        let (points, log) = (&worker.points, &worker.log);
        // Read once, as a program does that goes on to use it after a pause.
        let token = lease.token().ok();
        let exclusive = wish.mode == Mode::Exclusive;
        let read = exclusive.then(|| self.resource.read(wish.hold.as_str(), &wish.key));
        // Mostly short; some hold for longer than a TTL, so that they live by renewals.
        let long =
            self.random.u32(0..worker.config.long.max(1)) == 0 || points.armed(Point::Renewing);
        let work = if long {
            worker.config.ttl.mul_f64(0.2 + 1.5 * self.random.f64())
        } else {
            Duration::from_millis(self.random.u64(0..15))
        };
        tokio::time::sleep(work).await;
        if points.armed(Point::Renewing) {
            let renewed = points.under_way(Point::Renewing, log, lease.renew());
            let _ = renewed.await; // lost or not: the check below tells
        }
        let valid = lease.check().is_ok();
        points.pass(Point::Writing, log);
        // The fenced resource is written to also by one that knows better: it is what has to refuse.
        if let Some(token) = token {
            self.resource.write(&wish.hold, &wish.key, token);
        }
        if let (true, Some(value)) = (valid, read) {
            self.resource.put(&wish.hold, &wish.key, value + 1);
        }
        points.pass(Point::BeforeRelease, log);
    }

    async fn leave(&mut self, wish: &Wish, lease: Arc<Lease>) {
        let worker = Arc::clone(&self.worker);
        let (points, log) = (&worker.points, &worker.log);
        let hold = wish.hold.clone();
        let mut lease = lease;
        let lease = loop {
            match Arc::try_unwrap(lease) {
                Ok(lease) => break lease,
                // The observer looks at it just now.
                Err(back) => lease = back,
            }
            std::thread::yield_now();
        };
        log.now(What::Release { hold: hold.clone() });
        if self.random.u32(0..4) == 0 {
            drop(lease);
            return;
        }
        let released = points.under_way(Point::Releasing, log, lease.release());
        let (ok, why) = match released.await {
            Ok(()) => (true, String::new()),
            Err(error) => (false, error.to_string()),
        };
        log.now(What::Released { hold, ok, why });
    }

    fn failed(&self, wish: &Wish, error: &Error) {
        let hold = wish.hold.clone();
        let why = error.to_string();
        self.worker.log.now(match error {
            Error::TimedOut { .. } => What::Refused { hold, why },
            _ => What::Unknown { hold, why },
        });
    }
}

/// Until when a guard says that it is valid, not a moment too late: the clock is read first.
fn valid_until(lease: &Lease) -> Option<u64> {
    let before = now();
    let left = lease.remaining()?;
    Some(before.saturating_add(nanos(left)))
}
