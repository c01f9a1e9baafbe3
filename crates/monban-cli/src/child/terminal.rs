//! Whether monban is in the foreground of a terminal.
//!
//! There the command stays in monban's own process group. Handing the terminal to a group of the command's own
//! (`tcsetpgrp`) was tried and left: in `monban run k -- make | less` the shell has put both sides of the pipe into one
//! group, and taking the foreground away from it stops the pager at its first read.

use rustix::fs::{Mode, OFlags, open};
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

/// Says whether this process has a controlling terminal and is in its foreground group.
pub(crate) fn in_foreground() -> bool {
    open(
        "/dev/tty",
        OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .is_ok_and(|tty| tcgetpgrp(tty) == Ok(getpgrp()))
}
