//! Monban's side of its [`watchdog`]: started before the key is taken, so that its start overlaps, and
//! started again if somebody ends it.
//!
//! To execute a program costs half a millisecond and more, as much as many a command runs; so the first watchdog is a
//! plain copy of this process, by `fork`, that does nothing but wait for monban's end, and becomes a program of its own
//! only if monban is still there after [`BRIEFLY`]. Its safety rests on one condition, which is looked at each time: this
//! process has a single thread, so no lock of another can be copied in its locked state.

use super::watchdog;
use super::wire::{self, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, setpgid, waitpid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio, exit};
use std::time::Duration;

/// For how long a watchdog is a copy of monban. No deadline is so near: a TTL is a second at least, and counted later.
const BRIEFLY: Duration = Duration::from_millis(50);

/// A running watchdog.
///
/// Dropping it ends the watchdog and leaves the command alone; the end of this process without a drop ends the command.
#[derive(Debug)]
pub(crate) struct Guardian {
    process: Process,
    socket: OwnedFd,
}

/// A child of ours, until it has been waited for: then the number may be somebody else's.
#[derive(Debug)]
struct Process(Option<Pid>);

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
        if !is_single_threaded() {
            let process = Process::of(program(theirs).spawn()?.id());
            return Ok(Self { process, socket });
        }
        match fork::fork()? {
            fork::Fork::Parent(pid) => {
                let process = Process(Pid::from_raw(pid));
                Ok(Self { process, socket })
            }
            fork::Fork::Child => {
                drop(socket); // or it would never see the other end closed
                be_watchdog(theirs)
            }
        }
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
        if self.process.has_ended(WaitOptions::NOHANG) {
            self.replace(state, locks)
        } else {
            Ok(())
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
        if let Some(pid) = self.process.0 {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.dismiss();
        self.process.has_ended(WaitOptions::empty());
    }
}

impl Process {
    fn of(id: u32) -> Self {
        Self(i32::try_from(id).ok().and_then(Pid::from_raw))
    }

    /// Whether it has ended; with no options it waits for that.
    fn has_ended(&mut self, options: WaitOptions) -> bool {
        let Some(pid) = self.0 else {
            return true;
        };
        match rustix::io::retry_on_intr(|| waitpid(Some(pid), options)) {
            Ok(None) => false,
            // Somebody else cannot have waited for our child: an error says that it is none.
            Ok(Some(_)) | Err(_) => {
                self.0 = None;
                true
            }
        }
    }
}

/// Whether this thread is the only one of the process, as far as can be told.
#[cfg(target_os = "linux")]
fn is_single_threaded() -> bool {
    // The directory of threads has a link for each, besides the two of every directory.
    rustix::fs::stat("/proc/self/task").is_ok_and(|task| task.st_nlink == 3)
}

#[cfg(not(target_os = "linux"))]
fn is_single_threaded() -> bool {
    false
}

/// What the copy of monban does: it guards, for the first moments as it is. Nothing of monban's own is touched.
fn be_watchdog(socket: OwnedFd) -> ! {
    // Out of reach of the terminal's signals and of those meant for monban's group.
    let _ = setpgid(None, None);
    if dup2_stdin(&socket).is_err() {
        exit(1); // monban finds it gone, and starts another
    }
    drop(socket);
    if let Ok(null) = open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
    if !ends_within(BRIEFLY) {
        // It returns only if it fails: then the copy must do. What monban has said is in the socket still.
        let _ = image().exec();
    }
    let _ = watchdog::main();
    exit(0)
}

/// Waits for the end of monban, but reads nothing.
fn ends_within(limit: Duration) -> bool {
    let stdin = io::stdin();
    let mut ends = [PollFd::new(&stdin, PollFlags::empty())];
    let limit = Timespec::try_from(limit).ok();
    matches!(poll(&mut ends, limit.as_ref()), Ok(1..))
}

/// The watchdog as a program: our own executable under another name.
fn image() -> Command {
    let mut command = Command::new(own_executable());
    command.arg0(watchdog::NAME);
    command
}

fn program(socket: OwnedFd) -> Command {
    let mut command = image();
    command
        .process_group(0)
        .stdin(socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[cfg(target_os = "linux")]
fn own_executable() -> PathBuf {
    // Names the running image even if the file was replaced since, by an upgrade for instance.
    PathBuf::from("/proc/self/exe")
}

#[cfg(not(target_os = "linux"))]
fn own_executable() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("monban"))
}
