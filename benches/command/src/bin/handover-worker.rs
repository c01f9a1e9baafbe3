//! One process of the hand-over: takes the key again and again and notes when.
//!
//! `handover-worker file|flock DIRECTORY ROUNDS`; begins when it reads a line; prints `FROM TO` for
//! each stay, in nanoseconds of the monotonic clock, which all processes of a machine share.

use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use monban::{Locks, block_on};
use rustix::time::{ClockId, clock_gettime};

/// Long enough for the one who released to be in line again.
const HOLD: Duration = Duration::from_millis(1);

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, dir, rounds] = words.as_slice() else {
        return Err("handover-worker file|flock DIRECTORY ROUNDS".into());
    };
    io::stdin().read_line(&mut String::new())?;
    let rounds = rounds.parse()?;
    let stays = match kind.as_str() {
        "file" => monban_file(dir, rounds)?,
        "flock" => bare_flock(Path::new(dir), rounds)?,
        _ => return Err(format!("no kind is called {kind}").into()),
    };
    let mut out = io::stdout().lock();
    for (from, to) in stays {
        writeln!(out, "{from} {to}")?;
    }
    Ok(())
}

fn monban_file(dir: &str, rounds: usize) -> Outcome<Vec<(u64, u64)>> {
    let locks = block_on(Locks::connect(&format!("file:{dir}/store")))?;
    let mutex = locks.mutex("k")?;
    let mut stays = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let lease = mutex.lock().wait()?;
        let from = now()?;
        thread::sleep(HOLD);
        stays.push((from, now()?));
        block_on(lease.release())?;
    }
    Ok(stays)
}

fn bare_flock(dir: &Path, rounds: usize) -> Outcome<Vec<(u64, u64)>> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(dir.join("beside.lock"))?;
    let mut stays = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        file.lock()?;
        let from = now()?;
        thread::sleep(HOLD);
        stays.push((from, now()?));
        file.unlock()?;
    }
    Ok(stays)
}

fn now() -> Outcome<u64> {
    let now = clock_gettime(ClockId::Monotonic);
    Ok(u64::try_from(now.tv_sec)? * 1_000_000_000 + u64::try_from(now.tv_nsec)?)
}
