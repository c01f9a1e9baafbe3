//! The smallest thing that a lock service must do to be a store.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;

use super::Guarantees;
use crate::data::{Barred, Claim, Claimant, Entry, Error, Fence, Keep, Key, Leave, Result};

/// A lock service: keeps, for every key, one line of live claims in the order they joined.
///
/// A claim holds when what the claims ahead of it take, plus its own, fits the key's capacity; the rule as
/// code is [`Line`](crate::rule::Line). Every verb may be repeated with the same claim: a request whose
/// reply was lost is simply asked again. Of any number of simultaneous tries on a free key at most one is
/// granted; exactly one where a single authority decides.
///
/// Verbs take batches, since what is ready together travels together, and answer one result for each
/// element, in order. A batch may name one key, and even one claim, several times: its elements take effect
/// in order. A store of yours is held to all of this by the conformance suite.
///
/// Every verb answers in bounded time, with `Unavailable` if it cannot: a few seconds, well below a TTL.
///
/// No method has a default: a decorator that forgets one must not compile.
///
/// # Cancel safety
///
/// The engine does not drop the future of a verb once it has polled it, but for the process's end; a store
/// need not survive that better than it survives a lost connection.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Connects and probes; tells what the store promises.
    ///
    /// Called once, on the engine's runtime for a store of [`Reach::Remote`], before any other verb.
    ///
    /// # Errors
    ///
    /// If it cannot be reached, or cannot keep the promise; the message says why and what to do.
    async fn open(&self) -> Result<Guarantees>;

    /// How the verbs are to be called.
    fn reach(&self) -> Reach;

    /// Joins the line, or asks again. Asking again keeps a waiter's place, and a holder's hold, alive.
    ///
    /// # Errors
    ///
    /// For each claim: `Mismatch` if the key is in use with another capacity; `Unsupported`, `Invalid`,
    /// `Unavailable` (it may or may not have been granted) or `Rejected`.
    async fn attempt(&self, claims: &[Claim]) -> Vec<Result<Attempt>>;

    /// Keeps claims that hold, for their TTL, by the grant whose fence is named. Never re-acquires.
    ///
    /// A claim that was taken away may come back, as a waiter or by a grant of its own, by a copy of its own request
    /// that arrives late. Its owner must not go on: others have held, or hold. So a claim that waits is lost, and
    /// so is one that holds by a grant of another fence. (Grants of shares carry none; there it counts that it holds.)
    /// Waiters keep their places by asking again.
    ///
    /// # Errors
    ///
    /// For each claim: `Unavailable` if the outcome is not known, `Rejected`. That a claim does not hold any more is
    /// not an error: it is [`Renewal::Lost`].
    async fn renew(&self, keeping: &[Keep]) -> Vec<Result<Renewal>>;

    /// Leaves the line, waiting or holding; or keeps the place with no owner.
    ///
    /// # Errors
    ///
    /// For each claim: `Unavailable` if the outcome is not known, `Rejected`, or `Unsupported` for a linger
    /// that the store does not offer.
    async fn release(&self, leaving: &[Leave]) -> Vec<Result<Release>>;

    /// Frees by hand what [`inspect`](Self::inspect) showed: compares, then deletes. `Gone` if something
    /// else is there by now.
    ///
    /// # Errors
    ///
    /// `Unsupported` where only the death of the holder frees a key; `Unavailable`, `Rejected`.
    async fn evict(&self, entry: &Entry) -> Result<Release>;

    /// Shows the live claims of all keys whose bytes begin with `prefix`, each line in order. For people
    /// and tests, never for decisions.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Rejected`.
    async fn inspect(&self, prefix: &[u8]) -> Result<Vec<Entry>>;

    /// As [`inspect`](Self::inspect), of this key alone. Where keys with a prefix are found without looking through others, it
    /// is those of them that are this key.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Rejected`.
    async fn inspect_key(&self, key: &Key) -> Result<Vec<Entry>>;

    /// For how long from now the store grants nothing, of any key, since it has lost its memory
    /// ([`Why::Recovering`]); `None` if it grants, as a store always does that has no such pause. For people, as
    /// [`inspect`](Self::inspect).
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Rejected`.
    async fn recovers_in(&self) -> Result<Option<Duration>>;

    /// Which keys whose bytes begin with `prefix` are barred, and by whom ([`Why::Barred`]), held or not: each once for each
    /// transaction that bars it, in their order. None where no transaction can check a fence. For people, as
    /// [`inspect`](Self::inspect).
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Rejected`.
    async fn barred(&self, prefix: &[u8]) -> Result<Vec<Barred>>;

    /// The grant that a waiting claim was told of by a message, once: [`attempt`](Self::attempt) would answer the same,
    /// without asking anybody. Asked when a waiter was woken, and answered at once; with `None` it attempts.
    fn told(&self, claim: &Claim) -> Option<Grant>;

    /// What the store knows to be wrong with its connection at this moment, if anything: told to callers whose time is
    /// over before an answer came. Answered at once, from what is known already; with `None` they are told only that no
    /// answer came.
    fn trouble(&self) -> Option<Error>;

    /// Gives back what the store keeps between claims, as far as no claim hangs on it.
    ///
    /// Called when no further claim will be made and every release has been answered. Claims that live live on, and may
    /// be renewed and released as before; then it is called again. It answers in about a second at most, and what
    /// fails must end by itself.
    async fn close(&self);
}

