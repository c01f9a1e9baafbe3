//! The election: one leader at a time, whom others can observe.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::data::{Claimant, EntryId, Error, Fence, Key, Mode, Options, Result, Standing};
use crate::engine::{Acquire, BusyInfo, Lease, Locks, Request};
use crate::rule::backoff;

/// An office that one candidate at a time holds.
///
/// Candidates lead in the order in which they campaigned, as far as the store's guarantees go. A leader
/// whose lease is lost knows of it before another can lead, by its own clock: check
/// [`Lease::check`] before a step, or run the work under [`Lease::run`] or [`Lease::scope`].
///
/// Others are shown a leader's host, process number and label ([`Options::label`]: an address, say).
///
/// # Example
///
/// ```
/// # monban::block_on(async {
/// let locks = monban::Locks::in_memory();
/// let scheduler = locks.election("scheduler")?;
/// let mut changes = scheduler.observe();
/// assert!(changes.next().await?.is_none());
///
/// let leadership = scheduler.campaign().await?;
/// let leader = changes.next().await?.expect("somebody leads");
/// assert_eq!(leader.fence(), Some(leadership.fence()?));
/// leadership.resign().await?;
/// # Ok::<(), monban::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Election {
    locks: Locks,
    candidate: Request,
    /// Looks at the line in a mode that takes it from no candidate; `None` where the store has none such.
    observer: Option<Request>,
}

impl Locks {
    /// An election named by this key, with default options.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the key is empty or too long.
    pub fn election<K>(&self, key: K) -> Result<Election>
    where
        K: TryInto<Key>,
        Error: From<K::Error>,
    {
        Election::new(self.clone(), key.try_into()?, Options::new())
    }
}

impl Election {
    fn new(locks: Locks, key: Key, options: Options) -> Result<Self> {
        let mut looking = options.clone();
        looking.linger = None;
        let observer = match locks.guarantees().permits {
            true => Some(locks.request(key.clone(), Mode::Shared, looking)?),
            false => None,
        };
        let candidate = locks.request(key, Mode::Exclusive, options)?;
        Ok(Self {
            locks,
            candidate,
            observer,
        })
    }

    /// The same election with other options.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the options do not fit each other; [`Error::Unsupported`] if the store cannot
    /// keep them.
    pub fn with(self, options: Options) -> Result<Self> {
        Self::new(self.locks, self.candidate.key, options)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.candidate.key
    }

    /// Stands for election and waits until it is won.
    ///
    /// # Errors
    ///
    /// As [`Acquire`]'s.
    ///
    /// # Cancel safety
    ///
    /// May be dropped: the candidacy is withdrawn in the background.
    pub async fn campaign(&self) -> Result<Leadership> {
        let lease = self.stand().await?;
        Ok(Leadership { lease })
    }

    /// A candidacy that can be limited and observed while it waits; the lease that it wins is the leadership.
    pub fn stand(&self) -> Acquire {
        Acquire::new(self.candidate.clone())
    }

    /// As [`campaign`](Self::campaign), but gives up after this time.
    ///
    /// # Errors
    ///
    /// As [`Acquire`]'s, [`Error::TimedOut`] among them.
    ///
    /// # Cancel safety
    ///
    /// As [`campaign`](Self::campaign).
    pub async fn campaign_within(&self, limit: Duration) -> Result<Leadership> {
        let lease = self.stand().within(limit).await?;
        Ok(Leadership { lease })
    }

    /// Leads if nobody does and nobody else stands for election; `None` otherwise.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    ///
    /// # Cancel safety
    ///
    /// May be dropped.
    pub async fn try_lead(&self) -> Result<Option<Leadership>> {
        Ok(self.try_lead_or_busy().await?.ok())
    }

    /// As [`try_lead`](Self::try_lead), and tells what is in the way.
    ///
    /// # Errors
    ///
    /// As [`try_lead`](Self::try_lead).
    pub async fn try_lead_or_busy(&self) -> Result<Result<Leadership, BusyInfo>> {
        let answer = self.candidate.clone().attempt().await?;
        Ok(answer.map(|lease| Leadership { lease }))
    }

    /// Waits to lead, runs the work, and resigns. If the leadership is lost the work is dropped.
    ///
    /// To lead again after a loss, call it in a loop.
    ///
    /// # Errors
    ///
    /// As [`campaign`](Self::campaign); [`Error::Lost`] if the leadership was lost before the work was done.
    ///
    /// # Cancel safety
    ///
    /// May be dropped: the work is dropped and the office is free.
    pub async fn run<T>(&self, work: impl AsyncFnOnce(&Leadership) -> T) -> Result<T> {
        let leadership = self.campaign().await?;
        let output = leadership.run(work(&leadership)).await?;
        let key = leadership.key().clone();
        if let Err(error) = leadership.resign().await {
            tracing::warn!(%key, %error, "the work is done, but the resignation failed");
        }
        Ok(output)
    }

