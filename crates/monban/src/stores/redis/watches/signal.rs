//! What wakes the future of one claim.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::data::{ClaimId, Mode};

/// Wakes one future, now or when it is polled.
#[derive(Default)]
pub(super) struct Signal {
    pub(super) notify: Notify,
    timers: Mutex<[Option<AbortHandle>; 2]>,
}

/// What a signal has a timer for.
#[derive(Clone, Copy)]
pub(super) enum Timer {
    Wake,
    Watch,
}

impl Drop for Signal {
    fn drop(&mut self) {
        let mut timers = lock(&self.timers);
        timers
            .iter_mut()
            .filter_map(Option::take)
            .for_each(|timer| timer.abort());
    }
}

/// Wakes when the key expires, which no server tells dependably.
pub(super) fn wake_after(signal: &Arc<Signal>, millis: Option<i64>) {
    let Some(millis) = millis.and_then(|ms| u64::try_from(ms).ok()) else {
        return; // the key never expires, or is not there
    };
    let pause = Duration::from_millis(millis + 1);
    after(signal, Timer::Wake, pause, |signal| {
        signal.notify.notify_one();
    });
}

/// Does something after a pause, in the place of what this timer was set for before; nothing if the signal has gone.
pub(super) fn after(
    signal: &Arc<Signal>,
    timer: Timer,
    pause: Duration,
    work: impl FnOnce(&Signal) + Send + 'static,
) {
    let weak = Arc::downgrade(signal);
    let sleeper = tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        if let Some(signal) = weak.upgrade() {
            work(&signal);
        }
    });
    let mut timers = lock(&signal.timers);
    if let Some(before) = timers[timer as usize].replace(sleeper.abort_handle()) {
        before.abort();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this value of a key says that the claim may hold it.
pub(super) fn is_held(value: &[u8], id: &ClaimId, mode: Mode) -> bool {
    if mode == Mode::Exclusive {
        value
            .strip_prefix(b"mb1x:")
            .is_some_and(|rest| rest.starts_with(&id.to_text()))
    } else {
        value.starts_with(b"mb1m:")
    }
}
