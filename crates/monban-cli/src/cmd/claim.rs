//! Taking the keys for a command: at once, or by waiting.

use std::future::Future;
use std::io::{Write, stderr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use monban::contract::Why;
use monban::data::{Mode, duration_text};
use monban::{Begun, BusyInfo, Error, Key, Leadership, Locks, Options, Result, block_on};

use super::held::Held;
use super::interrupt::SignalWatch;
use super::plan::{Kind, Plan};
use super::told;
use crate::args::Patience;
use crate::open::Opened;

/// What came of it.
pub(super) enum Taken {
    Held(Held),
    Busy(Key, BusyInfo),
    /// The interval of `--every` is not over.
    NotDue(BusyInfo),
    /// This signal ended the wait.
    Interrupted(i32),
}

/// Takes the keys as the command line says. A watch that it had to start is kept for what follows.
pub(super) fn take(
    opened: &Opened,
    plan: &Plan,
    options: Options,
    watch: &mut Option<SignalWatch>,
) -> Result<Taken> {
    let face = Face::new(&opened.locks, plan, options)?;
    let Some(patience) = plan.patience else {
        return block_on(face.attempt());
    };
    let watch = match watch {
        Some(watch) => watch,
        None => watch.insert(SignalWatch::start()?),
    };
    wait(plan, &face, patience, watch)
}

/// The kind of lock that the command line asks for.
enum Face {
    Mutex(monban::Mutex),
    Reader(monban::RwLock),
    Permits(monban::Semaphore, u32),
    All(monban::AllOf),
    Interval(monban::Interval),
    Candidate(monban::Election),
}

/// Is shown what is in the way.
type Observer = Arc<dyn Fn(&Key, &BusyInfo) + Send + Sync>;
type Taking<'a> = Pin<Box<dyn Future<Output = Result<Taken>> + Send + 'a>>;

impl Face {
    fn new(locks: &Locks, plan: &Plan, options: Options) -> Result<Self> {
        let key = &plan.key;
        if !plan.also.is_empty() {
            let mode = match plan.kind {
                Kind::Shared => Mode::Shared,
                Kind::Permits(n, of) => Mode::Permits { n, of },
                Kind::Exclusive | Kind::Every(_) | Kind::Leader(_) => Mode::Exclusive,
            };
            let wanted = plan.keys().map(|key| (key.clone(), mode));
            return Ok(Self::All(locks.all_of_modes(wanted)?.with(&options)?));
        }
        Ok(match plan.kind {
            Kind::Exclusive => Self::Mutex(locks.mutex(key)?.with(options)?),
            Kind::Shared => Self::Reader(locks.rwlock(key)?.with(options)?),
            Kind::Permits(n, of) => Self::Permits(locks.semaphore(key, of)?.with(options)?, n),
            Kind::Every(every) => Self::Interval(locks.once(key)?.with(options).every(every)?),
            Kind::Leader(_) => Self::Candidate(locks.election(key)?.with(options)?),
        })
    }

    async fn attempt(&self) -> Result<Taken> {
        let (key, tried) = match self {
            Self::Mutex(mutex) => (mutex.key(), mutex.try_lock_or_busy().await?),
            Self::Reader(lock) => (lock.key(), lock.try_read_or_busy().await?),
            Self::Permits(semaphore, n) => (semaphore.key(), semaphore.try_take_or_busy(*n).await?),
            Self::All(all) => {
                return Ok(match all.try_lock_or_busy().await? {
                    Ok(set) => Taken::Held(Held::All(set)),
                    Err((key, busy)) => Taken::Busy(key, busy),
                });
            }
            Self::Interval(interval) => return Ok(begun(interval.key(), interval.begin().await?)),
            Self::Candidate(election) => {
                let tried = election.try_lead_or_busy().await?;
                (election.key(), tried.map(Leadership::into_lease))
            }
        };
        Ok(match tried {
            Ok(lease) => Taken::Held(Held::One(lease)),
            Err(busy) => Taken::Busy(key.clone(), busy),
        })
    }

    /// Waits; what is in the way meanwhile is shown to the observer.
    fn wait(&self, limit: Option<Duration>, observer: Observer) -> Result<Taking<'_>> {
        let (key, acquire) = match self {
            Self::Mutex(mutex) => (mutex.key(), mutex.lock()),
            Self::Reader(lock) => (lock.key(), lock.read()),
            Self::Permits(semaphore, n) => (semaphore.key(), semaphore.take(*n)?),
            Self::Candidate(election) => (election.key(), election.stand()),
            Self::All(all) => {
                let lock = all.lock().observe(move |key, busy| observer(key, busy));
                let lock = match limit {
                    Some(limit) => lock.within(limit),
                    None => lock,
                };
                return Ok(Box::pin(async { Ok(Taken::Held(Held::All(lock.await?))) }));
            }
            Self::Interval(interval) => {
                let key = interval.key().clone();
                let next = interval.next().observe(move |busy| observer(&key, busy));
                let next = match limit {
                    Some(limit) => next.within(limit),
                    None => next,
                };
                return Ok(Box::pin(async { Ok(begun(interval.key(), next.await?)) }));
            }
        };
        let key = key.clone();
        let acquire = acquire.observe(move |busy| observer(&key, busy));
        let acquire = match limit {
            Some(limit) => acquire.within(limit),
            None => acquire,
        };
        Ok(Box::pin(async {
            Ok(Taken::Held(Held::One(acquire.await?)))
        }))
    }
}

