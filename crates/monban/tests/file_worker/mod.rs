//! A process that claims keys, told what to do by its parent: the test binary runs itself again.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses a part of it

use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::pin::pin;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use monban::contract::{Attempt, Busy, Grant, Release, Store};
use monban::data::{Claim, IfBusy, Leave, Mode, ProcessId};
use monban::stores::file::FileStore;
use monban::{ClaimId, Claimant, Key, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal, kill_process};

/// Names the directory for a worker; without it the `worker` test has nothing to do.
pub const DIR: &str = "MONBAN_WORKER_DIR";

/// Every verb of a local store is finished by its first poll.
pub fn now<T>(verb: impl Future<Output = T>) -> T {
    match pin!(verb).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("a verb of a local store was not finished by its first poll"),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread, with no runtime; whether it was ready in time.
pub fn wait(future: impl Future<Output = ()>, longest: Duration) -> bool {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    let began = Instant::now();
    loop {
        let mut cx = Context::from_waker(&waker);
        if future.as_mut().poll(&mut cx).is_ready() {
            return true;
        }
        let Some(rest) = longest.checked_sub(began.elapsed()) else {
            return false;
        };
        std::thread::park_timeout(rest);
    }
}

pub fn claim(key: &str, mode: Mode, if_busy: IfBusy) -> Claim {
    Claim {
        key: Key::new(key).unwrap(),
        id: ClaimId::random(ProcessId::random()),
        mode,
        ttl: Duration::from_secs(30),
        if_busy,
        claimant: Claimant::this_process("worker"),
    }
}

pub fn attempt(store: &FileStore, claim: &Claim) -> Result<Attempt> {
    now(store.attempt(std::slice::from_ref(claim))).remove(0)
}

pub fn release(store: &FileStore, claim: &Claim) -> Release {
    let leave = Leave {
        claim: claim.clone(),
        linger: None,
    };
    now(store.release(&[leave])).remove(0).unwrap()
}

/// Waits in line; tells the first refusal.
pub fn acquire(store: &FileStore, claim: &Claim, mut refused: impl FnMut(&Busy)) -> Grant {
    loop {
        match attempt(store, claim).unwrap() {
            Attempt::Granted(grant) => return grant,
            Attempt::Busy(busy) => {
                refused(&busy);
                wait(busy.changed.unwrap(), Duration::from_secs(600));
            }
        }
    }
}

pub fn mode(text: &str) -> Mode {
    match text.split_once('/') {
        Some((n, of)) => Mode::Permits {
            n: n.parse().unwrap(),
            of: of.parse().unwrap(),
        },
        None if text == "x" => Mode::Exclusive,
        None => Mode::Shared,
    }
}

/// The life of a worker: does what each line of its standard input says, and answers in lines. It ends with its input.
pub fn live(dir: &str) {
    let store = FileStore::new(dir);
    let mut claims = Vec::new();
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split(' ').collect();
        let answer = obey(&store, &mut claims, &words);
        writeln!(out, "\n> {answer}").unwrap();
        out.flush().unwrap();
    }
    std::process::exit(0);
}

