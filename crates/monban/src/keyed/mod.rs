//! The in-process lock per key: no store, no TTL, no task, no runtime.
//!
//! * [`KeyedMutex`]: one at a time per key, with a value behind the key if wanted;
//! * [`KeyedRwLock`]: many readers or one writer per key;
//! * [`KeyedSemaphore`]: so many at a time per key.
//!
//! Tasks and threads wait in the same line, on any executor or none. Keys are named by anything they borrow as: a
//! `KeyedMutex<String>` is locked with a `&str`.
//!
//! # What is promised, and what is not
//! * Within one process, at most one guard of a key exists at any time (for the others: what their kind allows). This
//!   needs no assumption about clocks or pauses. It does nothing across processes: for that there are the locks of
//!   the stores.
//! * First come, first served, per key, from the first poll of a future or the call of a blocking function. Nobody
//!   overtakes, a `try_` neither. So a task that holds a key must not wait for it again: there is no re-entrance.
//! * Any future may be dropped at any time. One that was in line leaves it; one that had been granted the key, and
//!   was not polled since, hands it on. Nobody behind it is stranded.
//! * A panic while a guard is held frees the key, as in tokio's mutex: there is no poison. A value behind the key goes
//!   to the next holder as the panic left it.
//! * A key costs memory only while it is held or waited for, and tables shrink after a burst: what stays is the size
//!   of the shards, some kilobytes, however many keys there were.
//!
//! # One request of a user at a time
//! A web handler that must not run twice at once for the same user, however often the button is pressed:
//! ```
//! use std::sync::Arc;
//! use monban::keyed::KeyedMutex;
//!
//! #[derive(Clone, Default)]
//! struct App {
//!     users: Arc<KeyedMutex<String>>,
//! }
//!
//! async fn checkout(app: App, user: &str) -> &'static str {
//!     // Users do not wait for one another; the entry is gone when the request is.
//!     let _alone = app.users.lock(user).await;
//!     // Read the cart, charge the card, empty the cart …
//!     "done"
//! }
//!
//! async fn impatient(app: App, user: &str) -> &'static str {
//!     match app.users.try_lock(user) {
//!         Some(_alone) => "done",
//!         None => "409: your last request is still running",
//!     }
//! }
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! # let app = App::default();
//! # assert_eq!(checkout(app.clone(), "mia").await, "done");
//! # let _other = app.users.lock("mia").await;
//! # assert!(impatient(app.clone(), "mia").await.starts_with("409"));
//! # assert_eq!(impatient(app.clone(), "ben").await, "done");
//! # });
//! ```
//!
//! # Fill a cache once
//! Of many that miss at the same time one fetches, and the others find what it left. The value behind the key lives as
//! long as somebody holds it or waits, so those who waited need not even look into the cache:
//! ```
//! use monban::keyed::KeyedMutex;
//! # use std::sync::atomic::{AtomicU32, Ordering};
//! # static FETCHED: AtomicU32 = AtomicU32::new(0);
//!
//! async fn fetch(id: u64) -> Result<String, String> {
//! #     FETCHED.fetch_add(1, Ordering::Relaxed);
//! #     tokio::task::yield_now().await;
//!     Ok(format!("article {id}"))
//! }
//!
//! async fn article(filling: &KeyedMutex<u64, Option<String>>, id: u64) -> Result<String, String> {
//!     let mut found = filling.lock(&id).await;
//!     if let Some(text) = &*found {
//!         return Ok(text.clone());
//!     }
//!     // A failure, a panic or a dropped future fails only this caller: the next in line fetches for itself.
//!     let text = fetch(id).await?;
//!     Ok(found.insert(text).clone())
//! }
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! let filling = KeyedMutex::new();
//! let (one, two) = tokio::join!(article(&filling, 7), article(&filling, 7));
//! assert_eq!(one, two);
//! # assert_eq!(FETCHED.load(Ordering::Relaxed), 1);
//! assert!(filling.is_empty());
//! # });
//! ```
//!
//! # Give up after a while
//! [`KeyedMutex::lock_unless`] stops waiting when any future is ready, a timer of whatever runtime there is;
//! [`KeyedMutex::blocking_lock_timeout`] does it on a thread. Wrapping `lock` in a runtime's own `timeout` is as safe.
//!
//! # How fast
//! An uncontended lock and unlock costs two passes through a shard's mutex, one hash, and the key's clone: with a
//! `String` that is an allocation, with an integer or an `Arc<str>` none. Measured beside other keyed locks in
//! `bench/keyed.md`.

mod acquire;
mod all;
mod as_key;
mod guard;
mod hold;
mod line;
mod mutex;
mod rwlock;
mod semaphore;
mod sip;
mod sync;
mod table;

pub use as_key::AsKey;
pub use guard::{KeyedMutexGuard, OwnedKeyedMutexGuard};
pub use mutex::KeyedMutex;
pub use rwlock::{
    KeyedReadGuard, KeyedRwLock, KeyedWriteGuard, OwnedKeyedReadGuard, OwnedKeyedWriteGuard,
};
pub use semaphore::{KeyedPermits, KeyedSemaphore, OwnedKeyedPermits};
pub use sip::{SipHasher, SipState};

#[cfg(test)]
mod tests;
