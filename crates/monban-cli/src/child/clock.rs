//! The one clock of this part: nanoseconds since boot, counting time asleep, the same for every process of the host.
//!
//! A deadline is handed from monban to its watchdog as such a number, so both must read the same clock.

use rustix::event::Timespec;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// A point in time, in nanoseconds since boot.
pub(crate) type Moment = u64;

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// `poll` does not count time asleep: whoever waits for a moment looks at the clock at least this often.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Returns the present moment.
pub(crate) fn now() -> Moment {
    let time = clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Returns the moment that lies `wait` in the future.
pub(crate) fn after(wait: Duration) -> Moment {
    now().saturating_add(nanos(wait))
}

/// Converts a duration to nanoseconds, as far as they fit.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns how long `poll` may wait when something is due at `next`: for ever if nothing is.
pub(crate) fn poll_timeout(next: Option<Moment>) -> Option<Timespec> {
    let left = Duration::from_nanos(next?.saturating_sub(now())).min(LONGEST_WAIT);
    Timespec::try_from(left).ok()
}
