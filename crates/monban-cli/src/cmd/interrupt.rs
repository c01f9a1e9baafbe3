//! Signals that come while monban waits, when there is no command yet to pass them on to.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::child;
use monban::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag::register_usize;
use signal_hook::iterator::Signals;

/// Turns the signals that end a program into the end of the wait, so that the line is left in order. It goes on until
/// monban ends: what arrives after the grant is kept until the command's own keeper listens.
pub(super) struct SignalWatch {
    /// The last signal, or zero; set by the handler itself. A thread may be late, and whoever looks must not miss one
    /// that came before.
    signal: Arc<AtomicUsize>,
    waiting: Arc<Mutex<Option<Waker>>>,
    ignored: Vec<i32>,
}

impl SignalWatch {
    pub(super) fn start() -> Result<Self> {
        let failed = |error| {
            Error::unavailable("chosen", "signals cannot be watched while waiting").because(error)
        };
        let ignored = child::ignored_signals();
        let watched = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
        let watched: Vec<i32> = watched
            .into_iter()
            .filter(|signal| !ignored.contains(signal))
            .collect();
        let signal = Arc::<AtomicUsize>::default();
        for number in &watched {
            // Before the thread's own: when it wakes the wait, the number is there.
            let value = usize::try_from(*number).unwrap_or(0);
            register_usize(*number, Arc::clone(&signal), value).map_err(failed)?;
        }
        let mut signals = Signals::new(&watched).map_err(failed)?;
        let waiting = Arc::<Mutex<Option<Waker>>>::default();
        let waiter = Arc::clone(&waiting);
        let watch = move || {
            for _ in signals.forever() {
                if let Some(waker) = lock(&waiter).take() {
                    waker.wake();
                }
            }
        };
        std::thread::Builder::new().spawn(watch).map_err(failed)?;
        Ok(Self {
            signal,
            waiting,
            ignored,
        })
    }

    /// The signals that were ignored when monban began. A command started after others must find them so.
    pub(super) fn ignored(&self) -> &[i32] {
        &self.ignored
    }

    /// The signal that has come since this was asked last.
    pub(super) fn take(&self) -> Option<i32> {
        let signal = self.signal.swap(0, Ordering::SeqCst);
        i32::try_from(signal).ok().filter(|signal| *signal != 0)
    }

    /// Waits for the future, or until a signal comes; the future is then dropped.
    pub(super) async fn or<F: Future>(&self, future: F) -> Result<F::Output, i32> {
        let mut future = pin!(future);
        poll_fn(|context| {
            *lock(&self.waiting) = Some(context.waker().clone());
            match self.take() {
                Some(signal) => Poll::Ready(Err(signal)),
                None => future.as_mut().poll(context).map(Ok),
            }
        })
        .await
    }
}

fn lock(waiting: &Mutex<Option<Waker>>) -> MutexGuard<'_, Option<Waker>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
