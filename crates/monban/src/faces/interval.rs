//! At most once per interval.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;

use crate::contract::{Ends, Why};
use crate::data::{Claimant, Error, Key, Mode, Options, Result};
use crate::engine::{Acquire, BusyInfo, Lease, Locks, Request};

/// Work that is to be done once for an interval, however many machines try.
///
/// Made by [`Locks::once`]; it does not run anything before [`every`](Self::every) has said the interval.
#[derive(Clone, Debug)]
pub struct Once {
    locks: Locks,
    key: Key,
    options: Options,
}

/// Runs work at most once per interval across all who use the key.
///
/// The interval counts from the start of a run that succeeded: a run that fails, is dropped, or dies does
/// not count, and the next caller runs. Between two starts that succeed the store measures the time, so
/// machines need not agree on it.
///
/// A run that ends without having said so is taken for one that failed: if the process dies, or the
/// store cannot be told, after the work is done, it is done again. Make the work so that it may be.
///
/// # Example
///
/// ```
/// # monban::block_on(async {
/// use std::time::Duration;
/// use monban::{Locks, Outcome};
///
/// const H3: Duration = Duration::from_secs(3 * 3600);
/// let locks = Locks::in_memory();
/// let report = locks.once("report")?.every(H3)?;
/// match report.run(async |_lease| Ok::<_, std::io::Error>("sent")).await? {
///     Outcome::Ran(what) => assert_eq!(what, "sent"),
///     other => panic!("{other:?}"),
/// }
/// let again = report.run(async |_lease| Ok::<_, std::io::Error>("sent")).await?;
/// assert!(matches!(again, Outcome::NotDue(wait) if wait <= H3));
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Interval {
    request: Request,
    every: Duration,
}

/// What became of a call of [`Interval::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T, E> {
    /// The work ran and succeeded; the interval counts from its start.
    Ran(T),
    /// The work ran elsewhere, or here, less than an interval ago. It is due after this time, at the latest; zero if the
    /// store does not tell.
    NotDue(Duration),
    /// The work is running now; by whom, if the store can tell. Or the store does not grant for now, whoever runs:
    /// after a crash, say.
    Running(Option<Claimant>),
    /// The work ran and failed, with this; it is due at once.
    Failed(E),
}

impl Locks {
    /// Work that is to be done once for an interval, named by this key.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the key is empty or too long.
    pub fn once<K>(&self, key: K) -> Result<Once>
    where
        K: TryInto<Key>,
        Error: From<K::Error>,
    {
        Ok(Once {
            locks: self.clone(),
            key: key.try_into()?,
            options: Options::new(),
        })
    }
}

impl Once {
    /// The same work with other options. Their TTL is how soon another machine may run the work after one
    /// died in the middle; a linger among them is ignored.
    #[must_use]
    pub fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets the interval.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is zero or longer than [`Options::MAX`], or the options do not fit each
    /// other; [`Error::Unsupported`] if the store cannot keep the place of a released claim.
    pub fn every(self, interval: Duration) -> Result<Interval> {
        let Self {
            locks,
            key,
            mut options,
        } = self;
        if interval.is_zero() {
            return Err(Error::invalid(
                "an interval of zero has no meaning; use a mutex to run one at a time",
            ));
        }
        // Asked for a linger only to be told whether the store keeps one. A lease that is dropped must not
        // linger: its work did not succeed.
        let lingering = options.clone().linger(interval);
        locks.request(key.clone(), Mode::Exclusive, lingering)?;
        options.linger = None;
        Ok(Interval {
            request: locks.request(key, Mode::Exclusive, options)?,
            every: interval,
        })
    }
}

impl Interval {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.request.key
    }

    /// The interval.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.every
    }

    /// Runs the work if it is due and nobody runs it. If the lease is lost the work is dropped.
    ///
    /// A work that takes longer than the interval is due again when it ends.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock); [`Error::Lost`] if the lease was lost before the work
    /// was done. The work's own error is [`Outcome::Failed`]. If the work is done but the store cannot be
    /// told, that is logged and the answer is [`Outcome::Ran`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped: the work is dropped, the key released, and the run does not count.
    pub async fn run<T, E>(
        &self,
        work: impl AsyncFnOnce(&Lease) -> Result<T, E>,
    ) -> Result<Outcome<T, E>> {
        let turn = match self.begin().await? {
            Begun::Turn(turn) => turn,
            Begun::NotDue(busy) => return Ok(Outcome::NotDue(due_in(&busy))),
            Begun::Running(busy) => return Ok(Outcome::Running(busy.who)),
        };
        let key = turn.key().clone();
        let (outcome, told) = match turn.run(work(&turn)).await? {
            Ok(output) => (Outcome::Ran(output), turn.succeeded().await),
            Err(error) => (Outcome::Failed(error), turn.failed().await),
        };
        if let Err(error) = told {
            tracing::warn!(%key, %error, "the work is done, but the store could not be told");
        }
        Ok(outcome)
    }

    /// Begins a run, if it is due and nobody runs it, for work that no closure can hold; else says why not.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    ///
    /// # Cancel safety
    ///
    /// May be dropped: a grant that was on its way is given back.
    pub async fn begin(&self) -> Result<Begun> {
        Ok(match self.request.clone().attempt().await? {
            Ok(lease) => Begun::Turn(self.turn(lease)),
            Err(busy) if busy.why == Why::Lingering => Begun::NotDue(busy),
            Err(busy) => Begun::Running(busy),
        })
    }

    /// As [`begin`](Self::begin), but waits while others run: until one of them has succeeded, when the work
    /// is not due, or it is our turn. It never waits for an interval to end.
    pub fn next(&self) -> NextTurn {
        NextTurn {
            interval: self.clone(),
            within: None,
            observer: None,
        }
    }

    fn turn(&self, lease: Lease) -> Turn {
        Turn {
            lease,
            every: self.every,
        }
    }
}

