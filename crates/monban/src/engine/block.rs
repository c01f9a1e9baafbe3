//! Waiting for a future on a thread that runs no executor.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The flag tells our wake-ups from those that other users of `park` on this thread cause.
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

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
    let unpark = Arc::new(Unpark {
        thread: thread::current(),
        woken: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&unpark));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        while !unpark.woken.swap(false, Ordering::Acquire) {
            thread::park();
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
