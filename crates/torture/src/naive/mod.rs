//! The locks that people write, each with one flaw, so that it can be seen that the checkers catch it.
//!
//! All of them keep one key of a real Redis server for each lock, without a line: who is refused tries again. They
//! stand behind the same engine as monban's own stores, so only what a *store* does wrong is wrong here. Never use one.

mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use monban::{Error, Result};

pub use store::NaiveStore;

/// What is wrong with a naive lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing that one server and one clock could show: to see that the flaws are what is caught.
    Sound,
    /// It looks whether the key is free, and takes it in a second step.
    TwoSteps,
    /// It sets the key without a TTL: a crash keeps it for ever.
    NoTtl,
    /// It deletes the key without looking whose it is.
    NoOwnerCheck,
    /// It counts the TTL from the reply, not from before the request.
    TtlFromReply,
    /// A renewal sets the key again if it is gone.
    Recreates,
    /// It takes nanoseconds for milliseconds.
    Nanoseconds,
    /// It writes down when the lock ends by its own wall clock, and others compare with theirs.
    WallClock,
}

impl Flaw {
    /// All of them, the sound one first.
    pub const ALL: [Self; 8] = [
        Self::Sound,
        Self::TwoSteps,
        Self::NoTtl,
        Self::NoOwnerCheck,
        Self::TtlFromReply,
        Self::Recreates,
        Self::Nanoseconds,
        Self::WallClock,
    ];

    /// As in the URL `naive-NAME+redis://…`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::TwoSteps => "two-steps",
            Self::NoTtl => "no-ttl",
            Self::NoOwnerCheck => "no-owner-check",
            Self::TtlFromReply => "ttl-from-reply",
            Self::Recreates => "recreates",
            Self::Nanoseconds => "nanoseconds",
            Self::WallClock => "wall-clock",
        }
    }
}

/// The naive store that a URL names; `None` if it names another.
///
/// # Errors
///
/// `Invalid` for a flaw that nobody knows.
pub fn from_url(url: &str, wall: &Wall) -> Result<Option<NaiveStore>> {
    let Some((name, url)) = split(url) else {
        return Ok(None);
    };
    let flaw = Flaw::ALL.into_iter().find(|flaw| flaw.name() == name);
    let Some(flaw) = flaw else {
        let known: Vec<&str> = Flaw::ALL.iter().map(|flaw| flaw.name()).collect();
        let known = known.join(", ");
        return Err(Error::invalid(format!(
            "no naive lock is called so; there are {known}"
        )));
    };
    NaiveStore::new(flaw, url, wall.clone()).map(Some)
}

/// `NAME` and the rest of `naive-NAME+REST`.
#[must_use]
pub fn split(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("naive-")?.split_once('+')
}

/// A process's wall clock, which may be wrong.
#[derive(Clone, Debug, Default)]
pub struct Wall(Arc<AtomicU64>);

impl Wall {
    /// Sets it ahead.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// Milliseconds since 1970, as this process believes.
    fn now(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        ms.saturating_add(self.0.load(Ordering::SeqCst))
    }
}
