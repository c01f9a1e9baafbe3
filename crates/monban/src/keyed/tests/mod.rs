//! The promises of the keyed locks, each as a test.

mod long;
mod memory;
mod model;
mod mutex;
mod rwlock;
mod semaphore;
mod several;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self::default());
        let waker = Waker::from(Arc::clone(&bell));
        (bell, waker)
    }

    fn rung(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A future polled by hand, and the bell its waker rings.
struct Hand<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    bell: Arc<Bell>,
    waker: Waker,
}

impl<'a, T> Hand<'a, T> {
    fn of(future: impl Future<Output = T> + Send + 'a) -> Self {
        let (bell, waker) = Bell::new();
        Self {
            future: Box::pin(future),
            bell,
            waker,
        }
    }

    fn poll(&mut self) -> Poll<T> {
        self.future
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker))
    }

    /// Polls once, and insists that the future is not ready.
    fn waits(mut self) -> Self {
        assert!(self.poll().is_pending());
        self
    }

    /// Polls once, and insists that the future is ready.
    fn ready(mut self) -> T {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("not granted"),
        }
    }
}
