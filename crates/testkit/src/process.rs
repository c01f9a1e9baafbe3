//! Processes that cannot outlive the test that started them.
//!
//! Dropping a [`Process`] kills it by its id and reaps it. A test runner that is itself killed
//! drops nothing, so every process has a *guardian*: a shell that waits for the end of a pipe held
//! only by us. If the pipe ends without a word, the guardian kills the process and removes its
//! directory. Both stand in process groups of their own, so that Ctrl-C on a terminal reaches the
//! runner alone and the servers are stopped in one way only.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Kills `$1` with its children and removes `$2` (unless empty) when standard input ends without a line.
const GUARDIAN: &str = r#"read -r _ && exit 0
kill -KILL "$1" $(cat "/proc/$1/task/$1/children") 2>/dev/null
[ -z "$2" ] || { sleep 0.2; rm -rf -- "$2"; }"#;

/// How long a process may take until it stands still: one whose thread waits for a disk does not before that.
const STOPS: Duration = Duration::from_secs(20);

/// A running process, killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    guardian: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` in a process group of its own, without standard input.
    ///
    /// `scratch` is a directory to remove if this process dies before it can clean up itself.
    ///
    /// # Errors
    /// The command, or the shell that guards it, could not be started.
    pub fn spawn(command: &mut Command, scratch: Option<&Path>) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        match guard(child.id(), scratch) {
            Ok(guardian) => Ok(Self {
                child,
                guardian,
                ended: None,
            }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has not ended yet.
    ///
    /// # Errors
    /// The system refused to say.
    pub fn is_running(&mut self) -> io::Result<bool> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended.is_none())
    }

    /// Sends `signal`; a process that has ended is left alone, since its id may be another's by now. Of SIGSTOP it returns
    /// when the process stands still: one of several threads may run on for a moment.
    ///
    /// # Errors
    /// The process has ended, or the system refused.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if !self.is_running()? {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the process has ended",
            ));
        }
        kill_process(Pid::from_child(&self.child), signal)?;
        if signal == Signal::STOP {
            wait_until("the process to stand still", STOPS, || self.stands_still())?;
        }
        Ok(())
    }

    fn stands_still(&self) -> io::Result<bool> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // One that has ended meanwhile does nothing either.
            let stat = fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
            if !state.is_none_or(|state| state.starts_with(['T', 't', 'Z', 'X'])) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Kills the process as `kill -9` does and waits for its end.
    ///
    /// # Errors
    /// The system refused to kill it or to report its end.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        self.child.kill()?;
        let status = self.child.wait()?;
        self.ended = Some(status);
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let killed = self.kill();
        if let Some(mut pipe) = self.guardian.stdin.take() {
            // The guardian kills by itself if this line does not arrive, which is the safe side.
            let _ = pipe.write_all(b"done\n");
        }
        let reaped = self.guardian.wait();
        if let Err(error) = killed.and(reaped) {
            eprintln!("process {} may be left behind: {error}", self.child.id());
        }
    }
}

fn guard(pid: u32, scratch: Option<&Path>) -> io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", GUARDIAN, "guardian"])
        .arg(pid.to_string())
        .arg(scratch.unwrap_or_else(|| Path::new("")))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Finds a port of loopback that nobody listens on.
///
/// Another process may take it before the caller does; whoever starts a server tries again.
///
/// # Errors
/// No port could be bound.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Waits until `done` says so, asking every few milliseconds, for at most `within`.
///
/// # Errors
/// `TimedOut`, naming `what` was waited for; or the error of `done`.
pub fn wait_until(
    what: &str,
    within: Duration,
    mut done: impl FnMut() -> io::Result<bool>,
) -> io::Result<()> {
    let start = Instant::now();
    while !done()? {
        if start.elapsed() > within {
            let message = format!("{what}: not within {within:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
