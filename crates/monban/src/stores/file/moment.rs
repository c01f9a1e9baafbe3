//! Instants that processes leave to one another in files.
//!
//! Within one boot they are compared by the clock that counts since boot; across boots only by the wall
//! clock of this one host, which somebody may have set: lengths are bounded by what was written beside.

use std::time::Duration;

use crate::rule::{Clock, Tick};

/// Identifies one boot of the machine: the first digits of the kernel's random number for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boot(String);

impl Boot {
    pub(super) const LEN: usize = 16;

    pub(super) fn read() -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        // Without /proc all boots look the same: a fence is then carried by the clock alone.
        Self::parse(digits.get(..Self::LEN).unwrap_or(""))
            .unwrap_or_else(|| Self("0".repeat(Self::LEN)))
    }

    /// No boot at all.
    pub(super) fn none() -> Self {
        Self("f".repeat(Self::LEN))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == Self::LEN && text.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An instant on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) since_boot_ns: u64,
    pub(super) wall_us: i64,
}

impl Moment {
    pub(super) fn now() -> Self {
        let clock = Clock::system();
        Self {
            since_boot_ns: clock.now().as_nanos(),
            wall_us: clock.wall_micros(),
        }
    }

    /// How long ago this was, written in the boot `then` and read at `now` in the boot `here`.
    pub(super) fn age(self, then: &Boot, here: &Boot, now: Self) -> Duration {
        if then == here {
            return Tick::from_nanos(now.since_boot_ns).since(Tick::from_nanos(self.since_boot_ns));
        }
        let micros = now.wall_us.saturating_sub(self.wall_us);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64, wall: i64) -> Moment {
        Moment {
            since_boot_ns: s * 1_000_000_000,
            wall_us: wall * 1_000_000,
        }
    }

    #[test]
    fn within_a_boot_the_wall_clock_is_not_asked_and_across_boots_nothing_else() {
        let (a, b) = (Boot("a".repeat(16)), Boot("b".repeat(16)));
        let age = |then, here| at(10, 1_000).age(then, here, at(25, 1_100));
        assert_eq!(age(&a, &a), Duration::from_secs(15));
        assert_eq!(age(&a, &b), Duration::from_secs(100));
        assert_eq!(at(10, 1_000).age(&a, &b, at(3, 500)), Duration::ZERO);
    }

    #[test]
    fn a_boot_is_read_and_stays_the_same() {
        assert_eq!(Boot::read(), Boot::read());
        assert_eq!(Boot::parse(Boot::read().as_str()), Some(Boot::read()));
        assert_eq!(Boot::parse("xyz"), None);
    }
}
