//! The only place that reads a clock.
//!
//! Leases are measured on a clock that goes on while the machine sleeps (`CLOCK_BOOTTIME` on Linux):
//! `std::time::Instant` stands still during suspend, and a lease measured with it would outlive the
//! server's. Source: clock_gettime(2).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An instant of a [`Clock`], in nanoseconds since an arbitrary start. Never compared across machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The instant `ns` nanoseconds after the clock's start.
    #[must_use]
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The instant `d` later; the greatest possible one if that is past the end of time.
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// The instant `d` earlier; the clock's start if that is before it.
    #[must_use]
    pub fn before(self, d: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// How long it is from `earlier` to this instant; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Tells the time: the machine's, or one that a test moves.
#[derive(Clone, Debug, Default)]
pub struct Clock(Kind);

#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    System,
    /// The machine's, and by how much it has been moved on, in nanoseconds.
    Stepped(Arc<AtomicU64>),
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    now: AtomicU64,
    sleepers: Mutex<Vec<Waker>>,
}

impl Clock {
    /// The machine's clock, suspend counted.
    #[must_use]
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// The machine's clock, which [`advance`](Self::advance) moves on further, as waking from suspend does: who
    /// sleeps by it is not woken. Clones share its steps.
    #[must_use]
    pub fn stepped() -> Self {
        Self(Kind::Stepped(Arc::default()))
    }

    /// A clock that stands still until [`advance`](Self::advance) moves it. Clones share its time.
    #[must_use]
    pub fn manual() -> Self {
        let start = Duration::from_secs(1_000).as_nanos();
        Self(Kind::Manual(Arc::new(Manual {
            now: AtomicU64::new(u64::try_from(start).unwrap_or(0)),
            sleepers: Mutex::default(),
        })))
    }

    /// Whether this is the machine's clock, as it is.
    pub(crate) fn is_the_machines(&self) -> bool {
        matches!(self.0, Kind::System)
    }

    /// Whether this is a clock that a test moves.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Kind::Manual(_))
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Tick {
        match &self.0 {
            Kind::System => system_now(),
            Kind::Stepped(by) => {
                system_now().after(Duration::from_nanos(by.load(Ordering::SeqCst)))
            }
            Kind::Manual(manual) => Tick(manual.now.load(Ordering::SeqCst)),
        }
    }

    /// Moves a clock on; wakes whoever sleeps by a manual one.
    ///
    /// # Panics
    ///
    /// If this is the machine's clock.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let later = |now: u64| Some(now.saturating_add(by));
        let manual = match &self.0 {
            Kind::Manual(manual) => manual,
            Kind::Stepped(steps) => {
                let _ = steps.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
                return;
            }
            Kind::System => panic!("the machine's clock cannot be moved"),
        };
        let _ = manual
            .now
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
        let sleepers = std::mem::take(
            &mut *manual
                .sleepers
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        sleepers.into_iter().for_each(Waker::wake);
    }

    /// Ready once a manual clock has moved past `seen`; never for the machine's clock, for which the
    /// caller has a timer.
    pub fn poll_moved(&self, seen: Tick, waker: &Waker) -> Poll<()> {
        let Kind::Manual(manual) = &self.0 else {
            return Poll::Pending;
        };
        let mut sleepers = manual
            .sleepers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.now() > seen {
            return Poll::Ready(());
        }
        if !sleepers.iter().any(|known| known.will_wake(waker)) {
            sleepers.push(waker.clone());
        }
        Poll::Pending
    }

    /// Microseconds since 1970 by this machine's wall clock: a floor for fences that must survive a
    /// restart, never a measure of time.
    #[must_use]
    pub fn wall_micros(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}

#[cfg(target_os = "linux")]
fn system_now() -> Tick {
    since_boot(rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
}

#[cfg(not(target_os = "linux"))]
fn system_now() -> Tick {
    since_boot(rustix::time::clock_gettime(
        rustix::time::ClockId::Monotonic,
    ))
}

fn since_boot(time: rustix::time::Timespec) -> Tick {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Tick(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_until_it_is_moved() {
        let clock = Clock::manual();
        let start = clock.now();
        assert_eq!(clock.clone().now(), start);
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now().since(start), Duration::from_secs(5));
        assert!(clock.poll_moved(start, Waker::noop()).is_ready());
        assert!(clock.poll_moved(clock.now(), Waker::noop()).is_pending());
    }

    #[test]
    fn a_stepped_clock_runs_and_jumps_ahead_for_all_its_clones() {
        let clock = Clock::stepped();
        let start = clock.now();
        assert!(start <= system_now(), "not yet moved");
        clock.clone().advance(Duration::from_secs(3_600));
        assert!(clock.now().since(start) >= Duration::from_secs(3_600));
        assert!(clock.now() > system_now());
        assert!(!clock.is_manual());
        assert!(clock.poll_moved(start, Waker::noop()).is_pending());
    }

    #[test]
    fn ticks_do_not_overflow() {
        assert_eq!(
            Tick::from_nanos(5).after(Duration::MAX),
            Tick::from_nanos(u64::MAX)
        );
        assert_eq!(
            Tick::from_nanos(5).since(Tick::from_nanos(9)),
            Duration::ZERO
        );
    }
}
