//! The exit codes, in one place.
//!
//! 69, 75 and 76 follow sysexits.h where it has a fitting name, 124 to 127 `timeout(1)` and the shell.

use monban::Error;

/// Bad usage, or input that cannot be used.
pub(crate) const USAGE: u8 = 64;
/// The store is unreachable, full, read-only or not ours.
pub(crate) const UNAVAILABLE: u8 = 69;
/// The key is busy, or was not free in time.
pub(crate) const BUSY: u8 = 75;
/// The lease was lost before the command ended.
pub(crate) const LOST: u8 = 76;
/// Anything else of monban's own.
pub(crate) const OTHER: u8 = 125;

/// The exit code for an error.
pub(crate) fn code(error: &Error) -> u8 {
    match error {
        Error::TimedOut { .. } => BUSY,
        Error::Lost { .. } => LOST,
        Error::Mismatch { .. } | Error::Unsupported { .. } | Error::Invalid { .. } => USAGE,
        Error::Unavailable { .. } | Error::Rejected { .. } => UNAVAILABLE,
        _ => OTHER,
    }
}
