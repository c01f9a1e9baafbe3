//! Measures the file store beside a bare flock: taking and giving back, and the hand-over between
//! processes. `cargo run --release --example file_bench`.

use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use monban::contract::{Attempt, Store};
use monban::data::{Claim, IfBusy, Leave, Mode, ProcessId};
use monban::rule::Clock;
use monban::stores::file::FileStore;
use monban::{ClaimId, Claimant, Key};
use rustix::fs::{FlockOperation, flock};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn claim(mode: Mode) -> Claim {
    Claim {
        key: Key::new("k").expect("a key"),
        id: ClaimId::random(ProcessId::random()),
        mode,
        ttl: Duration::from_secs(30),
        if_busy: IfBusy::Queue,
        claimant: Claimant::new("host", std::process::id(), "bench"),
    }
}

fn acquire(store: &FileStore, claim: &Claim) {
    loop {
        match block_on(store.attempt(std::slice::from_ref(claim))).remove(0) {
            Ok(Attempt::Granted(_)) => return,
            Ok(Attempt::Busy(busy)) => block_on(busy.changed.expect("a wake")),
            Err(error) => panic!("{error}"),
        }
    }
}

fn release(store: &FileStore, claim: Claim) {
    let leave = Leave {
        claim,
        linger: None,
    };
    block_on(store.release(&[leave]))
        .remove(0)
        .expect("a release");
}

fn boot_ns() -> u64 {
    Clock::system().now().as_nanos()
}

/// One of those who pass the key around: writes when it got the key and when it gave it back.
fn pass(dir: &str, times: usize, bare: bool) {
    let mut out = Vec::new();
    let store = FileStore::new(dir);
    let path = Path::new(dir).join("k.lock");
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a start");
    for _ in 0..times {
        let mine = claim(Mode::Exclusive);
        let file = bare.then(|| std::fs::File::open(&path).expect("a file"));
        match &file {
            Some(file) => flock(file, FlockOperation::LockExclusive).expect("a lock"),
            None => acquire(&store, &mine),
        }
        let got = boot_ns();
        let until = Instant::now() + Duration::from_micros(300);
        while Instant::now() < until {
            std::thread::sleep(Duration::from_micros(100));
        }
        let gave = boot_ns();
        if bare {
            drop(file);
        } else {
            release(&store, mine);
        }
        out.push(format!("{got} {gave}\n"));
    }
    std::io::stdout()
        .write_all(out.concat().as_bytes())
        .expect("standard output");
}

fn hand_over(processes: usize, bare: bool) -> (u64, u64) {
    let place = tempfile::tempdir().expect("a directory");
    let dir = place.path().join("locks");
    block_on(FileStore::new(&dir).open()).expect("a store");
    std::fs::write(dir.join("k.lock"), "").expect("a file");
    let mut children: Vec<Child> = (0..processes)
        .map(|_| {
            Command::new(std::env::current_exe().expect("ourselves"))
                .arg(if bare { "bare" } else { "pass" })
                .arg(&dir)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a process")
        })
        .collect();
    let mut outs: Vec<_> = children
        .iter_mut()
        .map(|child| BufReader::new(child.stdout.take().expect("a pipe")).lines())
        .collect();
    for out in &mut outs {
        out.next();
    }
    for child in &mut children {
        drop(child.stdin.take());
    }
    let mut holds: Vec<(u64, u64)> = outs
        .into_iter()
        .flatten()
        .filter_map(|line| {
            let line = line.ok()?;
            let (got, gave) = line.split_once(' ')?;
            Some((got.parse().ok()?, gave.parse().ok()?))
        })
        .collect();
    for child in &mut children {
        child.wait().expect("an end");
    }
    holds.sort_unstable();
    let overlaps = holds.windows(2).filter(|w| w[1].0 < w[0].1).count();
    assert_eq!(overlaps, 0, "two held at once");
    // The ends, where not all wait yet or any more, are left out.
    let skip = holds.len() / 10;
    let mut gaps: Vec<u64> = holds[skip..holds.len() - skip]
        .windows(2)
        .map(|w| w[1].0 - w[0].1)
        .collect();
    gaps.sort_unstable();
    let at = |part: usize| gaps[(gaps.len() - 1) * part / 100] / 1_000;
    (at(50), at(99))
}

fn per_pair(what: &str, times: u32, mut pair: impl FnMut()) {
    let mut rounds: Vec<_> = (0..5)
        .map(|_| {
            let began = Instant::now();
            (0..times).for_each(|_| pair());
            began.elapsed() / times
        })
        .collect();
    rounds.sort_unstable();
    println!("{what:32} {:?} (median of 5)", rounds[2]);
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, what, dir] = &args[..] {
        match what.as_str() {
            "pairs" => pairs(Path::new(dir)),
            what => pass(dir, 100, what == "bare"),
        }
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    pairs(&place.path().join("locks"));
    for processes in [3, 17] {
        for bare in [true, false] {
            let (p50, p99) = hand_over(processes, bare);
            let what = if bare { "bare flock" } else { "file store" };
            println!(
                "hand-over, {what}, {:2} waiting: p50 {p50} µs, p99 {p99} µs",
                processes - 1
            );
        }
    }
}

fn pairs(dir: &Path) {
    let store = FileStore::new(dir);
    block_on(store.open()).expect("a store");
    let path = dir.join("bare.lock");
    std::fs::write(&path, "").expect("a file");
    per_pair("bare open, flock, close", 20_000, || {
        let file = std::fs::File::open(&path).expect("a file");
        flock(&file, FlockOperation::NonBlockingLockExclusive).expect("a lock");
    });
    let modes = [
        ("exclusive", Mode::Exclusive),
        ("shared", Mode::Shared),
        ("one of three permits", Mode::Permits { n: 1, of: 3 }),
    ];
    for (name, mode) in modes {
        per_pair(name, 5_000, || {
            let mine = claim(mode);
            acquire(&store, &mine);
            release(&store, mine);
        });
    }
}
