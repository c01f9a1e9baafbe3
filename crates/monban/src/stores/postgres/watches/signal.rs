//! What wakes the future of one claim.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Wakes one future, now or when it is polled.
#[derive(Default)]
pub(super) struct Signal {
    notify: Notify,
    timer: Mutex<Option<AbortHandle>>,
}

impl Signal {
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Wakes after a pause, on the runtime of the store's verbs.
    pub(super) fn wake_after(self: &Arc<Self>, pause: Duration) {
        let weak = Arc::downgrade(self);
        let sleeper = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(signal) = weak.upgrade() {
                signal.wake();
            }
        });
        if let Some(before) = lock(&self.timer).replace(sleeper.abort_handle()) {
            before.abort();
        }
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        if let Some(timer) = lock(&self.timer).take() {
            timer.abort();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
