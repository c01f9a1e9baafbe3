//! Several keys at once: all of them or none.

use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::lease_set::LeaseSet;
use crate::data::{Error, Key, Mode, Options, Result};
use crate::engine::{Acquire, BusyInfo, Lease, Locks, Request, attempt_all, block_on, give_back};

/// A lock on several keys, which are taken all together or not at all.
///
/// Keys that are free are asked for by one request. A caller that has to wait for a key holds only keys
/// that come before it in the order of their bytes, so callers whose sets overlap never wait for each other
/// in a circle, whatever order they name the keys in.
///
/// A key may be named once only: naming it twice is refused, since a transfer from an account to itself is
/// mostly a mistake, and two modes on one key have no common meaning.
///
/// # Example
///
/// ```
/// # monban::block_on(async {
/// use monban::data::Mode;
///
/// let locks = monban::Locks::in_memory();
/// let transfer = locks.all_of(["account:2", "account:1"])?;
/// let both = transfer.lock().await?;
/// assert!(locks.mutex("account:1")?.try_lock().await?.is_none());
/// both.check()?;
/// both.release().await?;
///
/// let report = locks.all_of_modes([("prices", Mode::Shared), ("report", Mode::Exclusive)])?;
/// assert!(report.try_lock().await?.is_some());
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct AllOf {
    locks: Locks,
    /// In the order of their keys.
    requests: Vec<Request>,
}

impl Locks {
    /// A lock on all of these keys, alone on each, with default options.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no key, a key is named twice, or a key is empty or too long.
    pub fn all_of<K>(&self, keys: impl IntoIterator<Item = K>) -> Result<AllOf>
    where
        K: TryInto<Key>,
        Error: From<K::Error>,
    {
        self.all_of_modes(keys.into_iter().map(|key| (key, Mode::Exclusive)))
    }

    /// A lock on all of these keys, on each in its own mode, with default options.
    ///
    /// # Errors
    ///
    /// As [`all_of`](Self::all_of); also if the numbers of a mode do not fit, and [`Error::Unsupported`] if
    /// the store offers exclusive claims only.
    pub fn all_of_modes<K>(&self, wanted: impl IntoIterator<Item = (K, Mode)>) -> Result<AllOf>
    where
        K: TryInto<Key>,
        Error: From<K::Error>,
    {
        let mut requests = Vec::new();
        for (key, mode) in wanted {
            requests.push(self.request(key.try_into()?, mode, Options::new())?);
        }
        AllOf::new(self.clone(), requests)
    }
}

impl AllOf {
    fn new(locks: Locks, mut requests: Vec<Request>) -> Result<Self> {
        if requests.is_empty() {
            return Err(Error::invalid("there is no key to lock; name at least one"));
        }
        let mut seen = BTreeSet::new();
        for request in &requests {
            if !seen.insert(&request.key) {
                return Err(Error::invalid(format!(
                    "{} is named twice; name each key once",
                    request.key
                )));
            }
        }
        requests.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(Self { locks, requests })
    }

    /// The same lock with other options, for all of its keys.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the options do not fit each other or a mode; [`Error::Unsupported`] if the
    /// store cannot keep them.
    pub fn with(self, options: &Options) -> Result<Self> {
        let Self { locks, requests } = self;
        let again = |request: Request| locks.request(request.key, request.mode, options.clone());
        let requests = requests.into_iter().map(again).collect::<Result<_>>()?;
        Ok(Self { locks, requests })
    }

    /// The keys, in the order in which they are waited for.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.requests.iter().map(|request| &request.key)
    }

    /// Waits until all keys are ours.
    pub fn lock(&self) -> AcquireAll {
        AcquireAll {
            plan: Some(Plan {
                requests: self.requests.clone(),
                within: None,
                observer: None,
            }),
            running: None,
        }
    }

    /// Takes all keys if all are free; `None` if any is not, and then none is kept.
    ///
    /// It is one request to the store, and one more to give back what was free beside a busy key. Two
    /// tries at the same time on overlapping sets may both find a key busy.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    ///
    /// # Cancel safety
    ///
    /// May be dropped: grants that were on their way are given back.
    pub async fn try_lock(&self) -> Result<Option<LeaseSet>> {
        Ok(self.try_lock_or_busy().await?.ok())
    }

    /// As [`try_lock`](Self::try_lock), and tells which key is not free, and what is in the way.
    ///
    /// # Errors
    ///
    /// As [`try_lock`](Self::try_lock).
    ///
    /// # Cancel safety
    ///
    /// As [`try_lock`](Self::try_lock).
    pub async fn try_lock_or_busy(&self) -> Result<Result<LeaseSet, (Key, BusyInfo)>> {
        let answers = attempt_all(&self.requests).await?;
        let mut free = Vec::new();
        let mut busy = None;
        for (request, answer) in self.requests.iter().zip(answers) {
            match answer {
                Ok(lease) => free.push(lease),
                Err(info) => busy = busy.or_else(|| Some((request.key.clone(), info))),
            }
        }
        let set = LeaseSet::new(free);
        Ok(match busy {
            None => Ok(set),
            Some(busy) => Err(busy), // dropping the set gives back what was free
        })
    }

    /// Waits for all keys, runs the work, and releases. If any lease is lost the work is dropped.
    ///
    /// A release that fails does not take the result away: it is logged.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`Error::Lost`] if a lease was lost before the work was done.
    ///
    /// # Cancel safety
    ///
    /// May be dropped: the work is dropped and the keys released.
    pub async fn run<T>(&self, work: impl AsyncFnOnce(&LeaseSet) -> T) -> Result<T> {
        let set = self.lock().await?;
        let output = set.run(work(&set)).await?;
        if let Err(error) = set.release().await {
            tracing::warn!(%error, "the work is done, but a release failed");
        }
        Ok(output)
    }
}

