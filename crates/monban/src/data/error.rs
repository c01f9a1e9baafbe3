//! Every way in which locking can fail, one variant for each reaction.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::text::duration;
use super::{Claimant, Fence, Key};

/// The result of a fallible call of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why a call failed. One variant for each reaction of the caller.
///
/// That a key is busy is not among them: it is an answer (`Ok(None)` of `try_lock`).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key did not become free within the time given. *Reaction: give up, or try again later.*
    #[error("{key} was not free within {}{}", duration(*waited), holder(who.as_deref()))]
    TimedOut {
        /// The key.
        key: Key,
        /// How long the caller waited.
        waited: Duration,
        /// Who held it, if the store can tell.
        who: Option<Box<Claimant>>,
    },

    /// It was ours and is not any more. *Reaction: stop the work now.*
    #[error("the lease on {key}{} is lost: {why}{}", fenced(*fence), because(source.as_ref()))]
    Lost {
        /// The key.
        key: Key,
        /// The fence of the lease that was lost.
        fence: Option<Fence>,
        /// How it was lost.
        why: Loss,
        /// What the store last said, if it could not renew the lease.
        #[source]
        source: Option<Source>,
    },

    /// It is ours, but not for as long as the next step needs. *Reaction: do not begin the step; renew the
    /// lease, wait for its renewal, or take it anew.*
    #[error(
        "the lease on {key} can be relied on for {} only, {} are needed",
        duration(*left),
        duration(*needed)
    )]
    TooShort {
        /// The key.
        key: Key,
        /// For how long it can be relied on.
        left: Duration,
        /// For how long it was to be relied on.
        needed: Duration,
    },
    /// The key is in use in a way that does not fit this call. *Reaction: fix the program.*
    #[error("{key} is in use differently: {what}")]
    Mismatch {
        /// The key.
        key: Key,
        /// What does not fit.
        what: Cow<'static, str>,
    },

    /// The store cannot keep what is asked. *Reaction: choose another store, or ask for less.*
    #[error("the {store} store cannot do this: {what}")]
    Unsupported {
        /// The store.
        store: &'static str,
        /// What it cannot do, and why.
        what: Cow<'static, str>,
    },

    /// The input cannot be used. *Reaction: fix the input.*
    #[error("{what}")]
    Invalid {
        /// What is wrong with it, and what to do.
        what: Cow<'static, str>,
    },

    /// The store could not be asked, or did not answer: the outcome is unknown, asking again is safe.
    /// *Reaction: try again later.*
    #[error("the {store} store is unavailable{}: {what}", of_key(key.as_ref()))]
    Unavailable {
        /// The store.
        store: &'static str,
        /// The key, if one was concerned.
        key: Option<Key>,
        /// What happened, and what to look at.
        what: Cow<'static, str>,
        /// What the system or the client library said.
        #[source]
        source: Option<Source>,
    },

    /// The store refused: asking again will not help until somebody changes something.
    /// *Reaction: mend the store or the permissions.*
    #[error("the {store} store refuses{}: {what}", of_key(key.as_ref()))]
    Rejected {
        /// The store.
        store: &'static str,
        /// The key, if one was concerned.
        key: Option<Key>,
        /// What is refused, and what to do.
        what: Cow<'static, str>,
        /// What the system or the client library said.
        #[source]
        source: Option<Source>,
    },
}

/// How a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// It could not be renewed, or was not, before its deadline.
    Expired,
    /// The store says that it is not in the line any more: it was freed by hand, deleted, or overwritten.
    Taken,
    /// It was held for as long as its options allow.
    MaxHold,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "it was not renewed before its deadline",
            Self::Taken => "the store does not have it any more",
            Self::MaxHold => "its maximum hold is reached",
        })
    }
}

impl Error {
    /// [`Error::Invalid`] with this text.
    pub fn invalid(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid { what: what.into() }
    }

    /// [`Error::Unsupported`] with this text.
    pub fn unsupported(store: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Unsupported {
            store,
            what: what.into(),
        }
    }

    /// [`Error::Mismatch`] with this text.
    pub fn mismatch(key: &Key, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Mismatch {
            key: key.clone(),
            what: what.into(),
        }
    }

    /// [`Error::Unavailable`] with this text and no source.
    pub fn unavailable(store: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Unavailable {
            store,
            key: None,
            what: what.into(),
            source: None,
        }
    }

    /// [`Error::Rejected`] with this text and no source.
    pub fn rejected(store: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Rejected {
            store,
            key: None,
            what: what.into(),
            source: None,
        }
    }

    /// The same error, naming this key if it is of a kind that names one and names none yet.
    #[must_use]
    pub fn of_key(mut self, of: &Key) -> Self {
        if let Self::Unavailable { key, .. } | Self::Rejected { key, .. } = &mut self {
            key.get_or_insert_with(|| of.clone());
        }
        self
    }

    /// The same error with what the system or a client library said, if it is of a kind that keeps it.
    #[must_use]
    pub fn because(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        if let Self::Unavailable { source, .. } | Self::Rejected { source, .. } = &mut self {
            *source = Some(Arc::new(cause));
        }
        self
    }

    /// Whether a request that was answered so may have changed something all the same: its reply was lost, or
    /// it was one of several that travelled together.
    pub(crate) fn may_have_been_executed(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Rejected { .. })
    }

    /// Whether the same call may succeed if it is simply repeated, with the same claim.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// A [`Key`] that is one already needs no check; this lets `TryInto<Key>` take both.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

fn holder(who: Option<&Claimant>) -> String {
    who.map_or_else(String::new, |who| format!("; {who} has it"))
}

fn fenced(fence: Option<Fence>) -> String {
    fence.map_or_else(String::new, |fence| format!(" (fence {fence})"))
}

fn because(source: Option<&Source>) -> String {
    source.map_or_else(String::new, |source| format!(" ({source})"))
}

fn of_key(key: Option<&Key>) -> String {
    key.map_or_else(String::new, |key| format!(" for {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_key_and_the_number_that_matters() {
        let key = Key::new("report").unwrap();
        let error = Error::TimedOut {
            key: key.clone(),
            waited: Duration::from_secs(12),
            who: None,
        };
        assert_eq!(error.to_string(), "report was not free within 12s");
        let error = Error::unavailable("redis", "no answer for 2s").of_key(&key);
        assert_eq!(
            error.to_string(),
            "the redis store is unavailable for report: no answer for 2s"
        );
        assert!(error.is_transient());
    }
}
