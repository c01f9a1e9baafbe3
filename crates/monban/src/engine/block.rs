//! Waiting for a future on a thread that runs no executor.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::contract::blocked::Blocked;

/// Runs a future of this library to its end on the calling thread, and blocks the thread meanwhile.
///
/// Do not call it from a task of an async runtime: it would block the runtime's thread. Futures that need
/// a runtime of their own (timers of tokio, say) do not work in it; those of this library do.
///
/// # Example
///
/// ```
/// let locks = monban::Locks::in_memory();
/// let lease = monban::block_on(locks.mutex("report")?.try_lock())?;
/// assert!(lease.is_some());
/// # Ok::<(), monban::Error>(())
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let blocked = Blocked::here();
    loop {
        let polled = blocked.poll_or_sleep(|waker| {
            match future.as_mut().poll(&mut Context::from_waker(waker)) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            }
        });
        if let Some(output) = polled {
            return output;
        }
    }
}

/// Polls a future once. `Err` gives it back if it is not ready.
pub(crate) fn poll_once<F: Future + Unpin>(mut future: F) -> Result<F::Output, F> {
    let mut context = Context::from_waker(Waker::noop());
    match std::pin::Pin::new(&mut future).poll(&mut context) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(future),
    }
}