type Running = Pin<Box<dyn Future<Output = Result<LeaseSet>> + Send>>;
type Observer = Arc<dyn Fn(&Key, &BusyInfo) + Send + Sync>;

struct Plan {
    requests: Vec<Request>,
    within: Option<Duration>,
    observer: Option<Observer>,
}

/// Waits for several keys; the future that [`AllOf::lock`] returns.
///
/// Waits for ever unless [`within`](Self::within) sets a limit. Works on any executor, and blocks a thread
/// that has none with [`wait`](Self::wait). Does nothing until it is first polled.
///
/// # Errors
///
/// As [`Acquire`]'s, for any of the keys. [`Error::Lost`] if a key that was already taken was lost while
/// waiting for another: nothing was done yet, so it may be tried again. Whatever the error, nothing is kept.
///
/// # Cancel safety
///
/// It may be dropped at any time: all places and grants are given back in the background.
///
/// # Fairness
///
/// First come, first served at each key; a set as a whole has no place in any line.
#[must_use = "nothing is locked until it is awaited"]
pub struct AcquireAll {
    plan: Option<Plan>,
    running: Option<Running>,
}

impl AcquireAll {
    /// Gives up after this time, counted from the first poll. Zero: one try at each key.
    pub fn within(mut self, limit: Duration) -> Self {
        if let Some(plan) = &mut self.plan {
            plan.within = Some(limit);
        }
        self
    }

    /// Calls this whenever the store has said what is in the way at the key that is waited for, as
    /// [`Acquire::observe`] does.
    pub fn observe(mut self, observer: impl Fn(&Key, &BusyInfo) + Send + Sync + 'static) -> Self {
        if let Some(plan) = &mut self.plan {
            plan.observer = Some(Arc::new(observer));
        }
        self
    }

    /// Blocks the thread until all keys are ours. Not for a task of an async runtime.
    ///
    /// # Errors
    ///
    /// As the future's.
    pub fn wait(self) -> Result<LeaseSet> {
        block_on(self)
    }
}

impl Future for AcquireAll {
    type Output = Result<LeaseSet>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(plan) = self.plan.take() {
            self.running = Some(Box::pin(acquire_all(plan)));
        }
        let running = self
            .running
            .as_mut()
            .expect("an AcquireAll is not polled after it is ready");
        let polled = running.as_mut().poll(context);
        if polled.is_ready() {
            self.running = None;
        }
        polled
    }
}

impl fmt::Debug for AcquireAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireAll")
            .field("started", &self.plan.is_none())
            .finish_non_exhaustive()
    }
}

/// Tries what is missing by one request; then waits for the first key that is not free, holding only
/// those before it; then tries the rest again.
async fn acquire_all(plan: Plan) -> Result<LeaseSet> {
    let Plan {
        requests,
        within,
        observer,
    } = plan;
    let clock = requests[0].clock();
    let started = clock.now();
    let until = within.map(|limit| started.after(limit));
    let mut set = LeaseSet::default();
    loop {
        let left = until.map(|until| until.since(clock.now()));
        let answers = try_together(&requests[set.len()..], left).await?;
        keep_those_in_order(&mut set, answers);
        set.check()?;
        let Some(next) = requests.get(set.len()) else {
            return Ok(set);
        };
        let left = until.map(|until| until.since(clock.now()));
        let mut lock = Acquire::new(next.clone());
        if let Some(left) = left {
            lock = lock.within(left);
        }
        if let Some(observer) = observer.clone() {
            let key = next.key.clone();
            lock = lock.observe(move |busy| observer(&key, busy));
        }
        let lease = wait_for(&set, lock, || clock.now().since(started)).await?;
        set.push(lease);
        if set.len() == requests.len() {
            set.check()?;
            return Ok(set);
        }
    }
}

/// Tries by one request. If the store cannot be reached, or not in time, that is as if all were busy: the
/// wait for the first of them tries again, and knows when to give up.
async fn try_together(
    requests: &[Request],
    left: Option<Duration>,
) -> Result<Vec<Result<Lease, BusyInfo>>> {
    let tried = match left {
        None => attempt_all(requests).await,
        Some(left) => tokio::select! {
            biased;
            tried = attempt_all(requests) => tried,
            // The drop of the request gives back what it may bring.
            slept = requests[0].pause(None, left) => slept.map(|()| Vec::new()),
        },
    };
    match tried {
        Err(error) if error.is_transient() => Ok(Vec::new()),
        other => other,
    }
}

/// Keeps what was granted up to the first key that was busy, and gives the rest back: who waits for a key
/// must not hold a later one.
fn keep_those_in_order(set: &mut LeaseSet, answers: Vec<Result<Lease, BusyInfo>>) {
    let mut answers = answers.into_iter();
    for answer in answers.by_ref() {
        match answer {
            Ok(lease) => set.push(lease),
            Err(_) => break,
        }
    }
    give_back(answers.flatten().collect());
}

/// Waits for one key, as long as none that is held is lost. A limit that is reached tells of the whole wait.
async fn wait_for(
    set: &LeaseSet,
    lock: Acquire,
    waited: impl FnOnce() -> Duration,
) -> Result<Lease> {
    let mut lock = std::pin::pin!(lock);
    let mut lost = std::pin::pin!(set.lost());
    let result = poll_fn(|context| {
        if let Poll::Ready(error) = lost.as_mut().poll(context) {
            return Poll::Ready(Err(error));
        }
        lock.as_mut().poll(context)
    });
    result.await.map_err(|error| match error {
        Error::TimedOut { key, who, .. } => Error::TimedOut {
            key,
            waited: waited(),
            who,
        },
        other => other,
    })
}
