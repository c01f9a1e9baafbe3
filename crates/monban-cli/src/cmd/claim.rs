//! Taking the key for `monban run`: at once, or by waiting.

use std::future::{Future, poll_fn};
use std::io::{IsTerminal, Write, stderr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use monban::contract::Why;
use monban::data::duration_text;
use monban::{Acquire, BusyInfo, Error, Lease, Locks, Options, Result, block_on};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::{Patience, Run};
use crate::open::Opened;
use crate::say::Voice;

/// What came of it.
pub(super) enum Taken {
    Lease(Lease, Option<SignalWatch>),
    Busy(BusyInfo),
    /// The interval of `--every` is not over.
    NotDue(BusyInfo),
    /// This signal ended the wait.
    Interrupted(i32),
}

/// Takes the key as the command line says.
pub(super) fn take(opened: &Opened, run: &Run, options: Options) -> Result<Taken> {
    let face = Face::new(&opened.locks, run, options)?;
    let every = run.every.is_some();
    let Some(patience) = run.wait else {
        return Ok(match block_on(face.attempt())? {
            Ok(lease) => Taken::Lease(lease, None),
            Err(busy) => refused(busy, every),
        });
    };
    if every {
        // Not to be waited for: the interval may be hours.
        match block_on(face.attempt())? {
            Ok(lease) => return Ok(Taken::Lease(lease, None)),
            Err(busy) if busy.why == Why::Lingering => return Ok(Taken::NotDue(busy)),
            Err(_) => {}
        }
    }
    wait(run, &face, patience)
}

fn refused(busy: BusyInfo, every: bool) -> Taken {
    if every && busy.why == Why::Lingering {
        Taken::NotDue(busy)
    } else {
        Taken::Busy(busy)
    }
}

/// The kind of lock that the command line asks for.
enum Face {
    Mutex(monban::Mutex),
    Reader(monban::RwLock),
    Permits(monban::Semaphore, u32),
}

impl Face {
    fn new(locks: &Locks, run: &Run, options: Options) -> Result<Self> {
        Ok(if let Some((n, of)) = run.permits {
            Self::Permits(locks.semaphore(&run.key, of)?.with(options)?, n)
        } else if run.shared {
            Self::Reader(locks.rwlock(&run.key)?.with(options)?)
        } else {
            Self::Mutex(locks.mutex(&run.key)?.with(options)?)
        })
    }

    async fn attempt(&self) -> Result<Result<Lease, BusyInfo>> {
        match self {
            Self::Mutex(mutex) => mutex.try_lock_or_busy().await,
            Self::Reader(lock) => lock.try_read_or_busy().await,
            Self::Permits(semaphore, n) => semaphore.try_take_or_busy(*n).await,
        }
    }

    fn acquire(&self) -> Result<Acquire> {
        match self {
            Self::Mutex(mutex) => Ok(mutex.lock()),
            Self::Reader(lock) => Ok(lock.read()),
            Self::Permits(semaphore, n) => semaphore.take(*n),
        }
    }
}

/// Why a wait is to end.
#[derive(Clone, Debug)]
enum Stop {
    NotDue(BusyInfo),
    Signal(i32),
}

/// Lets other threads end a wait.
#[derive(Clone, Debug, Default)]
struct Stopper(Arc<Mutex<(Option<Stop>, Option<Waker>)>>);

impl Stopper {
    fn stop(&self, why: Stop) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0.get_or_insert(why);
        if let Some(waker) = inner.1.take() {
            waker.wake();
        }
    }

    /// The signal for which it was stopped, if any; said once.
    fn signal(&self) -> Option<i32> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.0 {
            Some(Stop::Signal(signal)) => {
                inner.0 = None;
                Some(signal)
            }
            _ => None,
        }
    }

    /// Waits for the future, or until it is stopped; the future is then dropped.
    async fn or<F: Future>(&self, future: F) -> Result<F::Output, Stop> {
        let mut future = pin!(future);
        poll_fn(|context| {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(why) = inner.0.take() {
                return Poll::Ready(Err(why));
            }
            inner.1 = Some(context.waker().clone());
            drop(inner);
            future.as_mut().poll(context).map(Ok)
        })
        .await
    }
}

