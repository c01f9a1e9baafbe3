//! How long to wait between tries where a store must be polled: iterators of `Duration`.
//!
//! A retry strategy is any `Fn() -> impl Iterator<Item = Duration>`; when it ends, the caller gives up.

use std::time::Duration;

/// Waits the same time between all tries, for ever.
pub fn fixed(pause: Duration) -> impl Iterator<Item = Duration> + Clone + Send {
    std::iter::repeat(pause)
}

/// Waits a random time between zero and a bound that doubles from `first` to `greatest`, for ever.
///
/// "Full jitter" spreads callers that failed together. Source: AWS Architecture Blog, "Exponential
/// Backoff And Jitter", 2015.
pub fn exponential(
    first: Duration,
    greatest: Duration,
) -> impl Iterator<Item = Duration> + Clone + Send {
    let mut bound = first.min(greatest);
    let mut random = Jitter::new();
    std::iter::from_fn(move || {
        let pause = random.up_to(bound);
        bound = bound.saturating_mul(2).min(greatest);
        Some(pause)
    })
}

/// Takes a random part of durations.
///
/// The generator is SplitMix64 (Steele, Lea, Flood 2014): jitter needs spread, not secrecy.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// A source of its own, seeded by the operating system.
    #[must_use]
    pub fn new() -> Self {
        #[cfg(test)]
        if let Some(seed) = tests::next_seed() {
            return Self(seed);
        }
        Self(getrandom::u64().unwrap_or(0x9e37_79b9_7f4a_7c15))
    }

    /// A random duration from zero to `bound`, both included.
    pub fn up_to(&mut self, bound: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let bound = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let part = (u128::from(z) * (u128::from(bound) + 1)) >> 64;
        Duration::from_nanos(u64::try_from(part).unwrap_or(bound))
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
pub(crate) use tests::seeded;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static SEED: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// While it lives, jitter on this thread is the same for the same seed.
    pub(crate) struct Seeded(());

    pub(crate) fn seeded(seed: u64) -> Seeded {
        SEED.set(Some(seed));
        Seeded(())
    }

    impl Drop for Seeded {
        fn drop(&mut self) {
            SEED.set(None);
        }
    }

    pub(super) fn next_seed() -> Option<u64> {
        let seed = SEED.get()?;
        SEED.set(Some(seed.wrapping_add(1)));
        Some(seed)
    }

    #[test]
    fn exponential_pauses_stay_below_a_bound_that_doubles() {
        let ms = Duration::from_millis;
        for _ in 0..200 {
            let pauses: Vec<_> = exponential(ms(10), ms(80)).take(6).collect();
            for (pause, bound) in pauses.iter().zip([10, 20, 40, 80, 80, 80]) {
                assert!(*pause <= ms(bound), "{pauses:?}");
            }
        }
    }

    #[test]
    fn jitter_spreads_over_the_whole_range() {
        let mut jitter = Jitter::new();
        let draws: Vec<_> = (0..1_000)
            .map(|_| jitter.up_to(Duration::from_secs(1)))
            .collect();
        assert!(draws.iter().any(|d| *d < Duration::from_millis(100)));
        assert!(draws.iter().any(|d| *d > Duration::from_millis(900)));
        assert_eq!(jitter.up_to(Duration::ZERO), Duration::ZERO);
    }
}
