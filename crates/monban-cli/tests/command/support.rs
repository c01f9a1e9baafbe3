//! A directory of locks, and `monban` over it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A directory for locks and one for what the tests' commands write.
pub(crate) struct Place {
    dir: TempDir,
}

/// What a finished `monban` left.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.dir.path().join("locks")
    }

    pub(crate) fn store(&self) -> String {
        format!("file:{}", self.locks().display())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `monban` with these arguments over this store.
    pub(crate) fn monban(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monban"));
        command
            .args(arguments)
            .env("MONBAN_STORE", self.store())
            .env_remove("MONBAN_CLAIM")
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.monban(arguments).output().expect("monban starts"))
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running(Some(self.monban(arguments).spawn().expect("monban starts")))
    }

    /// Starts a holder of the key that runs until it is let go, and waits until it holds.
    pub(crate) fn hold(&self, options: &[&str], key: &str) -> Holder<'_> {
        let sign = self.file(&format!("held-{}", unique()));
        let script = format!(
            "touch '{0}'; while [ -e '{0}' ]; do sleep 0.01; done",
            sign.display()
        );
        let arguments: Vec<&str> = [&["run"], options, &[key, "--", "sh", "-c", &script]].concat();
        let running = self.start(&arguments);
        wait_until("the holder runs", || sign.exists());
        Holder {
            _place: self,
            sign,
            running,
        }
    }
}

/// A holder of a key.
pub(crate) struct Holder<'a> {
    _place: &'a Place,
    sign: PathBuf,
    pub(crate) running: Running,
}

impl Holder<'_> {
    /// Lets its command end.
    pub(crate) fn let_go(self) -> Ended {
        std::fs::remove_file(&self.sign).expect("its sign is there");
        self.running.end()
    }
}

/// A started `monban`; killed if the test forgets it.
pub(crate) struct Running(pub(crate) Option<Child>);

impl Running {
    pub(crate) fn end(mut self) -> Ended {
        let child = self.0.take().expect("it is ended once");
        ended(child.wait_with_output().expect("it was started"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.as_ref().expect("it was not ended").id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0
            .as_mut()
            .expect("it was not ended")
            .try_wait()
            .expect("it was started")
            .is_none()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process number"), signal).expect("it is there");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ended(output: Output) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    let signal = output.status.signal().map(|signal| -signal);
    Ended {
        code: output.status.code().or(signal).expect("it has ended"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < patience, "this did not come about: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Whether a process is there and not a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}