fn begun(key: &Key, begun: Begun) -> Taken {
    match begun {
        Begun::Turn(turn) => Taken::Held(Held::Turn(turn)),
        Begun::NotDue(busy) => Taken::NotDue(busy),
        Begun::Running(busy) => Taken::Busy(key.clone(), busy),
    }
}

fn wait(plan: &Plan, face: &Face, patience: Patience, watch: &SignalWatch) -> Result<Taken> {
    let limit = match patience {
        Patience::For(limit) => Some(limit),
        Patience::Forever => None,
    };
    let place = Place::new(plan);
    let shown = place;
    let last = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&last);
    let observer = move |key: &Key, busy: &BusyInfo| {
        shown.show(key, busy);
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((key.clone(), busy.clone()));
    };
    let answer = block_on(watch.or(face.wait(limit, Arc::new(observer))?));
    place.clear();
    match answer {
        Ok(Ok(Taken::Held(held))) => Ok(match watch.take() {
            // It came together with the grant: there is no command yet, so it ends monban.
            Some(signal) => {
                drop(held);
                Taken::Interrupted(signal)
            }
            None => Taken::Held(held),
        }),
        Ok(Err(error @ Error::TimedOut { .. })) => {
            let last = last.lock().unwrap_or_else(PoisonError::into_inner).take();
            last.map(|(key, busy)| Taken::Busy(key, busy)).ok_or(error)
        }
        Ok(other) => other,
        Err(signal) => Ok(Taken::Interrupted(signal)),
    }
}

/// Shows the place in line on a terminal, in one line that is written over.
#[derive(Clone, Copy)]
struct Place {
    shown: bool,
}

impl Place {
    fn new(plan: &Plan) -> Self {
        Self {
            shown: plan.shows_place(),
        }
    }

    fn show(self, key: &Key, busy: &BusyInfo) {
        if !self.shown {
            return;
        }
        let why = match busy.why {
            Why::Recovering => format!(", {}", told::recovering(busy.ends.after())),
            Why::Barred => format!(", {}", told::BARRED),
            _ => String::new(),
        };
        let ahead = busy
            .ahead
            .map_or_else(String::new, |ahead| format!(", {ahead} ahead"));
        let who = busy
            .who
            .as_ref()
            .map_or_else(String::new, |who| format!(", {who} has it"));
        let held = busy
            .held_for
            .map_or_else(String::new, |d| format!(" for {}", duration_text(d)));
        // A terminal that has gone is no reason to stop waiting.
        let _ = write!(
            stderr(),
            "\r\x1b[Kmonban: waiting for {key}{why}{ahead}{who}{held}"
        );
    }

    fn clear(self) {
        if self.shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
