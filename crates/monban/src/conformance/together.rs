//! Doing things at once, and not waiting for ever, without a runtime.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::contract::Reach;
use crate::testing::sleep;

pub(super) type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Does all at once, and gives the results in order.
///
/// Verbs of a local store are finished by their first poll: only threads make them meet. Those of a remote
/// store may need the caller's runtime, so they are polled here, all requests being under way at once.
pub(super) async fn together<T: Send>(reach: Reach, doing: Vec<Doing<'_, T>>) -> Vec<T> {
    match reach {
        Reach::Local => in_threads(doing),
        Reach::Remote => in_this_task(doing).await,
    }
}

fn in_threads<T: Send>(doing: Vec<Doing<'_, T>>) -> Vec<T> {
    let start = &Barrier::new(doing.len());
    thread::scope(|scope| {
        let spawn = |one| {
            scope.spawn(move || {
                start.wait();
                block_on(one)
            })
        };
        let threads: Vec<_> = doing.into_iter().map(spawn).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, T>| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect()
    })
}

async fn in_this_task<T>(mut doing: Vec<Doing<'_, T>>) -> Vec<T> {
    let mut results: Vec<Option<T>> = doing.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (one, result) in doing.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(value) = one.as_mut().poll(cx)
            {
                *result = Some(value);
            }
        }
        match results.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

/// The future's result, or `None` if it takes longer than this, in real time.
pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut timer) = (pin!(future), pin!(sleep(limit)));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Lets others go on.
pub(super) async fn step_aside() {
    thread::yield_now();
    let mut stepped = false;
    poll_fn(|cx| {
        if stepped {
            return Poll::Ready(());
        }
        stepped = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
