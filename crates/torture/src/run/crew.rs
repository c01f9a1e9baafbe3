//! The workers: started, told what to do, killed, replaced.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::proxy::{Proxy, Weather};
use crate::worker::{Config, READY, VARIABLE};

/// One worker, in its present life.
#[derive(Debug)]
pub(super) struct Member {
    config: Config,
    program: PathBuf,
    number: usize,
    life: u32,
    child: Option<Child>,
    input: Option<ChildStdin>,
    proxy: Option<Proxy>,
}

impl Member {
    /// Worker `number`, which is run by `program`; it does not run yet.
    pub(super) fn new(number: usize, program: &Path, config: Config, proxy: Option<Proxy>) -> Self {
        Self {
            config,
            program: program.to_owned(),
            number,
            life: 0,
            child: None,
            input: None,
            proxy,
        }
    }

    /// As faults call it: `w3`.
    pub(super) fn name(&self) -> String {
        format!("w{}", self.number)
    }

    /// As the history calls its present life: `w3.1`.
    pub(super) fn process(&self) -> &str {
        &self.config.process
    }

    /// Starts it; in a process group of its own, so that Ctrl-C reaches the conductor alone, whose end ends it.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.config.process = format!("{}.{}", self.name(), self.life);
        self.config.seed = self
            .config
            .seed
            .wrapping_mul(31)
            .wrapping_add(u64::from(self.life));
        self.life += 1;
        let config = serde_json::to_string(&self.config)?;
        let mut child = Command::new(&self.program)
            .env(VARIABLE, config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        self.input = child.stdin.take();
        let out = child.stdout.take();
        self.child = Some(child);
        drop(out.map(|out| std::thread::spawn(move || drain(out))));
        Ok(())
    }

    /// Tells it something; one that has died hears nothing.
    pub(super) fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{line}");
        }
    }

    pub(super) fn set(&self, weather: Weather) {
        if let Some(proxy) = &self.proxy {
            proxy.set(weather);
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// While it runs.
    pub(super) fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it is stopped, by the system's account.
    pub(super) fn is_stopped(&self) -> bool {
        let Some(child) = &self.child else {
            return false;
        };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()));
        let state = |text: &str| {
            text.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        };
        stat.is_ok_and(|text| state(&text))
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// How it ended, once.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        self.input = None;
        Some(status)
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = (child.kill(), child.wait());
        }
        self.input = None;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a worker says besides that it is ready is for people.
fn drain(out: std::process::ChildStdout) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        if line != READY {
            eprintln!("{line}");
        }
    }
}
