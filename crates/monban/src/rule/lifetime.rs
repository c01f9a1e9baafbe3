//! When a lease is renewed, doubted, and taken for lost.

use std::time::Duration;

use super::Tick;

/// The local life of one grant or renewal.
///
/// The TTL counts from before the request was sent, so the store, which counts from when it executed the
/// request, frees the key later than this side gives it up. From the TTL an allowance is taken for clocks
/// that run at different rates: one part in a hundred, and two milliseconds.
/// Source: the validity rule of Redis's "Distributed locks" page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When the request was sent, or earlier.
    pub sent: Tick,
    /// The TTL that it asked for.
    pub ttl: Duration,
}

impl Lifetime {
    /// How much of a TTL this side may use.
    #[must_use]
    pub fn validity(ttl: Duration) -> Duration {
        ttl.saturating_sub(ttl / 100)
            .saturating_sub(Duration::from_millis(2))
    }

    /// From this instant the lease must be taken for lost.
    #[must_use]
    pub fn deadline(self) -> Tick {
        self.sent.after(Self::validity(self.ttl))
    }

    /// From this instant it is to be renewed: a third of the TTL has passed.
    #[must_use]
    pub fn renew_at(self) -> Tick {
        self.sent.after(self.ttl / 3)
    }

    /// From this instant the renewal is overdue: half of the TTL has passed without one.
    #[must_use]
    pub fn doubtful_from(self) -> Tick {
        self.sent.after(self.ttl / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_dies_locally_before_it_dies_remotely() {
        for ttl in [100, 1_000, 30_000, 86_400_000].map(Duration::from_millis) {
            let life = Lifetime {
                sent: Tick::from_nanos(7),
                ttl,
            };
            assert!(life.renew_at() < life.doubtful_from());
            assert!(life.doubtful_from() < life.deadline());
            assert!(life.deadline() < life.sent.after(ttl));
        }
    }
}
