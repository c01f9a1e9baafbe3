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
    /// From now on every flush of these processes, and of those they start, takes so much longer. One that has ended
    /// meanwhile is left out.
    ///
    /// # Errors
    /// strace could not be started.
    pub(super) fn of(processes: &[u32], by: Duration) -> io::Result<Self> {
        let mut tracer = strace();
        tracer.args(["-e", &delay(by)]);
        for process in processes {
            tracer.args(["-p", &process.to_string()]);
        }
        Ok(Self {
            tracer: tracer.spawn()?,
        })
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // It lets go of what it traces, and ends.
        let _ = kill_process(Pid::from_child(&self.tracer), Signal::TERM);
        let _ = self.tracer.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::time::Instant;

    use monban_testkit::{PostgresOptions, PostgresServer, service, slow, wait_until};

    use super::*;

    /// Nothing of a process that has ended.
    fn is_traced(process: u32) -> Option<bool> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let mut lines = status.lines();
        let tracer = lines.find_map(|line| line.strip_prefix("TracerPid:"))?;
        Some(tracer.trim() != "0")
    }

    /// A server of many processes: a session that was there before, and one that begins meanwhile.
    #[test]
    fn the_disk_is_slow_for_every_session_of_postgres() {
        if service::skipped("postgres") || slow::skipped() {
            return;
        }
        let server = PostgresServer::start(PostgresOptions::new()).unwrap();
        server.ask("CREATE TABLE t (v int)").unwrap();
        let mut old = server
            .psql()
            .unwrap()
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let patience = Duration::from_secs(20);
        wait_until("a session", patience, || {
            let sessions = "SELECT count(*) FROM pg_stat_activity
                            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
            Ok(server.ask(sessions)? == "1")
        })
        .unwrap();
        let by = Duration::from_millis(400);
        let processes = server.processes();
        let slow = SlowDisk::of(&processes, by).unwrap();
        wait_until("strace", patience, || {
            Ok(!processes
                .iter()
                .any(|process| is_traced(*process) == Some(false)))
        })
        .unwrap();
        let start = Instant::now();
        server.ask("INSERT INTO t VALUES (1)").unwrap();
        assert!(start.elapsed() >= by, "{:?}", start.elapsed());
        let start = Instant::now();
        let mut input = old.stdin.take().unwrap();
        input.write_all(b"INSERT INTO t VALUES (2);\n").unwrap();
        drop(input);
        assert!(old.wait().unwrap().success());
        assert!(start.elapsed() >= by, "{:?}", start.elapsed());
        drop(slow);
        assert_eq!(server.ask("SELECT sum(v) FROM t").unwrap(), "3");
        assert_eq!(is_traced(server.id()), Some(false));
    }
}
