//! Starting probes and looking at processes.

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

pub(crate) type Test = (&'static str, fn());

/// Names the tests of a module by their functions.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub(crate) const TESTS: &[crate::support::Test] = &[$((stringify!($name), $name)),+];
    };
}
pub(crate) use tests;

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A probe that has not been started: `probe OPTIONS -- COMMAND`.
pub(crate) fn probe(options: &[&str], command: &[&str]) -> Command {
    let mut probe = Command::new(std::env::current_exe().unwrap());
    probe
        .arg("probe")
        .args(options)
        .arg("--")
        .args(command)
        .stdin(Stdio::null());
    probe
}

pub(crate) fn code(options: &[&str], command: &[&str]) -> Option<i32> {
    output(options, command).status.code()
}

pub(crate) fn output(options: &[&str], command: &[&str]) -> Output {
    probe(options, command).output().unwrap()
}

/// A started probe in a directory of its own; killed, with its command, if a test fails.
pub(crate) struct Running {
    pub(crate) process: Child,
    pub(crate) dir: tempfile::TempDir,
}

impl Running {
    /// Starts a probe with a lock on `lock`, in the directory where `script` runs too.
    pub(crate) fn start(options: &[&str], script: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), options, script)
    }

    pub(crate) fn start_in(dir: tempfile::TempDir, options: &[&str], script: &str) -> Self {
        let process = probe(
            &[&["--lock", "lock"], options].concat(),
            &["bash", "-c", script],
        )
        .current_dir(dir.path())
        .spawn()
        .unwrap();
        Self { process, dir }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap()
    }

    pub(crate) fn send(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits for a file with `count` process numbers, one a line, which the script has written.
    pub(crate) fn pids(&self, name: &str, count: usize) -> Vec<i32> {
        let path = self.path(name);
        let mut pids = Vec::new();
        eventually("the script writes its process numbers", || {
            let text = read_to_string(&path).unwrap_or_default();
            pids = text.lines().filter_map(|line| line.parse().ok()).collect();
            pids.len() >= count && text.ends_with('\n')
        });
        pids
    }

    /// Waits for the probe's end, and returns its exit code.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("the probe ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    /// Says whether somebody has the lock.
    pub(crate) fn locked(&self) -> bool {
        flock(
            open(&self.path("lock")),
            FlockOperation::NonBlockingLockExclusive,
        )
        .is_err()
    }

    /// The watchdog, once it is a program of its own.
    pub(crate) fn watchdog(&self) -> Option<i32> {
        children(self.pid()).into_iter().find(|pid| {
            read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with("monban-watchdog"))
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The watchdog then ends the command.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap()
}

pub(crate) fn send(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// Waits for the lock as `flock FILE` would, and returns what `at_grant` sees at that moment.
pub(crate) fn at_grant<T: Send + 'static>(
    lock: &Path,
    at_grant: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (lock, (sender, receiver)) = (open(lock), channel());
    spawn(move || {
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let _ = sender.send(at_grant());
    });
    receiver
        .recv_timeout(Duration::from_secs(20))
        .expect("the lock becomes free")
}

/// The state letter of `/proc/PID/stat`, if the process is there.
pub(crate) fn state(pid: i32) -> Option<char> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

pub(crate) fn alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| !"ZXx".contains(state))
}

pub(crate) fn children(parent: i32) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            fields.split_ascii_whitespace().nth(1) == Some(&parent.to_string())
        })
        .collect()
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < give_up, "waited too long: {what}");
        sleep(ms(2));
    }
}
