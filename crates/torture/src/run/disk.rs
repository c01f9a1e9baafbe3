//! A slow disk: a server's flushes take longer, by strace, which delays these system calls of a running process.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// What flushes to the disk.
const CALLS: &str = "fsync,fdatasync";

/// A disk that is slow while this lives.
#[derive(Debug)]
pub(super) struct SlowDisk {
    tracer: Child,
}

fn strace() -> Command {
    let mut strace = Command::new("strace");
    strace
        .args(["-q", "-f", "-o", "/dev/null", "-e"])
        .arg(format!("trace={CALLS}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    strace
}

fn delay(by: Duration) -> String {
    format!("inject={CALLS}:delay_enter={}", by.as_micros().max(1))
}

/// Whether strace is here and may trace.
#[must_use]
pub(super) fn possible() -> bool {
    let tried = strace()
        .args(["-e", &delay(Duration::from_micros(1)), "true"])
        .status();
    tried.is_ok_and(|status| status.success())
}

impl SlowDisk {
    /// From now on every flush of this process, and of those it starts, takes so much longer.
    ///
    /// # Errors
    /// strace could not be started.
    pub(super) fn of(process: u32, by: Duration) -> io::Result<Self> {
        let tracer = strace()
            .args(["-e", &delay(by), "-p", &process.to_string()])
            .spawn()?;
        Ok(Self { tracer })
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // It lets go of what it traces, and ends.
        let _ = kill_process(Pid::from_child(&self.tracer), Signal::TERM);
        let _ = self.tracer.wait();
    }
}
