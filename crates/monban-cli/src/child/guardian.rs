//! Monban's side of its [`watchdog`]: started before the key is taken, so that its start overlaps, and
//! started again if somebody ends it.

use super::watchdog;
use super::wire::{self, State};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running watchdog.
///
/// Dropping it ends the watchdog and leaves the command alone; the end of this process without a drop ends the command.
#[derive(Debug)]
pub(crate) struct Guardian {
    process: Child,
    socket: OwnedFd,
}

impl Guardian {
    /// Starts a watchdog, without waiting until it is ready: what it is told meanwhile waits in its socket.
    ///
    /// # Errors
    /// The system has no process or descriptor left, or our own executable cannot be run.
    pub(crate) fn start() -> io::Result<Self> {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let process = Command::new(own_executable()?)
            .arg0(watchdog::NAME)
            // Out of reach of the terminal's signals and of those meant for monban's group.
            .process_group(0)
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { process, socket })
    }

    /// Tells the watchdog whom to guard; starts another if it is gone.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn tell(&mut self, state: &State, locks: &[BorrowedFd<'_>]) -> io::Result<()> {
        match wire::send(self.socket.as_fd(), state, locks) {
            Err(Errno::PIPE | Errno::CONNRESET) => self.replace(state, locks),
            // A full socket: somebody stopped the watchdog. What it knows is older, hence stricter.
            _ => Ok(()),
        }
    }

    /// Starts another watchdog if this one has ended.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn check(&mut self, state: &State, locks: &[BorrowedFd<'_>]) -> io::Result<()> {
        match self.process.try_wait()? {
            Some(_) => self.replace(state, locks),
            None => Ok(()),
        }
    }

    fn replace(&mut self, state: &State, locks: &[BorrowedFd<'_>]) -> io::Result<()> {
        // Assigning drops the old one, which is waited for there.
        *self = Self::start()?;
        wire::send(self.socket.as_fd(), state, locks)?;
        Ok(())
    }
}

impl Guardian {
    /// Ends the watchdog, without waiting for its end as the drop does: nothing is left to guard.
    ///
    /// KILL rather than a word of farewell: it also ends, at once, a watchdog that is stopped or still starting.
    pub(crate) fn dismiss(&mut self) {
        let _ = self.process.kill();
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.dismiss();
        let _ = self.process.wait();
    }
}

#[cfg(target_os = "linux")]
fn own_executable() -> io::Result<PathBuf> {
    // Names the running image even if the file was replaced since, by an upgrade for instance.
    Ok(PathBuf::from("/proc/self/exe"))
}

#[cfg(not(target_os = "linux"))]
fn own_executable() -> io::Result<PathBuf> {
    std::env::current_exe()
}
