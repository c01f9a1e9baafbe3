//! Waiting for a key: one future for tasks, and the same future driven by a parked thread.

use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::as_key::AsKey;
use super::sync;
use super::table::{Entered, Place, Table, Wish};

/// A granted claim, on its way into a guard.
#[must_use]
pub(super) struct Grant<V> {
    pub(super) place: Place,
    pub(super) value: Option<V>,
}

/// The wish for a key. It is in line from its first poll until it is granted or dropped.
pub(super) struct Acquire<'a, 'q, K, V, S, Q: ?Sized> {
    table: &'a Table<K, V, S>,
    wish: Wish<'q, Q>,
    /// The entry's id and our turn, once we are in line.
    waits: Option<(u64, u64)>,
}

impl<'a, 'q, K, V, S, Q> Acquire<'a, 'q, K, V, S, Q>
where
    Q: AsKey<K> + ?Sized,
    S: BuildHasher,
{
    #[inline]
    pub(super) fn new(table: &'a Table<K, V, S>, key: &'q Q, permits: u32) -> Self {
        let hash = table.hash(key);
        Self {
            table,
            wish: Wish { hash, key, permits },
            waits: None,
        }
    }

    /// Takes the key if nobody is before us.
    #[inline]
    pub(super) fn at_once(&self) -> Option<Grant<V>> {
        match self.table.enter(&self.wish, None) {
            Entered::Held(id) => Some(self.grant(id, None)),
            Entered::Waits { .. } | Entered::Busy => None,
        }
    }

    /// Asks, as one in line, whether our turn has come.
    #[inline(never)]
    fn ask(&mut self, context: &mut Context<'_>) -> Poll<Grant<V>> {
        let Some((id, turn)) = self.waits else {
            return Poll::Pending;
        };
        let hash = self.wish.hash;
        let place = Place { hash, id };
        let Some(value) = self.table.granted(place, turn, context.waker()) else {
            return Poll::Pending;
        };
        self.waits = None;
        Poll::Ready(self.grant(id, value))
    }

    #[inline]
    fn grant(&self, id: u64, value: Option<V>) -> Grant<V> {
        let hash = self.wish.hash;
        let place = Place { hash, id };
        Grant { place, value }
    }

    /// Waits in a task, and makes the guard.
    #[inline]
    pub(super) fn then<G, F>(self, guard: F) -> Then<'a, 'q, K, V, S, Q, F>
    where
        F: Fn(Grant<V>) -> G,
    {
        let acquire = self;
        Then { acquire, guard }
    }

    /// Waits on this thread.
    pub(super) fn blocking(self) -> Grant<V> {
        self.block(None).expect("only a wait with an end can fail")
    }

    /// Waits on this thread, at most `within`.
    pub(super) fn blocking_within(self, within: Duration) -> Option<Grant<V>> {
        // An instant too far away to be written down is waited for without an end.
        self.block(Instant::now().checked_add(within))
    }

    fn block(self, until: Option<Instant>) -> Option<Grant<V>> {
        match self.at_once() {
            Some(grant) => Some(grant),
            None => sync::block_on(self, until),
        }
    }
}

/// The wish and what comes of it. Written out, since an `async fn` would move the guard about once more per layer.
pub(super) struct Then<'a, 'q, K, V, S, Q: ?Sized, F> {
    acquire: Acquire<'a, 'q, K, V, S, Q>,
    guard: F,
}

impl<K, V, S, Q, F, G> Future for Then<'_, '_, K, V, S, Q, F>
where
    Q: AsKey<K> + ?Sized,
    S: BuildHasher,
    F: Fn(Grant<V>) -> G + Unpin,
{
    type Output = G;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<G> {
        let grant = ready!(Pin::new(&mut self.acquire).poll(context));
        Poll::Ready((self.guard)(grant))
    }
}

/// Waits for whichever is ready first; the key, if both are.
pub(super) async fn either<L, F>(mut lock: L, stop: F) -> Result<L::Output, F::Output>
where
    L: Future + Unpin,
    F: Future,
{
    let mut stop = pin!(stop);
    poll_fn(|context| match Pin::new(&mut lock).poll(context) {
        Poll::Ready(guard) => Poll::Ready(Ok(guard)),
        Poll::Pending => stop.as_mut().poll(context).map(Err),
    })
    .await
}

impl<K, V, S, Q> Future for Acquire<'_, '_, K, V, S, Q>
where
    Q: AsKey<K> + ?Sized,
    S: BuildHasher,
{
    type Output = Grant<V>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Grant<V>> {
        if self.waits.is_some() {
            return self.ask(context);
        }
        let waker = Some(context.waker());
        match self.table.enter(&self.wish, waker) {
            Entered::Held(id) => Poll::Ready(self.grant(id, None)),
            Entered::Waits { id, turn } => {
                self.waits = Some((id, turn));
                Poll::Pending
            }
            Entered::Busy => Poll::Pending,
        }
    }
}

impl<K, V, S, Q: ?Sized> Drop for Acquire<'_, '_, K, V, S, Q> {
    #[inline]
    fn drop(&mut self) {
        if let Some((id, turn)) = self.waits {
            let hash = self.wish.hash;
            self.table
                .leave(Place { hash, id }, turn, self.wish.permits);
        }
    }
}
