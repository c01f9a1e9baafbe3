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
    timer: Mutex<Option<AbortHandle>>,
}

impl Drop for Signal {
    fn drop(&mut self) {
        if let Some(timer) = lock(&self.timer).take() {
            timer.abort();
        }
    }
}

/// Wakes when the key expires, which no server tells dependably.
pub(super) fn wake_after(signal: &Arc<Signal>, millis: Option<i64>) {
    let Some(millis) = millis.and_then(|ms| u64::try_from(ms).ok()) else {
        return; // the key never expires, or is not there
    };
    let weak = Arc::downgrade(signal);
    let sleeper = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(millis + 1)).await;
        if let Some(signal) = weak.upgrade() {
            signal.notify.notify_one();
        }
    });
    if let Some(before) = lock(&signal.timer).replace(sleeper.abort_handle()) {
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