fn obey(store: &FileStore, claims: &mut Vec<Claim>, words: &[&str]) -> String {
    match words {
        ["take", key, how] => {
            let mine = claim(key, mode(how), IfBusy::Queue);
            claims.push(mine.clone());
            let mut first = true;
            let grant = acquire(store, &mine, |busy| {
                if std::mem::take(&mut first) {
                    println!("\n> waiting {}", busy.ahead.unwrap());
                }
            });
            format!("granted {}", grant.fence.map_or(-1, |f| f.as_i64()))
        }
        ["pass", key, how] => {
            let answer = obey(store, claims, &["take", key, how]);
            release(store, &claims.pop().unwrap());
            answer
        }
        ["try", key, how] => {
            let mine = claim(key, mode(how), IfBusy::Leave);
            match attempt(store, &mine) {
                Ok(Attempt::Granted(_)) => {
                    claims.push(mine);
                    "granted".to_owned()
                }
                Ok(Attempt::Busy(busy)) => format!(
                    "busy {:?} {}",
                    busy.why,
                    busy.who.map_or_else(String::new, |who| who.to_string())
                ),
                Err(error) => format!("error {error:?} {error}"),
            }
        }
        ["release"] => {
            let done = claims.drain(..).map(|mine| release(store, &mine));
            format!("released {:?}", done.collect::<Vec<_>>())
        }
        ["count", key, times, file] => {
            for _ in 0..times.parse().unwrap() {
                let mine = claim(key, Mode::Exclusive, IfBusy::Queue);
                let fence = acquire(store, &mine, |_| {}).fence.unwrap();
                let log = std::fs::read_to_string(file).unwrap_or_default();
                std::thread::yield_now();
                // Whole at any time: who writes may be killed.
                let next = format!("{file}.{}", std::process::id());
                std::fs::write(&next, format!("{log}\n{}\n", fence.as_i64())).unwrap();
                std::fs::rename(next, file).unwrap();
                release(store, &mine);
            }
            "counted".to_owned()
        }
        ["spawn", how] => {
            // A child that lives on: with the descriptors, or as any program would start one.
            let lent = match *how {
                "lend" => store.held_descriptors(&claims[0].id).unwrap(),
                _ => Vec::new(),
            };
            for fd in &lent {
                rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
            }
            #[expect(clippy::zombie_processes, reason = "it is to outlive this process")]
            let child = Command::new("sleep")
                .arg("300")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            format!("spawned {}", child.id())
        }
        ["run", program, args @ ..] => {
            let status = Command::new(program)
                .args(args)
                .stdin(Stdio::null())
                .status()
                .unwrap();
            format!("ran {}", status.success())
        }
        ["fill", file] => {
            let mut file = std::fs::File::create(file).unwrap();
            while file.write_all(&[7; 4096]).is_ok() {}
            while file.write_all(&[7]).is_ok() {}
            "filled".to_owned()
        }
        other => panic!("a worker does not know {other:?}"),
    }
}

/// A worker as its parent sees it; killed when dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Worker {
    pub fn new(dir: &Path) -> Self {
        let exe = std::env::current_exe().unwrap();
        let mut command = Command::new(exe);
        command.args(["--exact", "worker", "--nocapture"]);
        Self::start(command, dir)
    }

    /// In namespaces of its own, after a shell has done `first` there.
    pub fn apart(dir: &Path, namespaces: &[&str], first: &str) -> Self {
        let exe = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["sh", "-ec"]);
        command.arg(format!("{first}\nexec \"$0\" --exact worker --nocapture"));
        command.arg(exe);
        Self::start(command, dir)
    }

    fn start(mut command: Command, dir: &Path) -> Self {
        let mut child = command
            .env(DIR, dir)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next answer; empty if the worker has ended. One that never comes fails the test.
    pub fn hear(&mut self) -> String {
        let patience = Timespec::try_from(Duration::from_secs(60)).unwrap();
        loop {
            if self.output.buffer().is_empty() {
                let mut watched = [PollFd::new(self.output.get_ref(), PollFlags::IN)];
                let ready = rustix::event::poll(&mut watched, Some(&patience)).unwrap();
                assert!(ready > 0, "a worker does not answer");
            }
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return String::new();
            }
            if let Some(answer) = line.strip_prefix("> ") {
                return answer.trim_end_matches('\n').to_owned();
            }
        }
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.hear()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Stops it, and waits until it has stopped: the signal alone takes its time.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        let stopped = || {
            let text = std::fs::read_to_string(&stat).unwrap();
            text.rsplit(") ").next().unwrap().starts_with('T')
        };
        while !stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that is not ours to wait for; killed when dropped.
#[derive(Debug)]
pub struct Orphan(pub Pid);

impl Orphan {
    pub fn of(answer: &str) -> Self {
        let pid = answer.strip_prefix("spawned ").unwrap().parse().unwrap();
        Self(Pid::from_raw(pid).unwrap())
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}