fn wait(run: &Run, face: &Face, patience: Patience) -> Result<Taken> {
    let stopper = Stopper::default();
    let signals = SignalWatch::start(&stopper)?;
    let mut acquire = face.acquire()?;
    if let Patience::For(limit) = patience {
        acquire = acquire.within(limit);
    }
    let (every, stop) = (run.every.is_some(), stopper.clone());
    let place = Place::new(run);
    let shown = place.clone();
    let last = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&last);
    let acquire = acquire.observe(move |busy| {
        shown.show(busy);
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(busy.clone());
        if every && busy.why == Why::Lingering {
            stop.stop(Stop::NotDue(busy.clone()));
        }
    });
    let answer = block_on(stopper.or(acquire));
    place.clear();
    match answer {
        Ok(Ok(lease)) => Ok(match stopper.signal() {
            // It came together with the grant: there is no command yet, so it ends monban.
            Some(signal) => {
                drop(lease);
                Taken::Interrupted(signal)
            }
            None => Taken::Lease(lease, Some(signals)),
        }),
        Ok(Err(error @ Error::TimedOut { .. })) => {
            let last = last.lock().unwrap_or_else(PoisonError::into_inner).take();
            last.map(Taken::Busy).ok_or(error)
        }
        Ok(Err(error)) => Err(error),
        Err(Stop::NotDue(busy)) => Ok(Taken::NotDue(busy)),
        Err(Stop::Signal(signal)) => Ok(Taken::Interrupted(signal)),
    }
}

/// Turns the signals that end a program into the end of the wait, so that the line is left in order. It goes on until
/// the command's own keeper listens: in between, what arrives is kept.
pub(super) struct SignalWatch {
    stopper: Stopper,
}

impl SignalWatch {
    fn start(stopper: &Stopper) -> Result<Self> {
        let failed = |error| {
            Error::unavailable("chosen", "signals cannot be watched while waiting").because(error)
        };
        let ignored = ignored_signals();
        let watched: Vec<i32> = [SIGINT, SIGTERM, SIGHUP, SIGQUIT]
            .into_iter()
            .filter(|signal| ignored & (1 << (signal - 1)) == 0)
            .collect();
        let mut signals = Signals::new(watched).map_err(failed)?;
        let inner = stopper.clone();
        let watch = move || {
            for signal in signals.forever() {
                inner.stop(Stop::Signal(signal));
            }
        };
        std::thread::Builder::new().spawn(watch).map_err(failed)?;
        Ok(Self {
            stopper: stopper.clone(),
        })
    }

    /// The signal that has come since the key was granted.
    pub(super) fn seen(&self) -> Option<rustix::process::Signal> {
        self.stopper
            .signal()
            .and_then(rustix::process::Signal::from_named_raw)
    }
}

/// The signals that are ignored, as a set of bits: `nohup` and shells set them so, and the command is to inherit that.
/// A handler of ours would take it away, for at `exec` it turns into the default.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}

/// Shows the place in line on a terminal, in one line that is written over.
#[derive(Clone)]
struct Place {
    key: Option<String>,
}

impl Place {
    fn new(run: &Run) -> Self {
        let shown = !run.quiet && voice(run) == Voice::Text && stderr().is_terminal();
        Self {
            key: shown.then(|| run.key.to_string()),
        }
    }

    fn show(&self, busy: &BusyInfo) {
        let Some(key) = &self.key else { return };
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
            "\r\x1b[Kmonban: waiting for {key}{ahead}{who}{held}"
        );
    }

    fn clear(&self) {
        if self.key.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// How the command line wants messages.
pub(super) fn voice(run: &Run) -> Voice {
    if run.json { Voice::Json } else { Voice::Text }
}
