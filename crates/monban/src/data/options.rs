//! How a lock is used: TTL, renewal, maximum hold, linger, label.

use std::time::Duration;

use super::text::duration;
use super::{Error, Mode, Result};

/// How long leases live and what keeps them.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use monban::Options;
///
/// let options = Options::new().ttl(Duration::from_secs(10)).max_hold(Duration::from_secs(60));
/// assert!(options.check().is_ok());
/// assert!(Options::new().ttl(Duration::ZERO).check().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Options {
    pub(crate) ttl: Duration,
    pub(crate) renewal: Renewal,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) linger: Option<Duration>,
    pub(crate) label: Option<String>,
}

/// Who renews a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Renewal {
    /// The library, in the background, three times in a TTL.
    #[default]
    Automatic,
    /// The caller, with `renew()`; the lease is lost if it does not.
    ByHand,
}

impl Options {
    /// The TTL if none is chosen.
    pub const DEFAULT_TTL: Duration = Duration::from_secs(30);
    /// The shortest TTL.
    pub const MIN_TTL: Duration = Duration::from_millis(100);
    /// The longest TTL, maximum hold and linger: about 10 years. Longer ones overflow in some store.
    pub const MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

    /// A TTL of 30 seconds, renewed in the background, no maximum hold, no linger, no label.
    pub fn new() -> Self {
        Self {
            ttl: Self::DEFAULT_TTL,
            renewal: Renewal::Automatic,
            max_hold: None,
            linger: None,
            label: None,
        }
    }

    /// How long a claim lives without renewal, counted from before its request is sent.
    ///
    /// It bounds how long a dead holder blocks the key, and how long the store may be silent before a live
    /// one must stop. Stores whose server, or kernel, knows who lives ignore it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Who renews the lease.
    pub fn renewal(mut self, renewal: Renewal) -> Self {
        self.renewal = renewal;
        self
    }

    /// The longest time a lease may be held, counted from its grant; then it is released and reported lost.
    pub fn max_hold(mut self, longest: Duration) -> Self {
        self.max_hold = Some(longest);
        self
    }

    /// On release, keep the key taken for this long with no owner, counted from the release.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(linger);
        self
    }

    /// What to show people as the purpose of the claim. At most 255 bytes are kept.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Checks the options against each other.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the option, its value and its bounds.
    pub fn check(&self) -> Result<()> {
        if self.ttl < Self::MIN_TTL {
            return Err(Error::invalid(format!(
                "a TTL of {} is too short to be kept; use at least {}",
                duration(self.ttl),
                duration(Self::MIN_TTL)
            )));
        }
        for (name, value) in [
            ("TTL", Some(self.ttl)),
            ("maximum hold", self.max_hold),
            ("linger", self.linger),
        ] {
            let Some(value) = value else { continue };
            if value.is_zero() {
                return Err(Error::invalid(format!(
                    "a {name} of zero has no meaning; leave it out"
                )));
            }
            if value > Self::MAX {
                return Err(Error::invalid(format!(
                    "a {name} of {} is longer than the greatest possible, {}",
                    duration(value),
                    duration(Self::MAX)
                )));
            }
        }
        Ok(())
    }

    /// Checks the options, and against the mode they are to be used in.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); also if a claim that is not exclusive is to linger.
    pub fn check_for(&self, mode: Mode) -> Result<()> {
        mode.check()?;
        if self.linger.is_some() && mode != Mode::Exclusive {
            return Err(Error::invalid(
                "only an exclusive claim can linger; leave linger out",
            ));
        }
        self.check()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_named_when_they_are_crossed() {
        let text = |options: Options| options.check().unwrap_err().to_string();
        assert!(text(Options::new().ttl(Duration::from_millis(99))).contains("100ms"));
        assert!(text(Options::new().ttl(Duration::MAX)).contains("TTL"));
        assert!(text(Options::new().max_hold(Duration::ZERO)).contains("maximum hold"));
        assert!(text(Options::new().linger(Duration::MAX)).contains("linger"));
        assert!(
            Options::new()
                .linger(Duration::from_secs(1))
                .check_for(Mode::Shared)
                .is_err()
        );
    }
}
