//! What the keyed locks need from the platform, as shuttle offers it.

use std::future::Future;
use std::time::Instant;

pub(super) use shuttle::sync::{Mutex, MutexGuard};

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no model panics while it holds a shard")
}

pub(super) fn shards() -> usize {
    1
}

/// There is no time in a model.
pub(super) fn block_on<F>(future: F, _: Option<Instant>) -> Option<F::Output>
where
    F: Future + Unpin,
{
    Some(shuttle::future::block_on(future))
}
