//! A timer that needs no runtime.

use std::future::poll_fn;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::rule::Clock;

/// Completes `d` of real time later, on any executor.
///
/// A thread sleeps for it, and ends early if the future is dropped: right for tests, where it is seldom
/// needed and a runtime may not be there.
pub(crate) async fn sleep(d: Duration) {
    let (ring, rung) = oneshot::channel::<()>();
    let (_stop, stopped) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        // Either the time is over, or the other end was dropped with the future.
        let _ = stopped.recv_timeout(d);
        drop(ring);
    });
    let _ = rung.await;
}

/// Completes when `clock` has moved on by `d`: by itself, or because a test moves it.
pub(super) async fn sleep_by(clock: &Clock, d: Duration) {
    let end = clock.now().after(d);
    if !clock.is_manual() {
        return sleep(d).await;
    }
    poll_fn(|cx| {
        loop {
            let now = clock.now();
            if now >= end {
                return Poll::Ready(());
            }
            if clock.poll_moved(now, cx.waker()).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}
