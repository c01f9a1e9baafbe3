//! How claims are written into columns.

use std::collections::HashSet;
use std::time::Duration;

use crate::data::{Claim, Mode};

/// What a claim takes, and of what capacity: 0 and 0 for an exclusive one, which takes whatever there is.
pub(super) fn weight(mode: Mode) -> (i64, i64) {
    match mode {
        Mode::Exclusive => (0, 0),
        Mode::Shared => (1, i64::from(Mode::SHARES)),
        Mode::Permits { n, of } => (i64::from(n), i64::from(of)),
    }
}

/// Reads what [`weight`] wrote.
pub(super) fn mode(takes: i64, slots: i64) -> Option<Mode> {
    match (takes, slots) {
        (0, 0) => Some(Mode::Exclusive),
        (1, slots) if slots == i64::from(Mode::SHARES) => Some(Mode::Shared),
        (n, of) => Some(Mode::Permits {
            n: n.try_into().ok()?,
            of: of.try_into().ok()?,
        }),
    }
}

/// Whole microseconds, rounded up: what the server keeps must not end before what was asked for.
pub(super) fn micros(duration: Duration) -> i64 {
    let micros = duration.as_nanos().div_ceil(1_000).clamp(1, 1 << 50);
    i64::try_from(micros).unwrap_or(1 << 50)
}

/// A duration of so many µs; zero if the clock went back.
pub(super) fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// Whether claims can be looked after all at once: exclusive ones on different keys.
pub(super) fn plain<'a>(claims: impl ExactSizeIterator<Item = &'a Claim> + Clone) -> bool {
    let count = claims.len();
    claims.clone().all(|claim| claim.mode == Mode::Exclusive)
        && (count < 2 || claims.map(|claim| &claim.key).collect::<HashSet<_>>().len() == count)
}

/// No shorter than this: what is asked again waits behind what was asked before, on the same connection.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long to wait for the answer: the store's bound, or less where a TTL leaves less time to ask again.
pub(super) fn patience<'a>(bound: Duration, claims: impl Iterator<Item = &'a Claim>) -> Duration {
    let shortest = claims.map(|claim| claim.ttl).min().unwrap_or(bound);
    bound.min((shortest / 3).max(SHORTEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_comes_back_as_it_was() {
        for all in [
            Mode::Exclusive,
            Mode::Shared,
            Mode::Permits { n: 1, of: 1 },
            Mode::Permits {
                n: 3,
                of: Mode::MAX_PERMITS,
            },
        ] {
            let (takes, slots) = weight(all);
            assert_eq!(mode(takes, slots), Some(all));
        }
        assert_eq!(mode(-1, 3), None);
    }

    #[test]
    fn durations_are_rounded_up_and_bounded() {
        assert_eq!(micros(Duration::from_nanos(1_001)), 2);
        assert_eq!(micros(Duration::ZERO), 1);
        assert_eq!(micros(Duration::MAX), 1 << 50);
        assert_eq!(duration(-5), Duration::ZERO);
    }
}