/// How the verbs of a store are to be called. It decides where they run, never what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every verb is finished by its first poll, within microseconds: it is called where the caller stands.
    Local,
    /// Verbs wait for another process or machine: the engine drives them on its own runtime, and collects
    /// what is ready together.
    Remote,
}

/// The answer to an attempt.
#[derive(Debug)]
pub enum Attempt {
    /// The claim holds.
    Granted(Grant),
    /// Somebody is ahead.
    Busy(Busy),
}

/// What a granted claim got.
pub struct Grant {
    /// Greater than that of any earlier exclusive grant of the key. Shares have none, and stores whose
    /// guarantees say so.
    pub fence: Option<Fence>,
    /// The number 0..k that a holder of permits sits on, unique among holders.
    pub seat: Option<u32>,
    /// For how long the store keeps the claim after each renewal, as it was asked to or rounded up; `None`: as long as the
    /// process, or the session, lives.
    pub ttl: Option<Duration>,
    /// How much of the TTL had passed at most when this answer was asked for. Zero where asking starts it anew; a store that
    /// tells a waiter of its grant by a message counts from before the request that last kept its place was sent.
    pub age: Duration,
    /// Wakes, once, when the grant may have been lost; the engine renews to find out. A store whose notices
    /// can be caused by its own verbs (a renewal, say) looks first, and arms again. `None` if the store
    /// cannot tell.
    pub lost: Option<Wake>,
}

/// Why a claim was not granted, and when to ask again.
pub struct Busy {
    /// How many claims are ahead, holders included; `None` if the store cannot tell.
    pub ahead: Option<usize>,
    /// What is in the way.
    pub why: Why,
    /// Who is in the way, if the store can tell.
    pub who: Option<Claimant>,
    /// For how long it has been held, or lingers.
    pub held_for: Option<Duration>,
    /// The next instant, from now, at which asking again may change something with no further notice: the end of what
    /// holds, or of a claim that waits.
    pub free_in: Option<Duration>,
    /// When what holds the key, or keeps it, is over. For people: it decides nothing.
    pub ends: Ends,
    /// Wakes when it is worth asking again. Armed before, or with, the look at the line: no wake is lost.
    /// A waiter has a poll beside it all the same. `None` if there is nothing to wake by.
    pub changed: Option<Wake>,
}

/// When what holds a key, or keeps it, is over, unless it is renewed; of several the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ends {
    /// The store does not tell.
    #[default]
    Unknown,
    /// After this time from now at the latest.
    In(Duration),
    /// Only when somebody ends it: a program that is not monban has set no expiry.
    Never,
}

impl Ends {
    /// The time until then, if it is known and there is one.
    #[must_use]
    pub fn after(self) -> Option<Duration> {
        match self {
            Self::In(time) => Some(time),
            Self::Unknown | Self::Never => None,
        }
    }
}

impl From<Option<Duration>> for Ends {
    fn from(time: Option<Duration>) -> Self {
        time.map_or(Self::Unknown, Self::In)
    }
}

/// What is in the way of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A claim holds.
    Held,
    /// Nobody holds what is asked for, but others are before this claim.
    Queued,
    /// A released claim keeps its place.
    Lingering,
    /// A program that is not monban holds.
    Foreign,
    /// Nobody is known to hold what is asked for; but the store has lost its memory, in a crash say, and grants
    /// nothing until what it has forgotten must have ended. `ends` says when that is.
    Recovering,
    /// Nobody holds what is asked for; but a transaction that has checked the fence of an earlier grant is open
    /// still, and bars the next one. Nobody knows for how long.
    Barred,
}

/// The answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The claim holds, and has held since that grant.
    Kept,
    /// The claim does not hold any more by that grant.
    Lost,
}

/// The answer to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The claim was in line and has left (or lingers), now or by an earlier release of the same claim.
    Done,
    /// The claim was not in line. After a reply that was lost this means: unknown.
    Gone,
}

/// A notice that it may be worth asking again. May come early; a late one costs time, never safety.
pub type Wake = Pin<Box<dyn Future<Output = ()> + Send>>;

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("fence", &self.fence)
            .field("seat", &self.seat)
            .field("ttl", &self.ttl)
            .field("age", &self.age)
            .field("tells_loss", &self.lost.is_some())
            .finish()
    }
}

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Busy")
            .field("ahead", &self.ahead)
            .field("why", &self.why)
            .field("who", &self.who)
            .field("held_for", &self.held_for)
            .field("free_in", &self.free_in)
            .field("ends", &self.ends)
            .field("wakes", &self.changed.is_some())
            .finish()
    }
}
