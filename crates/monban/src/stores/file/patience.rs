//! Taking a lock that is only ever held for microseconds, without ever hanging on a stopped process.

use std::path::Path;
use std::time::Duration;

use rustix::fd::AsFd;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::STORE;
use super::fault::{failed, shown};
use crate::data::{Error, Result};
use crate::rule::Clock;

/// How long a door may stay shut before it is taken for one that a stopped process holds.
const LIMIT: Duration = Duration::from_secs(2);

/// Takes a lock that others hold for microseconds, by non-blocking calls.
///
/// # Errors
///
/// `Unavailable` if somebody keeps it for two seconds: a process that was stopped at that very point.
pub(super) fn take(fd: impl AsFd, how: FlockOperation, path: &Path) -> Result<()> {
    let mut pause = Duration::from_micros(20);
    let mut began = None;
    for turn in 0u32.. {
        match rustix::fs::flock(&fd, how) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(e) => return Err(failed("lock", path, e)),
        }
        if turn < 8 {
            std::thread::yield_now();
            continue;
        }
        let now = Clock::system().now();
        if now.since(*began.get_or_insert(now)) > LIMIT {
            break;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(1));
    }
    Err(Error::unavailable(
        STORE,
        format!(
            "another process keeps {} locked, which takes microseconds unless it is stopped; \
             find it (`lslocks`, `fuser`), and let it go on or end it",
            shown(path)
        ),
    ))
}

/// Takes a lock if it is free.
pub(super) fn try_take(fd: impl AsFd, how: FlockOperation, path: &Path) -> Result<bool> {
    loop {
        match rustix::fs::flock(&fd, how) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(e) => return Err(failed("lock", path, e)),
        }
    }
}