    /// Who leads; `None`: nobody. For people and for routing: it may have changed before it is read, and
    /// decides nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Rejected`].
    pub async fn leader(&self) -> Result<Option<Leader>> {
        let entries = self.locks.inspect(self.key().as_bytes()).await?;
        let leads = |standing| matches!(standing, Standing::Holding | Standing::Foreign);
        let leader = entries.into_iter().find(|entry| {
            // A look of an observer is a share, never a leader.
            entry.key == *self.key() && leads(entry.standing) && entry.mode != Some(Mode::Shared)
        });
        Ok(leader.map(|entry| Leader {
            id: entry.id,
            claimant: entry.claimant,
            fence: entry.fence,
            led_for: entry.age,
        }))
    }

    /// Observes who leads. Observing takes no place in the line.
    #[must_use]
    pub fn observe(&self) -> Changes {
        Changes {
            election: self.clone(),
            seen: None,
        }
    }
}

/// The office, held. Dropping it resigns in the background.
///
/// It is a [`Lease`]: ask it for the fence, and whether it is lost.
#[must_use = "a leadership that is dropped is resigned at once"]
pub struct Leadership {
    lease: Lease,
}

impl Leadership {
    /// Resigns, and says whether the office was ours until now.
    ///
    /// # Errors
    ///
    /// As [`Lease::release`]'s.
    ///
    /// # Cancel safety
    ///
    /// As [`Lease::release`]'s.
    pub async fn resign(self) -> Result<()> {
        self.lease.release().await
    }

    /// The lease that it is; to release it is to resign.
    pub fn into_lease(self) -> Lease {
        self.lease
    }
}

impl Deref for Leadership {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leadership").field(&self.lease).finish()
    }
}

/// Who leads, as others are shown.
#[derive(Clone, Debug)]
pub struct Leader {
    id: EntryId,
    claimant: Option<Claimant>,
    fence: Option<Fence>,
    led_for: Option<Duration>,
}

impl Leader {
    /// Who it is, if the store can tell.
    #[must_use]
    pub fn claimant(&self) -> Option<&Claimant> {
        self.claimant.as_ref()
    }

    /// The fence of the leadership: a greater one is a later leader's.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        self.fence
    }

    /// For how long it had led when the store was asked, if the store can tell.
    #[must_use]
    pub fn led_for(&self) -> Option<Duration> {
        self.led_for
    }
}

/// The leaders of an election, one after the other.
#[derive(Debug)]
pub struct Changes {
    election: Election,
    /// Whom the caller was told of last: nothing yet, nobody, or a leader.
    seen: Option<Option<(EntryId, Option<Fence>)>>,
}

/// A leader is looked at this often whatever the store's wake-ups say.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const MS: Duration = Duration::from_millis(1);

impl Changes {
    /// The present leader at the first call; afterwards waits until it is another, or nobody.
    ///
    /// While somebody leads the store wakes this, where it can. While nobody does there is nothing to wake
    /// by, and the store is asked again after pauses that double from 20 ms to 1 s. A leader that came and
    /// went between two looks is not seen.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Rejected`]. It may be called again.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again: no change is missed.
    pub async fn next(&mut self) -> Result<Option<Leader>> {
        let mut pauses = backoff::exponential(20 * MS, 1_000 * MS);
        loop {
            // The wake first, then the look: no change falls between the two.
            let busy = match (&self.seen, &self.election.observer) {
                (Some(Some(_)), Some(observer)) => observer.look().await?,
                _ => None,
            };
            let leader = self.election.leader().await?;
            // A claim that was lost and granted again is a new leadership: by its fence.
            let id = leader
                .as_ref()
                .map(|leader| (leader.id.clone(), leader.fence));
            if self.seen.as_ref() != Some(&id) {
                self.seen = Some(id);
                return Ok(leader);
            }
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
            let (wake, pause) = match busy {
                Some(busy) if busy.changed.is_some() => {
                    let expiry = busy
                        .free_in
                        .map_or(LONGEST_PAUSE, |free_in| free_in.max(20 * MS));
                    (busy.changed, expiry.min(LONGEST_PAUSE))
                }
                _ => (None, pause.max(MS)),
            };
            self.election.candidate.pause(wake, pause).await?;
        }
    }
}
