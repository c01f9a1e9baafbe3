//! A disk that is slow, for one process: what it flushes takes longer.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Process, wait_until};
use crate::service;

/// Names the program `strace`, before `PATH` is looked at.
pub const STRACE: &str = "MONBAN_STRACE";

/// What that program may be called.
pub const PROGRAMS: &[&str] = &["strace"];

/// Whether the running test is to return at once because no process may be traced here: see [`service::lacks`].
///
/// # Panics
/// In CI, if none may be.
#[must_use]
pub fn skipped() -> bool {
    service::skipped("strace") || service::lacks("strace", &probe())
}

/// Whether we may trace at all: a container, or a security module, may forbid it.
fn probe() -> io::Result<()> {
    let traced = Command::new(service::program(STRACE, PROGRAMS)?)
        .args(["-qq", "-e", "trace=none", "--", "true"])
        .stdout(Stdio::null())
        .output()?;
    if traced.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&traced.stderr);
    let text = format!("no process may be traced (ptrace): {said}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// While it lives, every flush of a process to disk takes so much longer.
#[derive(Debug)]
pub struct SlowDisk {
    _strace: Process,
}

impl SlowDisk {
    /// Slows down the process of this id, all its threads.
    ///
    /// # Errors
    /// It cannot be traced.
    pub fn of(pid: u32, by: Duration) -> io::Result<Self> {
        let mut command = Command::new(service::program(STRACE, PROGRAMS)?);
        let flushes = "fdatasync,fsync";
        command
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("trace={flushes}"))
            .arg("-e")
            .arg(format!(
                "inject={flushes}:delay_enter={}",
                by.as_micros().max(1)
            ))
            .args(["-p", &pid.to_string()]);
        let mut strace = Process::spawn(&mut command, None)?;
        wait_until("strace", Duration::from_secs(20), || {
            if !strace.is_running()? {
                return Err(io::Error::other("strace ended: may it trace the process?"));
            }
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let tracer = status
                .lines()
                .find_map(|line| line.strip_prefix("TracerPid:"));
            Ok(tracer.is_some_and(|tracer| tracer.trim() == strace.id().to_string()))
        })?;
        Ok(Self { _strace: strace })
    }
}