/// When the work is due; zero if the store does not tell.
fn due_in(busy: &BusyInfo) -> Duration {
    match busy.ends {
        Ends::In(time) => time,
        Ends::Never => Duration::MAX,
        Ends::Unknown => Duration::ZERO,
    }
}

/// What came of an attempt to begin a run.
#[derive(Debug)]
pub enum Begun {
    /// It has begun: do the work, then say how it went.
    Turn(Turn),
    /// The work was done less than an interval ago; it is due when this is free.
    NotDue(BusyInfo),
    /// The work is running now; or the store does not grant for now, whoever runs. [`BusyInfo::why`] tells them apart.
    Running(BusyInfo),
}

/// A run that has begun. Dropping it releases the key, and the run does not count.
///
/// It is a [`Lease`]: ask it for the fence, and whether it is lost.
#[must_use = "a run that is dropped does not count"]
pub struct Turn {
    lease: Lease,
    every: Duration,
}

impl Turn {
    /// Says that the work succeeded: the interval counts from the start of this run.
    ///
    /// # Errors
    ///
    /// As [`Lease::release`]'s: the work may then be done again before the interval is over.
    ///
    /// # Cancel safety
    ///
    /// As [`Lease::release`]'s.
    pub async fn succeeded(self) -> Result<()> {
        let left = self.every.saturating_sub(self.lease.held_for());
        self.lease.release_lingering(left).await
    }

    /// Says that the work failed: it is due at once, for whoever tries next.
    ///
    /// # Errors
    ///
    /// As [`Lease::release`]'s.
    ///
    /// # Cancel safety
    ///
    /// As [`Lease::release`]'s.
    pub async fn failed(self) -> Result<()> {
        self.lease.release().await
    }
}

impl Deref for Turn {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Turn").field(&self.lease).finish()
    }
}

type Observer = Box<dyn Fn(&BusyInfo) + Send>;

/// Waits for a turn; what [`Interval::next`] returns, to be awaited.
///
/// # Errors
///
/// As [`Acquire`]'s, [`Error::TimedOut`] among them.
///
/// # Cancel safety
///
/// May be dropped: the place in the line is given back.
#[must_use = "nothing begins until it is awaited"]
pub struct NextTurn {
    interval: Interval,
    within: Option<Duration>,
    observer: Option<Observer>,
}

impl NextTurn {
    /// Gives up after this time, counted from the first poll.
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = Some(limit);
        self
    }

    /// Calls this whenever the store has said what is in the way, as [`Acquire::observe`] does.
    pub fn observe(mut self, observer: impl Fn(&BusyInfo) + Send + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    async fn wait(self) -> Result<Begun> {
        // First without a place in the line: most who come too early are told so here.
        match self.interval.begin().await? {
            Begun::Running(_) => {}
            other => return Ok(other),
        }
        let Self {
            interval,
            within,
            observer,
        } = self;
        let (sender, mut lingers) = watch::channel(None);
        let mut acquire = Acquire::new(interval.request.clone()).observe(move |busy| {
            if let Some(observer) = &observer {
                observer(busy);
            }
            if busy.why == Why::Lingering {
                sender.send_replace(Some(busy.clone()));
            }
        });
        if let Some(limit) = within {
            acquire = acquire.within(limit);
        }
        // The sender lives in the wait, which ends before it does.
        let mut not_due = std::pin::pin!(lingers.wait_for(Option::is_some));
        tokio::select! {
            biased;
            lease = acquire => Ok(Begun::Turn(interval.turn(lease?))),
            Ok(busy) = &mut not_due => Ok(Begun::NotDue(busy.clone().expect("waited for one"))),
        }
    }
}

impl IntoFuture for NextTurn {
    type Output = Result<Begun>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}

impl fmt::Debug for NextTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextTurn")
            .field("key", self.interval.key())
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}
