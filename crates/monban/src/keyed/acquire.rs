//! Waiting for a key: one future for tasks, and the same future driven by a parked thread.

use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::as_key::AsKey;
use super::sync;
use super::table::{Entered, Place, Table};

/// A granted claim, on its way into a guard.
#[must_use]
pub(super) struct Grant<V> {
    pub(super) place: Place,
    pub(super) value: Option<V>,
}

/// The wish for a key. It is in line from its first poll until it is granted or dropped.
pub(super) struct Acquire<'a, K, V, S, Q: ?Sized> {
    table: &'a Table<K, V, S>,
    key: &'a Q,
    hash: u64,
    permits: u32,
    /// The entry's id and our turn, once we are in line.
    waits: Option<(u64, u64)>,
}

impl<'a, K, V, S, Q> Acquire<'a, K, V, S, Q>
where
    Q: AsKey<K> + ?Sized,
    S: BuildHasher,
{
    #[inline]
    pub(super) fn new(table: &'a Table<K, V, S>, key: &'a Q, permits: u32) -> Self {
        Self {
            table,
            key,
            hash: table.hash(key),
            permits,
            waits: None,
        }
    }

    /// Takes the key if nobody is before us.
    #[inline]
    pub(super) fn at_once(&self) -> Option<Grant<V>> {
        match self.table.enter(self.hash, self.key, self.permits, None) {
            Entered::Held(id) => Some(self.grant(id, None)),
            Entered::Waits { .. } | Entered::Busy => None,
        }
    }

    fn grant(&self, id: u64, value: Option<V>) -> Grant<V> {
        let hash = self.hash;
        let place = Place { hash, id };
        Grant { place, value }
    }

    /// Waits for whichever is ready first; the key, if both are. The guard is made before `stop` is dropped,
    /// since a panic there must not lose the grant.
    pub(super) async fn unless<F: Future, G>(
        mut self,
        stop: F,
        guard: impl Fn(Grant<V>) -> G,
    ) -> Result<G, F::Output> {
        let mut stop = pin!(stop);
        poll_fn(|context| match Pin::new(&mut self).poll(context) {
            Poll::Ready(grant) => Poll::Ready(Ok(guard(grant))),
            Poll::Pending => stop.as_mut().poll(context).map(Err),
        })
        .await
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

impl<K, V, S, Q> Future for Acquire<'_, K, V, S, Q>
where
    Q: AsKey<K> + ?Sized,
    S: BuildHasher,
{
    type Output = Grant<V>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Grant<V>> {
        let waker = context.waker();
        let Some((id, turn)) = self.waits else {
            let (hash, key, permits) = (self.hash, self.key, self.permits);
            return match self.table.enter(hash, key, permits, Some(waker)) {
                Entered::Held(id) => Poll::Ready(self.grant(id, None)),
                Entered::Waits { id, turn } => {
                    self.waits = Some((id, turn));
                    Poll::Pending
                }
                Entered::Busy => Poll::Pending,
            };
        };
        let hash = self.hash;
        match self.table.granted(Place { hash, id }, turn, waker) {
            Some(value) => {
                self.waits = None;
                Poll::Ready(self.grant(id, value))
            }
            None => Poll::Pending,
        }
    }
}

impl<K, V, S, Q: ?Sized> Drop for Acquire<'_, K, V, S, Q> {
    #[inline]
    fn drop(&mut self) {
        if let Some((id, turn)) = self.waits {
            let hash = self.hash;
            self.table.leave(Place { hash, id }, turn, self.permits);
        }
    }
}
