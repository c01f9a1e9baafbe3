//! What the keyed locks need from the platform, in one place: the model checkers put their own in its stead.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

pub(super) use std::sync::{Mutex, MutexGuard};

/// Locks, whatever happened to an earlier holder: no code of a user runs while a shard is half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says how many shards a table gets: enough that two processors seldom meet in one.
pub(super) fn shards() -> usize {
    // Asking the operating system reads files on Linux, so it is asked once.
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        (processors * 16).next_power_of_two().clamp(16, 512)
    })
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = this_thread();
}

fn this_thread() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// Waits on this thread until `future` is ready; with an instant, gives up there.
pub(super) fn block_on<F>(mut future: F, until: Option<Instant>) -> Option<F::Output>
where
    F: Future + Unpin,
{
    // A guard may be taken in the destructor of another thread-local value: then the cached waker may be gone.
    let waker = WAKER
        .try_with(Waker::clone)
        .unwrap_or_else(|_| this_thread());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut context) {
            return Some(output);
        }
        match until.map(|until| until.checked_duration_since(Instant::now())) {
            None => thread::park(),
            Some(Some(left)) if !left.is_zero() => thread::park_timeout(left),
            Some(_) => return None,
        }
    }
}
